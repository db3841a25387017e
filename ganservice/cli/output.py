"""How ganctl prints: data on stdout, as a table or as JSON; all else on stderr."""

import json
import time
from collections.abc import Sequence
from typing import Any

import click

output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Form of the output."
)


def say(text: str) -> None:
    """A word to the user, on stderr."""
    click.echo(text, err=True)


def print_json(value: Any) -> None:
    """A value on stdout."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_rows(rows: Sequence[dict[str, Any]], output: str) -> None:
    """Rows with the same keys, as JSON or as a table whose heads are the keys."""
    if output == "json":
        print_json(list(rows))
        return
    if not rows:
        return
    cells = [
        [str(name).upper() for name in rows[0]],
        *[["" if v is None else str(v) for v in r.values()] for r in rows],
    ]
    widths = [max(len(line[index]) for line in cells) for index in range(len(cells[0]))]
    for line in cells:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(text.rstrip())


def print_fields(fields: dict[str, Any]) -> None:
    """Fields of one thing, a line each; those that are None are left out."""
    rows = {name: value for name, value in fields.items() if value is not None}
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        click.echo(f"{name.ljust(width)}  {value}")


def ago(at: float | None) -> str:
    """How long since a Unix time, in one unit."""
    return "" if at is None else span(time.time() - at)


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    left = max(0, round(seconds))
    for unit, size, smaller, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1)):
        if left >= size:
            return f"{left // size}{unit} {left % size // part}{smaller}"
    return f"{left}s"
