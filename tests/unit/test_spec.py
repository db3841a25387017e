import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ganservice.errors import SpecInvalid
from ganservice.recipe import Pictures
from ganservice.spec import PRIORITIES, TrainSpec
from ganservice.spec_file import dump_spec, load_spec, parse_spec

TEXT = """
name: tiny
images: 1000
recipe:
  data: {dataset: digits, image_size: 28, channels: 1}
  generator: {kind: dcgan, widths: [64, 32, 16]}
  discriminator: {kind: mlp}
"""

Load = Callable[..., TrainSpec]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """load(text, *overrides): what `load_spec` makes of a file with this text."""

    def load(text: str, *overrides: str) -> TrainSpec:
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        return load_spec(path, overrides)

    return load


def mistake(load: Load, text: str, *overrides: str) -> str:
    """The one line that a spec with a mistake gives."""
    with pytest.raises(SpecInvalid) as caught:
        load(text, *overrides)
    line = str(caught.value)
    assert line.splitlines() == [line]
    return line


# Mistakes: one line with the file, the key, what was found and what was expected.


@pytest.mark.parametrize(
    ("override", "unknown", "nearest"),
    [
        ("sede=3", "sede", "seed"),
        ("max_attempt=3", "max_attempt", "max_attempts"),
        ("resources.worker=2", "resources.worker", "resources.workers"),
        ("recipe.batchsize=8", "recipe.batchsize", "recipe.batch_size"),
        ("recipe.optimiser_g.learning=1", "recipe.optimiser_g.learning", None),
        ("recipe.generator.width=[8]", "recipe.generator.width", "recipe.generator.widths"),
        ("zzzzzz=1", "zzzzzz", None),
        ("batch_size=8", "batch_size", "recipe.batch_size"),
        ("evaluate={samples: 500}", "evaluate.samples", "evaluate.judging.samples"),
        ("evaluate={network: pixels}", "evaluate.network", "evaluate.judging.network"),
        ("recipe.seed=1", "recipe.seed", "seed"),
        ("lr=1", "lr", "recipe.optimiser_g.lr or recipe.optimiser_d.lr"),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest_known_one(
    load: Load, override: str, unknown: str, nearest: str | None
) -> None:
    line = mistake(load, TEXT, override)
    assert f"spec.yaml: unknown key {unknown};" in line
    assert f"did you mean {nearest}?" in line if nearest else "known keys: " in line


def test_a_misspelt_key_is_told_before_the_key_that_is_missing_for_it(load: Load) -> None:
    line = mistake(load, TEXT.replace("images:", "imags:"))
    assert "unknown key imags; did you mean images?" in line


@pytest.mark.parametrize("key", ["dropout", "batch_norm"])
def test_a_key_of_another_kind_of_network_is_not_its_own_nearest(load: Load, key: str) -> None:
    kinds = {"dropout": "{kind: dcgan, widths: [8, 8, 8]}", "batch_norm": "{kind: mlp}"}
    line = mistake(load, TEXT, f"recipe.discriminator={kinds[key]}", f"recipe.discriminator.{key}=0.5")
    assert f"unknown key recipe.discriminator.{key}" in line
    assert f"did you mean recipe.discriminator.{key}?" not in line


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("images=many", 'images: found "many", expected a valid integer'),
        ("images=1.5", "images: found 1.5, expected a valid integer"),
        ("images=true", "images: found true, expected a valid integer"),
        ("images=0", "images: found 0, expected greater than or equal to 1"),
        ("recipe=5", "recipe: found 5, expected an object"),
        ("resources=", "resources: found null, expected an object"),
        ("priority=urgent", "priority: found \"urgent\", expected 'low', 'normal' or 'high' or a valid integer"),
        ("priority=101", "priority: found 101, expected"),
        ("recipe.data.channels=2", "recipe.data.channels: found 2, expected 1, 3 or 4"),
        ("recipe.optimiser_g.lr=fast", 'recipe.optimiser_g.lr: found "fast", expected a valid number'),
        ("recipe.optimiser_g.lr=0", "recipe.optimiser_g.lr: found 0, expected greater than 0"),
        ("recipe.optimiser_g.betas=[0.5, 2]", "recipe.optimiser_g.betas.1: found 2, expected less than 1"),
        ("recipe.generator.widths=[8, x, 8]", 'recipe.generator.widths.1: found "x", expected'),
        (
            "recipe.data.only=[a, b, a]",
            'recipe.data.only: found ["a", "b", "a"], expected each once; "a" is there twice',
        ),
        ("tags=[a, a]", 'tags: found ["a", "a"], expected each once; "a" is there twice'),
        ("evaluate.judging.measures=[copying, copying]", "evaluate.judging.measures: found ["),
        ("evaluate.also=[{network: pixels, measures: [copying, copying]}]", "evaluate.also.0.measures: found ["),
        ("recipe.generator.kind=gan", "recipe.generator.kind: found 'gan', expected 'affine', 'avgpool', 'dcgan'"),
        ("kind=evaluate", "kind: found \"evaluate\", expected 'train'"),
        ("name=On Fire", 'name: found "On Fire", expected match pattern'),
        (
            "recipe.data.image_size=30",
            "recipe.generator.kind: a dcgan makes images of 28, 32, 64 px",
        ),
        (
            "recipe.data.image_size=28x40",
            "recipe.generator.kind: a dcgan of 28 px has a longer side that is larger by a multiple of 8 px, found",
        ),
        (
            "recipe.data.image_size=28x255",
            (
                "recipe.generator.kind: a dcgan of 28 px has a longer side that is larger by a multiple of 8 px, found "
                "data.image_size 28x255; choose 252 for it, or kind: mlp"
            ),
        ),
        ("recipe.data.image_size=28x28", "recipe.data.image_size: found 28x28, expected 28, as squares are written"),
        ("recipe.data.image_size=28x300", "recipe.data.image_size: found 28x300, expected sides of 4 to 256 px"),
        ("recipe.data.image_size=[28, 36]", "recipe.data.image_size: found [28, 36], expected a valid integer or"),
        ("recipe.data.image_size=28 by 36", 'recipe.data.image_size: found "28 by 36", expected a valid integer or'),
        ("recipe.generator.widths=[8, 8]", "recipe.generator.widths: found 2 widths, but a dcgan of 28 px has 3"),
        ("resources.workers=5", "recipe.batch_size: found 64, which does not split evenly"),
        ("resources.workers=64", "recipe.batch_size: found 64, expected at least 2 images for each of 64"),
    ],
)
def test_a_wrong_value_is_told_with_what_was_found_and_expected(load: Load, override: str, told: str) -> None:
    assert f"spec.yaml: {told}" in mistake(load, TEXT, override)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (TEXT.replace("images: 1000", ""), "images"),
        (TEXT.replace("kind: mlp", ""), "recipe.discriminator.kind"),
        (TEXT.replace("dataset: digits, ", ""), "recipe.data.dataset"),
        (TEXT.replace(", widths: [64, 32, 16]", ""), "recipe.generator.widths"),
    ],
)
def test_a_missing_key_is_named(load: Load, text: str, key: str) -> None:
    assert f"spec.yaml: {key} is missing" in mistake(load, text)


