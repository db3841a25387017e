"""Lengths of time as users write them."""

import re
from typing import Any

import click

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Span(click.ParamType[float]):
    """A length of time with its unit, in s."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read 30d, 12h, 90m or 45s."""
        match = re.fullmatch(r"(\d{1,6})([smhd])", str(value))
        if match is None:
            self.fail(f"{value!r}: expected a number with its unit, such as 45s, 90m, 12h or 30d", param, ctx)
        return float(match[1]) * UNITS_S[match[2]]
