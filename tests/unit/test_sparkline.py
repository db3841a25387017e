"""Sparklines: the course of a number in a few letters."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ganservice.cli.sparkline import ASCII_BARS, BARS, sparkline


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([], 8, ""), ([1.0], 8, ""), ([1.0, 2.0], 0, ""), ([1.0, 2.0], 8, "▁█"), ([3.0, 3.0, 3.0], 8, "▁▁▁"),
        (list(range(8)), 8, "▁▂▃▄▅▆▇█"), ([0, 0, 8, 8], 2, "▁█"), ([1.0, math.nan, math.inf, 2.0], 8, "▁█"),
    ],
)  # fmt: skip
def test_a_course_is_drawn_from_its_least_to_its_greatest(values: list[float], width: int, expected: str) -> None:
    assert sparkline(values, width) == expected


def test_values_beyond_all_bounds_are_left_out() -> None:
    assert sparkline([1e308, 1e308, 1.0, 2.0], 3) == "▁█"


@given(some.lists(some.floats(), max_size=200), some.integers(-1, 60), some.sampled_from([BARS, ASCII_BARS]))
def test_any_course_fits(values: list[float], width: int, bars: str) -> None:
    drawn = sparkline(values, width, bars)
    assert len(drawn) <= max(0, width)
    assert set(drawn) <= set(bars)