def test_further_mistakes_are_counted_and_placed(load: Load) -> None:
    assert mistake(load, TEXT, "images=0", "seed=-1").endswith("(and 1 more: seed)")
    line = mistake(load, TEXT, "images=0", "seed=-1", "priority=x", "max_attempts=0", "name=/", "note=3")
    assert re.search(r"\(and 5 more: \w+, \w+, \w+, \.\.\.\)$", line)


@pytest.mark.parametrize(
    "text",
    [
        "recipe: [1",
        "a: b: c",
        "\tname: tiny",
        "name: !!python/name:os.system",
        "{[1]: 2}",
    ],
)
def test_what_is_not_yaml_is_told(load: Load, text: str) -> None:
    assert "spec.yaml: is not YAML: " in mistake(load, text)


def test_a_day_that_does_not_exist_is_told(load: Load) -> None:
    assert "spec.yaml: " in mistake(load, TEXT + "seed: 2020-13-45")
    assert "2020-13-45" in mistake(load, TEXT, "seed=2020-13-45")


def test_a_truncation_of_latents_that_are_normalised_is_refused(load: Load) -> None:
    """It left the spread of styles as it was, and the evaluation said that it had been truncated."""
    truncated = "evaluate.judging.truncation=0.5"
    text = TEXT + "evaluate: {}\n"
    found = mistake(load, text.replace("dcgan, widths: [64, 32, 16]", "stylegan2"), truncated)
    assert "evaluate.judging.truncation: found 0.5, but a generator of kind stylegan2" in found
    evaluate = load(text, truncated).evaluate
    assert evaluate is not None
    assert evaluate.judging.truncation == 0.5


