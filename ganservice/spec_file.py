"""Reads a spec from a YAML file and turns every mistake in it into one line that says what to do."""

import copy
import difflib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ganservice.errors import SpecInvalid
from ganservice.mistakes import MAX_VALUE_CHARS, describe_mistake, one_line
from ganservice.model import cut
from ganservice.recipe import ROLES
from ganservice.recipe.networks import UnknownNetwork, kinds_of
from ganservice.spec import MAX_SPEC_BYTES, EvaluateSpec, TrainSpec, spec_text
from ganservice.yaml12 import MAX_DEPTH, read_yaml, write_yaml

# Of a spec as YAML with every default, which takes some lines for what is a few bytes of JSON.
MAX_TEXT_CHARS = 10 * MAX_SPEC_BYTES
STANDARD_INPUT = "-"
# Of the mistakes beside the first, and of the places that a key may have been meant for, those that are named.
NAMED = 3
# Models inside each other among which the place of a key is looked for, such as `evaluate.judging`.
DEEP = 3


def load_spec(path: Path, overrides: Iterable[str] = ()) -> TrainSpec:
    """Read `path`, or standard input where it is "-", apply `key.subkey=value` overrides and validate.

    Raises:
        SpecInvalid: names the file, the key, what was found and what was expected.
    """
    source = "standard input" if str(path) == STANDARD_INPUT else str(path)
    tree = _tree_of(_text_of(path, source), source)
    _find_code(tree, path)
    for override in overrides:
        _apply(tree, override)
    return checked_networks(parse_spec(tree, source), source)


def make_spec(source: str | os.PathLike[str] | Mapping[str, Any] | TrainSpec, values: Mapping[str, Any]) -> TrainSpec:
    """The spec in a file, of a tree of plain values, or a copy of one, with `values` by dotted key.

    Raises:
        SpecInvalid: as `load_spec`.
    """
    match source:
        case TrainSpec():
            tree, name = source.model_dump(mode="json"), f"the spec {source.name}"
        case Mapping():
            tree, name = copy.deepcopy(dict(source)), "the spec"
        case _:
            tree, name = _tree_of(_text_of(Path(source), str(source)), str(source)), str(source)
            _find_code(tree, Path(source))
    for key, value in values.items():
        put_value(tree, key, value, one_line(f"{name}: {cut(key, MAX_VALUE_CHARS)}"))
    return checked_networks(parse_spec(tree, name), name)


def _find_code(tree: dict[str, Any], path: Path) -> None:
    """Have a relative folder of code mean one beside the file that names it."""
    recipe = tree.get("recipe")
    if not isinstance(recipe, dict):
        return
    code = recipe.get("code")
    if isinstance(code, str):
        recipe["code"] = str(path.parent / code)
    elif isinstance(code, dict) and isinstance(code.get("folder"), str) and not code.get("digest"):
        recipe["code"] = code | {"folder": str(path.parent / code["folder"])}


def checked_networks(spec: TrainSpec, source: str) -> TrainSpec:
    """A spec whose networks are of kinds that are known here; others' specs may have other ones. Raises SpecInvalid."""
    for role in ROLES:
        kind = spec.recipe.network(role).kind
        if isinstance(spec.recipe.network(role), UnknownNetwork):
            expected = ", ".join(map(repr, kinds_of(role)))
            raise SpecInvalid(
                one_line(f"{source}: recipe.{role}.kind: found {cut(repr(kind), MAX_VALUE_CHARS)}, expected {expected}")
            )
    return spec


def _text_of(path: Path, source: str) -> str:
    try:
        if str(path) == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_SPEC_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_SPEC_BYTES + 1)
        if len(data) > MAX_SPEC_BYTES:
            raise SpecInvalid(one_line(f"{source}: is larger than a spec may be, {MAX_SPEC_BYTES:,} bytes"))
        return data.decode("utf-8-sig")
    except OSError as error:
        raise SpecInvalid(one_line(f"{source}: cannot be read: {error.strerror}")) from error
    except ValueError as error:
        raise SpecInvalid(one_line(f"{source}: is not YAML: expected UTF-8: {error}")) from error


def read_spec(text: str, source: str, overrides: Iterable[str] = ()) -> TrainSpec:
    """A spec from YAML; `source` names where it came from.

    Raises:
        SpecInvalid: as `load_spec`.
    """
    tree = _tree_of(text, source)
    for override in overrides:
        _apply(tree, override)
    return parse_spec(tree, source)


def _tree_of(text: str, source: str) -> dict[str, Any]:
    if len(text) > MAX_TEXT_CHARS:
        raise SpecInvalid(one_line(f"{source}: is longer than a spec may be as YAML, {MAX_TEXT_CHARS:,} characters"))
    try:
        tree = read_yaml(text)
    except ValueError as error:
        raise SpecInvalid(one_line(f"{source}: is not YAML: {error}")) from error
    if not isinstance(tree, dict):
        raise SpecInvalid(one_line(f"{source}: expected keys such as name, recipe and images, found no mapping"))
    return tree


