"""Whatever is valid has bounds; whatever is hostile is refused with one line."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ganservice.cadence import plan_training
from ganservice.errors import SpecInvalid
from ganservice.recipe import ROLES
from ganservice.recipe.networks import kinds_of
from ganservice.spec import MAX_LINEAGE, EvaluateSpec, Resources, Start, TrainSpec, spec_text
from ganservice.spec_file import dump_spec, load_spec, parse_spec, read_spec
from tests.any_spec import DIGEST, FIRST, HOSTILE_TEXTS, hostile_trees, valid_specs


def unbounded(schema: dict[str, Any], where: str) -> list[str]:
    """Where in a JSON schema a number, a text or a list has no upper bound."""
    found = []
    kind = schema.get("type")
    if kind in ("integer", "number") and not {"maximum", "exclusiveMaximum", "const", "enum"} & set(schema):
        found.append(where)
    if kind == "string" and not {"pattern", "maxLength", "const", "enum"} & set(schema):
        found.append(where)
    if kind == "array" and "maxItems" not in schema:
        found.append(where)
    if kind == "object" and "properties" not in schema and "maxProperties" not in schema:
        found.append(where)
    for key, inner in schema.items():
        if isinstance(inner, dict) and key not in ("default", "discriminator", "additionalProperties"):
            found += unbounded(inner, f"{where}.{key}")
        for place, member in enumerate(inner if isinstance(inner, list) else ()):
            if isinstance(member, dict):
                found += unbounded(member, f"{where}.{key}[{place}]")
    return found


@pytest.mark.parametrize("model", [TrainSpec, EvaluateSpec])
def test_every_number_text_and_list_of_a_spec_has_an_upper_bound(model: type[BaseModel]) -> None:
    assert unbounded(model.model_json_schema(), model.__name__) == []


@settings(max_examples=30)
@given(spec=valid_specs())
def test_any_valid_spec_can_be_planned_written_and_read(spec: TrainSpec | EvaluateSpec) -> None:
    assert type(spec).model_validate_json(spec_text(spec)) == spec
    text = dump_spec(spec)
    if isinstance(spec, TrainSpec):
        assert plan_training(spec)["steps"] >= 1 or spec.first_images >= spec.images
        assert read_spec(text, "spec.yaml") == spec


def refused(error: SpecInvalid) -> None:
    line = str(error)
    assert line.splitlines() == [line]
    assert line.isprintable()
    assert len(line) <= 1_000


@settings(max_examples=30)
@given(tree=hostile_trees())
def test_a_hostile_tree_is_one_line_or_a_valid_spec(tree: dict[str, Any]) -> None:
    try:
        spec = parse_spec(tree, "spec.yaml")
    except SpecInvalid as error:
        refused(error)
    else:
        assert spec_text(spec)


@given(text=HOSTILE_TEXTS | st.text(), key=st.sampled_from(["", "seed", "name", "recipe.data.only", "a." * 30 + "b"]))
def test_a_hostile_text_is_one_line_whether_it_is_a_file_or_an_override(text: str, key: str) -> None:
    for file, overrides in ((text, []), (json.dumps(FIRST[0]), [f"{key}={text}"])):
        try:
            spec = read_spec(file, "spec.yaml", overrides)
        except SpecInvalid as error:
            refused(error)
        else:
            assert spec_text(spec)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("resources.cpus_per_worker=1" + 400 * "0", "is not YAML: a number of 401 digits; no key takes more than 30"),
        ("resources.cpus_per_worker=4097", "found 4097, expected less than or equal to 4096"),
        ("resources={workers: 512, cpus_per_worker: 4096}", "found 512, which take 2,097,152 CPUs; expected at most"),
        ("images=1000000000001", "images: found 1000000000001, expected less than or equal to 1000000000000"),
        ("seed=9223372036854775808", "expected less than or equal to 9223372036854775807"),
        ("recipe.optimiser_g.lr=1e31", "optimiser_g.lr: found 1e+31, expected less than or equal to 1000"),
        ("recipe.generator.widths=[" + "1," * 65 + "]", "expected at most 64 items"),
        ("recipe.generator.widths=[65536, 65536]", "generator: would have 5,133,752,130 weights"),
        ("recipe.conditioning.classes=10001", "expected less than or equal to 10000"),
        ("recipe.batch_size=1000000", "recipe.batch_size: found 1000000, whose images or latents are"),
        ("recipe.data.only=[" + "x" * 256 + "]", "expected at most 255 characters"),
        ("a=" + "[" * 5_000, "the value is not YAML: goes deeper than 20 levels"),
        ("a." * 30 + "b=1", "is larger or goes deeper than a spec may"),
        ("a=!!timestamp never", "the value is not YAML: a tag does not fit its value"),
        ('name="\\ud800"', "cannot be a spec: "),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_named(override: str, says: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        read_spec(json.dumps(FIRST[0]), "spec.yaml", [override])
    refused(caught.value)
    assert says in str(caught.value)


def test_a_layer_too_large_for_a_worker_is_named() -> None:
    tree = copy.deepcopy(FIRST[1]) | {"resources": {}}
    tree["recipe"] |= {"batch_size": 2**16, "generator": {"kind": "dcgan", "widths": [8, 8, 8, 512]}}
    with pytest.raises(SpecInvalid, match=r"a layer of the generator makes .* numbers in each worker"):
        parse_spec(tree, "spec.yaml")
    parse_spec(tree | {"resources": {"workers": 256}}, "spec.yaml")


def test_a_file_that_is_too_long_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole, which no memory holds
    with pytest.raises(SpecInvalid, match="is larger than a spec may be, 262,144 bytes"):
        load_spec(path)


def test_many_keys_are_looked_at_in_a_moment() -> None:
    keys = "\n".join(f"k{number}: 1" for number in range(3_000))
    with pytest.raises(SpecInvalid, match=r"unknown key k0; .* \(and 3002 more: k1, k2, k3, \.\.\.\)"):
        read_spec(keys, "spec.yaml")


@pytest.mark.parametrize("text", ["name: caf\u00e9", "\ufeffname: caf\u00e9"])
def test_a_file_is_read_as_utf_8_whatever_the_locale_says(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(text.encode())
    with pytest.raises(SpecInvalid, match=r"name: found \"caf\\u00e9\""):
        load_spec(path, ["images=1", "recipe={data: {dataset: a}}"])


def test_a_spec_that_was_copied_with_a_wild_value_is_refused(spec: TrainSpec) -> None:
    wild = Resources().model_copy(update={"cpus_per_worker": 10**400})
    with pytest.raises(SpecInvalid, match=r"resources.cpus_per_worker: found 1000.* expected"):
        spec_text(spec.model_copy(update={"resources": wild}))


def lineage(length: int) -> Start | None:
    start = None
    for number in range(length):
        start = Start(job_id=f"job-{number}", images=number, checkpoint="c", sha256=DIGEST).model_copy(
            update={"before": start}
        )
    return start


def test_a_long_lineage_keeps_its_newest(spec: TrainSpec) -> None:
    start = lineage(2 * MAX_LINEAGE)
    assert start
    assert len(start.newest(MAX_LINEAGE).lineage) == MAX_LINEAGE
    assert start.newest(2).lineage[1].job_id == f"job-{2 * MAX_LINEAGE - 2}"
    with pytest.raises(SpecInvalid, match="before: found more than 50 starts"):
        spec_text(spec.model_copy(update={"images": 10**6, "start": start}))
    assert spec_text(spec.model_copy(update={"images": 10**6, "start": start.newest(MAX_LINEAGE)}))


@pytest.mark.parametrize("value", [float("nan"), 2**64, [[[[[0]]]]], "x" * 70_000, {"a": 1}])
def test_what_a_start_says_of_changes_is_plain_and_short(value: Any) -> None:
    with pytest.raises(ValueError, match="changes"):
        Start(job_id="a-1", images=1, checkpoint="c", sha256=DIGEST, changes={"seed": (0, value)})


def test_every_kind_of_network_is_among_the_first() -> None:
    """Else no draw would ever hold one: a network is exchanged only where the new one fits the pictures."""
    for role in ROLES:
        assert {tree["recipe"][role]["kind"] for tree in FIRST} == set(kinds_of(role))


@settings(max_examples=30)
@given(spec=valid_specs())
def test_what_a_file_may_say_may_be_said_in_python(spec: TrainSpec | EvaluateSpec) -> None:
    """Lists, too, where a spec has tuples, as every tree of plain values has them."""
    assert type(spec).model_validate(spec.model_dump(mode="json")) == spec
