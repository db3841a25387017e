"""list, show, wait, cancel, retry: jobs as they stand."""

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import (
    ago,
    output_option,
    print_fields,
    print_json,
    print_line,
    print_lines,
    print_rows,
    say,
    span,
)
from ganservice.cli.reference import await_job, find_job, job_argument, patiently
from ganservice.deletion import list_stored_jobs
from ganservice.errors import BrokerOutage, StoreOutage
from ganservice.evaluation import Evaluation, best_of
from ganservice.job import Health, Job, State
from ganservice.mistakes import one_line
from ganservice.quantities import texts
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Start
from ganservice.spec_file import dump_spec

# What `wait`, and `watch` at a job's end, tell a script.
EXIT_CODES = {State.SUCCEEDED: 0, State.FAILED: 100, State.CANCELLED: 103}
NOT_IN_TIME = 101
LOOK_S = 0.3
# Jobs that `list` shows unless it is asked for more.
LISTED = 100
# The word for the user who asks.
ME = "me"


@click.command("list")
@click.option("-s", "--state", "states", type=click.Choice([s.value for s in State]), multiple=True, help="Only these.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1_000_000), default=LISTED, show_default=True, help="So many, the newest."
)
@click.option("--user", metavar="NAME", help="Only this user's; `me` is yourself.")
@click.option("--stored", is_flag=True, help="Instead, jobs that have left the queue and not the store.")
@output_option
def list_command(states: tuple[str, ...], limit: int, user: str | None, stored: bool, output: str) -> None:
    """List jobs in the order in which they were submitted."""
    if stored:
        print_rows(_stored(Settings(), limit), output)
        return
    queue, wanted = JobQueue(Settings()), [State(state) for state in states] or list(State)
    if pause := queue.paused():
        say(f"the queue is {pause.text}; since {ago(pause.at)}; `ganctl resume` ends that")
    if user:
        _list_user(queue, queue.me() if user == ME else user, wanted, limit, output)
        return
    counts = queue.count_by_state()
    count = sum(counts[state] for state in wanted)
    is_cut = count > limit
    jobs = queue.newest(limit) if is_cut and not states else queue.list_jobs(wanted)[-limit:]
    _print_jobs(jobs, output)
    if is_cut:
        say(f"the newest {limit:,} of {count:,} jobs; --limit {count} shows all")
    elif len(jobs) < count:
        say(f"not shown: {count - len(jobs)} that another version of ganservice wrote")


def _stored(settings: Settings, limit: int) -> list[dict[str, Any]]:
    """A row for each job that only the store knows, those first that were written to last."""
    jobs = list_stored_jobs(JobQueue(settings), ArtifactStore(settings))
    return [
        {
            "id": job.id,
            "generator": "yes" if job.has_generator else "",
            "objects": job.objects,
            "bytes": job.bytes,
            "age": ago(job.modified_at),
        }
        for job in jobs[:limit]
    ]


def _list_user(queue: JobQueue, user: str, states: list[State], limit: int, output: str) -> None:
    jobs = [job for job in queue.list_jobs(states) if job.user == user]
    _print_jobs(jobs[-limit:], output)
    if len(jobs) > limit:
        say(f"the newest {limit:,} of {len(jobs):,} jobs of {user}; --limit {len(jobs)} shows all")


def _print_jobs(jobs: list[Job], output: str) -> None:
    if output == "json":
        print_json([job.model_dump(mode="json") for job in jobs])
    else:
        print_rows(list(_rows(jobs)), output)


def _rows(jobs: Iterable[Job]) -> Iterator[dict[str, Any]]:
    """Yield the row of each job; one that cannot be shown is named, and hides no other."""
    for job in jobs:
        try:
            yield _row(job)
        except (ArithmeticError, OSError, TypeError, ValueError) as error:
            say(one_line(f"{job.id} cannot be shown: {type(error).__name__}: {error}"))


