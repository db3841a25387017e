"""Hints: where labels may be that are not taken, said where an import finds none."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from ganservice.errors import DataInvalid
from workers.gan.data.label_files import texts
from workers.gan.data.label_tables import read_table
from workers.gan.data.name_labels import hint_of_names
from workers.gan.data.picture_index import PictureIndex
from workers.gan.data.picture_source import PictureSource
from workers.gan.data.splits import LayoutUnclear, Place, counted
from workers.gan.data.table_columns import PARTITION, file_place, part_places

# Kinds of files in which data sets have their labels.
UNREAD_SUFFIXES = (".mat", ".json", ".xml", ".pkl", ".h5")


def label_hints(source: PictureSource, places: Sequence[Place], others: Sequence[str]) -> list[str]:
    """Lines about names of files, lists and files of other kinds that may tell classes."""
    lines = [line] if (line := hint_of_names(places)) else []
    found = texts(places, others)
    index = PictureIndex(places if found else ())
    if lists := [name for name in found if _tells_more(source, name, index)]:
        more = f" and {counted(len(lists) - 1, 'file')} more tell" if len(lists) > 1 else " tells"
        lines.append(
            f"labels: {lists[0]}{more} something of each picture; where that is its class, --labels FILE, or "
            "FILE:COLUMN, takes it"
        )
    beside = {place.name.rpartition(".")[0] for place in places}
    unread = [name for name in others if name.lower().endswith(UNREAD_SUFFIXES)]
    if unread := [name for name in unread if str(PurePosixPath(name).with_suffix("")) not in beside]:
        lines.append(
            f"labels: {unread[0]} may hold some, in a form that is not read; write a CSV of file and label beside it"
        )
    return lines


def _tells_more(source: PictureSource, name: str, index: PictureIndex) -> bool:
    """Whether a list names pictures, nearly each row another, and tells more of them than their splits."""
    if PARTITION in name.lower():
        return False
    with suppress(LayoutUnclear, DataInvalid):  # whatever it is, it was not asked for
        if table := read_table(name, source.read(name), index.has):
            files = file_place(table, index.has)
            named = {picture for words in table.words(files) for picture in index.find(words)}
            return 2 <= len(named) > len(table.rows) / 2 and table.width - 1 > len(part_places(table, files))
    return False
