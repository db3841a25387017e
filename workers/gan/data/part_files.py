"""Splits that tables tell: by a column such as `split`, by CelebA's partition, or by their names, such as train.csv."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ganservice.errors import DataInvalid
from workers.gan.data.id_tables import SPLIT, read_id_tables
from workers.gan.data.label_files import (
    BY_FOLDERS,
    BY_NAMES,
    BY_PATHS,
    MAX_TABLES,
    NO_LABELS,
    SAMPLE_RESULT,
    is_table,
    named_file,
    texts,
)
from workers.gan.data.label_tables import read_table
from workers.gan.data.picture_index import PictureIndex
from workers.gan.data.picture_source import PictureSource
from workers.gan.data.splits import LayoutUnclear, Part, Place, Placement, counted, part_in
from workers.gan.data.table_columns import PARTITION, Table, as_part, file_place, part_places


@dataclass(frozen=True)
class PartsTold:
    """The part of each picture of which a table tells it; `origin` is the table or its column."""

    file: str
    origin: str
    of: dict[str, Part]

    @property
    def is_by_name(self) -> bool:
        """Whether the table tells it by its name, of all pictures in it."""
        return self.origin == self.file


@dataclass(frozen=True)
class PlacementTold:
    """Where pictures lie once tables have told their parts, and the files that told them."""

    placement: Placement
    files: frozenset[str] = frozenset()


def told_by_tables(
    source: PictureSource, placement: Placement, others: Sequence[str], choice: str | None
) -> PlacementTold:
    """Where pictures lie, with the parts that tables tell where folders tell none.

    `choice` is what `--labels` says. A line says where tables contradict folders, which count, and where who has chosen
    goes on without splits that tables leave unclear.

    Raises:
        LayoutUnclear: as find_parts does, where nothing is chosen.
        DataInvalid: a table cannot be read.
    """
    named: dict[str, bytes] = {}
    if choice not in (None, NO_LABELS, BY_FOLDERS, BY_PATHS, BY_NAMES):
        with suppress(LayoutUnclear):  # it may be a column of the source
            file = named_file(source, choice)
            named = {file.name: file.packed}
    if placement.words:
        with suppress(LayoutUnclear, DataInvalid):  # the folders tell all
            lines = _contradictions(_told(source, placement.places, others, named), placement.places)
            placement = replace(placement, lines=[*placement.lines, *lines])
        return PlacementTold(placement)
    try:
        told = find_parts(source, placement.places, others, named)
    except LayoutUnclear as error:
        if choice is None:
            raise LayoutUnclear(
                f"{error}; mend it, or give --labels, such as none, to train on all pictures"
            ) from error
        return PlacementTold(replace(placement, lines=[*placement.lines, f"splits: {error}; all are trained on"]))
    parts = {name: part for each in told for name, part in each.of.items()}
    if set(parts.values()) <= {"train"}:
        return PlacementTold(placement)
    origins: dict[Part, list[str]] = {}
    for each in told:
        for part in set(each.of.values()):
            origins.setdefault(part, []).append(each.origin)
    words = {part: {f"{part} by {' and '.join(sorted(found))}"} for part, found in origins.items()}
    places = [replace(place, part=parts[place.name]) for place in placement.places]
    return PlacementTold(replace(placement, places=places, words=words), frozenset(each.file for each in told))


def _contradictions(told: Sequence[PartsTold], places: Sequence[Place]) -> list[str]:
    """A line about each table that has pictures to train on that are held out by their folders, or the reverse."""
    by_folder = {place.name: place.part for place in places}
    lines = []
    for each in told:
        wrong = [name for name, part in each.of.items() if (part == "train") != (by_folder.get(name, part) == "train")]
        if wrong:
            lines.append(
                f"splits: {each.origin} tells another split of {counted(len(wrong), 'picture')}, such as "
                f"{each.of[wrong[0]]} of {wrong[0]}; the folders count"
            )
    return lines


def find_parts(
    source: PictureSource, places: Sequence[Place], others: Sequence[str], named: Mapping[str, bytes]
) -> list[PartsTold]:
    """What tables tell of the parts of pictures; nothing where all are of one part by the names of the tables.

    `others` are the files of the source that are no pictures, `named` a table that `--labels` names.

    Raises:
        LayoutUnclear: they tell two parts of one picture, or not those of all, or none to train on.
        DataInvalid: a table cannot be read.
    """
    told = _told(source, places, others, named)
    _check(told, places)
    return told


def _told(
    source: PictureSource, places: Sequence[Place], others: Sequence[str], named: Mapping[str, bytes]
) -> list[PartsTold]:
    if own := source.parts():
        return [PartsTold("", *own)]
    joined = read_id_tables(source, places, others)
    if joined and joined.parts:
        return [PartsTold(joined.files[SPLIT], joined.files[SPLIT], joined.parts)]
    return _of_tables(source, places, others, named)


def _of_tables(
    source: PictureSource, places: Sequence[Place], others: Sequence[str], named: Mapping[str, bytes]
) -> list[PartsTold]:
    names = [name for name in _tables(places, others) if name not in named]
    if not (names or named):
        return []
    index = PictureIndex(places)
    found = [_of_table(name, packed, index) for name, packed in named.items()]
    found += [_of_table(name, source.read(name), index) for name in names]
    told = [each for each in found if each]
    by_name = [each for each in told if each.is_by_name]
    parts = {part for each in by_name for part in each.of.values()}
    is_whole = len({name for each in by_name for name in each.of}) == len(places)
    if parts == {"train"} or (len(parts) == 1 and is_whole):
        told = [each for each in told if not each.is_by_name]
    return told


def _tables(places: Sequence[Place], others: Sequence[str]) -> list[str]:
    """The tables that may tell parts, and the files of text that may list pictures, but for those beside one."""
    tables = [name for name in sorted(others) if is_table(name) and SAMPLE_RESULT not in name.lower()]
    lists = texts(places, [name for name in others if _is_list(name)])
    return [*(tables if len(tables) <= MAX_TABLES else ()), *lists]


def _is_list(name: str) -> bool:
    """Whether a file of text may list the pictures of a part, or the part of each picture."""
    file = name.lower().rpartition("/")[2]
    return file.endswith(".txt") and (part_in(file) is not None or PARTITION in file)


def _of_table(name: str, packed: bytes, index: PictureIndex) -> PartsTold | None:
    try:
        table = read_table(name, packed, index.has)
        files = file_place(table, index.has) if table else 0
    except LayoutUnclear:  # whoever looks for labels says so
        return None
    if table is None:
        return None
    if table.columns is None and PARTITION in name.lower() and files == 0 and table.width > 1:
        table = Table(("file", PARTITION, *("",) * (table.width - 2)), table.rows)
    try:
        if columns := part_places(table, files):
            column = table.column(columns[0])
            cells = [as_part(column, cell) for cell in table.cells(columns[0])]
            origin = f"the column {column} of {name}" if column else f"a column of {name}"
            return PartsTold(name, origin, _matched(table.cells(files), cells, index))
        if part := part_in(name.rpartition("/")[2]):
            return PartsTold(name, name, _matched(table.cells(files), [part] * len(table.rows), index))
    except LayoutUnclear as error:
        raise LayoutUnclear(f"{name} {error}") from error
    return None


def _matched(names: Sequence[object], parts: Sequence[Part | None], index: PictureIndex) -> dict[str, Part]:
    """The part of each picture that is here. Raises LayoutUnclear of a name that may mean several."""
    told: dict[str, Part] = {}
    for name, part in zip(names, parts, strict=True):
        pictures = index.find(str(name), part) if name is not None and part else []
        if len(pictures) > 1:
            raise LayoutUnclear(f"names {name}, which may be {pictures[0]} or {pictures[1]}; name its folder too")
        if pictures and part and told.setdefault(pictures[0], part) != part:
            raise LayoutUnclear(f"tells two splits of {name}, {told[pictures[0]]} and {part}; expected one")
    return told


def _check(told: Sequence[PartsTold], places: Sequence[Place]) -> None:
    """Raise LayoutUnclear where tables do not tell the parts of all pictures, each one, and some to train on."""
    if not told:
        return
    parts: dict[str, tuple[Part, str]] = {}
    for each in told:
        for name, part in each.of.items():
            first = parts.setdefault(name, (part, each.origin))
            if first[0] != part:
                raise LayoutUnclear(
                    f"holds {name} in {first[0]} by {first[1]} and in {part} by {each.origin}; expected it in one split"
                )
    origins = " and ".join(each.origin for each in told)
    if missing := next((place.name for place in places if place.name not in parts), None):
        raise LayoutUnclear(
            f"tells by {origins} whether {len(parts):,} of {len(places):,} pictures are to train on, not of {missing}"
        )
    if "train" not in {part for part, _ in parts.values()}:
        raise LayoutUnclear(f"has by {origins} no picture to train on; expected some")
