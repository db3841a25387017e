"""delete, gc: what is deleted of jobs, and of all that nobody refers to."""

import functools
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import confirm, counted, output_option, print_document, print_rows, say
from ganservice.cli.reference import find_jobs, is_pattern, jobs_argument
from ganservice.cli.several import Task
from ganservice.cli.spans import Span
from ganservice.deletion import delete_job
from ganservice.documents import DeleteDocument, GarbageDocument
from ganservice.errors import IllegalTransition, JobNotFound, RequestError
from ganservice.garbage import Why
from ganservice.garbage_collection import Garbage, delete_garbage, find_garbage, policy_of
from ganservice.job import State
from ganservice.job_search import known_job
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.store_kinds import Amount, Kind, place_of

FINISHED = tuple(state for state in State if state.is_final)
yes_option = click.option("--yes", is_flag=True, help="Do not ask before deleting.")


@click.command("delete")
@jobs_argument
@yes_option
@output_option
def delete_command(references: tuple[str, ...], user: str | None, all_users: bool, yes: bool, output: str) -> None:
    """Delete finished jobs, with all that they stored; a sweep that is over with all its jobs.

    One that has left the queue is named by its whole id; `ganctl list --stored` prints them. A pattern matches finished
    jobs of the queue.
    """
    settings = Settings()
    queue, store = JobQueue(settings), ArtifactStore(settings)
    sweep_ids = set[str]()

    @functools.cache  # what is deleted is what was asked about
    def find(reference: str) -> list[str]:
        if is_pattern(reference):
            return find_jobs(queue, reference, FINISHED, user, all_users)
        if sweep_id := queue.find_sweep(reference):
            if queue.sweep_field(sweep_id, "state") not in FINISHED:  # before any of its jobs is deleted
                raise IllegalTransition(f"{sweep_id} is not over; `ganctl cancel {sweep_id}` first")
            sweep_ids.add(sweep_id)
            # Its jobs first: what is interrupted is found again by the sweep.
            return [*queue.sweep_jobs(sweep_id), sweep_id]
        return [known_job(queue, reference)]

    def delete(job_id: str) -> dict[str, Any]:
        if job_id in sweep_ids:
            queue.delete_sweep(job_id)
            say(f"deleted {job_id}")
            return {"objects": 0, "bytes": 0}
        amount = delete_job(queue, store, job_id)
        say(f"deleted {job_id}: {_text(amount)}")
        return {"objects": amount.objects, "bytes": amount.bytes}

    job_ids = dict.fromkeys(job_id for reference in references for job_id in _found(find, reference))
    if job_ids:
        confirm_at_terminal(f"Delete {', '.join(job_ids)}, with all that the store holds of it?", yes)
    Task(find, delete, DeleteDocument).run(references, output)


def _found(find: Callable[[str], list[str]], reference: str) -> list[str]:
    """The ids that a word means; of one that means none is told later."""
    try:
        return find(reference)
    except (JobNotFound, RequestError):
        return []


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option(
    "--older-than", "older_than_s", type=Span(), metavar="SPAN", help="Instead of GANSERVICE_KEEP_UNREFERENCED_S: 30d."
)
@click.option("--data", "superseded_data", is_flag=True, help="Also data sets with a newer one of their name.")
@yes_option
@output_option
def gc_command(dry_run: bool, older_than_s: float | None, superseded_data: bool, yes: bool, output: str) -> None:
    """Delete from the store what nobody refers to, and print what it is.

    That is what jobs left that are gone from the queue, but for published generators; checkpoints of jobs that failed
    or were cancelled; older report pages; unfinished uploads; and what no job names. What lies there for less than
    GANSERVICE_GC_GRACE_S always stays.
    """
    settings = Settings()
    queue, store = JobQueue(settings), ArtifactStore(settings)
    garbage = find_garbage(queue, store, policy_of(settings, older_than_s, superseded_data=superseded_data))
    if output != "json":
        print_rows(_sums(garbage))
    for line in garbage.passed_over:
        say(line)
    if not garbage.objects and not garbage.uploads:
        say("nothing to delete")
    elif not dry_run:
        confirm_at_terminal("Delete all this?", yes)
        say(f"deleted {_text(delete_garbage(queue, store, garbage))}")
    if output == "json":
        print_document(GarbageDocument.model_validate({"deleted": not dry_run, "garbage": _each(garbage)}))


def confirm_at_terminal(question: str, yes: bool) -> None:
    """Ask whoever sits at a terminal, unless he has said yes already.

    Raises:
        Abort: he has not.
        RequestError: nobody sits there.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise RequestError("this deletes for good, and nobody is there to be asked; add --yes")
    confirm(question)


def _each(garbage: Garbage) -> list[dict[str, Any]]:
    objects = [
        {"key": found.object.key, "bytes": found.object.bytes, "why": found.why.value} for found in garbage.objects
    ]
    return [*objects, *({"key": upload.key, "bytes": 0, "why": "an unfinished upload"} for upload in garbage.uploads)]


def _sums(garbage: Garbage) -> list[dict[str, Any]]:
    sums = defaultdict[tuple[Kind, Why], Amount](Amount)
    for found in garbage.objects:
        sums[place_of(found.object).kind, found.why].add(found.object)
    rows: list[dict[str, Any]] = [
        {"kind": kind, "objects": amount.objects, "bytes": f"{amount.bytes:,}", "why": why}
        for (kind, why), amount in sorted(sums.items())
    ]
    if garbage.uploads:
        rows.append({"kind": "uploads", "objects": len(garbage.uploads), "bytes": "", "why": "never finished"})
    return rows


def _text(amount: Amount) -> str:
    return f"{counted(amount.objects, 'object')}, {amount.bytes:,} bytes"
