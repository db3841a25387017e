"""`docs/spec.md`: every key of a spec, printed from the models. `python -m ganservice.spec_page >docs/spec.md`."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from ganservice.judging import MAX_JUDGED_NUMBERS
from ganservice.recipe.extent import MAX_BATCH_NUMBERS, MAX_WEIGHTS
from ganservice.spec import (
    MAX_CHANGE_DEPTH,
    MAX_CHANGES_BYTES,
    MAX_CPUS,
    MAX_GPUS,
    MAX_GRID_NUMBERS,
    MAX_LINEAGE,
    MAX_SPEC_BYTES,
    EvaluateSpec,
    TrainSpec,
)
from ganservice.yaml12 import MAX_DEPTH, MAX_DIGITS

Schema = dict[str, Any]  # of JSON Schema, as pydantic writes it

# By the last word of a key, and by whole keys.
UNITS = {"images": "images", "steps": "steps", "reports": "reports", "s": "s", "image_size": "px"}

# A larger number that is no count is written with an exponent.
LARGEST_IN_DIGITS = 1e15

INTRODUCTION = """# Specs

A spec is a YAML file that says what to train, for how long and on what. [configs/](../configs) has complete ones. This
page is made by `python -m ganservice.spec_page >docs/spec.md`; a test holds it to the code.

- `ganctl submit SPEC --dry-run --spec` prints the spec with every default written out, and touches nothing.
- `--set recipe.batch_size=128` replaces a value.
- A mistake is one line at submission:
  `error: my.yaml: unknown key recipe.optimizer_g; did you mean recipe.optimiser_g?`
- Of the `kind`s below, one is chosen by writing `kind: NAME` among its keys.
"""

BOUNDS = f"""## Bounds

Every number, text and list has the bounds that its row above names. What several keys ask for together has these:

| what | at most |
|---|---|
| the file, each `--set`, and the spec as JSON with every default | {MAX_SPEC_BYTES:,} bytes |
| levels of keys and lists in the file or in a `--set` | {MAX_DEPTH} |
| digits of a whole number, as it is written | {MAX_DIGITS} |
| aliases (`*name`) and keys given twice | none |
| `resources.workers` times `cpus_per_worker`, times `gpus_per_worker` | {MAX_CPUS:,} CPUs, {MAX_GPUS:,} GPUs |
| weights of G, and of D, about | {MAX_WEIGHTS:,} |
| numbers of a batch of pictures or latents; of what a layer makes of a worker's part of it | {MAX_BATCH_NUMBERS:,} |
| numbers of a grid of samples: pictures times their pixels and channels | {MAX_GRID_NUMBERS:,} |
| `judging.samples` times the pixels and channels of a picture | {MAX_JUDGED_NUMBERS:,} |
| starts, one before the other: older ones stand in older specs | {MAX_LINEAGE} |
| `start.changes` as JSON, and lists in lists of it | {MAX_CHANGES_BYTES:,} bytes, {MAX_CHANGE_DEPTH} deep |

They are checked at submission, and again wherever a spec is read: a job whose spec is beyond them cannot be read, and
fails when its turn comes.
"""

EVALUATION = """## An evaluation

