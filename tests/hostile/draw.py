"""Inputs drawn from hypothesis' strategies: by the same seed the same ones."""

from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.strangers_text import HOSTILE, strangers_texts

T = TypeVar("T")


def drawn(strategy: st.SearchStrategy[T], number: int, count: int) -> list[T]:
    """About `count` values of a strategy, those of this number."""
    found: list[T] = []

    @seed(number)
    @settings(
        max_examples=count, database=None, phases=[Phase.generate], deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def collect(value: T) -> None:
        found.append(value)

    collect()
    return found


ODD = (
    "", ".", "..", "../../canary/bird", "/etc/passwd", "~", "$(reboot)", "`id`", ";id", "-", "--", "-o", "--help", "@",
    "@final", "a@", "%00", "%2e%2e%2f", "a/../../b", "a\\b", "C:\\x", "nul", "*", "[a", "{gan}:job:x", "\x00", "\n",
    " ",
    "a" * 300, "a" * 5_000, "a" * 100_000, "0", "-1", "9" * 400, "1e999", "nan", "None", "null", "ı", "ﬁ", "A\u0301",
    "{0.__class__}", "%s%n", "${HOME}", "'; DROP", "\ud800", "\udcff",
)  # fmt: skip
odd_texts = st.sampled_from(ODD) | strangers_texts
JSON_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 2**64, 10**400, -(10**30), 1e308, 0.5, "", "x", "\x1b[2J", "../../x", "/etc", [],
    {}, [[]], "x" * 70_000, ["x"] * 2_000, {"a": {"b": []}}, *HOSTILE[:6],
)  # fmt: skip
json_values = st.sampled_from(JSON_VALUES)
DEEP_JSON = (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900, b'{"files":' + b"[" * 50_000)


@st.composite
def damaged_trees(draw: st.DrawFn, tree: Any) -> Any:
    """A tree of JSON with one to three values exchanged, taken out, or put in."""
    found = _copied(tree)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_paths(found) or [()]))
        if not path:
            return draw(json_values)
        node = found
        for step in path[:-1]:
            node = node[step]
        match draw(st.integers(0, 3)):
            case 0 if isinstance(node, dict):
                del node[path[-1]]
            case 1 if isinstance(node, dict):
                node[draw(odd_texts)] = draw(json_values)
            case _:
                node[path[-1]] = draw(json_values)
    return found


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(each) for each in tree] if isinstance(tree, list | tuple) else tree


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(tree) if isinstance(tree, dict) else range(min(len(tree), 4)) if isinstance(tree, list) else []
    return [each for key in keys for each in [(*path, key), *_paths(tree[key], (*path, key))]]


@st.composite
def damaged_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes of which some are exchanged, cut off, doubled, or put in."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        match draw(st.integers(0, 4)):
            case 0:
                del found[at:]
            case 1:
                found[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0"]))
            case 2:
                found[at:at] = draw(st.binary(min_size=1, max_size=16))
            case 3:
                found += found[at : at + 64]
            case 4:
                found[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
    return bytes(found)
