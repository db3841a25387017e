"""Labels of pictures: what counts as one, and where those of a source come from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.gan.data.spelling import spelled
from workers.gan.data.splits import LayoutUnclear

MAX_CLASS_CHARS = 255
WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]{0,17}))(?:\.0+)?")

Label = str | int


@dataclass(frozen=True)
class Labels:
    """The label of each picture that has one, by its name, and where labels come from.

    `classes` are the names of the classes by number, where the source tells them. `says_none`: the source itself says
    that there are none. `files` hold them; `unused` are others that look like labels, and why they are passed over.
    """

    origin: str
    of: Mapping[str, Label] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    says_none: bool = False
    lines: list[str] = field(default_factory=list)
    files: frozenset[str] = frozenset()
    unused: dict[str, LayoutUnclear] = field(default_factory=dict)


def as_label(cell: Any) -> Label | None:
    """A cell as the number or the name of a class; None of an empty one. Raises LayoutUnclear for what is no class."""
    if isinstance(cell, list):
        return _of_list(cell)
    if isinstance(cell, dict):
        raise LayoutUnclear("has a record for a label; expected the name or the number of a class")
    if cell is None or isinstance(cell, bool | int):
        return None if cell is None else int(cell)
    if isinstance(cell, float) and not cell.is_integer():
        raise LayoutUnclear(f"has the label {cell}, a measure; expected the name or the number of a class")
    words = spelled(str(cell).strip())
    if match := WHOLE_NUMBER.fullmatch(words):
        return int(match[1])
    if re.fullmatch(r"[-+]?[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?", words):
        raise LayoutUnclear(f"has the label {words}, a measure; expected the name or the number of a class")
    if len(words) > MAX_CLASS_CHARS:
        raise LayoutUnclear(f"has a label of {len(words):,} letters, expected at most {MAX_CLASS_CHARS}")
    return words or None


def _of_list(numbers: list[Any]) -> Label | None:
    """The class that a list has its one 1 at."""
    if len(numbers) == 1:
        return as_label(numbers[0])
    if not all(number in (0, 1) for number in numbers) or sum(numbers) != 1:
        raise LayoutUnclear("has labels of several numbers; expected one class for each picture")
    return numbers.index(1)
