"""What is said of the pictures of an import: whatever was done to some of them, and the same ones twice."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganservice.mistakes import brief
from ganservice.recipe import Sides
from workers.gan.data.decoding import Mark, Range
from workers.gan.data.import_options import Options
from workers.gan.data.layout import Layout

LEVELS = 256
# Of 255: where the uppermost bit is used nowhere, bits below the 8 that are left hold most of the picture.
DARK = 128


def lines_about(layout: Layout, records: NDArray[Any], first: NDArray[np.int64], options: Options) -> list[str]:
    """Lines about the pictures of a layout, by their records; `first` is the first place with the same pixels, -1 of
    pictures that could not be read."""
    return [*_marked(layout, records, options), *_deep(layout, records, options), *_same(layout, first, options)]


def range_of(records: NDArray[Any]) -> Range:
    """The smallest and the largest value of pictures with more than 8 bits."""
    return Range(float(records["low"].min()), float(records["high"].max()))


def _name(layout: Layout, place: int) -> str:
    return brief(layout.files[place].name)


def _marked(layout: Layout, records: NDArray[Any], options: Options) -> Iterator[str]:
    target = options.target
    sentences = {
        Mark.MISSHAPEN: ("shapes", _other_shape(target.sides), _fit(options)),
        Mark.TRANSPARENT: ("alpha", "are transparent in part", _alpha(options)),
        Mark.ENLARGED: ("sizes", f"are smaller than {target.size} px", "they are enlarged"),
        Mark.FURTHER: ("frames", "hold further ones", "the first of each is taken"),
    }
    for mark, (subject, state, consequence) in sentences.items():
        places = np.flatnonzero(records["marks"] & mark)
        if len(places):
            example = _name(layout, places[0])
            yield f"{subject}: {len(places):,} of {len(records):,} pictures {state}, such as {example}: {consequence}"
    if target.channels == 4 and options.advises and not (records["marks"] & Mark.TRANSPARENT).any():
        yield "alpha: no picture is transparent: --channels 4 has only given each an alpha that says nothing"


def _other_shape(sides: Sides) -> str:
    if sides.width == sides.height:
        return "are no squares"
    return f"are of other proportions than {sides.width} wide and {sides.height} high"


def _fit(options: Options) -> str:
    """What becomes of pictures of other proportions than wanted."""
    target = options.target
    match target.fit:
        case "crop":
            whole = "--fit pad or stretch keeps the whole, and so does --size WIDTHxHEIGHT of their proportions"
            return "of each the centre is taken" + _advice(options, whole)
        case "pad":
            return f"around each lies {'nothing, transparent' if target.channels == 4 else target.ground}"
        case "stretch":
            return "they are stretched"


def _alpha(options: Options) -> str:
    if options.target.channels == 4:
        return "their alpha is kept"
    return f"they are laid on {options.target.ground}" + _advice(options, "--channels 4 keeps alpha")


def _advice(options: Options, text: str) -> str:
    return f"; {text}" if options.advises else ""


def _deep(layout: Layout, records: NDArray[Any], options: Options) -> Iterator[str]:
    """Lines about pictures of more than 8 bits."""
    marks = records["marks"]
    deep, beyond, halved = (np.flatnonzero(marks & mark) for mark in (Mark.DEEP, Mark.BEYOND, Mark.HALVED))
    if len(deep):
        own, asked = range_of(records[deep]), options.target.value_range
        what = f"values: {len(deep):,} of {len(records):,} pictures have more than 8 bits, reduced to {LEVELS} greys"
        if asked is not None:
            words = f", from {own.low:g} to {own.high:g}: {asked.low:g} has become 0 and {asked.high:g} 255"
        elif own.low < own.high:
            words = f": the smallest of all, {own.low:g}, has become 0, the largest, {own.high:g}, 255"
            words += _advice(
                options, "where what matters lies closer together, --range LOW HIGH gives all greys to that"
            )
        else:
            words = f": all are {own.low:g}, which has become 0" + _advice(options, "or give --range")
        others = f"; what is beyond, in {len(beyond):,} of them, has become the same" if len(beyond) else ""
        yield what + words + others
    elif options.target.value_range is not None:
        yield "values: no picture is grey with more than 8 bits: --range has changed nothing"
    if len(halved):
        largest = records["high"][halved].max()
        yield (
            f"values: {len(halved):,} of {len(records):,} pictures are in colour with 16 bits, such as "
            f"{_name(layout, halved[0])}: of each value the upper 8 are taken, {largest:g} of 255 at most"
            f"{'; that is dark: make pictures of 8 bits of them' if largest < DARK else ''}"
        )


def _same(layout: Layout, first: NDArray[np.int64], options: Options) -> Iterator[str]:
    """Lines about pictures that are the same as one before, pixel for pixel."""
    later = np.flatnonzero((first >= 0) & (first != np.arange(len(first))))
    if not len(later):
        return
    what_follows = "; they are left out" if options.skip_duplicates else ""
    what_follows = what_follows or _advice(options, "--skip-duplicates leaves them out")
    yield (
        f"duplicates: {len(later):,} of {len(first):,} pictures are the same as one before, pixel for pixel, such as "
        f"{_pair(layout, first, later)}{what_follows}"
    )
    labels = np.array([-1 if file.label is None else file.label for file in layout.files])
    is_test = np.array([file.split == "test" for file in layout.files])
    if len(other := later[labels[later] != labels[first[later]]]):
        yield f"duplicates: {len(other):,} are of another class than the first, such as {_pair(layout, first, other)}"
    if len(seen := later[is_test[later] & ~is_test[first[later]]]) and not options.skip_duplicates:
        yield (
            f"duplicates: WARNING: {len(seen):,} of {int(is_test.sum()):,} pictures that are held out are also trained "
            f"on, such as {_pair(layout, first, seen)}: what is measured on them tells nothing of pictures never seen"
        )


def _pair(layout: Layout, first: NDArray[np.int64], places: NDArray[np.int64]) -> str:
    return f"{_name(layout, places[0])} and {_name(layout, first[places[0]])}"
