"""logs, events: what a job's attempts said and what happened to it, as it comes."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import click

from ganservice.cli.output import output_option, print_json_line, print_line
from ganservice.cli.reference import await_job, find_job, job_argument, patiently
from ganservice.job import Event, LogLine
from ganservice.queue import JobQueue
from ganservice.settings import Settings

E = TypeVar("E", Event, LogLine)
BLOCK_MS = 1000

follow_option = click.option("-f", "--follow", is_flag=True, help="Go on until the job is finished.")


@click.command("events")
@job_argument
@follow_option
@output_option
def events_command(reference: str, follow: bool, output: str) -> None:
    """Print what happened to a job: when, in which attempt, what."""
    queue = JobQueue(Settings())
    job_id = await_job(queue, reference) if follow else find_job(queue, reference)
    for event in _entries(queue, job_id, follow, queue.events):
        if output == "json":
            print_json_line(event.model_dump(mode="json"))
            continue
        detail = " ".join(f"{name}={_plain(value)}" for name, value in event.detail.items() if value not in ("", None))
        print_line(f"{_clock(event.at)}  {event.attempt:>2}  {event.kind:<20}  {detail}".rstrip())


@click.command("logs")
@job_argument
@follow_option
@output_option
def logs_command(reference: str, follow: bool, output: str) -> None:
    """Print what a job's attempts logged."""
    queue = JobQueue(Settings())
    job_id = await_job(queue, reference) if follow else find_job(queue, reference)
    for line in _entries(queue, job_id, follow, queue.logs):
        if output == "json":
            print_json_line(line.model_dump(mode="json"))
        else:
            print_line(f"{_clock(line.at)}  {line.attempt:>2}  {line.text}")


def _entries(
    queue: JobQueue, job_id: str, follow: bool, read: Callable[[str, str, int | None], Sequence[E]]
) -> Iterator[E]:
    after = "-"
    while True:
        # Whether the job is finished is asked before reading: what it said last is not missed.
        last = not follow or patiently(lambda: queue.get(job_id)).state.is_final
        entries = patiently(partial(read, job_id, after, None if last else BLOCK_MS), math.inf if follow else 0.0)
        yield from entries
        if last:
            return
        after = entries[-1].id if entries else after


def _plain(value: object) -> object:
    return f"{value:.3g}" if isinstance(value, float) else value


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
