"""How ganctl prints: data on stdout, as a table or as JSON; all else on stderr.

Nothing else here or in `workers/commands` writes to a terminal (ruff's banned-api sees to that), so that whatever
strangers wrote is shown as plain text, and no URL tells a password. Colours and cursor movements are drawn by rich.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import NoArgsIsHelpError

from ganservice.addresses import hide_secrets
from ganservice.plain_text import plain_line, plain_text

if TYPE_CHECKING:
    from rich.text import Text

    from ganservice.documents import LinkDocument, UserDocument
    from ganservice.documents.base import Section

output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Form of the output."
)


def say(text: object) -> None:
    """A word to the user, one line on stderr."""
    click.echo(plain_line(text), err=True)


def say_lines(text: str) -> None:
    """Words to the user that stand on lines of their own, on stderr."""
    click.echo(plain_text(text), err=True)


def say_mistake(error: click.ClickException) -> None:
    """What click finds wrong with a command as it was typed, in one line on stderr; of what is too long the beginning.

    A command that is nothing without further words is answered with its help.
    """
    from ganservice.mistakes import MAX_LINE_CHARS
    from ganservice.model import cut

    if isinstance(error, NoArgsIsHelpError):
        say_lines(error.format_message())
        return
    context = error.ctx if isinstance(error, click.UsageError) else None
    advice = f"; see: {context.command_path} --help" if context else ""
    say(f"error: {cut(error.format_message().rstrip('.'), MAX_LINE_CHARS)}{advice}")


def confirm(question: str) -> None:
    """Ask on stderr; anything but a yes ends the command."""
    click.confirm(plain_line(question), abort=True, err=True)


def print_line(text: object = "") -> None:
    """One line on stdout."""
    click.echo(plain_line(text))


def print_lines(text: str) -> None:
    """A text of several lines on stdout, such as a spec."""
    click.echo(plain_text(text))


def print_json(value: Any) -> None:
    """A value on stdout, in letters of ASCII, so that whatever it holds a terminal has nothing to obey."""
    click.echo(json.dumps(_without_secrets(value), indent=2, default=str))


def print_json_line(value: Any) -> None:
    """A value on one line of stdout, for what goes on to come."""
    click.echo(json.dumps(_without_secrets(value), default=str))


def print_document(document: "Section") -> None:
    """A document on stdout."""
    print_json(document.plain())


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return hide_secrets(value)
    if isinstance(value, dict):
        return {key: _without_secrets(each) for key, each in value.items()}
    return [_without_secrets(each) for each in value] if isinstance(value, list | tuple) else value


def print_links(document: "LinkDocument", output: str) -> None:
    """Links, one a line, or as JSON: the one output whose URLs let in whoever has them."""
    if output == "json":
        click.echo(json.dumps(document.plain(), indent=2))
        return
    for section in document.links:
        # A signed link is all ASCII.
        click.echo(ascii(section.link)[1:-1])


def print_credentials(credentials: "Sequence[str] | UserDocument") -> None:
    """What lets a user in, each on a line or as JSON: the one output that tells passwords, besides links."""
    if isinstance(credentials, Sequence):
        click.echo("\n".join(ascii(value)[1:-1] for value in credentials))
    else:
        click.echo(json.dumps(credentials.plain(), indent=2))


def print_rows(rows: Sequence[dict[str, Any]], *, in_capitals: bool = True) -> None:
    """Rows with the same keys, as a table whose heads are the keys, in capitals unless they are ids."""
    for line in table_lines(rows, in_capitals=in_capitals):
        click.echo(line)


def table_lines(rows: Sequence[dict[str, Any]], width: int | None = None, *, in_capitals: bool = True) -> list[str]:
    """The lines of a table of rows with the same keys, which are its heads; where one is longer than `width`, what
    stands last in it comes on a line of its own."""
    if not rows:
        return []
    cells = [
        [plain_line(name).upper() if in_capitals else plain_line(name) for name in rows[0]],
        *[["" if value is None else plain_line(value) for value in row.values()] for row in rows],
    ]
    widths = [max(_width(line[index]) for line in cells) for index in range(len(cells[0]))]
    lines = []
    for line in cells:
        padded = [_padded(cell, each) for cell, each in zip(line, widths, strict=True)]
        whole = "  ".join(padded).rstrip()
        if width is None or _width(whole) <= width:
            lines.append(whole)
            continue
        lines.append("  ".join(padded[:-1]).rstrip())
        if len(lines) > 1 and line[-1]:  # what has a line of its own has no head
            lines.append(f"  {line[-1]}")
    return lines


def screen() -> os.terminal_size | None:
    """The size of the terminal that stdout is; None of what is none, or cannot be redrawn."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return None
    return shutil.get_terminal_size()


def redraw(lines: Sequence[str], columns: int, *, clears: bool) -> None:
    """Lines, plain already, in the place of what the terminal shows; the first time it is cleared."""
    shown = "".join(f"{line[:columns]}\x1b[K\n" for line in lines)
    click.echo(("\x1b[2J" if clears else "") + "\x1b[H" + shown + "\x1b[J", nl=False, color=True)


def draws_lines() -> bool:
    """Whether stderr is a terminal on which a line can be drawn again."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def redraw_line(text: object) -> None:
    """A line on the terminal that stderr is, in the place of the one that was drawn so before."""
    columns = shutil.get_terminal_size().columns
    click.echo(f"\r{plain_line(text)[: columns - 1]}\x1b[K", err=True, nl=False, color=True)


def clear_line() -> None:
    """Take away what `redraw_line` has drawn."""
    click.echo("\r\x1b[K", err=True, nl=False, color=True)


def print_fields(fields: dict[str, Any]) -> None:
    """Fields of one thing, a line each; those that are None are left out."""
    rows = {name: value for name, value in fields.items() if value is not None}
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        print_line(f"{name.ljust(width)}  {value}")


def flush() -> None:
    """Write what is not written yet. Raises OSError."""
    sys.stdout.flush()


def discard() -> None:
    """Have nothing more written to stdout, not even at exit: it takes no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def drawn(text: object, style: str = "") -> "Text":
    """A text for rich to draw: of its own it has nothing that a terminal obeys."""
    from rich.text import Text  # what draws nothing needs none of it

    return Text(plain_line(text), style)


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))


def _width(text: str) -> int:
    """Columns that a text takes: two for a wide letter, none for one that is drawn over another."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # the same

    return cell_len(text)


def ago(at: float | None) -> str:
    """How long since a Unix time, in one unit."""
    return "" if at is None else span(time.time() - at)


def counted(number: int, name: str) -> str:
    """A number of things, which have a plural in -s."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    left = max(0, round(seconds))
    for unit, size, smaller, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1)):
        if left >= size:
            return f"{left // size}{unit} {left % size // part}{smaller}"
    return f"{left}s"
