"""Tables that are joined by ids, as CUB-200-2011 and NABirds have them: `id words` in each line of each file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.gan.data.label_tables import MAX_BYTES
from workers.gan.data.labels import Label, as_label
from workers.gan.data.picture_index import PictureIndex
from workers.gan.data.picture_source import PictureSource
from workers.gan.data.spelling import spelled
from workers.gan.data.splits import LayoutUnclear, Part, Place

IMAGES, LABELS, CLASSES, SPLIT = "images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt"
FLAGS: dict[str, Part] = {"1": "train", "0": "test"}


@dataclass(frozen=True)
class IdTables:
    """The class and the part of each picture that the files tell, and the files; either may be told of none."""

    labels: dict[str, Label]
    parts: dict[str, Part]
    files: dict[str, str]


def read_id_tables(source: PictureSource, places: Sequence[Place], others: Sequence[str]) -> IdTables | None:
    """What such tables tell of pictures; None where there are none.

    Raises:
        LayoutUnclear: a file is not as it should be, or tells no class or part.
        DataInvalid: a file cannot be read.
    """
    files = _files(others)
    if IMAGES not in files or not {LABELS, SPLIT} & files.keys():
        return None
    index = PictureIndex(places)
    pictures: dict[str, str] = {}
    for number, words in _lines(source, files[IMAGES]).items():
        found = index.find(words)
        if len(found) == 1:
            pictures[number] = found[0]
    if not pictures:
        return None
    classes = _lines(source, files[CLASSES]) if CLASSES in files else {}
    told = {name: _lines(source, files[name]) for name in (LABELS, SPLIT) if name in files}
    labels: dict[str, Label] = {}
    for each, number in _of(told, LABELS, pictures).items():
        label = classes.get(number) or as_label(number)
        if label is not None:
            labels[pictures[each]] = label
    parts: dict[str, Part] = {}
    for each, flag in _of(told, SPLIT, pictures).items():
        if flag not in FLAGS:
            raise LayoutUnclear(f"{files[SPLIT]} has {flag[:100]} of {each}; expected 1 of what is to train on, else 0")
        parts[pictures[each]] = FLAGS[flag]
    return IdTables(labels, parts, files)


def _files(others: Sequence[str]) -> dict[str, str]:
    """The files of such a set by what they are called, of the first folder that has pictures' names."""
    folder = next((name[: -len(IMAGES)] for name in sorted(others) if f"/{name}".endswith(f"/{IMAGES}")), None)
    wanted = (IMAGES, LABELS, CLASSES, SPLIT)
    return {} if folder is None else {each: folder + each for each in wanted if folder + each in set(others)}


def _lines(source: PictureSource, name: str) -> dict[str, str]:
    """The words of each line of a file by their id."""
    packed = source.read(name)
    if len(packed) > MAX_BYTES:
        raise LayoutUnclear(f"{name} has more than {MAX_BYTES:,} bytes; expected a line for each picture")
    told: dict[str, str] = {}
    for line in packed.decode("utf-8-sig", errors="backslashreplace").splitlines():
        number, *words = line.split(maxsplit=1) or [""]
        if number and not words:
            raise LayoutUnclear(f"{name} has {number[:100]} alone in a line; expected an id and what is told of it")
        if words and told.setdefault(number, known := spelled(words[0].strip())) != known:
            raise LayoutUnclear(f"{name} has two lines of {number[:100]}; expected one")
    return told


def _of(told: Mapping[str, dict[str, str]], name: str, pictures: Mapping[str, str]) -> dict[str, str]:
    """What a file tells of pictures that are here."""
    return {each: words for each, words in told.get(name, {}).items() if each in pictures}
