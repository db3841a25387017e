"""Words and colours for numbers: cases of which the first that holds is shown, as one query and its value mappings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

# As Grafana names them; the last is the colour of text, which judges nothing.
RED, YELLOW, GREEN, BLUE, GREY, PLAIN = "red", "yellow", "green", "blue", "#808080", "text"
COLOUR_NAMES = {GREY: "grey", PLAIN: "plain"}


@dataclass(frozen=True)
class Case:
    """Something to be said, its colour, and the PromQL expression that has a value while it holds."""

    words: str
    colour: str
    when: str


UNKNOWN = Case("unknown: nobody tells of it", YELLOW, "")


def either(on: str, *expressions: str) -> str:
    """The first of some expressions that has a value; `on` names the labels that tell their series apart."""
    parts = [f"({each})" if " or " in each else each for each in expressions]
    return f" or {on} ".join(parts)


def _merged(on: str, expressions: Iterable[str]) -> str:
    """The same, without any other labels."""
    labels = on.removeprefix("on(").removesuffix(")")
    return f"max{f' by ({labels}) ' if labels else ''}({either(on, *expressions)})"


def numbered(cases: Sequence[Case], on: str, first: int = 1) -> str:
    """An expression for the number of the first case that holds; the cases are numbered upwards from `first`."""
    return _merged(on, (f"0 * ({case.when}) + {number}" for number, case in enumerate(cases, start=first)))


def negative(cases: Sequence[Case], on: str) -> str:
    """The same, numbered downwards from -1: of those that stand where there is no amount, which is never negative."""
    return _merged(on, (f"0 * ({case.when}) - {number}" for number, case in enumerate(cases, start=1)))


def mappings(
    cases: Sequence[Case], first: int = 1, step: int = 1, missing: Case | None = UNKNOWN
) -> list[dict[str, Any]]:
    """Grafana's value mappings of numbered cases, and of no value at all."""
    options = {
        str(first + step * place): {"text": case.words, "color": case.colour, "index": place}
        for place, case in enumerate(cases)
    }
    found: list[dict[str, Any]] = [{"type": "value", "options": options}]
    if missing:
        result = {"text": missing.words, "color": missing.colour, "index": len(cases)}
        found.append({"type": "special", "options": {"match": "null", "result": result}})
    return found
