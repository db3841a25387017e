"""Measures two things in turn and prints the ratio pair by pair."""

import statistics
from collections.abc import Callable


def compare(name: str, ours: Callable[[], float], theirs: Callable[[], float], pairs: int = 5) -> None:
    """Each callable returns a figure; the first pair warms up and is not counted."""
    figures = [(ours(), theirs()) for _ in range(pairs + 1)][1:]
    ratios = sorted(mine / other for mine, other in figures)
    mine, other = (statistics.median(column) for column in zip(*figures, strict=True))
    print(
        f"  {name}: {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f}; "
        f"medians {mine:,.4g} and {other:,.4g})"
    )
