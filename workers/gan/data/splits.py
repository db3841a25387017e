"""Splits: which pictures are learned from and which are held out, by the names of folders.

A folder's name says so in any case, alone or with what else it says, as in cars_train or trainA; all pictures must lie
below such folders at one and the same depth, or none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

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
    """Where all pictures lie, the folders that tell it, by part, and lines about folders that tell nothing."""

    places: list[Place]
    words: dict[Part, set[str]]
    lines: list[str]


@cache
def part_of(word: str) -> Part | None:
    """The part that a folder is, by all words of its name: Test, train_images, val2017; of station_test it is none."""
    name = word.lower()
    if name in PARTS:
        return PARTS[name]
    words = [each.removesuffix("set") for each in re.findall(r"[^\W\d_]+", name) if each not in BESIDES]
    return PARTS.get(words[0]) if len(words) == 1 else None


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


def listing(names: Sequence[str], most: int = EXAMPLES) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(count: int, name: str) -> str:
    """So many things, which have a plural in -s, in words."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def place(names: Sequence[str], *, is_archive: bool, may_be_classes: bool) -> Placement:
    """Where each picture lies.

    `is_archive`: a folder around all pictures says nothing even where no other folder is in it. `may_be_classes`:
    folders directly around pictures are classes even where one is called train.

    Raises:
        LayoutUnclear: some pictures lie below folders that say which part they are, others do not; or none is of train.
    """
    folders, outer = _without_outer([tuple(name.split("/")[:-1]) for name in names], is_archive=is_archive)
    lines = [f"folders: all pictures lie below {'/'.join(outer)}/, which is no class"] if outer else []
    level = _level(names, folders, may_be_classes=may_be_classes)
    if level is None:
        return Placement([Place(name, "train", each) for name, each in zip(names, folders, strict=True)], {}, lines)
    words: dict[Part, set[str]] = {}
    for each in folders:
        words.setdefault(_part(each[level]), set()).add(f"{each[level]}/")
    if "train" not in words:
        found = ", ".join(word for each in words.values() for word in sorted(each))
        raise LayoutUnclear(f"holds {found} and no train/; expected pictures to train on: rename a folder")
    parts = [_part(each[level]) for each in folders]
    rest, inner = _without_inner(parts, [_without_level(each, level) for each in folders])
    lines += [f"folders: {listing(names)} is around all pictures of a split, and no class" for names in inner]
    return Placement([Place(*each) for each in zip(names, parts, rest, strict=True)], words, lines)


def _part(word: str) -> Part:
    """The part that a folder is, which is known to be one."""
    return cast(tuple[Part, str], part_and_rest(word))[0]


def _without_level(folders: tuple[str, ...], level: int) -> tuple[str, ...]:
    """The folders of a picture with what the one at a depth says besides its part in the place of its name."""
    rest = cast(tuple[Part, str], part_and_rest(folders[level]))[1]
    return (*folders[:level], *([rest] if rest else []), *folders[level + 1 :])


def _level(names: Sequence[str], folders: list[tuple[str, ...]], *, may_be_classes: bool) -> int | None:
    """The depth at which every picture lies in a folder that is a part; None where no folder says so."""
    depths = [tuple(depth for depth, folder in enumerate(each) if part_of(folder)) for each in folders]
    common = set(depths[0]).intersection(*depths)
    if common:
        return min(common)
    if may_be_classes and all(len(each) == 1 for each in folders):
        return None
    if not any(depths):
        return _level_of_pairs(names, folders)
    first = next(index for index, each in enumerate(depths) if each)
    other = next(index for index, each in enumerate(depths) if each != depths[first])
    word = folders[first][depths[first][0]]
    raise LayoutUnclear(
        f"{_beside_a_part(names[first], word, names[other])}; move one of them, or give --labels folders where {word} "
        "is the name of a class"
    )


def _level_of_pairs(names: Sequence[str], folders: list[tuple[str, ...]]) -> int | None:
    """The depth at which folders go by two, such as cars_train and cars_test; None where none do.

    Every other is then for training alone, as trainB is beside trainA and testA; test_tube beside bullet_train is no
    pair.
    """
    for depth in range(max(map(len, folders))):
        level = [each[depth] if depth < len(each) else "" for each in folders]
        told = {name: part_and_rest(name) for name in dict.fromkeys(level)}
        trained = {each[1] for each in told.values() if each and each[0] == "train"}
        held_out = {each[1] for each in told.values() if each and each[0] != "train"}
        if not trained & held_out:
            continue
        other = next((name for name, each in told.items() if not each or each[1] not in trained), None)
        if other is None:
            return depth
        first = next(
            index for index, name in enumerate(level) if (each := told[name]) and each[1] in trained & held_out
        )
        raise LayoutUnclear(
            f"{_beside_a_part(names[first], level[first], names[level.index(other)])}; move one of them"
        )
    return None


def _beside_a_part(name: str, folder: str, other: str) -> str:
    """What is said of a picture that lies in a folder which is a part, and of one that does not."""
    return f"{name} lies in a folder {folder}/, {other} does not, so it cannot be told what is held out"


def _without_outer(
    folders: list[tuple[str, ...]], *, is_archive: bool
) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """The folders without those around all pictures that are neither a part nor the last."""
    outer = 0
    first = folders[0]
    while (
        outer < len(first)
        and not part_of(first[outer])
        and all(each[: outer + 1] == first[: outer + 1] for each in folders)
    ):
        if not (is_archive and outer == 0) and any(len(each) == outer + 1 for each in folders):
            break
        outer += 1
    return [each[outer:] for each in folders], first[:outer]


def _without_inner(parts: list[Part], folders: list[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], list[list[str]]]:
    """The folders without the first ones, and their names by depth, where in each part there is but one folder."""
    lines: list[list[str]] = []
    while True:
        inner = {(part, each[:1]) for part, each in zip(parts, folders, strict=True)}
        if len(inner) > len(set(parts)) or any(not folder for _, folder in inner):
            return folders, lines
        lines.append(sorted({f"{folder[0]}/" for _, folder in inner}))
        folders = [each[1:] for each in folders]
