"""Sparklines: the course of a number in one line of letters. Pure."""

import itertools
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
# Of terminals that have no such letters.
ASCII_BARS = "_.:-=+*#"
# Greater values, and what is no number, are left out.
MOST = 1e200


def sparkline(values: Sequence[float], width: int, bars: str = BARS) -> str:
    """The values, from the least to the greatest of them, in at most `width` letters; each is the mean of its share."""
    finite = [value for value in values if abs(value) < MOST]
    if width < 1 or len(finite) < 2:
        return ""
    width = min(width, len(finite))
    edges = [round(place * len(finite) / width) for place in range(width + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    if high == low:
        return bars[0] * width
    return "".join(bars[min(len(bars) - 1, int((mean - low) / (high - low) * len(bars)))] for mean in means)
