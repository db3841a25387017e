"""Reads a spec from a YAML file and turns every mistake in it into one line that says what to do."""

import difflib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ganservice.errors import SpecInvalid
from ganservice.mistakes import MAX_VALUE_CHARS, describe_mistake, one_line
from ganservice.model import cut
from ganservice.spec import MAX_SPEC_BYTES, EvaluateSpec, TrainSpec, spec_text

# Of a spec as YAML with every default, which takes some lines for what is a few bytes of JSON.
MAX_TEXT_CHARS = 10 * MAX_SPEC_BYTES
# Levels of keys and lists in a file or a value of --set; a spec has six.
MAX_DEPTH = 20
# Of a whole number as it is written; none that a spec takes has more than nineteen.
MAX_DIGITS = 30
STANDARD_INPUT = "-"


class _Yaml12Loader(yaml.SafeLoader):
    """YAML whose plain numbers are those of YAML 1.2: `1e-4` is a number, `on` is a word. No key twice, no alias."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A node; with aliases a few lines could stand for more values than any memory holds."""
        if self.check_event(yaml.AliasEvent):
            alias = self.get_event()  # type: ignore[no-untyped-call] # PyYAML gives no type
            raise yaml.composer.ComposerError(None, None, f"found an alias, *{alias.anchor}", alias.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call] # PyYAML gives no type
            raise yaml.composer.ComposerError(None, None, f"goes deeper than {MAX_DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; YAML forbids a key to be given twice, PyYAML takes the last without a word."""
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, count in counts.most_common(1):
            if count > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Yaml12Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":float", ":bool", ":int", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# A leading zero is no octal, a colon no sexagesimal; 1_000 is kept as a convenience.
_Yaml12Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?\d[\d_]*$"), list("-+0123456789"))
_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", lambda _loader, node: _whole_number(node))
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class _Yaml12Dumper(yaml.SafeDumper):
    """Quotes what `_Yaml12Loader` would not take for a word, and writes no alias, which it would refuse."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value out, however often it stands there."""
        del data
        return True


_Yaml12Dumper.yaml_implicit_resolvers = _Yaml12Loader.yaml_implicit_resolvers


def _whole_number(node: Any) -> int:
    if len(node.value) > MAX_DIGITS:
        problem = f"a number of {len(node.value):,} digits; no key takes more than {MAX_DIGITS}"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return int(node.value.replace("_", ""))


def load_spec(path: Path, overrides: Iterable[str] = ()) -> TrainSpec:
    """Read `path`, or standard input where it is "-", apply `key.subkey=value` overrides and validate.

    Raises:
        SpecInvalid: names the file, the key, what was found and what was expected.
    """
    source = "standard input" if str(path) == STANDARD_INPUT else str(path)
    try:
        if str(path) == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_SPEC_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_SPEC_BYTES + 1)
        if len(data) > MAX_SPEC_BYTES:
            raise SpecInvalid(one_line(f"{source}: is larger than a spec may be, {MAX_SPEC_BYTES:,} bytes"))
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise SpecInvalid(one_line(f"{source}: cannot be read: {error.strerror}")) from error
    except ValueError as error:
        raise SpecInvalid(one_line(f"{source}: is not YAML: expected UTF-8: {error}")) from error
    return read_spec(text, source, overrides)


def read_spec(text: str, source: str, overrides: Iterable[str] = ()) -> TrainSpec:
    """A spec from YAML; `source` names where it came from.

    Raises:
        SpecInvalid: as `load_spec`.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise SpecInvalid(one_line(f"{source}: is longer than a spec may be as YAML, {MAX_TEXT_CHARS:,} characters"))
    try:
        tree = _from_yaml(text)
    except ValueError as error:
        raise SpecInvalid(one_line(f"{source}: is not YAML: {error}")) from error
    if not isinstance(tree, dict):
        raise SpecInvalid(one_line(f"{source}: expected keys such as name, recipe and images, found no mapping"))
    for override in overrides:
        _apply(tree, override)
    return parse_spec(tree, source)


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
    return yaml.dump(spec.model_dump(mode="json"), Dumper=_Yaml12Dumper, sort_keys=False)


def _from_yaml(text: str) -> Any:
    """The value that YAML says. Raises ValueError with one line where it says none."""
    try:
        return yaml.load(text, _Yaml12Loader)  # noqa: S506 - a SafeLoader
    except Exception as error:  # a value that its tag does not fit raises whatever its constructor runs into
        reason = str(error) if isinstance(error, yaml.YAMLError | ValueError) else "a tag does not fit its value"
        raise ValueError(one_line(reason)) from error


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    option, parts = f"--set {one_line(cut(override, MAX_VALUE_CHARS))}", key.split(".")
    if len(override.encode(errors="replace")) > MAX_SPEC_BYTES or len(parts) > MAX_DEPTH:
        raise SpecInvalid(f"{option}: is larger or goes deeper than a spec may")
    if not equals or not all(parts):
        raise SpecInvalid(f"{option}: expected KEY=VALUE, such as recipe.batch_size=64")
    try:
        value = _from_yaml(text)
    except ValueError as error:
        raise SpecInvalid(one_line(f"{option}: the value is not YAML: {error}")) from error
    *parents, last = parts
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
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    raise SpecInvalid(one_line(f"{source}: {_text(key, first, others)}{more}")) from error


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
    # A key of another kind of network is known, but not here.
    keys = [key for key in keys if key != path[-1]]
    nearest = difflib.get_close_matches(path[-1], keys, n=1, cutoff=0.5)
    if nearest:
        return f"; did you mean {'.'.join([*path[:-1], nearest[0]])}?"
    return f"; known keys: {', '.join(keys)}"


def _keys(models: list[type[BaseModel]]) -> list[str]:
    return sorted({key for model in models for key in model.model_fields})


def _models_under(model: type[BaseModel], key: str | int) -> list[type[BaseModel]]:
    field = model.model_fields.get(str(key))
    return _models_in(field.annotation) if field else []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
