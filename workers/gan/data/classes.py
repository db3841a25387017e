"""Classes: which labels count, those of folders or of files, what is held out with them, and their numbers."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from ganservice.manifest import MAX_CLASSES
from workers.gan.data.held_out_labels import joined_with_folders, with_lists
from workers.gan.data.label_files import (
    BESIDE,
    BY_FOLDERS,
    BY_NAMES,
    BY_PATHS,
    NO_LABELS,
    TABLE_SUFFIXES,
    find_labels,
    labels_at,
    labels_beside,
)
from workers.gan.data.label_hints import label_hints
from workers.gan.data.labels import MAX_CLASS_CHARS, Label, Labels
from workers.gan.data.name_labels import labels_of_names
from workers.gan.data.picture_source import PictureSource
from workers.gan.data.splits import LayoutUnclear, Part, Place, Placement, counted, listing, says_pictures
from workers.gan.data.table_columns import NoLabels, Unmatched

# Folders of so many pictures each, as StyleGAN and WebDataset write them: numbers that stand for no class.
STORAGE = re.compile(r"\d{4,}")


def choose_labels(source: PictureSource, places: Sequence[Place], others: Sequence[str], choice: str | None) -> Labels:
    """The labels that count: those that `choice` names, or those that are found.

    `others` are the files that are no pictures, in stored order.

    Raises:
        LayoutUnclear: several tell the classes, or folders are no classes.
        DataInvalid: a file of labels cannot be read.
    """
    if choice == NO_LABELS:
        return Labels(NO_LABELS)
    return _found(source, places, others) if choice is None else _chosen(source, places, others, choice)


def _chosen(source: PictureSource, places: Sequence[Place], others: Sequence[str], choice: str) -> Labels:
    if choice == BY_FOLDERS:
        folders = _by_folders(places, first_counts=True)
        if not folders.of:
            raise LayoutUnclear("has its pictures in no folders; give each the folder of its class, or --labels none")
        return folders
    if choice == BY_PATHS:
        paths: dict[str, Label] = {each.name: "/".join(each.folders) for each in places if each.folders}
        if not paths:
            raise LayoutUnclear("has its pictures in no folders; give each those of its class, or --labels none")
        return Labels("the paths of folders", paths)
    if choice == BY_NAMES:
        names = labels_of_names(places)
        if not names:
            raise LayoutUnclear("has no class in the names of its files; expected such as cat.1.jpg or 1_cat.jpg")
        return Labels("the names of files", names)
    if choice in BESIDE:
        beside = labels_beside(source, places, others, choice)
        if not beside.of:
            why = next(iter(beside.unused.values()), f"has no {choice} file with a class beside a picture")
            raise LayoutUnclear(f"{why}; expected such as 1{choice} beside 1.png, or another --labels")
        return beside
    return source.labels(choice) or labels_at(source, places, choice)


def _found(source: PictureSource, places: Sequence[Place], others: Sequence[str]) -> Labels:
    found = source.labels(None) or find_labels(source, places, others)
    if found.of or found.says_none:
        return _joined(found, places)
    if unclear := [each for each in found.unused.values() if not isinstance(each, NoLabels)]:
        raise LayoutUnclear(f"{unclear[0]}, or give --labels folders where these are classes, or --labels none")
    folders = _by_folders(places, first_counts=False)
    unmatched = [each for each in found.unused.values() if isinstance(each, Unmatched)]
    if unmatched and len(set(folders.of.values())) < 2:  # one folder around all tells nothing apart
        raise LayoutUnclear(f"{unmatched[0]}; mend the names, or give --labels none")
    if not folders.of:
        return replace(folders, lines=label_hints(source, places, others), unused=found.unused)
    lines = _doubts(folders, places)
    return replace(with_lists(source, places, replace(folders, lines=lines), others), unused=found.unused)


def _doubts(folders: Labels, places: Sequence[Place]) -> list[str]:
    """A line about folders that may be no classes. Raises LayoutUnclear where they are called so."""
    names = sorted({str(label) for label in folders.of.values()})
    pictures = next(filter(says_pictures, names), None)
    if pictures and len(names) > 1:  # beside masks, or whatever else there is of each picture
        raise LayoutUnclear(
            f"has folders {listing(names)}, of which {pictures} is called like no class; give the path of the one with "
            "pictures alone, or --labels folders where these are classes"
        )
    files = {PurePosixPath(each.name).name for each in places}
    if all(map(STORAGE.fullmatch, names)) and len(files) == len(places):
        what = f"folders such as {names[0]} may only store so many pictures each, and be no classes"
        return [f"labels: {what}; --labels none drops them"]
    return []


def held_out_part(placement: Placement, labels: Labels) -> tuple[Part | None, list[str]]:
    """The part that is held out, and lines about it and about what is left out.

    Raises:
        LayoutUnclear: of the pictures of one part some have labels and others none.
    """
    members: dict[Part, list[str]] = {}
    for each in placement.places:
        members.setdefault(each.part, []).append(each.name)
    labelled = {part: _are_labelled(part, names, labels) for part, names in members.items()}
    if labels.of and not labelled["train"]:
        raise LayoutUnclear(
            f"has labels by {labels.origin} for none of the pictures to train on; give them labels, or "
            "--labels none to drop all"
        )
    words = {part: ", ".join(sorted(found)) for part, found in placement.words.items()}
    are = {part: f"{words[part]} {'is' if len(found) == 1 else 'are'}" for part, found in placement.words.items()}
    candidates: tuple[Part, ...] = ("test", "validation")
    held_out: Part | None = None
    lines = [f"splits: {are['train']} trained on, {counted(len(members['train']), 'picture')}"] if words else []
    for part in candidates:
        if part not in members:
            continue
        if labels.of and not labelled[part]:
            why = "it has no labels, which the rest has; --labels none keeps it"
        elif held_out:
            why = f"{words[held_out].partition(' by ')[0]} {are[held_out].rpartition(' ')[2]} held out"
        else:
            held_out = part
            lines.append(f"splits: {are[part]} held out, {counted(len(members[part]), 'picture')}")
            continue
        lines.append(f"splits: {are[part]} left out, {counted(len(members[part]), 'picture')}: {why}")
    return held_out, lines


def numbered(labels: Labels, kept: Sequence[Place]) -> tuple[tuple[str, ...], dict[Label, int]]:
    """The names of the classes of the pictures that are kept, and the number of each label.

    Numbers come in their order, names in that of letters. Raises LayoutUnclear for a name that is too long.
    """
    values = {labels.of[each.name] for each in kept if each.name in labels.of}
    if labels.classes is not None:
        if wrong := [value for value in values if not isinstance(value, int) or not 0 <= value < len(labels.classes)]:
            raise LayoutUnclear(f"has the label {wrong[0]}; expected 0 to {len(labels.classes) - 1}")
        return _checked(labels.classes), {value: int(value) for value in values}
    numbers = sorted(value for value in values if isinstance(value, int))
    ordered: list[Label] = list(numbers) if len(numbers) == len(values) else sorted(values, key=str)
    return _checked(tuple(map(str, ordered))), {value: number for number, value in enumerate(ordered)}


def _checked(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The names of classes, as a manifest can hold them. Raises LayoutUnclear."""
    if len(classes) > MAX_CLASSES:
        raise LayoutUnclear(f"tells {len(classes):,} classes, expected at most {MAX_CLASSES:,}; give --labels none")
    if (longest := max(map(len, classes), default=0)) > MAX_CLASS_CHARS:
        raise LayoutUnclear(f"the name of a class has {longest:,} letters, expected at most {MAX_CLASS_CHARS}")
    if len(set(classes)) < len(classes) or not all(classes):
        raise LayoutUnclear("has two classes of one name, or one without a name; give --labels none")
    return classes