`ganctl evaluate`, and a training with `evaluate`, write these specs; nobody need write one by hand.
"""


def page() -> str:
    """`docs/spec.md`."""
    training, evaluation = TrainSpec.model_json_schema(), EvaluateSpec.model_json_schema()
    sections = Sections()
    of_training = sections.add(training)
    sections.add(evaluation)
    pages = list(sections.pages())
    parts = [INTRODUCTION, "## A training\n", sections.table(training), *pages[:of_training]]
    parts += [EVALUATION, sections.table(evaluation), *pages[of_training:], BOUNDS]
    return "\n".join(parts).rstrip() + "\n"


class Sections:
    """The parts of a spec that have keys of their own, each once, with all the keys under which it may stand."""

    def __init__(self) -> None:
        self._definitions: dict[str, Schema] = {}
        self._paths: dict[tuple[str, ...], list[str]] = {}

    def add(self, spec: Schema) -> int:
        """Collect the sections of one kind of spec. Returns how many there are now."""
        self._definitions |= spec["$defs"]
        self._collect(spec, "")
        return len(self._paths)

    def pages(self) -> Iterator[str]:
        """The text of each section; where there are several kinds, a table for each."""
        for names, paths in self._paths.items():
            parts = [f"## {_heading(paths)}\n"]
            for name in names:
                schema = self._definitions[name]
                if len(names) > 1:
                    parts.append(f"### `kind: {schema['properties']['kind']['const']}`\n")
                parts += [schema["description"] + "\n", self.table(schema)]
            yield "\n".join(parts)

    def table(self, schema: Schema) -> str:
        """The keys of one model."""
        rows = [
            row(key, key, field, self._type(field), key in schema.get("required", ()))
            for key, field in schema["properties"].items()
        ]
        return "\n".join(["| key | value | unit | default | meaning |", "|---|---|---|---|---|", *rows, ""])

    def _type(self, schema: Schema) -> str:
        names = self._models(schema)
        if not names:
            return type_text(schema)
        keys = f"[keys](#{anchor(_heading(self._paths[names]))})"
        if "prefixItems" in schema:
            return (
                f"list of {_count_text(schema)[:-1]}: {'; '.join(self._type(item) for item in schema['prefixItems'])}"
            )
        if schema.get("type") == "array":
            return f"list of {_count_text(schema)}{keys}"
        plain = [type_text(member) for member in _members(schema) if not self._models(member)]
        return " or ".join([*plain, keys])

    def _collect(self, schema: Schema, path: str) -> None:
        for key, field in schema["properties"].items():
            names = self._models(field)
            if not names:
                continue
            is_new = names not in self._paths
            paths = self._paths.setdefault(names, [])
            if path + key not in paths:
                paths.append(path + key)
            for name in names if is_new else ():
                self._collect(self._definitions[name], f"{path}{key}.")

    def _models(self, schema: Schema) -> tuple[str, ...]:
        """The names of the models that a value may be."""
        if "$ref" in schema:
            return (schema["$ref"].rpartition("/")[2],)
        items = [schema["items"]] if "items" in schema else []
        members = schema.get("prefixItems") or items or _members(schema)
        return tuple(name for member in members for name in self._models(member))


def row(name: str, key: str, schema: Schema, kind: str, is_required: bool) -> str:
    """One line of a table: a key's name, value, unit, default and meaning."""
    unit = UNITS.get(key) or UNITS.get(key.rpartition("_")[2], "")
    default = "required" if is_required else _default(schema.get("default"))
    return f"| `{name}` | {kind} | {unit} | {default} | {schema.get('description', '')} |"


def type_text(schema: Schema) -> str:  # noqa: PLR0911 - an arm for each form a schema takes
    """What a value may be, in words."""
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if members := _members(schema):
        return " or ".join(dict.fromkeys(type_text(member) for member in members))
    match schema.get("type"):
        case "integer" | "number" as kind:
            limits = _range(schema)
            return ("whole number" if kind == "integer" else "number") + (f", {limits}" if limits else "")
        case "boolean":
            return "`true` or `false`"
        case "string":
            if "pattern" in schema:
                return f"text, `{schema['pattern']}`"
            return f"text of up to {_number(schema['maxLength'])} characters" if "maxLength" in schema else "text"
        case "array":
            return _list_text(schema)
        case "object":
            return f"map of up to {_number(schema['maxProperties'])} keys" if "maxProperties" in schema else "map"
    return "any value"


def _list_text(schema: Schema) -> str:
    items = schema.get("prefixItems") or [schema["items"]]
    return f"list of {_count_text(schema)}{type_text(items[0]).replace('number', 'numbers')}"


def _count_text(schema: Schema) -> str:
    """How long a list may be and whether its items differ, with a blank behind it; nothing where it may be any."""
    least, most = schema.get("minItems"), schema.get("maxItems")
    count = f"{least} " if least and least == most else f"up to {_number(most)} " if most else ""
    return f"{count}different " if schema.get("uniqueItems") else count


def _members(schema: Schema) -> list[Schema]:
    """The members of a union that are not null."""
    members = schema.get("anyOf") or schema.get("oneOf") or []
    return [member for member in members if member.get("type") != "null"]


def _range(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f"{_number(schema['minimum'])} to {_number(schema['maximum'])}"
    if schema["type"] == "integer" and "exclusiveMinimum" in schema:
        return f"from {_number(schema['exclusiveMinimum'] + 1)}"
    words = {"minimum": "from", "exclusiveMinimum": "over", "maximum": "at most", "exclusiveMaximum": "under"}
    return ", ".join(f"{word} {_number(schema[key])}" for key, word in words.items() if key in schema)


def _number(value: float) -> str:
    is_whole = isinstance(value, int) or (value == int(value) and value < LARGEST_IN_DIGITS)
    return f"{int(value):,}" if is_whole else f"{value:g}"


def _default(value: Any) -> str:
    if value in (None, "", [], {}):
        return "none"
    if isinstance(value, dict):
        return f"`kind: {value['kind']}`" if "kind" in value else "its own defaults"
    if isinstance(value, float):
        return f"`{value:.12g}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _heading(paths: list[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


def anchor(heading: str) -> str:
    """What GitHub calls a heading in a link."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    sys.stdout.write(page())  # noqa: TID251 # a page of our own
