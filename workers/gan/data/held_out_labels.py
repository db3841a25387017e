"""Labels of held-out pictures that a file tells, where folders tell those of the pictures to train on."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from ganservice.errors import DataInvalid
from workers.gan.data.label_files import Labels, texts
from workers.gan.data.label_tables import read_table
from workers.gan.data.picture_index import PictureIndex
from workers.gan.data.picture_source import PictureSource
from workers.gan.data.splits import LayoutUnclear, Part, Place, counted
from workers.gan.data.table_columns import Table, file_place


def joined_with_folders(found: Labels, folders: Labels, places: Sequence[Place]) -> Labels | None:
    """The labels of files and of folders, where files tell some of the same classes, and none of what is trained on."""
    if not found.of or any(place.name in found.of for place in places if place.part == "train"):
        return None
    if not set(map(str, found.of.values())) <= set(folders.of.values()):
        return None
    told = {name: str(label) for name, label in found.of.items()}
    return replace(
        found, origin=folders.origin, of={**folders.of, **told}, lines=[_line(told, found.origin), *found.lines]
    )


def with_lists(source: PictureSource, places: Sequence[Place], folders: Labels, others: Sequence[str]) -> Labels:
    """The labels of folders, and those of whole held-out parts by lists of text, such as val_annotations.txt.

    Of a list that column counts in which each cell is the folder of a class; there must be but one.
    """
    missing = [place for place in places if place.part != "train" and place.name not in folders.of]
    classes = set(map(str, folders.of.values()))
    if not (missing and classes):
        return folders
    index = PictureIndex(missing)
    members: dict[Part, set[str]] = {}
    for place in missing:
        members.setdefault(place.part, set()).add(place.name)
    for name in texts(places, others):
        told: dict[str, str] = {}
        with suppress(LayoutUnclear, DataInvalid):  # whatever it is, it was not asked for
            told = _told(read_table(name, source.read(name), index.has), index, classes)
        wholes = [names for names in members.values() if names <= told.keys()]
        if wholes:
            kept = {each: told[each] for names in wholes for each in names}
            files = folders.files | {name}
            folders = replace(
                folders, of={**folders.of, **kept}, files=files, lines=[*folders.lines, _line(kept, name)]
            )
    return folders


def _told(table: Table | None, index: PictureIndex, classes: set[str]) -> dict[str, str]:
    if table is None:
        return {}
    files = file_place(table, index.has)
    columns = [
        place for place in range(table.width)
        if place != files and (words := table.words(place)) and classes.issuperset(words)
    ]  # fmt: skip
    if len(columns) != 1:
        return {}
    cells = zip(table.cells(files), table.cells(columns[0]), strict=True)
    found = ((index.find(str(name)), str(label).strip()) for name, label in cells if label is not None)
    return {pictures[0]: label for pictures, label in found if len(pictures) == 1 and label in classes}


def _line(told: dict[str, str], origin: str) -> str:
    return f"labels: {origin} tells those of {counted(len(told), 'picture')} that are held out"
