"""Prints `docs/json.md`: `python -m ganservice.documents >docs/json.md`."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import models_json_schema

from ganservice.documents import DOCUMENTS, LINES
from ganservice.spec_page import Schema, anchor, type_text

INTRODUCTION = """# JSON

What commands print with `-o json`. This page is made by `python -m ganservice.documents >docs/json.md`; a test holds it
to the code, and each command to it.

- Each document has a `version`, now 1. It is raised when a key goes, or comes to mean something else; keys may be added
  at any time, so pass over those that you do not know.
- Every key is always there. What is unknown, or does not apply, is null.
- Times are Unix times in s; names of spans, sizes and speeds end in their unit.
- Commands about several jobs, and those that follow a stream, print a document a line; all others print one.
- No document has a password or a token, but those of `users add` and `link`, whose purpose it is.
- The exit code is the same as without `-o json`, and what is said on stderr, too.

| command | document |
|---|---|"""
SCHEMA = """## JSON Schema

Of all documents together, each under its name in `$defs`."""


def page() -> str:
    """`docs/json.md`."""
    schema = schema_of_all()
    definitions: dict[str, Schema] = schema["$defs"]
    printed = {model.__name__ for model in DOCUMENTS.values()}
    names = [*dict.fromkeys(model.__name__ for model in DOCUMENTS.values())]
    names += sorted(name for name in definitions if name not in printed and "properties" in definitions[name])
    sections = [part for name in names for part in _section(name, definitions)]
    return "\n".join([INTRODUCTION, *_commands(), "", *sections, SCHEMA, "", *_block(schema)]) + "\n"


def schema_of_all() -> dict[str, Any]:
    """The JSON Schema of all documents, each under its name in `$defs`."""
    models = [(model, "serialization") for model in dict.fromkeys(DOCUMENTS.values())]
    _, schema = models_json_schema(models, title="What ganctl prints with -o json")  # type: ignore[arg-type] # its Literal
    return schema


def _commands() -> Iterator[str]:
    for command, model in DOCUMENTS.items():
        lines = ", a line each" if command in LINES else ""
        yield f"| `{command}` | [{model.__name__}](#{anchor(model.__name__)}){lines} |"


def _section(name: str, definitions: dict[str, Schema]) -> Iterator[str]:
    schema = definitions[name]
    yield f"## {name}\n"
    yield " ".join(schema.get("description", "").split()) + "\n"
    yield "| key | value | meaning |\n|---|---|---|"
    for key, field in schema["properties"].items():
        yield f"| `{key}` | {_type(field, definitions)} | {field.get('description', '')} |"
    yield ""


def _type(field: Schema, definitions: dict[str, Schema]) -> str:
    """What a value is, in words; of a part, a link to its keys."""
    members = field.get("anyOf") or field.get("oneOf") or []
    if members:
        return " or ".join(_type(member, definitions) for member in members)
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})" if "properties" in definitions[name] else type_text(definitions[name])
    if field.get("type") == "null":
        return "null"
    if field.get("type") == "array" and "$ref" in field.get("items", {}):
        return f"list of {_type(field['items'], definitions)}"
    return type_text(field)


def _block(schema: Schema) -> Iterator[str]:
    """A schema with each of its definitions on a line."""
    yield '```json\n{"$defs": {'
    yield ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in schema["$defs"].items())
    yield "}}\n```"


if __name__ == "__main__":
    sys.stdout.write(page())  # noqa: TID251 # a page of our own
