"""One-hot columns of tables: one for each class, with 1 for its pictures and 0 for all others."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from workers.gan.data.splits import LayoutUnclear, listing, part_of

# Of a table: what has more takes too long to be looked at.
MAX_FLAGS = 20_000_000
FLAG_WORDS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


def one_hot_classes(columns: Mapping[str, Iterable[Any]]) -> list[str] | None:
    """The class of each row: the name of the column that has its 1.

    Columns that hold anything but 0 and 1 do not count; None unless of the others each row has one 1, and not all rows
    the same.

    Raises LayoutUnclear where columns are called like splits, for then it is these that they tell; or of too many.
    """
    flags: dict[str, bytes] = {}
    for name, cells in columns.items():
        if found := _flags(cells):
            flags[name] = found
        if len(found) * len(flags) > MAX_FLAGS:
            raise LayoutUnclear(
                f"has more than {MAX_FLAGS:,} cells of 0 and 1; write the class of each picture into one column, or "
                "give --labels none"
            )
    if not flags:
        return None
    rows = np.array([np.frombuffer(found, np.uint8) for found in flags.values()])
    if (rows.sum(axis=0) != 1).any():
        return None
    names, chosen = list(flags), rows.argmax(axis=0)
    if chosen.min() == chosen.max():
        return None
    if splits := [name for name in names if part_of(name)]:
        raise LayoutUnclear(
            f"has columns of 0 and 1 called {listing(splits)}; where they tell splits call them is_{splits[0]} and so "
            "on, else name the column of labels"
        )
    return [names[column] for column in chosen]


def _flags(cells: Iterable[Any]) -> bytes:
    """The cells of a column as so many bytes, 0 or 1; empty where one of them is anything else."""
    flags = bytearray()
    for cell in cells:
        flag = as_flag(cell)
        if flag is None:
            return b""
        flags.append(flag)
    return bytes(flags)


def as_flag(cell: Any) -> int | None:
    """0 or 1, however a cell writes it; None of anything else."""
    return FLAG_WORDS.get(str(cell).strip().lower())
