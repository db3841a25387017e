"""Classes in the names of files, before a number or behind it: cat.0.jpg, American_bulldog_12.png, 7_frog.png."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from workers.gan.data.splits import Place

DIGITS, BETWEEN = "0123456789", " -_.#()[]"


def labels_of_names(places: Sequence[Place]) -> dict[str, str]:
    """The class in the name of each picture that has one there."""
    found = ((place.name, _label(PurePosixPath(place.name).stem)) for place in places)
    return {name: label for name, label in found if label is not None}


def hint_of_names(places: Sequence[Place]) -> str | None:
    """A line about the classes that names seem to tell of all pictures to train on, of two and more each."""
    trained = [place for place in places if place.part == "train"]
    labels = labels_of_names(trained)
    apart = len(set(labels.values()))
    if len(labels) < len(trained) or not 2 <= apart <= len(labels) / 2:
        return None
    name, label = next(iter(labels.items()))
    return f"labels: file names seem to tell {apart:,} classes, such as {label} of {name}; --labels names takes them"


def _label(stem: str) -> str | None:
    core = stem.rstrip(BETWEEN)
    before = core.rstrip(DIGITS)
    if before != core and before[:1].isalpha():
        return before.rstrip(BETWEEN)
    behind = stem.lstrip(DIGITS)
    label = behind.strip(BETWEEN)
    is_whole = behind != stem and behind[:1] in BETWEEN and label[:1].isalpha()
    return label if is_whole and not any(map(str.isdigit, re.split(r"[\W_]+", label))) else None
