"""Strategies of specs: any valid one, drawn from the models themselves, and hostile ones, of which each is refused.

A key that a model gets later is drawn too, with the bounds that it has: nothing here knows a key of a spec by name, but
for the specs that all draws begin with and what the hostile ones damage.
"""

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from ganservice.errors import SpecInvalid
from ganservice.spec import JOB_SPEC, MAX_SPEC_BYTES, EvaluateSpec, TrainSpec, spec_text

Tree = dict[str, Any]
Schema = dict[str, Any]
Path = tuple[str | int, ...]

DIGEST = "0" * 64
PICTURES = {"dataset": "digits", "image_size": 64, "channels": 3, "digest": DIGEST}
MLP: Tree = {"data": PICTURES, "generator": {"kind": "mlp"}, "discriminator": {"kind": "mlp"}}
# One of each form that the rules between keys allow: single keys change from here.
FIRST: list[Tree] = [
    {"name": "mlp", "images": 1_000, "recipe": MLP | {"conditioning": {"classes": 10}}},
    {
        "name": "dcgan",
        "images": 10**6,
        "recipe": MLP
        | {
            "generator": {"kind": "dcgan", "widths": [64, 32, 16, 8]},
            "discriminator": {"kind": "dcgan", "widths": [8, 16, 32, 64]},
            "loss": {"kind": "relativistic"},
        },
        "resources": {"workers": 4},
        "evaluate": {},
    },
    {
        "name": "dense",
        "images": 5_000,
        "recipe": MLP
        | {"generator": {"kind": "dense_dcgan"}, "discriminator": {"kind": "dense_dcgan"}, "loss": {"kind": "wgan_gp"}},
        "start": {"job_id": "mlp-1", "images": 64, "checkpoint": "starts/c.pt", "sha256": DIGEST},
    },
    {
        "name": "avgpool",
        "images": 5_000,
        "recipe": MLP | {"generator": {"kind": "avgpool"}, "discriminator": {"kind": "avgpool"}},
    },
    {
        "name": "resnet",
        "images": 5_000,
        "recipe": MLP
        | {
            "generator": {"kind": "resnet", "attention": 16},
            "discriminator": {"kind": "resnet", "attention": 16},
            "loss": {"kind": "hinge"},
            "conditioning": {"kind": "built_in", "classes": 10},
        },
    },
    {
        "name": "r3gan",
        "images": 5_000,
        "recipe": MLP
        | {
            "generator": {"kind": "r3gan"},
            "discriminator": {"kind": "r3gan"},
            "loss": {"kind": "relativistic", "r1": {"start": 10, "end": 1, "until_images": 1_000}},
        },
    },
    {
        "name": "stylegan2",
        "images": 5_000,
        "recipe": MLP | {"generator": {"kind": "stylegan2"}, "discriminator": {"kind": "stylegan2"}},
    },
    {
        "name": "edsr",
        "images": 5_000,
        "recipe": MLP | {"super_resolution": {"factor": 2}, "generator": {"kind": "edsr"}},
    },
    {
        "name": "own",
        "images": 5_000,
        "recipe": MLP
        | {
            "code": {"folder": "my_networks", "digest": DIGEST},
            "generator": {"kind": "own", "function": "generator", "options": {"width": 16}},
            "discriminator": {"kind": "own", "function": "models.discriminator"},
        },
    },
    {
        "name": "mixture",
        "images": 10**12,
        "recipe": {
            "data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.02},
            "generator": {"kind": "affine"},
            "discriminator": {"kind": "mlp"},
        },
    },
    {
        "kind": "evaluate",
        "name": "mlp-eval",
        "recipe": MLP,
        "subject": {"job_id": "mlp-1", "images": 64, "checkpoint": "jobs/mlp-1/c.pt"},
        "judging": {},
    },
]


@st.composite
def valid_specs(draw: st.DrawFn, changes: int = 12) -> TrainSpec | EvaluateSpec:
    """Any valid spec, with values at the ends of their ranges as often as within."""
    spec = JOB_SPEC.validate_json(json.dumps(draw(st.sampled_from(FIRST))))
    for _ in range(draw(st.integers(0, changes))):
        path, schema, definitions = draw(st.sampled_from(list(_keys(spec))))
        value = draw(values(schema, definitions))
        spec = _valid(_with(spec.model_dump(mode="json"), path, value)) or spec
    return spec


def _valid(tree: Tree) -> TrainSpec | EvaluateSpec | None:
    """The spec that a tree says; None where a rule between keys, or the size of the whole, forbids it."""
    try:
        spec = JOB_SPEC.validate_json(json.dumps(tree))
        spec_text(spec)
    except (ValidationError, SpecInvalid):
        return None
    return spec


def _with(tree: Tree, path: Path, value: Any) -> Tree:
    """A copy of a tree that has this value there."""
    changed = copy.deepcopy(tree)
    node: Any = changed
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return changed


def _keys(model: BaseModel, path: Path = ()) -> Iterator[tuple[Path, Schema, Schema]]:
    """Each key of a spec and of what is in it, with its schema."""
    schema = _schema_of(type(model))
    for key, field in schema["properties"].items():
        yield (*path, key), field, schema.get("$defs", {})
        value = getattr(model, key)
        if isinstance(value, BaseModel):
            yield from _keys(value, (*path, key))


