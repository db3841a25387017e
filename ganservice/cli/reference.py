"""How users refer to jobs: an id, the beginning of one, or a name, which the shell completes; or a key of their own."""

import contextlib
import math
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ganservice.cli.output import say
from ganservice.errors import BrokerOutage, GanServiceError, RequestError
from ganservice.patience import pauses
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import JobSpec
from ganservice.submissions import check_key, once_key

T = TypeVar("T")
# Somebody looks on: what is back is noticed within this time.
LONGEST_PAUSE_S = 5.0
JOB_WORD = re.compile(r"[a-z0-9][a-z0-9-]*")
SUBMITTED_ALREADY = "this job was submitted before; nothing is submitted twice"


class JobReference(click.ParamType[str]):
    """A job as a user names it."""

    name = "job"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ids and names that begin with what was typed; nothing when there is no broker to ask."""
        del ctx, param
        items: dict[str, str] = {}
        with contextlib.suppress(GanServiceError):
            for job in JobQueue(Settings()).list_jobs():
                items[job.id] = job.state.value
                items.setdefault(job.name, "the newest of this name")
        # Into the line that the user is about to run goes nothing but what submitting makes: letters and digits.
        return [
            CompletionItem(word, help=text)
            for word, text in items.items()
            if word.startswith(incomplete) and JOB_WORD.fullmatch(word)
        ]


def job_argument(function: Any) -> Any:
    """Add the JOB argument to a command."""
    return click.argument("reference", metavar="JOB", type=JobReference())(function)


def once_options(function: Any) -> Any:
    """Add --idempotency-key and --once to a command that submits; `key_of` makes one key of both."""
    keyed = click.option(
        "--idempotency-key", metavar="KEY", callback=_key, help="A repeat with the same key gives the same job."
    )(function)
    return click.option(
        "--once", is_flag=True, help="Submit only if no job of just this spec is known; else give that one."
    )(keyed)


def key_of(spec: JobSpec, idempotency_key: str | None, once: bool) -> str | None:
    """The idempotency key of a submission: the user's key, or with `once` all that the spec says; else nothing.

    Raises:
        RequestError: both are asked for.
    """
    if idempotency_key and once:
        raise RequestError("--once: is a key of its own; leave it or --idempotency-key out")
    return once_key(spec) if once else idempotency_key


def _key(context: click.Context, parameter: click.Parameter, key: str | None) -> str | None:
    del context, parameter
    if key == "":
        raise RequestError("--idempotency-key: found nothing, expected a word")
    if key is not None:
        check_key(key)
    return key


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


def await_job(queue: JobQueue, reference: str, deadline: float = math.inf) -> str:
    """As `find_job`, for commands that wait: through an outage, as `patiently`."""
    return patiently(lambda: find_job(queue, reference), deadline)


def find_job(queue: JobQueue, reference: str) -> str:
    """The id of the job a user means, said aloud when it was not spelled out."""
    job_id = queue.resolve(reference)
    if job_id != reference:
        say(f"{reference} is {job_id}")
    return job_id