def _row(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "user": job.user,
        "state": job.state,
        "priority": job.spec.priority,
        "progress": f"{job.share_done:.0%}" if job.training or job.state.is_final else "",
        "images/s": f"{job.images_per_s:,.0f}" if job.images_per_s else "",
        "left": span(job.left_s) if job.left_s is not None else "",
        "health": job.health if job.progress or job.health is not Health.OK else "",
        "quality": f"{job.evaluation.quality:.4g}" if job.evaluation else "",
        "attempt": job.attempt,
        "age": ago(job.submitted_at),
        "note": _note(job),
    }


def _note(job: Job) -> str:
    if job.state is State.RUNNING and job.cancel_requested:
        return "stopping"
    if job.waits_for:
        return f"waits for {job.waits_for}"
    if job.state is State.QUEUED and job.not_before and job.not_before > time.time():
        return f"again in {span(job.not_before - time.time())} after {job.reason}"
    if job.preparation:
        return job.preparation + (f" of {job.subject}" if job.subject else "")
    return job.message or (f"of {job.subject}" if job.subject else "")


@click.command("show")
@job_argument
@output_option
def show_command(reference: str, output: str) -> None:
    """Show all that is known of a job, its spec and its artifacts."""
    settings = Settings()
    queue = JobQueue(settings)
    job = queue.get(find_job(queue, reference))
    keys = _artifacts(settings, job.id)
    if output == "json":
        print_json(
            job.model_dump(mode="json")
            | {
                "evaluations": [evaluation.model_dump(mode="json") for evaluation in queue.evaluations(job.id)],
                "artifacts": keys,
            }
        )
        return
    print_fields(job_fields(job))
    if job.training and job.training.start:
        _head("lineage")
        for line in _lineage(job.id, job.training.start):
            print_line(f"  {line}")
    if job.rollbacks:
        _head("rollbacks")
        for rollback in job.rollbacks:
            print_line(
                f"  from {rollback.from_images:,} back to {rollback.images:,} images, learning rates times "
                f"{rollback.lr_share:g}: {rollback.why}"
            )
    if evaluations := queue.evaluations(job.id):
        _head("evaluations")
        for line in _evaluations(evaluations):
            print_line(f"  {line}")
    _head("spec")
    print_lines("  " + dump_spec(job.spec).strip().replace("\n", "\n  "))
    if keys is not None:
        _head("artifacts")
        for key in keys:
            print_line(f"  {key}")


def _head(title: str) -> None:
    print_line()
    print_line(title)


def _artifacts(settings: Settings, job_id: str) -> list[str] | None:
    """The keys of what a job left behind; None while the store is away, which the job itself may wait for."""
    try:
        return ArtifactStore(settings).keys(job_id)
    except StoreOutage as outage:
        say(f"{outage}; its artifacts are not shown")
        return None


def job_fields(job: Job) -> dict[str, Any]:
    """The fields that `show` prints of a job as it stands, by name; None is left out."""
    progress, checkpoint = job.progress, job.checkpoint
    speed = job.images_per_s or (progress.images_per_s if progress else None)
    return {
        "id": job.id,
        "state": f"{job.state}{' (stopping)' if job.cancel_requested else ''}",
        "reason": job.reason,
        "message": job.message or None,
        "waits for": job.waits_for,
        "priority": job.spec.priority,
        "submitted": f"{ago(job.submitted_at)} ago{f' by {job.user}' if job.user else ''}",
        "finished": f"{ago(job.finished_at)} ago" if job.finished_at else None,
        "attempt": job.attempt,
        "failures": f"{job.failures} in a row without a new checkpoint" if job.failures else None,
        "troubles": f"{job.troubles} by the cluster's fault, {span(job.trouble_s)} in all" if job.troubles else None,
        "leased by": job.owner,
        "heartbeat": f"{ago(job.heartbeat_at)} ago" if job.state is State.RUNNING else None,
        "does": job.preparation,
        "images": job.training and f"{job.images:,} of {job.training.total_images:,}",
        "epochs": progress and progress.epochs and f"{progress.epochs:.2f}",
        "health": job.health,
        **(texts("show", progress) if progress else {}),
        "images/s": f"{speed:,.0f}" if speed else None,
        "left": span(job.left_s) if job.left_s is not None else None,
        "precision": job.precision,
        "checkpoint": checkpoint and f"at {checkpoint.images:,} images, {checkpoint.bytes / 1e6:.1f} MB",
        "generator": job.generator,
    }