@cache
def _schema_of(model: type[BaseModel]) -> Schema:
    schema: Schema = TypeAdapter(model).json_schema()
    return schema if "properties" in schema else schema["$defs"][model.__name__] | {"$defs": schema["$defs"]}


def values(schema: Schema, definitions: Schema) -> st.SearchStrategy[Any]:
    """Values that a JSON schema allows, by itself."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return st.deferred(lambda: values(definitions[name], definitions))
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    if members := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of(*(values(member, definitions) for member in members))
    if schema.get("type") == "array":
        return _lists(schema, definitions)
    if schema.get("type") == "object":
        return _objects(schema, definitions)
    return _single_values(schema)


def _single_values(schema: Schema) -> st.SearchStrategy[Any]:
    match schema.get("type"):
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return _whole_numbers(schema)
        case "number":
            return _numbers(schema)
        case "string":
            return _texts(schema)
    return st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4)


def _whole_numbers(schema: Schema) -> st.SearchStrategy[int]:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    most = schema.get("maximum", schema.get("exclusiveMaximum", 0) - 1)
    assert most >= least, f"a number without an upper bound: {schema}"
    return st.sampled_from([least, most]) | st.integers(least, most)


def _numbers(schema: Schema) -> st.SearchStrategy[float]:
    least, most = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    most = schema["exclusiveMaximum"] if most is None else most
    floats = st.floats(least, most, exclude_min="exclusiveMinimum" in schema, exclude_max="exclusiveMaximum" in schema)
    ends = [schema[key] for key in ("minimum", "maximum") if key in schema]
    return st.sampled_from(ends) | floats if ends else floats


def _texts(schema: Schema) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        return st.from_regex(re.compile(str(schema["pattern"])), fullmatch=True).map(
            lambda text: text.removesuffix("\n")
        )
    most = schema["maxLength"]
    return st.text(min_size=schema.get("minLength", 0), max_size=min(most, 40)) | st.just("\x1b" * most)


def _lists(schema: Schema, definitions: Schema) -> st.SearchStrategy[list[Any]]:
    if parts := schema.get("prefixItems"):
        return st.tuples(*(values(part, definitions) for part in parts)).map(list)
    least, most, items = schema.get("minItems", 0), schema["maxItems"], values(schema["items"], definitions)
    is_set = schema.get("uniqueItems", False)
    short = st.lists(items, min_size=least, max_size=max(least, min(most, 6)), unique=is_set)
    return short if is_set else short | items.map(lambda item: [item] * most)


def _objects(schema: Schema, definitions: Schema) -> st.SearchStrategy[Tree]:
    if "properties" not in schema:
        patterns = schema.get("patternProperties")
        names, value = next(iter(patterns.items())) if patterns else (None, schema["additionalProperties"])
        keys = st.text(max_size=30) if names is None else st.from_regex(names, fullmatch=True)
        return st.dictionaries(keys, values(value, definitions), max_size=4)
    optional = {key: values(field, definitions) for key, field in schema["properties"].items()}
    required = {key: optional.pop(key) for key in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=optional)


DEEP = "[" * 5_000
HOSTILE_VALUES = st.sampled_from(
    [
        10**400, -(10**400), 2**63, -1, 1e300, -0.1, "1e999", ".nan", "x" * 100_000, "\x1b[2J\x07", "\u202e", "\ud800",
        [[[[[[[[[[0]]]]]]]]]], [0] * 100_000, {"a": {"b": {"c": {}}}}, {f"k{number}": 0 for number in range(50_000)},
        {"\x1b]0;owned\x07": 1}, {"\ud800": 1}, True, "../../../etc/passwd", "x\n" * 1_000,
    ]
)  # fmt: skip
# As a file, or as the value of --set.
HOSTILE_TEXTS = st.sampled_from(
    [
        DEEP, "{a: " * 5_000, "- " * 5_000, "9" * 5_000, "9" * 31, "!!int abc", "!!timestamp later", "!!bool maybe",
        "!!float never", "!!python/object:os.system x", "&a [*a]", "x" * (MAX_SPEC_BYTES + 1), '"\\ud800"', '"\\e[2J"',
        "!!set {a, b}", "!!binary AAAA", "? [a]\n: b", "<<: {a: 1}", "\x00", "\ufeff\ufeff", "%YAML 9.9\n---\n1",
    ]
)  # fmt: skip


@st.composite
def hostile_trees(draw: st.DrawFn) -> Tree:
    """A valid training of which one key has a value that none may have."""
    spec = JOB_SPEC.validate_json(json.dumps(draw(st.sampled_from([tree for tree in FIRST if "kind" not in tree]))))
    path, *_ = draw(st.sampled_from(list(_keys(spec))))
    value = draw(HOSTILE_VALUES)
    tree: Tree = spec.model_dump(mode="json")
    if draw(st.booleans()):
        tree = _with(tree, path, value)
    else:
        tree[draw(st.sampled_from(["x", "\x1b[2J", "nam", "\ud800", "k" * 10_000]))] = value
    return tree
