"""Layouts: what a folder, an archive or a table of pictures says of them before one is decoded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ganservice.errors import DataInvalid
from ganservice.mistakes import one_line
from ganservice.model import cut
from workers.gan.data.classes import choose_labels, held_out_part, numbered
from workers.gan.data.foreign_files import advice_alone, advice_beside
from workers.gan.data.label_files import BY_FOLDERS, NO_LABELS
from workers.gan.data.labels import MAX_CLASS_CHARS, Labels
from workers.gan.data.part_files import told_by_tables
from workers.gan.data.picture_source import SUFFIXES, PictureSource
from workers.gan.data.placement import place
from workers.gan.data.splits import LayoutUnclear, Place, counted, listing

# Reasons why files are no pictures that are told, each with its first file.
MOST_KINDS = 6
# Of them that a manifest keeps.
MOST_REASONS = 100
NAMES = f"*{', *'.join(SUFFIXES)}"
# What the reason is, or begins with, of a file that has neither a picture's suffix nor a place where nothing counts.
SUFFIX, NO_SUFFIX = "*.", "without a suffix"

# Folders in which systems keep their own: macOS in its zips, and Synology's thumbnails.
FOREIGN_FOLDERS = ("__MACOSX", "@eaDir")


SplitName = Literal["train", "test"]


@dataclass(frozen=True)
class PictureFile:
    """A picture of a source, the split that it goes into, and the number of its class."""

    name: str
    split: SplitName
    label: int | None


@dataclass(frozen=True)
class Layout:
    """The pictures of a source, sorted by name, their classes by number, and lines that say what was made of it.

    `labels` is where labels come from: "folders", the name of a file or column, or "none". `left_out` counts the files
    that are no pictures of the set, by reason. In a split either all pictures have labels or none.
    """

    files: list[PictureFile]
    classes: tuple[str, ...]
    lines: list[str]
    labels: str = NO_LABELS
    left_out: dict[str, int] = field(default_factory=dict)


def read_layout(source: PictureSource, labels: str | None = None, *, under: str = "") -> Layout:
    """The layout of a source, of which only names and labels are read.

    Where all pictures lie in folders called train, test, val and the like, at one depth, these are splits: what is not
    train is held out. `labels`: "none", "folders" (the first folder of each picture is its class), "paths" (all of them
    are), "names" (what stands before or behind the number in its name), or a file, perhaps with ":COLUMN"; without it
    they are looked for. Only names that begin with `under` count.

    Raises:
        DataInvalid: fewer than two pictures, labels for some of the pictures alone, or a layout that may mean two
            things; the line says what to do.
    """
    reasons = {name: _reason(name, under) for name in source.names()}
    names = sorted(name for name, reason in reasons.items() if reason is None)
    if len(names) < 2:
        ignored = {name: why for name, why in reasons.items() if why}
        what = f"; {_counted_kinds(ignored)}{advice_alone(_not_read(ignored))}" if ignored else ""
        raise DataInvalid(
            f"{source.path}: pictures found: {len(names)}; expected at least 2 files named {NAMES}{one_line(what)}"
        )
    try:
        return _read(source, names, reasons, labels, under)
    except LayoutUnclear as error:
        raise DataInvalid(f"{source.path}: {one_line(str(error))}") from error


def _read(
    source: PictureSource, names: list[str], reasons: dict[str, str | None], choice: str | None, under: str
) -> Layout:
    inner = [name[len(under) :] for name in names]
    placement = place(inner, may_be_classes=choice == BY_FOLDERS)
    placement = replace(placement, places=[replace(each, name=under + each.name) for each in placement.places])
    others = _not_read({name: reason for name, reason in reasons.items() if reason})
    told = told_by_tables(source, placement, others, choice)
    placement = told.placement
    places = placement.places
    labels = choose_labels(source, places, others, choice)
    labels = replace(labels, unused={name: why for name, why in labels.unused.items() if name not in told.files})
    held_out, split_lines = held_out_part(placement, labels)
    kept = [each for each in places if each.part in ("train", held_out)]
    classes, numbers = numbered(labels, kept)
    files = [
        PictureFile(
            each.name,
            "train" if each.part == "train" else "test",
            numbers[labels.of[each.name]] if labels.of else None,
        )
        for each in kept
    ]
    ignored = {name: reason for name, reason in reasons.items() if reason and name not in labels.files | told.files}
    left_out = Counter(ignored.values()) + Counter(placement.left_out)
    for reason, count in left_out.most_common()[MOST_REASONS:]:
        del left_out[reason]
        left_out["of other kinds"] += count
    left_out.update(f"{each.part} pictures" for each in places if each.part not in ("train", held_out))
    lines = [
        *source.lines, *placement.lines, *split_lines, *_class_lines(labels, classes, files, choice), *labels.lines,
        *_empty_folder_lines(source, places, labels), *_ignored_lines(ignored),
    ]  # fmt: skip
    return Layout(
        files,
        classes,
        list(map(one_line, lines)),
        cut(labels.origin, MAX_CLASS_CHARS) if labels.of else NO_LABELS,
        dict(left_out),
    )


def _reason(name: str, under: str) -> str | None:
    """Why a file is no picture of the set; None of a picture."""
    parts = name.split("/")
    if folder := next((each for each in FOREIGN_FOLDERS if each in parts), None):
        return f"in {folder}"
    if ".." in parts:
        return "outside"
    if any(part.startswith(".") for part in parts):
        return "hidden"
    if not name.startswith(under):
        return f"not in {under}"
    if not name.lower().endswith(SUFFIXES):
        stem, dot, suffix = parts[-1].rpartition(".")
        return f"{SUFFIX}{suffix.lower()[:20]}" if stem and dot else NO_SUFFIX
    return None


def _class_lines(
    labels: Labels, classes: tuple[str, ...], files: Sequence[PictureFile], choice: str | None
) -> list[str]:
    if choice == NO_LABELS:
        return []
    unused = [f"labels: {error}; not used" for error in labels.unused.values()]
    if not labels.of:
        why = f"as {labels.origin} says" if labels.says_none else "for neither folders nor files tell them"
        return [f"classes: none, {why}", *unused]
    counts = Counter(file.label for file in files if file.split == "train")
    sizes = sorted(set(counts.values()))
    each = counted(sizes[0], "picture") if len(sizes) == 1 else f"{sizes[0]:,} to {counted(sizes[-1], 'picture')}"
    lines = [f"classes: {len(classes):,} by {labels.origin}: {listing(classes)}; {each} of each to train on"]
    if absent := [name for number, name in enumerate(classes) if number not in counts]:
        lines.append(f"classes: no picture to train on is of {listing(absent)}")
    return lines + unused


def _empty_folder_lines(source: PictureSource, places: Sequence[Place], labels: Labels) -> list[str]:
    """A line about folders without a picture beside those with some, unless files tell the classes."""
    if labels.origin != BY_FOLDERS:
        return []
    full = {each.name.rpartition("/")[0] for each in places}
    above = {folder.rpartition("/")[0] for folder in full}
    # Where folders are no classes, what holds other files was not to be one.
    others = () if labels.of else {name.rpartition("/")[0] for name in source.names()}
    around = {
        "/".join(steps[:depth])
        for folder in full.union(others)
        if (steps := folder.split("/"))
        for depth in range(len(steps) + 1)
    }
    empty = [
        folder for folder in source.folders()
        if folder.rpartition("/")[0] in above and folder not in around and _reason(f"{folder}/a.png", "") is None
    ]  # fmt: skip
    return [f"folders: without a picture, and so no class: {listing(sorted(empty))}"] if empty else []


def _ignored_lines(ignored: dict[str, str]) -> list[str]:
    if not ignored:
        return []
    return [f"{_counted_kinds(ignored)}; pictures are named {NAMES}{advice_beside(_not_read(ignored))}"]


def _counted_kinds(ignored: dict[str, str]) -> str:
    """How many files are ignored, by reason, with the first of each."""
    first: dict[str, str] = {}
    for name, reason in ignored.items():
        first.setdefault(reason, name)
    counts = Counter(ignored.values()).most_common()
    kinds = [f"{count:,} {reason} ({first[reason]})" for reason, count in counts[:MOST_KINDS]]
    if rest := sum(count for _, count in counts[MOST_KINDS:]):
        kinds.append(f"{rest:,} of other kinds")
    return f"ignored: {counted(len(ignored), 'file')}: {', '.join(kinds)}"


def _not_read(ignored: dict[str, str]) -> list[str]:
    """The files that are ignored for what they are called, not for where they lie."""
    return [name for name, reason in ignored.items() if reason.startswith((SUFFIX, NO_SUFFIX))]