@pytest.mark.parametrize(
    ("size", "told"), [(28, "expected the side of a map: 14, 7"), (4, "but D halves no picture of 4 px; leave it out")]
)
def test_attention_on_a_map_that_is_not_there_is_told(load: Load, size: int, told: str) -> None:
    text = TEXT.replace("dcgan, widths: [64, 32, 16]", "resnet").replace("mlp}", "resnet, attention: 28}")
    found = mistake(load, text, f"recipe.data.image_size={size}")
    assert f"discriminator.attention: found 28, {told}" in found


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"name: \xff\xfe\xff")
    with pytest.raises(SpecInvalid, match=r"spec\.yaml: is not YAML: "):
        load_spec(path)


@pytest.mark.parametrize("text", ["2020-01-01: 3", "!!binary aGVsbG8=: 3", '"a\\nb": 3', "1: 3"])
def test_a_key_of_any_form_is_told_in_one_line(load: Load, text: str) -> None:
    assert "spec.yaml: " in mistake(load, TEXT + text)


def test_a_value_that_holds_itself_is_told(load: Load) -> None:
    assert "spec.yaml: " in mistake(load, TEXT + "resources: &itself [*itself]")


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b", "5", "null"])
def test_a_file_without_keys_is_told(load: Load, text: str) -> None:
    assert "spec.yaml: expected keys such as name, recipe and images, found no mapping" in mistake(load, text)


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_an_unreadable_file_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecInvalid, match=f"^{tmp_path / name}: cannot be read: "):
        load_spec(tmp_path / name)


@pytest.mark.parametrize("key", ["recipe.optimiser_g.lr", "recipe.loss.real_label"])
def test_a_number_too_large_for_a_float_is_refused(load: Load, key: str) -> None:
    assert f"spec.yaml: {key}: found Infinity, expected " in mistake(load, TEXT, f"{key}=1e400")


# Numbers are those of YAML 1.2.


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "+1e-4", "0.0001", ".0001", "1.e-4"])
def test_a_number_may_be_written_with_an_exponent(load: Load, text: str) -> None:
    assert load(TEXT, f"recipe.optimiser_d.lr={text}").recipe.optimiser_d.lr == 1e-4


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "y", "n"])
def test_on_and_off_are_words(load: Load, word: str) -> None:
    assert load(TEXT, f"name={word}").name == word


@pytest.mark.parametrize("word", ["true", "True", "false", "FALSE"])
def test_true_and_false_are_not_words(load: Load, word: str) -> None:
    discriminator = f"recipe.discriminator={{kind: dcgan, widths: [8, 8, 8], batch_norm: {word}}}"
    found = load(TEXT, discriminator).recipe.discriminator
    assert found.model_dump()["batch_norm"] is (word.lower() == "true")


def test_a_leading_zero_does_not_make_a_number_octal(load: Load) -> None:
    assert load(TEXT, "seed=010").seed == 10


def test_a_time_of_day_is_not_a_number(load: Load) -> None:
    assert 'seed: found "1:30", expected a valid integer' in mistake(load, TEXT, "seed=1:30")


# --set KEY=VALUE


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("images=50", "images", 50),
        ("name=other", "name", "other"),
        ("recipe.batch_size=32", "recipe.batch_size", 32),
        ("recipe.generator.widths=[8, 8, 8]", "recipe.generator.widths", [8, 8, 8]),
        ("recipe.data.dataset=a.b", "recipe.data.dataset", "a.b"),
        ("recipe.loss.real_label=[0.7, 1.2]", "recipe.loss.real_label", [0.7, 1.2]),
        ("resources.workers=2", "resources.workers", 2),
        ("checkpoints.keep_every_images=", "checkpoints.keep_every_images", None),
    ],
)
def test_an_override_sets_a_typed_value_and_makes_the_mappings_above_it(
    load: Load, override: str, key: str, value: Any
) -> None:
    found: Any = load(TEXT, override).model_dump(mode="json")
    for part in key.split("."):
        found = found[part]
    assert found == value


