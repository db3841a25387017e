"""Placement: in which split and which folders each picture lies, by the names of folders.

All pictures must lie below folders whose names say so at one and the same depth, or none. Beside folders of both kinds,
those to train on and those to hold out, any others are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from workers.gan.data.splits import (
    LayoutUnclear,
    Part,
    Place,
    Placement,
    counted,
    listing,
    part_and_rest,
    part_of,
    says_pictures,
)

Folders = tuple[str, ...]
# What a folder says: its part, and what else its name says; None of one that is of no part.
Told = dict[str, tuple[Part, str] | None]
LEFT_OUT = "pictures beside splits"


@dataclass(frozen=True)
class _Level:
    """A depth at which folders are parts, and what each folder there says."""

    depth: int
    told: Told


def place(names: Sequence[str], *, may_be_classes: bool) -> Placement:
    """Where each picture lies.

    `may_be_classes`: folders directly around pictures are classes even where one is called train, or is the only one.

    Raises:
        LayoutUnclear: some pictures lie below folders that say which part they are, others do not; or none is of train.
    """
    folders, outer = _without_outer([tuple(name.split("/")[:-1]) for name in names], may_be_classes=may_be_classes)
    lines = [f"folders: all pictures lie below {'/'.join(outer)}/, which is no class"] if outer else []
    level = _level(names, folders, may_be_classes=may_be_classes)
    if level is None:
        folders, last = _without_last(folders)
        places = [Place(name, "train", each) for name, each in zip(names, folders, strict=True)]
        return Placement(places, {}, lines + last)
    left_out = [each[level.depth] for each in folders if level.told[each[level.depth]] is None]
    if left_out:
        is_kept = [level.told[each[level.depth]] is not None for each in folders]
        names = [name for name, kept in zip(names, is_kept, strict=True) if kept]
        folders = [each for each, kept in zip(folders, is_kept, strict=True) if kept]
        lines.append(_left_out_line(left_out))
    said = [cast(tuple[Part, str], level.told[each[level.depth]]) for each in folders]
    words: dict[Part, set[str]] = {}
    for each, (part, _) in zip(folders, said, strict=True):
        words.setdefault(part, set()).add(f"{each[level.depth]}/")
    if "train" not in words:
        found = ", ".join(word for each in words.values() for word in sorted(each))
        raise LayoutUnclear(f"holds {found} and no train/; expected pictures to train on: rename a folder")
    parts = [part for part, _ in said]
    # What names say besides their parts tells pictures apart where it is not the same in all of them.
    is_said = len({more for _, more in said}) > 1
    rest = [
        (*each[: level.depth], *([more] if is_said and more else []), *each[level.depth + 1 :])
        for each, (_, more) in zip(folders, said, strict=True)
    ]
    rest, inner = _without_inner(parts, rest)
    lines += [
        f"folders: {listing(names)} {'is' if len(names) == 1 else 'are'} around all pictures of a split, and no class"
        for names in inner
    ]
    rest, last = _without_last(rest)
    places = [Place(*each) for each in zip(names, parts, rest, strict=True)]
    return Placement(places, words, lines + last, {LEFT_OUT: len(left_out)} if left_out else {})


def _left_out_line(folders: Sequence[str]) -> str:
    apart = sorted(set(folders))
    names = listing([f"{folder}/" for folder in apart])
    words = ("is", "by its name no split") if len(apart) == 1 else ("are", "by their names no splits")
    return (
        f"splits: {names} {words[0]} left out, {counted(len(folders), 'picture')}: {words[1]} of what is trained on; "
        "move what is wanted into one"
    )


def _level(names: Sequence[str], folders: list[Folders], *, may_be_classes: bool) -> _Level | None:
    """The depth at which folders are parts; None where no folder says so."""
    depths = [tuple(depth for depth, folder in enumerate(each) if part_of(folder)) for each in folders]
    common = set(depths[0]).intersection(*depths)
    if common:
        depth = min(common)
        return _Level(depth, {each[depth]: part_and_rest(each[depth]) for each in folders})
    if may_be_classes and all(len(each) == 1 for each in folders):
        return None
    if level := _level_of_pairs(names, folders):
        return level
    if not any(depths):
        return None
    first = next(index for index, each in enumerate(depths) if each)
    other = next(index for index, each in enumerate(depths) if each != depths[first])
    word = folders[first][depths[first][0]]
    raise LayoutUnclear(
        f"{_beside_a_part(names[first], word, names[other])}; move one of them, or give --labels folders where {word} "
        "is the name of a class"
    )


def _level_of_pairs(names: Sequence[str], folders: list[Folders]) -> _Level | None:
    """The depth at which folders go by two, such as cars_train and cars_test; None where none do.

    Every other of train is then for training alone, as trainB is beside trainA and testA, and whatever else lies beside
    the outermost is of no part. test_tube beside bullet_train is no pair.
    """
    for depth in range(max(map(len, folders))):
        level = [each[depth] if depth < len(each) else "" for each in folders]
        told = _told(list(dict.fromkeys(level)))
        if told is None:
            continue
        other = next((name for name, each in told.items() if each is None), None)
        if other is None or (depth == 0 and "" not in told):
            return _Level(depth, told) if all(map(_is_one_part, folders, map(told.get, level))) else None
        first = next(index for index, name in enumerate(level) if (each := told[name]) and each[0] != "train")
        raise LayoutUnclear(
            f"{_beside_a_part(names[first], level[first], names[level.index(other)])}; move one of them"
        )
    return None


def _told(folders: Sequence[str]) -> Told | None:
    """What each of some folders beside each other says, where some of them go by two; else None.

    Where one is to train on, test/ and val/ go with it whatever else its name says, as val/ does with train_mini/.
    """
    told: Told = {folder: part_and_rest(folder) for folder in folders}
    trained = [each[1] for each in told.values() if each and each[0] == "train"]
    if len(trained) == 1:
        told = {folder: (each[0], each[1] or trained[0]) if each else None for folder, each in told.items()}
    told = {folder: each if each and each[1] in trained else None for folder, each in told.items()}
    return told if any(each and each[0] != "train" for each in told.values()) else None


def _is_one_part(folders: Folders, told: tuple[Part, str] | None) -> bool:
    """Whether no folder of a picture is another part than that which one of them says with other words."""
    return told is None or {part_of(folder) for folder in folders} <= {None, told[0]}


def _beside_a_part(name: str, folder: str, other: str) -> str:
    """What is said of a picture that lies in a folder which is a part, and of one that does not."""
    return f"{name} lies in a folder {folder}/, {other} does not, so it cannot be told what is held out"


def _without_outer(folders: list[Folders], *, may_be_classes: bool) -> tuple[list[Folders], Folders]:
    """The folders without those around all pictures that are no part; the last of them may be a class."""
    outer = 0
    first = folders[0]
    while (
        outer < len(first)
        and not part_of(first[outer])
        and all(each[: outer + 1] == first[: outer + 1] for each in folders)
        and not (may_be_classes and any(len(each) == outer + 1 for each in folders))
    ):
        outer += 1
    return [each[outer:] for each in folders], first[:outer]


def _without_inner(parts: list[Part], folders: list[Folders]) -> tuple[list[Folders], list[list[str]]]:
    """The folders without the first ones, and their names by depth, where in each part there is but one folder."""
    lines: list[list[str]] = []
    while True:
        inner = {(part, each[:1]) for part, each in zip(parts, folders, strict=True)}
        if len(inner) > len(set(parts)) or any(not folder for _, folder in inner):
            return folders, lines
        lines.append(sorted({f"{folder[0]}/" for _, folder in inner}))
        folders = [each[1:] for each in folders]


def _without_last(folders: list[Folders]) -> tuple[list[Folders], list[str]]:
    """The folders without the last one, and a line about it, where all pictures lie in one called images or alike."""
    last = {each[-1:] for each in folders}
    if len(last) > 1 or last == {()} or not says_pictures(next(iter(last))[0]):
        return folders, []
    line = f"folders: all pictures lie in folders {folders[0][-1]}/, which are no classes"
    return [each[:-1] for each in folders], [line]
