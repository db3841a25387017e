"""Lengths of time as options."""

from typing import Any

import click

from ganservice.spans import span_s


class Span(click.ParamType[float]):
    """A length of time with its unit, in s."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read 30d, 12h, 90m or 45s."""
        try:
            return span_s(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
