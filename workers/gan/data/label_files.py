"""Labels that lie in files: a table of all pictures, or a file beside each of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ganservice.errors import DataInvalid
from workers.gan.data.id_tables import LABELS, read_id_tables
from workers.gan.data.label_tables import read_pairs
from workers.gan.data.labels import Label, Labels, as_label
from workers.gan.data.picture_index import PictureIndex
from workers.gan.data.picture_source import PictureSource
from workers.gan.data.splits import LayoutUnclear, Place, counted, part_in, part_of_table
from workers.gan.data.table_columns import LABEL_COLUMNS, NoLabels, Unmatched

# What `--labels` may say besides the name of a file.
NO_LABELS, BY_FOLDERS, BY_PATHS, BY_NAMES = "none", "folders", "paths", "names"
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
# Files of JSON that are read unasked: others are about something else.
JSON_TABLES = ("dataset.json", "labels.json")
# More tables than that are no labels of pictures.
MAX_TABLES = 20
# What a table is called that only shows how results are to be handed in.
SAMPLE_RESULT = "submission"


@dataclass(frozen=True)
class NamedFile:
    """A file that `--labels` names, its bytes, and the column that it names too."""

    name: str
    column: str | None
    packed: bytes
    is_elsewhere: bool


def labels_at(source: PictureSource, places: Sequence[Place], where: str) -> Labels:
    """The labels of a file, by its name in the source or its path elsewhere, perhaps with ":" and a column.

    Raises:
        LayoutUnclear: there is no such file, or it labels none of the pictures.
        DataInvalid: it cannot be read.
    """
    file = named_file(source, where)
    files = frozenset() if file.is_elsewhere else frozenset([file.name])
    return _of_table(file.name, file.packed, PictureIndex(places), file.column, files)


def named_file(source: PictureSource, where: str) -> NamedFile:
    """A file of labels by its name in the source or its path elsewhere, perhaps with ":" and a column.

    Raises:
        LayoutUnclear: there is no such file.
        DataInvalid: it cannot be read.
    """
    name, _, column = where.rpartition(":")
    candidates = [(where, None), *([(name, column)] if name else [])]
    names = frozenset(source.names())
    for file, chosen in candidates:
        if file in names:
            return NamedFile(file, chosen, source.read(file), is_elsewhere=False)
        if (path := Path(file)).is_file():
            return NamedFile(file, chosen, _bytes_of(path), is_elsewhere=True)
    raise LayoutUnclear(
        f"holds no {where}, and there is no such file; expected --labels none, folders, paths, names or a file"
    )


def find_labels(source: PictureSource, places: Sequence[Place], others: Sequence[str]) -> Labels:
    """The labels in the files beside pictures, or in tables, which are found by their names; where any are found.

    `others` are the files of the source that are no pictures, in stored order.

    Raises:
        LayoutUnclear: tables disagree about a picture, or a file beside one holds no class.
        DataInvalid: a file cannot be read.
    """
    unused: dict[str, LayoutUnclear] = {}
    for suffix in BESIDE:
        beside = labels_beside(source, places, others, suffix)
        if beside.of:
            return beside
        unused |= beside.unused
    joined = read_id_tables(source, places, others)
    if joined and joined.labels:
        return Labels(joined.files[LABELS], joined.labels, files=frozenset(joined.files.values()))
    tables = sorted(name for name in others if is_table(name))
    if len(tables) > MAX_TABLES:
        unused[tables[0]] = NoLabels(f"{tables[0]} is one of {len(tables):,} tables, more than {MAX_TABLES}")
        tables = []
    if not tables:
        return Labels("", unused=unused)
    index = PictureIndex(places)
    found: list[Labels] = []
    for name in tables:
        if SAMPLE_RESULT in name.lower():
            unused[name] = NoLabels(f"{name} shows how results are handed in")
            continue
        try:
            found.append(_of_table(name, source.read(name), index, None, frozenset([name])))
        except LayoutUnclear as error:
            unused[name] = error
    return _merged(found, unused)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataInvalid(f"{path}: cannot be read ({error.strerror}); expected a file of labels") from error


def is_table(name: str) -> bool:
    """Whether a file's name says that it may be a table of labels."""
    file = name.lower().rpartition("/")[2]
    return file.endswith(TABLE_SUFFIXES) or file in JSON_TABLES


def texts(places: Sequence[Place], others: Sequence[str]) -> list[str]:
    """The files of text that may tell something of pictures: none of those beside one, and none where they are many."""
    pictures = {place.name.rpartition(".")[0] for place in places}
    found = sorted(name for name in others if name.lower().endswith(".txt") and name.rpartition(".")[0] not in pictures)
    return found if len(found) <= MAX_TABLES else []


