"""YAML as specs are written in it: its plain numbers are those of YAML 1.2, and it is bounded."""

import re
from collections import Counter
from typing import Any

import yaml

from ganservice.mistakes import one_line

# Levels of keys and lists in a file or a value of --set; a spec has six.
MAX_DEPTH = 20
# Of a whole number as it is written; none that a spec takes has more than nineteen.
MAX_DIGITS = 30


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


def read_yaml(text: str) -> Any:
    """Return the value that YAML says. Raises ValueError with one line where it says none."""
    try:
        return yaml.load(text, _Yaml12Loader)  # noqa: S506 - a SafeLoader
    except Exception as error:  # a value that its tag does not fit raises whatever its constructor runs into
        reason = str(error) if isinstance(error, yaml.YAMLError | ValueError) else "a tag does not fit its value"
        raise ValueError(one_line(reason)) from error


def write_yaml(value: Any) -> str:
    """Return a tree of plain values as YAML, its keys in their order."""
    return yaml.dump(value, Dumper=_Yaml12Dumper, sort_keys=False)