def _evaluations(evaluations: list[Evaluation]) -> Iterator[str]:
    """Every evaluation of a training, the best one marked."""
    best = best_of(evaluations)
    for evaluation in evaluations:
        mark = ", the best" if evaluation is best else ""
        yield f"at {evaluation.images:,} images, protocol {evaluation.protocol.digest}, by {evaluation.by}{mark}"
        for name in evaluation.measures:
            yield f"  {name}: {evaluation.text(name)}"
        for name, share in evaluation.class_accuracies.items():
            yield f"  agreement on {name}: {'' if share is None else f'{share:.1%}'}"


def _lineage(job_id: str, start: Start) -> Iterator[str]:
    """Yield a line for each job from the root to this one, with what it changed."""
    starts = start.lineage[::-1]
    yield starts[0].job_id
    for link, next_id in zip(starts, [*(later.job_id for later in starts[1:]), job_id], strict=True):
        what = "weights only, counting anew" if link.weights_only else f"at {link.images:,} images"
        yield f"-> {next_id}, from {link.job_id} {what}"
        for key, (before, after) in link.changes.items():
            yield f"     {key}: {json.dumps(before)} -> {json.dumps(after)}"


@click.command("wait")
@job_argument
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0, 1e9), metavar="SECONDS", help="Give up after this long."
)
def wait_command(reference: str, timeout_s: float | None) -> None:
    """Wait until a job is finished.

    Exits 0 if it succeeded, 100 failed, 101 not finished in time, 102 no such job, 103 cancelled.
    """
    queue = JobQueue(Settings())
    deadline = time.monotonic() + timeout_s if timeout_s is not None else math.inf
    try:
        job_id = await_job(queue, reference, deadline)
        while not (job := patiently(lambda: queue.get(job_id), deadline)).state.is_final:
            if time.monotonic() > deadline:
                say(f"{job_id} is {job.state} after {timeout_s:g} s")
                sys.exit(NOT_IN_TIME)
            time.sleep(LOOK_S)
    except BrokerOutage as outage:
        say(f"{outage}; nothing is known of {reference} after {timeout_s:g} s")
        sys.exit(NOT_IN_TIME)
    say(f"{job_id} has {job.state}" if job.state is not State.CANCELLED else f"{job_id} is cancelled")
    if job.state is State.FAILED:
        say(f"{job.reason}: {job.message}")
    sys.exit(EXIT_CODES[job.state])


@click.command("cancel")
@job_argument
@click.option("--now", is_flag=True, help="End it at once, without a last checkpoint.")
def cancel_command(reference: str, now: bool) -> None:
    """Cancel a job: a running one stops after a checkpoint."""
    queue = JobQueue(Settings())
    job_id = find_job(queue, reference)
    state = queue.cancel(job_id, now=now)
    if state is State.RUNNING:
        say(f"{job_id} stops within seconds, after a checkpoint; `ganctl wait {job_id}` tells when")
    elif state is State.CANCELLED:
        say(f"{job_id} is cancelled; `ganctl retry {job_id}` takes it up again")
    else:
        say(f"{job_id} has {state} already")


@click.command("retry")
@job_argument
def retry_command(reference: str) -> None:
    """Put a failed or cancelled job back into the queue; it goes on from its last checkpoint."""
    queue = JobQueue(Settings())
    job_id = find_job(queue, reference)
    queue.retry(job_id)
    say(f"{job_id} is queued again; next: ganctl watch {job_id}")