def parse_spec(tree: Mapping[str, Any], source: str) -> TrainSpec:
    """Validate a tree of plain values; `source` names where it came from.

    Raises:
        SpecInvalid: as `load_spec`.
    """
    try:
        # By way of JSON, where strict validation still takes a list for a tuple.
        text = json.dumps(tree, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecInvalid(one_line(f"{source}: cannot be a spec: {error}")) from error
    try:
        spec = TrainSpec.model_validate_json(text)
    except ValidationError as error:
        _explain(error, source)
    try:
        spec_text(spec)
    except SpecInvalid as error:
        raise SpecInvalid(one_line(f"{source}: {error}")) from error
    return spec


def dump_spec(spec: TrainSpec | EvaluateSpec) -> str:
    """The spec as YAML, every default written out."""
    return write_yaml(spec.model_dump(mode="json"))


def _apply(tree: dict[str, Any], override: str) -> None:
    """Put the value of KEY=VALUE, which is YAML, into a tree."""
    key, equals, text = override.partition("=")
    option = f"--set {one_line(cut(override, MAX_VALUE_CHARS))}"
    if len(override.encode(errors="replace")) > MAX_SPEC_BYTES:
        raise SpecInvalid(f"{option}: is larger or goes deeper than a spec may")
    if not equals:
        raise SpecInvalid(f"{option}: expected KEY=VALUE, such as recipe.batch_size=64")
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise SpecInvalid(one_line(f"{option}: the value is not YAML: {error}")) from error
    put_value(tree, key, value, option)


def put_value(tree: dict[str, Any], key: str, value: Any, option: str) -> None:
    """Put a value under a dotted key into a tree; `option` is what the user wrote."""
    *parents, last = parts = key.split(".")
    if len(parts) > MAX_DEPTH:
        raise SpecInvalid(f"{option}: is larger or goes deeper than a spec may")
    if not all(parts):
        raise SpecInvalid(f"{option}: expected KEY=VALUE, such as recipe.batch_size=64")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise SpecInvalid(f"{option}: {one_line(parent)} holds a value, not further keys")
    tree[last] = value


def _explain(error: ValidationError, source: str) -> NoReturn:
    """Raise SpecInvalid for the first key with a mistake, and count the others."""
    mistakes: dict[str, list[ErrorDetails]] = {}
    # Misspelt keys first: they are why others are missing.
    errors = sorted(error.errors(include_url=False), key=lambda mistake: mistake["type"] != "extra_forbidden")
    for mistake in errors:
        mistakes.setdefault(".".join(_key(mistake)), []).append(mistake)
    key, [first, *others] = next(iter(mistakes.items()))
    more = f" (and {len(mistakes) - 1} more: {_places(list(mistakes)[1:])})" if len(mistakes) > 1 else ""
    raise SpecInvalid(one_line(f"{source}: {_text(key, first, others)}{more}")) from error


def _places(keys: list[str]) -> str:
    shown = [cut(key, MAX_VALUE_CHARS) for key in keys[:NAMED]]
    return ", ".join(shown + ["..."] * (len(keys) > NAMED))


def _text(key: str, first: ErrorDetails, others: list[ErrorDetails]) -> str:
    match first["type"]:
        case "json_invalid":  # no text that another program could read: half a character, or too deep
            return f"cannot be a spec: {first['ctx']['error']}"
        case "extra_forbidden":
            return f"unknown key {cut(key, MAX_VALUE_CHARS)}{_suggestion(_key(first))}"
        case "value_error":  # a validator of ours: its text names the key below this one
            return f"{key}.{first['ctx']['error']}" if key else str(first["ctx"]["error"])
        case "union_tag_not_found":
            return f"{key}.kind is missing"
        case "union_tag_invalid":
            found = cut(repr(first["ctx"]["tag"]), MAX_VALUE_CHARS)
            return f"{key}.kind: found {found}, expected {first['ctx']['expected_tags']}"
    return describe_mistake(key, first, *others)


def _key(mistake: ErrorDetails) -> list[str]:
    """The key of a mistake, as the user wrote it: pydantic adds the union's member, which is no key."""
    models: list[type[BaseModel]] = [TrainSpec]
    path = []
    *parents, last = mistake["loc"] or ("",)
    for part in parents:
        if isinstance(part, int) or part in _keys(models):
            path.append(str(part))
            models = [inner for model in models for inner in _models_under(model, part)]
    if isinstance(last, int) or last in _keys(models) or mistake["type"] == "extra_forbidden":
        path.append(str(last))
    return [part for part in path if part]


def _suggestion(path: list[str]) -> str:
    models: list[type[BaseModel]] = [TrainSpec]
    for part in path[:-1]:
        models = [inner for model in models for inner in _models_under(model, part)]
    keys = _keys(models)
    if path[-1] in keys:  # known of another kind of network, but not here
        keys.remove(path[-1])
    elif places := _homes(path):
        return f"; did you mean {' or '.join(places[:NAMED])}?"
    nearest = difflib.get_close_matches(path[-1], keys, n=1, cutoff=0.5)
    if nearest:
        return f"; did you mean {'.'.join([*path[:-1], nearest[0]])}?"
    return f"; known keys: {', '.join(keys)}"


def _homes(path: list[str]) -> list[str]:
    """Where else in a spec a key is known: below where it was found, or else anywhere; the places that are highest."""
    level: list[tuple[list[str], type[BaseModel]]] = [([], TrainSpec)]
    found: list[list[str]] = []
    for _ in range(DEEP):
        found += [[*above, path[-1]] for above, model in level if path[-1] in model.model_fields]
        level = [
            ([*above, key], inner)
            for above, model in level
            for key, field in model.model_fields.items()
            if get_origin(field.annotation) is not tuple  # of one of several nobody knows which
            for inner in _models_in(field.annotation)
        ]
    below = [each for each in found if each[: len(path) - 1] == path[:-1]] or found
    return list(dict.fromkeys(".".join(each) for each in below if len(each) == len(below[0])))


def _keys(models: list[type[BaseModel]]) -> list[str]:
    return sorted({key for model in models for key in model.model_fields})


def _models_under(model: type[BaseModel], key: str | int) -> list[type[BaseModel]]:
    if str(key).isdecimal():  # a place in a list of such models
        return [model]
    field = model.model_fields.get(str(key))
    return _models_in(field.annotation) if field else []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
