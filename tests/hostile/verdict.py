"""What must hold of every command, whatever it was given."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from ganservice.plain_text import OBEYED
from tests.hostile.hand import LIMIT_S, Given

# The codes that the reference names, and those of `wait`.
CODES = {0, 1, 2, 3, 4, 5, 100, 101, 102, 103}
# Told beside an error, or before it: documented, each on a line of its own.
BESIDES = re.compile(
    r"\s*$|.* is [a-z0-9-]+$|.*passed over|.*left out|.*files ignored|.*cannot be shown"
    r"|.*: made anew|.*next: ganctl|.*is queued again|.*is not published|not shown: |.* WARNING |.*trying "
    # What an import says of a source and its pictures, one of which is then refused.
    r"|(?:links|names|folders|splits|classes|labels|tars|tables|ignored): "
    r"|(?:goes on|shapes|alpha|sizes|frames|values|duplicates): "
)
LONGEST_LINE, LONGEST_ERROR = 4_000, 2_600
# Beyond what a process has loaded; Pillow's own limit lets a picture take about a third of it.
MOST_MEMORY_MB = 2_500


def problems(given: Given, secrets: Iterable[str], refused: bool | None) -> Iterator[str]:
    """What is wrong with how a command ended; `refused` says whether it must have been, where that is known."""
    printed = given.stdout + given.stderr
    if "Traceback" in printed:
        yield "a traceback"
    if obeyed := {letter for letter in printed if letter not in "\n\t" and unicodedata.category(letter) in OBEYED}:
        yield f"letters that a terminal obeys: {''.join(sorted(obeyed))!a}"
    if any(secret in printed for secret in secrets):
        yield "a secret is told"
    if given.code not in CODES:
        yield f"the exit code {given.code}"
    if refused is not None and given.is_refused != refused:
        yield "it is done, and should be refused" if refused else "it is refused, and should be done"
    if given.code in range(1, 100):
        yield from _error_problems(given.stderr)
    if given.seconds > LIMIT_S:
        yield f"it takes {given.seconds:.0f} s"
    if given.peak_mb > MOST_MEMORY_MB:
        yield f"it takes {given.peak_mb:,.0f} MB"


def _error_problems(stderr: str) -> Iterator[str]:
    lines = stderr.rstrip("\n").split("\n")
    errors = [line for line in lines if line.startswith(("error: ", "Error: "))]
    if len(errors) != 1 or lines[-1] != errors[0]:
        yield f"{len(errors)} lines begin with error, the last of {len(lines)} should"
    if others := [line for line in lines if line not in errors and not BESIDES.match(line)]:
        yield f"another line on stderr: {others[0][:200]}"
    if any(len(line) > LONGEST_ERROR for line in errors) or any(len(line) > LONGEST_LINE for line in lines):
        yield f"a line of {max(map(len, lines)):,} letters"