def _of_table(name: str, packed: bytes, index: PictureIndex, column: str | None, files: frozenset[str]) -> Labels:
    origin = f"{name}:{column}" if column else name
    try:
        pairs = read_pairs(name, packed, index.has, column)
        if pairs is None:
            return Labels(name, says_none=True, files=files)
        return replace(_matched(name, pairs, index, files), origin=origin)
    except Unmatched as error:
        # What is called train.csv is of this set, however its pictures are named.
        kind = LayoutUnclear if part_in(name.rpartition("/")[2]) else Unmatched
        raise kind(f"{name} {error}") from error
    except LayoutUnclear as error:
        raise type(error)(f"{name} {error}") from error


def _matched(name: str, pairs: list[tuple[str, Label | None]], index: PictureIndex, files: frozenset[str]) -> Labels:
    # Of a table elsewhere its own name alone says something.
    part = part_of_table(name if name in files else name.rpartition("/")[2])
    labels: dict[str, Label] = {}
    absent = []
    for words, label in pairs:
        pictures = index.find(words, part)
        if not pictures:
            absent.append(words)
        elif len(pictures) > 1:
            raise LayoutUnclear(f"names {words}, which may be {pictures[0]} or {pictures[1]}; name its folder too")
        elif label is not None and labels.setdefault(pictures[0], label) != label:
            raise LayoutUnclear(f"gives {words} two labels, {labels[pictures[0]]} and {label}; expected one class each")
    if not labels:
        raise NoLabels("labels no picture that is here")
    lines = []
    if absent:
        rows = counted(len(absent), "row")
        lines.append(f"labels: {rows} of {name} for pictures that are not here, such as {absent[0]}")
    return Labels(name, labels, lines=lines, files=files)


def _merged(found: list[Labels], unused: dict[str, LayoutUnclear]) -> Labels:
    """The labels of tables that share no picture, as those of one. Raises LayoutUnclear for tables that share one."""
    telling = [each for each in found if not each.says_none]
    for each in telling:
        for other in telling[: telling.index(each)]:
            if twice := next((name for name in each.of if name in other.of), None):
                raise LayoutUnclear(
                    f"holds {other.origin} and {each.origin}, which both label {twice}; choose one, such as "
                    f"--labels {each.origin}"
                )
    if not found:
        return Labels("", unused=unused)
    if not telling:
        return Labels(found[0].origin, says_none=True, files=found[0].files, unused=unused)
    return Labels(
        " and ".join(each.origin for each in telling),
        {name: label for each in telling for name, label in each.of.items()},
        lines=[line for each in telling for line in each.lines],
        files=frozenset().union(*(each.files for each in found)),
        unused=unused,
    )


def labels_beside(source: PictureSource, places: Sequence[Place], others: Sequence[str], suffix: str) -> Labels:
    """The labels in files that have a picture's name and one of the suffixes of BESIDE, as WebDataset writes them.

    Raises:
        LayoutUnclear: a file beside a picture holds no class.
        DataInvalid: a file cannot be read.
    """
    pictures = {place.name.rpartition(".")[0]: place.name for place in places}
    files = [name for name in others if name.lower().endswith(suffix)]
    beside = {name: picture for name in files if (picture := pictures.get(name[: -len(suffix)]))}
    labels: dict[str, Label] = {}
    for name, picture in beside.items():
        try:
            label = BESIDE[suffix](source.read(name))
        except LayoutUnclear as error:
            raise LayoutUnclear(f"{name} {error}; or give --labels folders or none") from error
        if label is not None:
            labels[picture] = label
    unused: dict[str, LayoutUnclear] = {}
    if suffix == CLASS_SUFFIX and files and not beside:
        unused[files[0]] = Unmatched(f"{files[0]} lies beside no picture of that name")
    return Labels(f"{suffix} files", labels, files=frozenset(beside if labels else ()), unused=unused)


def _class_of_text(packed: bytes) -> Label | None:
    return as_label(packed.decode(errors="backslashreplace"))


def _class_of_record(packed: bytes) -> Label | None:
    """The label in a picture's own record, where it has one."""
    if len(packed) > MAX_RECORD_BYTES:
        return None
    try:
        found = json.loads(packed)
    except (ValueError, RecursionError):  # whatever it is, no label is lost: where others have one, it is missed
        return None
    if not isinstance(found, dict):
        return as_label(found)
    return next((as_label(found[key]) for key in ("cls", *LABEL_COLUMNS) if key in found), None)


CLASS_SUFFIX = ".cls"
# As JSON in memory it may take ten times that.
MAX_RECORD_BYTES = 4 << 20
# What reads the class in a file beside a picture, by the suffix of such files, in the order in which they count.
BESIDE = {CLASS_SUFFIX: _class_of_text, ".json": _class_of_record}
