"""Labels of held-out pictures that a file tells, where folders tell those of the pictures to train on."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from ganservice.errors import DataInvalid
from workers.gan.data.label_files import texts
from workers.gan.data.label_tables import read_table
from workers.gan.data.labels import Labels
from workers.gan.data.picture_index import PictureIndex
from workers.gan.data.picture_source import PictureSource
from workers.gan.data.splits import LayoutUnclear, Part, Place, counted, part_of_table
from workers.gan.data.table_columns import Table, file_place


def joined_with_folders(found: Labels, folders: Labels, places: Sequence[Place]) -> Labels | None:
    """The labels of files and of folders, where files tell some of the same classes, and none of what is trained on.

    Raises LayoutUnclear where files tell another class of a picture than its folder.
    """
    if not found.of or any(place.name in found.of for place in places if place.part == "train"):
        return None
    if not set(map(str, found.of.values())) <= set(folders.of.values()):
        return None
    told = {name: str(label) for name, label in found.of.items()}
    if wrong := next((name for name, label in told.items() if folders.of.get(name, label) != label), None):
        raise LayoutUnclear(
            f"has {wrong} in {told[wrong]} by {found.origin} and in {folders.of[wrong]} by its folder; mend one of "
            "them, or give --labels folders"
        )
    return replace(
        found, origin=folders.origin, of={**folders.of, **told}, lines=[_line(told, found.origin), *found.lines]
    )


def with_lists(source: PictureSource, places: Sequence[Place], folders: Labels, others: Sequence[str]) -> Labels:
    """The labels of folders, and those of whole held-out parts by lists of text, such as val_annotations.txt.

    Of a list that column counts in which each cell is the folder of a class; there must be but one.

    Raises LayoutUnclear where two lists tell different classes of a picture.
    """
    missing = [place for place in places if place.part != "train" and place.name not in folders.of]
    classes = set(map(str, folders.of.values()))
    lists = texts(places, others) if missing and classes else []
    if not lists:
        return folders
    # Of all pictures: what names one of those to train on tells nothing of another of that name.
    index = PictureIndex(places)
    members: dict[Part, set[str]] = {}
    for place in missing:
        members.setdefault(place.part, set()).add(place.name)
    for name in lists:
        told: dict[str, str] = {}
        with suppress(LayoutUnclear, DataInvalid):  # whatever it is, it was not asked for
            told = _told(read_table(name, source.read(name), index.has), index, classes, part_of_table(name))
        kept = {each: told[each] for names in members.values() if names <= told.keys() for each in sorted(names)}
        if wrong := next((each for each, label in kept.items() if folders.of.get(each, label) != label), None):
            raise LayoutUnclear(
                f"has {wrong} in {kept[wrong]} by {name} and in {folders.of[wrong]} by another list; move one of them "
                "away, or give --labels folders"
            )
        if kept:
            lines = [*folders.lines, _line(kept, name)]
            folders = replace(folders, of={**folders.of, **kept}, files=folders.files | {name}, lines=lines)
    return folders


def _told(table: Table | None, index: PictureIndex, classes: set[str], part: Part | None) -> dict[str, str]:
    """The class of each picture that a list of a part tells; nothing where it tells two of one picture."""
    if table is None:
        return {}
    files = file_place(table, index.has)
    columns = [
        place for place in range(table.width)
        if place != files and (words := table.words(place)) and classes.issuperset(words)
    ]  # fmt: skip
    if len(columns) != 1:
        return {}
    told: dict[str, str] = {}
    for name, cell in zip(table.cells(files), table.cells(columns[0]), strict=True):
        label = "" if cell is None else str(cell).strip()
        pictures = index.find(str(name), part) if label else []
        if len(pictures) == 1 and told.setdefault(pictures[0], label) != label:
            return {}
    return told


def _line(told: dict[str, str], origin: str) -> str:
    return f"labels: {origin} tells those of {counted(len(told), 'picture')} that are held out"
