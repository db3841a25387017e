"""How users refer to jobs: an id, the beginning of one, a name, `@last`, or a pattern that many match."""

import math
import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import click

from ganservice.cli.completion import JobReference
from ganservice.cli.output import say
from ganservice.errors import BrokerOutage, JobNotFound, RequestError
from ganservice.job import State
from ganservice.job_list import JobList, Wanted
from ganservice.mistakes import one_line
from ganservice.model import cut
from ganservice.patience import pauses

T = TypeVar("T")
# Somebody looks on: what is back is noticed within this time.
LONGEST_PAUSE_S = 5.0
# What makes a pattern of a word; no id and no name has them.
MARKS = "*?["
# Jobs that one command takes at once.
MOST_JOBS = 1_000


def job_argument(function: Any) -> Any:
    """Add the JOB argument to a command."""
    return click.argument("reference", metavar="JOB", type=JobReference())(function)


def jobs_argument(function: Any) -> Any:
    """Add JOB... to a command, and whose jobs a pattern among them matches; `find_jobs` finds them."""
    for option in (
        click.option("--all-users", is_flag=True, help="A pattern matches everybody's jobs, not only your own."),
        click.option("--user", metavar="NAME", help="A pattern matches this user's jobs, not your own."),
        click.argument("references", metavar="JOB...", type=JobReference(), nargs=-1, required=True),
    ):
        function = option(function)
    return function


def is_pattern(reference: str) -> bool:
    """Whether a word means all jobs of a pattern."""
    return any(mark in reference for mark in MARKS)


def find_jobs(
    queue: JobList, reference: str, states: Collection[State], user: str | None = None, all_users: bool = False
) -> list[str]:
    """The ids that a word means: of a pattern those of one's own jobs in these states, or another's, or everybody's.

    Raises:
        JobNotFound: there is none.
        RequestError: more match than one command takes, or both a user and all of them are meant.
    """
    if user and all_users:
        raise RequestError("--all-users: leave it or --user out")
    if not is_pattern(reference):
        return [find_job(queue, reference)]
    whose = None if all_users else user or queue.me()
    found = queue.matching(Wanted(pattern=reference, user=whose, states=frozenset(states)), MOST_JOBS + 1)
    shown = one_line(cut(reference, 100))
    if len(found) > MOST_JOBS:
        raise RequestError(f"{shown}: matches more than {MOST_JOBS:,} jobs; give more of the names")
    if not found:
        in_state = "" if set(states) == set(State) else f"{' or '.join(states)} "
        by = f" of {whose}; --all-users takes everybody's" if whose else ""
        raise JobNotFound(f"{shown}: matches no {in_state}job{by}")
    return [heading.id for heading in found]


def patiently(ask: Callable[[], T], deadline: float = math.inf) -> T:
    """The broker's answer, asked for again through an outage of whatever kind, until the monotonic time `deadline`.

    For commands that wait for a job: an outage that the job survives is no reason to stop waiting.

    Raises:
        BrokerOutage: it lasts beyond the deadline.
    """
    told = None
    for pause_s in pauses(longest_s=LONGEST_PAUSE_S):
        try:
            return ask()
        except BrokerOutage as outage:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise
            if outage.kind is not told:
                say(f"{outage}; trying again")
            told = outage.kind
            time.sleep(min(pause_s, left_s))
    raise AssertionError("pauses have no end")


def await_job(queue: JobList, reference: str, deadline: float = math.inf) -> str:
    """As `find_job`, for commands that wait: through an outage, as `patiently`."""
    return patiently(lambda: find_job(queue, reference), deadline)


def find_job(queue: JobList, reference: str) -> str:
    """The id of the job a user means, said aloud when it was not spelled out."""
    job_id = queue.resolve(reference)
    if job_id != reference:
        say(f"{reference} is {job_id}")
    return job_id