def _are_labelled(part: Part, names: Sequence[str], labels: Labels) -> bool:
    missing = next((name for name in names if name not in labels.of), None)
    count = sum(name in labels.of for name in names)
    if missing is not None and count:
        raise LayoutUnclear(
            f"labels by {labels.origin} are there for {count:,} of {len(names):,} pictures of {part}, not for "
            f"{missing}; label or remove these, or give --labels none to drop all labels"
        )
    return missing is None


def _by_folders(places: Sequence[Place], *, first_counts: bool) -> Labels:
    """The folder of each picture as its label; of several folders the first where `first_counts`.

    Raises:
        LayoutUnclear: pictures of one part lie at several depths.
    """
    labels: dict[str, Label] = {}
    for part in ("train", "test", "validation"):
        members = [each for each in places if each.part == part]
        depths = {len(each.folders): each.name for each in members}
        if set(depths) <= {0}:
            continue
        if 0 in depths:
            raise LayoutUnclear(
                f"{depths.pop(0)} lies in no folder, {depths.popitem()[1]} does: folders are no classes then; "
                "remove it or give it the folder of its class, or give --labels none"
            )
        if set(depths) != {1} and not first_counts:
            raise LayoutUnclear(
                f"{depths[max(depths)]} lies {max(depths)} folders deep: it cannot be told which is its class; give "
                "--labels folders where the first is, --labels paths where all are, or --labels none"
            )
        found = {each.name: each.folders[0] for each in members}
        # Where no class is one to train on, folders such as test/unknown/ are no classes.
        if part == "train" or not labels or set(found.values()) & set(labels.values()):
            labels.update(found)
    return Labels(BY_FOLDERS, labels)


def _joined(found: Labels, places: Sequence[Place]) -> Labels:
    """The labels of files, with those of folders where they tell the same classes of other pictures.

    Raises LayoutUnclear where files tell other classes than folders.
    """
    try:
        folders = _by_folders(places, first_counts=False)
    except LayoutUnclear:
        return found
    if joined := joined_with_folders(found, folders, places):
        return joined
    if not found.files:
        return found
    both = {(folders.of[name], found.of[name]) for name in folders.of if name in found.of}
    names = sorted({str(folder) for folder, _ in both})
    if all(map(STORAGE.fullmatch, names)) and not any(name.lower().endswith(TABLE_SUFFIXES) for name in found.files):
        return found
    if len(names) > 1 and not (len(both) == len(names) == len({label for _, label in both})):
        raise LayoutUnclear(
            f"its folders ({listing(names)}) and {found.origin} tell different classes; give --labels folders or "
            f"--labels {found.origin.removesuffix(' files')}"
        )
    return found
