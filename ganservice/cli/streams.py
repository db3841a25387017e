"""logs, events: what a job's attempts said and what happened to it, as it comes."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import click

from ganservice.cli.output import output_option, print_json_line, print_line
from ganservice.cli.reference import await_job, find_job, job_argument, patiently
from ganservice.cli.spans import Span
from ganservice.documents import EventDocument, LogDocument
from ganservice.events import sentence
from ganservice.job import Event, EventKind, LogLine
from ganservice.queue import JobQueue
from ganservice.settings import Settings

E = TypeVar("E", Event, LogLine)
BLOCK_MS = 1000
# What can be asked for: all that a job's streams hold.
MOST_ENTRIES = 1_000_000


@dataclass(frozen=True)
class Wanted:
    """The entries of a stream that a user wants."""

    tail: int | None  # of those that are there already
    span_s: float | None  # before now, in which they came
    attempt: int | None
    kinds: tuple[str, ...] = ()

    def of(self, entries: Iterable[E], now_s: float) -> list[E]:
        """The entries that are wanted, but for `tail`; `now_s` is by the clock that gave them their times."""
        earliest = now_s - self.span_s if self.span_s is not None else -math.inf
        return [entry for entry in entries if entry.at >= earliest and self._is_wanted(entry)]

    def _is_wanted(self, entry: Event | LogLine) -> bool:
        if self.attempt is not None and entry.attempt != self.attempt:
            return False
        return not self.kinds or (isinstance(entry, Event) and entry.kind in self.kinds)

    def last_of(self, entries: Sequence[E]) -> Iterable[E]:
        """The last of them, as many as are wanted."""
        return entries if self.tail is None else deque(entries, maxlen=self.tail)


def stream_options(function: Any) -> Any:
    """Add to a command what parts of a stream can be asked for."""
    for option in (
        click.option("--attempt", type=click.IntRange(0), metavar="N", help="Only this attempt's."),
        click.option("--since", "since_s", type=Span(), metavar="SPAN", help="Only what is no older: 10m, 2h."),
        click.option("--tail", type=click.IntRange(0, MOST_ENTRIES), metavar="N", help="Only so many, the last."),
        click.option("-f", "--follow", is_flag=True, help="Go on until the job is finished."),
    ):
        function = option(function)
    return function


@click.command("events")
@job_argument
@click.option(
    "--kind",
    "kinds",
    type=click.Choice([kind.value for kind in EventKind]),
    metavar="KIND",
    multiple=True,
    help="Only these; repeatable.",
)
@stream_options
@output_option
def events_command(
    reference: str,
    kinds: tuple[str, ...],
    follow: bool,
    tail: int | None,
    since_s: float | None,
    attempt: int | None,
    output: str,
) -> None:
    """Print what happened to a job: when, in which attempt, what.

    A long text ends in dots; `-o json` has the whole of it.
    """
    queue = JobQueue(Settings())
    job_id = await_job(queue, reference) if follow else find_job(queue, reference)
    for event in _entries(queue, job_id, follow, queue.events, Wanted(tail, since_s, attempt, kinds)):
        if output == "json":
            print_json_line(EventDocument.of(job_id, event).plain())
        else:
            print_line(f"{_clock(event.at)}  {event.attempt:>2}  {event.kind:<20}  {sentence(event)}".rstrip())


@click.command("logs")
@job_argument
@stream_options
@output_option
def logs_command(
    reference: str, follow: bool, tail: int | None, since_s: float | None, attempt: int | None, output: str
) -> None:
    """Print what a job's attempts logged."""
    queue = JobQueue(Settings())
    job_id = await_job(queue, reference) if follow else find_job(queue, reference)
    for line in _entries(queue, job_id, follow, queue.logs, Wanted(tail, since_s, attempt)):
        if output == "json":
            print_json_line(LogDocument.of(job_id, line).plain())
        else:
            print_line(f"{_clock(line.at)}  {line.attempt:>2}  {line.text}")


def _entries(
    queue: JobQueue, job_id: str, follow: bool, read: Callable[[str, str, int | None], Sequence[E]], wanted: Wanted
) -> Iterator[E]:
    deadline = math.inf if follow else 0.0
    after, now_s = "-", patiently(queue.now_s, deadline)
    while True:
        # Whether the job is finished is asked before reading: what it said last is not missed.
        last = not follow or patiently(lambda: queue.get(job_id)).state.is_final
        entries = patiently(partial(read, job_id, after, None if last else BLOCK_MS), deadline)
        found = wanted.of(entries, now_s)
        yield from wanted.last_of(found) if after == "-" else found
        if last:
            return
        after = entries[-1].id if entries else after


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
