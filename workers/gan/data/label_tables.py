"""Tables of labels: CSV, TSV, JSON and lines of JSON, whoever wrote them, as pairs of a file's name and a label."""

import csv
import io
import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from workers.gan.data.labels import Label, as_label
from workers.gan.data.splits import LayoutUnclear
from workers.gan.data.table_columns import (
    FILE_COLUMNS,
    LABEL_COLUMNS,
    PART_COLUMNS,
    IsPicture,
    NoLabels,
    Table,
    column_name,
    file_place,
    label_cells,
)

SEPARATORS = ",;\t|"
# Of a file of labels: what has more takes all memory.
MAX_BYTES, MAX_COLUMNS, MAX_CELLS = 64 << 20, 1_000, 20_000_000
# Rows of a table that are looked at to tell what parts its cells.
SAMPLE_ROWS = 100
KNOWN_COLUMNS = FILE_COLUMNS + LABEL_COLUMNS + PART_COLUMNS

Pairs = list[tuple[str, Label | None]]


def read_pairs(name: str, packed: bytes, is_picture: IsPicture, column: str | None = None) -> Pairs | None:
    """The pairs in a file of labels; None where it says itself that there are no labels.

    `is_picture` tells whether a cell names a picture, `column` which column the labels are in.

    Raises:
        NoLabels: it is no table, or labels no picture that is here.
        LayoutUnclear: it does not tell which column holds the labels, or they are no classes.
    """
    table = read_table(name, packed, is_picture)
    if table is None:
        return None
    files = file_place(table, is_picture)
    cells = zip(table.cells(files), label_cells(table, files, column), strict=True)
    return [(str(name).strip(), as_label(cell)) for name, cell in cells if name is not None]


def read_table(name: str, packed: bytes, is_picture: IsPicture) -> Table | None:
    """The table in a file; None where it is one of JSON that says itself that there are no labels.

    Raises:
        NoLabels: it is no table.
        LayoutUnclear: it is too large.
    """
    if len(packed) > MAX_BYTES:
        raise LayoutUnclear(f"has more than {MAX_BYTES:,} bytes; make several of it, or give --labels none")
    suffix = name.lower().rpartition(".")[2]
    try:
        words = _decoded(packed)
        if suffix == "jsonl":
            return _of_records([json.loads(line) for line in words.split("\n") if line.strip()])
        if suffix == "json":
            found = json.loads(words)
            is_without = isinstance(found, dict) and "labels" in found and found["labels"] is None
            return None if is_without else _of_json(found)
        return _of_lines(words, suffix, is_picture)
    except (ValueError, RecursionError, csv.Error) as error:
        raise NoLabels(f"cannot be read ({' '.join(str(error).split())[:200]})") from error


def _decoded(packed: bytes) -> str:
    """The letters of a file: UTF-8, or UTF-16 that says so; bytes that are neither are spelled out."""
    if packed.startswith((b"\xff\xfe", b"\xfe\xff")):
        return packed.decode("utf-16", errors="backslashreplace")
    return packed.decode("utf-8-sig", errors="backslashreplace")


def _of_json(found: Any) -> Table:
    """StyleGAN's {"labels": [[name, label], ...]}, {name: label, ...}, or a list of records."""
    if isinstance(found, dict):
        pairs = found["labels"] if isinstance(found.get("labels"), list) else list(found.items())
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            raise NoLabels('is not as StyleGAN has it: expected {"labels": [["picture.png", 0], ...]}')
        return Table(("file", "label"), [list(pair) for pair in pairs])
    return _of_records(found if isinstance(found, list) else [])


def _of_records(records: list[Any]) -> Table:
    if not records or not all(isinstance(record, dict) for record in records):
        raise NoLabels("holds no records of a file and a label")
    columns = list(dict.fromkeys(key for record in records for key in record))
    if len(columns) > MAX_COLUMNS or len(columns) * len(records) > MAX_CELLS:
        raise NoLabels(f"has more than {MAX_COLUMNS:,} columns, or {MAX_CELLS:,} cells")
    rows = [[record.get(key) for key in columns] for record in records]
    return Table(tuple(columns), rows)


def _of_lines(words: str, suffix: str, is_picture: IsPicture) -> Table:
    """A table of lines. Its separator is the one that makes the same number of cells of each, some of them known."""

    def is_known(cell: str) -> bool:
        return column_name(cell) in KNOWN_COLUMNS or is_picture(cell)

    def score(separator: str) -> tuple[bool, bool, int]:
        first, *rest = _without_count(list(islice(_rows(words, separator), SAMPLE_ROWS))) or [[]]
        widths = {len(row) for row in rest} or {len(first)}
        is_even = len(widths) == 1 and widths <= {len(first), len(first) + 1}
        return any(map(is_known, chain(first, *rest[:1]))), is_even, len(first)

    separator = max(SEPARATORS + " " * (suffix == "txt"), key=score)
    rows = _without_count(list(_rows(words, separator)))
    if not rows:
        raise NoLabels("is empty")
    names, width = set(map(column_name, rows[0])), max(map(len, rows[1:]), default=0)
    if names.isdisjoint(KNOWN_COLUMNS) and any(map(is_picture, rows[0])):
        return Table(None, rows)
    # A heading less than cells: what names the rows has none, as R writes it.
    return Table(("", *rows[0]) if len(rows[0]) == width - 1 else tuple(rows[0]), rows[1:])


def _without_count(rows: list[list[Any]]) -> list[list[Any]]:
    """Rows without a first one that only says how many are to come, as CelebA's tables begin."""
    return rows[1:] if len(rows) > 1 and len(rows[0]) == 1 < len(rows[1]) and rows[0][0].isdigit() else rows


def _rows(words: str, separator: str) -> Iterator[list[Any]]:
    """Yield the rows of a table that are not empty. Raises NoLabels of more than MAX_COLUMNS."""
    for row in csv.reader(io.StringIO(words, newline=""), delimiter=separator, skipinitialspace=True):
        if len(row) > MAX_COLUMNS:
            raise NoLabels(f"has more than {MAX_COLUMNS:,} columns")
        if any(cell.strip() for cell in row):
            yield row[:-1] if separator == " " and not row[-1] else row