def test_the_last_override_wins(load: Load) -> None:
    assert load(TEXT, "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize("override", ["seed", "=3", "recipe..batch_size=3", ".seed=3", "seed=[", "name.first=3"])
def test_an_override_of_the_wrong_form_is_quoted(load: Load, override: str) -> None:
    assert mistake(load, TEXT, override).startswith(f"--set {override}: ")


# What a spec says of itself.


def test_defaults_are_filled_in(load: Load) -> None:
    spec = load(TEXT)
    assert (spec.kind, spec.seed, spec.max_attempts, spec.priority) == ("train", 0, 3, "normal")
    assert (spec.resources.workers, spec.resources.cpus, spec.resources.gpus) == (1, 1, 0)
    assert (spec.recipe.latent_size, spec.recipe.precision) == (100, "auto")
    assert spec.recipe.optimiser_g.betas == (0.5, 0.999)
    assert isinstance(spec.recipe.data, Pictures)
    assert spec.recipe.data.digest is None


def test_a_gang_needs_what_all_its_workers_need(load: Load) -> None:
    resources = load(TEXT, "resources={workers: 4, cpus_per_worker: 3, gpus_per_worker: 1}").resources
    assert (resources.cpus, resources.gpus) == (12, 4)


@given(images=st.integers(1, 10**9), batch=st.integers(2, 10**5))
def test_the_length_is_rounded_up_to_whole_steps(spec: TrainSpec, images: int, batch: int) -> None:
    recipe = spec.recipe.model_copy(update={"batch_size": batch})
    spec = spec.model_copy(update={"images": images, "recipe": recipe})
    assert spec.steps * batch == spec.total_images
    assert images <= spec.total_images < images + batch


@pytest.mark.parametrize(("priority", "number"), [*PRIORITIES.items(), (0, 0), (100, 100), (42, 42)])
def test_a_priority_is_a_word_or_a_number(load: Load, priority: str | int, number: int) -> None:
    assert load(TEXT, f"priority={priority}").priority_number == number


NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,9}", fullmatch=True)
POSITIVE = st.floats(1e-300, 1e30)
BETA = st.floats(0, 1, exclude_max=True)
TREES = st.fixed_dictionaries(
    {
        "name": NAMES,
        "images": st.integers(1, 10**12),
        "recipe": st.fixed_dictionaries(
            {
                "data": st.fixed_dictionaries(
                    {"dataset": NAMES, "image_size": st.just(28), "channels": st.sampled_from([1, 3])}
                ),
                "generator": st.just({"kind": "mlp"}),
                "discriminator": st.fixed_dictionaries({"kind": st.just("mlp"), "dropout": BETA}),
            },
            optional={
                "optimiser_g": st.fixed_dictionaries({"lr": POSITIVE, "betas": st.lists(BETA, min_size=2, max_size=2)})
            },
        ),
    },
    optional={"priority": st.sampled_from(["low", 7]), "seed": st.integers(0, 2**63 - 1)},
)


@given(tree=TREES)
@example(tree=yaml.safe_load(TEXT) | {"name": "1e5"})
@example(tree=yaml.safe_load(TEXT) | {"name": "1-30"})
def test_a_spec_survives_its_own_file(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> None:
    spec = parse_spec(tree, source="tree")
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    path.write_text(dump_spec(spec))
    assert load_spec(path) == spec


def test_a_few_lines_that_stand_for_billions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    layers = [f"a{depth}: &a{depth} [{', '.join(9 * [f'*a{depth - 1}'])}]" for depth in range(1, 12)]
    path.write_text("\n".join(["a0: &a0 [x]", *layers]))
    with pytest.raises(SpecInvalid, match="found an alias"):
        load_spec(path)


@given(tree=TREES)
def test_a_spec_survives_the_queue(tree: dict[str, Any]) -> None:
    spec = parse_spec(tree, source="tree")
    assert TrainSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("key", ["images", "recipe"])
def test_a_spec_cannot_be_changed(spec: TrainSpec, key: str) -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(spec, key, None)
