"""cancel, retry, set-priority: what users change of jobs."""

from collections.abc import Callable, Collection
from typing import Any

import click

from ganservice.cli.output import output_option, say
from ganservice.cli.reference import find_jobs, jobs_argument
from ganservice.cli.several import Task
from ganservice.documents import CancelDocument, RetryDocument, SetPriorityDocument
from ganservice.job import State
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import PRIORITIES

LIVE = tuple(state for state in State if not state.is_final)
RETRIED = (State.FAILED, State.CANCELLED)


@click.command("cancel")
@jobs_argument
@click.option("--now", is_flag=True, help="End them at once, without a last checkpoint.")
@output_option
def cancel_command(references: tuple[str, ...], user: str | None, all_users: bool, now: bool, output: str) -> None:
    """Cancel jobs: a running one stops after a checkpoint. A sweep is cancelled with all its jobs.

    A pattern, such as 'fashion*', matches those that wait or run.
    """
    queue = _queue()
    find_jobs_of_it = _finder(queue, LIVE, user, all_users)
    sweep_ids = set[str]()

    def find(reference: str) -> list[str]:
        if sweep_id := queue.find_sweep(reference):
            sweep_ids.add(sweep_id)
            return [sweep_id]
        return find_jobs_of_it(reference)

    def cancel(job_id: str) -> dict[str, Any]:
        if job_id in sweep_ids:
            return _cancel_sweep(queue, job_id)
        state = queue.cancel(job_id, now=now)
        if state is State.RUNNING:
            after = ", after a checkpoint" if queue.get(job_id).training else ""
            say(f"{job_id} stops within seconds{after}; `ganctl wait {job_id}` tells when")
        elif state is State.CANCELLED:
            say(f"{job_id} is cancelled; `ganctl retry {job_id}` takes it up again")
        else:
            say(f"{job_id} has {state} already")
        return {"state": state}

    Task(find, cancel, CancelDocument).run(references, output)


def _cancel_sweep(queue: JobQueue, sweep_id: str) -> dict[str, Any]:
    state = queue.cancel_sweep(sweep_id)
    if state is State.RUNNING:
        say(f"{sweep_id}: the dispatcher cancels all its jobs; `ganctl wait {sweep_id}` tells when")
    else:
        say(f"{sweep_id} is over already: {state}")
    return {"state": state}


@click.command("retry")
@jobs_argument
@output_option
def retry_command(references: tuple[str, ...], user: str | None, all_users: bool, output: str) -> None:
    """Put failed or cancelled jobs back into the queue; each goes on from its last checkpoint.

    A pattern matches failed and cancelled ones.
    """
    queue = _queue()

    def retry(job_id: str) -> dict[str, Any]:
        queue.retry(job_id)
        say(f"{job_id} is queued again; next: ganctl watch {job_id}")
        return {"state": State.QUEUED}

    Task(_finder(queue, RETRIED, user, all_users), retry, RetryDocument).run(references, output)


@click.command("set-priority")
@jobs_argument
@click.argument("priority", metavar="PRIORITY")
@output_option
def set_priority_command(
    references: tuple[str, ...], priority: str, user: str | None, all_users: bool, output: str
) -> None:
    """Give jobs another priority, 0 to 100, or low, normal or high; higher goes first.

    It decides when a queued job is started, and a running one, should it come back to the queue. A pattern matches
    those that wait or run.
    """
    number, queue = _priority(priority), _queue()

    def prioritise(job_id: str) -> dict[str, Any]:
        before = queue.prioritise(job_id, number)
        say(f"{job_id} has priority {number}{', as before' if before == number else f', and had {before}'}")
        return {"before": before, "priority": number}

    Task(_finder(queue, LIVE, user, all_users), prioritise, SetPriorityDocument).run(references, output)


def _priority(text: str) -> int:
    if text in PRIORITIES:
        return PRIORITIES[text]
    if not text.isdecimal() or not 0 <= int(text[:4]) <= 100:
        raise click.BadParameter(f"{text!r}: expected 0 to 100, or low, normal or high", param_hint="PRIORITY")
    return int(text)


def _queue() -> JobQueue:
    return JobQueue(Settings())


def _finder(
    queue: JobQueue, states: Collection[State], user: str | None, all_users: bool
) -> Callable[[str], list[str]]:
    return lambda reference: find_jobs(queue, reference, states, user, all_users)
