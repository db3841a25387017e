"""Splits: which pictures are learned from and which are held out, and the names that say so.

The name of a folder or a file says so in any case, alone or with what else it says, as in cars_train or trainA.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

Part = Literal["train", "test", "validation"]
PARTS: dict[str, Part] = {
    "train": "train", "training": "train",
    "test": "test", "testing": "test",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "holdout": "validation", "hold-out": "validation", "held-out": "validation", "held_out": "validation",
}  # fmt: skip
# What stands beside these words in the name of a folder, as in train_images or test2017.
BESIDES = {"images", "image", "imgs", "img", "pictures", "set", "data", "split", "jpg", "jpeg", "png"}
EXAMPLES = 3


class LayoutUnclear(Exception):
    """What cannot be told of a layout and what to do about it; `read_layout` says where."""


@dataclass(frozen=True)
class Place:
    """Where a picture lies: its part of the set, and the folders it is in besides, from the outermost."""

    name: str
    part: Part
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Placement:
    """Where all pictures lie, the folders that tell it, by part, and lines about folders that tell nothing.

    `left_out` counts pictures that are of no part, by reason; they have no place.
    """

    places: list[Place]
    words: dict[Part, set[str]]
    lines: list[str]
    left_out: dict[str, int] = field(default_factory=dict)


@cache
def part_of(word: str) -> Part | None:
    """The part that a folder is, by all words of its name: Test, train_images, val2017; of station_test it is none."""
    name = word.lower()
    if name in PARTS:
        return PARTS[name]
    words = [each.removesuffix("set") for each in re.findall(r"[^\W\d_]+", name) if each not in BESIDES]
    return PARTS.get(words[0]) if len(words) == 1 else None


def says_pictures(word: str) -> bool:
    """Whether the name of a folder says no more than that pictures lie there."""
    words = re.findall(r"[^\W\d_]+", word.lower())
    return bool(words) and set(words) <= BESIDES


@cache
def part_and_rest(word: str) -> tuple[Part, str] | None:
    """The part that a folder is, and what else its name says: cars of cars_train, A of trainA; "" of train_images."""
    if part := part_of(word):
        return part, ""
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word))
    words = [each for each in words if each.lower() not in BESIDES]
    found = [each for each in words if each.lower() in PARTS]
    if len(found) != 1:
        return None
    return PARTS[found[0].lower()], "_".join(each for each in words if each != found[0])


def part_in(name: str) -> Part | None:
    """The part that a file is of, by the first word of its name that says so: train-00000-of-00002, my_val."""
    words = re.split(r"[-_. ]+", name)
    return next((part for word in words if (part := part_of(word))), None)


def part_of_table(name: str) -> Part | None:
    """The part that a table in a source is of, by its name, else by the innermost folder that says so."""
    *around, file = name.split("/")
    return part_in(file) or next((part for folder in reversed(around) if (part := part_of(folder))), None)


def listing(names: Sequence[str], most: int = EXAMPLES) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(count: int, name: str) -> str:
    """So many things, which have a plural in -s, in words."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"
