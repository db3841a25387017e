"""Columns of tables: which one names the pictures, which holds their labels, and which tells their splits."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workers.gan.data.one_hot import as_flag, one_hot_classes
from workers.gan.data.picture_source import SUFFIXES
from workers.gan.data.splits import LayoutUnclear, Part, listing, part_of

# Names of columns, in small letters with "_" between words, from the most to the least certain.
FILE_COLUMNS = (
    "file", "filename", "file_name", "filepath", "file_path", "image", "image_name", "image_path", "image_file", "img",
    "img_name", "img_path", "path", "picture", "id", "image_id", "img_id", "id_code", "name",
)  # fmt: skip
LABEL_COLUMNS = (
    "label", "labels", "class", "class_name", "classname", "label_name", "target", "category", "class_id", "label_id",
    "category_id",
)  # fmt: skip
PART_COLUMNS = ("split", "partition", "subset", "usage", "set", "fold")
# What is told of a picture and is no class of it.
NO_CLASSES = {
    "text", "caption", "prompt", "title", "description", "url", "source", "author", "license", "date", "mask", "bbox",
    "width", "height", "size", "md5", "sha256", "train", "training", "test",
}  # fmt: skip
# What the numbers in a column called partition mean, as in CelebA's list_eval_partition.
PARTITION = "partition"
NUMBERED_PARTS: dict[str, Part] = {"0": "train", "1": "validation", "2": "test"}
FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
NUMBER = re.compile(r"[-+0-9., eE]*")
# Of rows, from which on values of which nearly every one is another are seen to be no classes.
FEW_ROWS = 10

IsPicture = Callable[[str], bool]


class NoLabels(LayoutUnclear):
    """What is said of a file that labels none of the pictures."""


class Unmatched(NoLabels):
    """What is said of a file that holds labels, and of none of the pictures."""


@dataclass(frozen=True)
class Table:
    """Rows of cells under the headings of their columns; these are None where the first row names a picture."""

    headings: tuple[str, ...] | None
    rows: list[list[Any]]

    @cached_property
    def columns(self) -> tuple[str, ...] | None:
        """The names of the columns, as `column_name` has them."""
        return None if self.headings is None else tuple(map(column_name, self.headings))

    def cells(self, place: int) -> list[Any]:
        """The cells of a column; None where a row is too short."""
        return [row[place] if place < len(row) else None for row in self.rows]

    def words(self, place: int) -> list[str]:
        """The cells of a column that are not empty, as text."""
        return [words for cell in self.cells(place) if cell is not None and (words := str(cell).strip())]

    @property
    def width(self) -> int:
        """Columns of the table."""
        return len(self.columns) if self.columns else max(map(len, self.rows), default=0)

    def column(self, place: int) -> str:
        """The name of a column; empty where there is no header."""
        return self.columns[place] if self.columns else ""

    def described(self) -> str:
        """The names of the columns."""
        return listing(self.columns, 8) if self.columns else f"{self.width} without a header"


def column_name(name: str) -> str:
    """The name of a column in small letters, with "_" between its words: image_id of "Image ID" and of ImageId."""
    return re.sub(r"[\s-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())).lower()


def file_place(table: Table, is_picture: IsPicture) -> int:
    """The column whose cells name most pictures, of those with a name for it if any of them names one.

    Raises:
        NoLabels: no column names a picture.
    """
    named = {}
    for place in range(table.width):
        column = table.column(place)
        cells = [str(cell) for cell in table.cells(place)]
        if table.columns and column not in FILE_COLUMNS:  # numbers of something else may be names without a suffix
            cells = [cell for cell in cells if not NUMBER.fullmatch(cell)]
        count = sum(map(is_picture, cells))
        if count and column not in LABEL_COLUMNS:
            certainty = len(FILE_COLUMNS) - FILE_COLUMNS.index(column) if column in FILE_COLUMNS else 0
            named[place] = (certainty > 0, count, certainty)
    if not named:
        kind = NoLabels if set(table.columns or ()).isdisjoint(LABEL_COLUMNS) else Unmatched
        raise kind(f"names no picture that is here; its columns are {table.described()}")
    return max(named, key=lambda place: named[place])


def label_cells(table: Table, files: int, column: str | None) -> list[Any]:
    """The cells that hold the label of each row: those of one column, or the names of one-hot columns.

    Raises NoLabels, LayoutUnclear, as label_place does.
    """
    classes = None if column else _one_hot(table, files)
    return classes if classes is not None else table.cells(label_place(table, files, column))


def _one_hot(table: Table, files: int) -> list[str] | None:
    """The class of each row, where the only columns that may hold labels are one-hot; others hold numbers at most."""
    if table.headings is None or not set(table.columns or ()).isdisjoint(LABEL_COLUMNS):
        return None
    parts = part_places(table, files)
    others = [place for place in range(table.width) if place != files and place not in parts]
    words = (word for place in others for word in table.words(place))
    if not all(NUMBER.fullmatch(word) or as_flag(word) is not None for word in words):
        return None
    return one_hot_classes({table.headings[place]: table.cells(place) for place in others})


def label_place(table: Table, files: int, column: str | None) -> int:
    """The column of the labels: the one called so, or the only one that may hold them.

    Raises:
        NoLabels: there is none.
        LayoutUnclear: it cannot be told which it is, or that its values are classes.
    """
    if column is not None:
        if column_name(column) not in (table.columns or ()):
            raise LayoutUnclear(f"has no column {column}; its columns are {table.described()}")
        return (table.columns or ()).index(column_name(column))
    parts = part_places(table, files)
    others = [place for place in range(table.width) if place != files and place not in parts]
    known = [place for place in others if table.column(place) in LABEL_COLUMNS]
    chosen = known or others
    if len(chosen) == 1:
        if not known:
            _check_are_classes(table, chosen[0])
        return chosen[0]
    if not chosen:
        raise NoLabels("has no column of labels")
    if known and (name := _same_classes(table, known)) is not None:
        return name
    raise LayoutUnclear(
        f"does not tell which of its columns holds the labels: {table.described()}; name it, as FILE:COLUMN"
    )


def _check_are_classes(table: Table, place: int) -> None:
    """Raise LayoutUnclear where the values of a column that is not called labels do not look like classes."""
    values = table.words(place)
    apart = len(set(values))
    files = sum("://" in value or value.lower().endswith(SUFFIXES) for value in values)
    is_each_another = len(values) >= FEW_ROWS and 2 * apart > len(values)
    if is_each_another or 2 * files > len(values) or table.column(place) in NO_CLASSES:
        name = f"its column {table.column(place)}" if table.columns else "its other column"
        raise LayoutUnclear(
            f"has {apart:,} values for {len(values):,} pictures in {name}, such as {listing(values, 1)[:100]}, and it "
            "cannot be told that they are classes; if they are, name it, as FILE:COLUMN"
        )


def _same_classes(table: Table, places: Sequence[int]) -> int | None:
    """Of columns that tell the same classes, one by numbers and one by names, the one with names."""
    rows = list(zip(*(map(str, table.cells(place)) for place in places), strict=True))
    apart = len(set(rows))
    if any(len({row[index] for row in rows}) != apart for index in range(len(places))):
        return None
    return next((place for place in places if not all(map(str.isdigit, map(str, table.cells(place))))), places[0])


def part_places(table: Table, files: int) -> list[int]:
    """The columns that tell splits, from the most certain: by their names, or for all they hold is train, val, test."""
    found = {}
    for place in range(table.width):
        column = table.column(place)
        if place == files or column in LABEL_COLUMNS:
            continue
        if column in PART_COLUMNS:
            found[place] = PART_COLUMNS.index(column)
        elif flag_part(column) or ((words := table.words(place)) and all(map(part_of, words))):
            found[place] = len(PART_COLUMNS)
    return sorted(found, key=lambda place: found[place])


def flag_part(column: str) -> Part | None:
    """The part that a column says yes or no to, such as is_train."""
    return part_of(column.removeprefix("is_")) if column.startswith("is_") else None


def as_part(column: str, cell: Any) -> Part | None:
    """The part that a cell tells; None of an empty one.

    Raises:
        LayoutUnclear: it tells none.
    """
    words = str(cell).strip().lower() if cell is not None else ""
    if not words:
        return None
    if flag := flag_part(column):
        if words in FLAGS:
            return flag if FLAGS[words] else "test" if flag == "train" else "train"
    elif part := part_of(words) or (NUMBERED_PARTS.get(words) if column == PARTITION else None):
        return part
    raise LayoutUnclear(f"has {words[:100]} in its column {column}; expected train, val or test")
