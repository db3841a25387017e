"""list, show, wait, cancel, retry: jobs as they stand."""

import math
import sys
import time
from typing import Any

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import ago, output_option, print_fields, print_json, print_rows, say, span
from ganservice.cli.reference import find_job, job_argument, patiently
from ganservice.job import Job, State
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec_file import dump_spec

# What `wait`, and `watch` at a job's end, tell a script.
EXIT_CODES = {State.SUCCEEDED: 0, State.FAILED: 100, State.CANCELLED: 103}
NOT_IN_TIME = 101
LOOK_S = 0.3


@click.command("list")
@click.option("-s", "--state", "states", type=click.Choice([s.value for s in State]), multiple=True, help="Only these.")
@output_option
def list_command(states: tuple[str, ...], output: str) -> None:
    """List jobs in the order in which they were submitted."""
    jobs = JobQueue(Settings()).list_jobs([State(state) for state in states] or tuple(State))
    if output == "json":
        print_json([job.model_dump(mode="json") for job in jobs])
    else:
        print_rows([_row(job) for job in jobs], output)


def _row(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "priority": job.spec.priority,
        "progress": f"{job.images / job.spec.total_images:.0%}",
        "images/s": f"{job.progress.images_per_s:,.0f}" if job.progress and job.state is State.RUNNING else "",
        "attempt": job.attempt,
        "age": ago(job.submitted_at),
        "note": _note(job),
    }


def _note(job: Job) -> str:
    if job.state is State.RUNNING:
        return "stopping" if job.cancel_requested else ""
    if job.state is State.QUEUED and job.waiting_for:
        return f"waits for {job.waiting_for}"
    if job.state is State.QUEUED and job.not_before and job.not_before > time.time():
        return f"again in {span(job.not_before - time.time())} after {job.reason}"
    return job.message or ""


@click.command("show")
@job_argument
@output_option
def show_command(reference: str, output: str) -> None:
    """Show all that is known of a job, its spec and its artifacts."""
    settings = Settings()
    queue = JobQueue(settings)
    job = queue.get(find_job(queue, reference))
    keys = ArtifactStore(settings).keys(job.id)
    if output == "json":
        print_json(job.model_dump(mode="json") | {"artifacts": keys})
        return
    print_fields(_fields(job))
    click.echo("\nspec")
    click.echo("  " + dump_spec(job.spec).strip().replace("\n", "\n  "))
    click.echo("\nartifacts")
    for key in keys:
        click.echo(f"  {key}")


def _fields(job: Job) -> dict[str, Any]:
    progress, checkpoint = job.progress, job.checkpoint
    return {
        "id": job.id,
        "state": f"{job.state}{' (stopping)' if job.cancel_requested else ''}",
        "reason": job.reason,
        "message": job.message or None,
        "waits for": job.waiting_for,
        "priority": job.spec.priority,
        "submitted": f"{ago(job.submitted_at)} ago",
        "finished": f"{ago(job.finished_at)} ago" if job.finished_at else None,
        "attempt": job.attempt,
        "failures": f"{job.failures} in a row without a checkpoint" if job.failures else None,
        "leased by": job.owner,
        "heartbeat": f"{ago(job.heartbeat_at)} ago" if job.state is State.RUNNING else None,
        "images": f"{job.images:,} of {job.spec.total_images:,}",
        "loss": progress and f"G {progress.loss_g:.4f}, D {progress.loss_d:.4f}",
        "D(x), D(G(z))": progress and f"{progress.d_real:.3f}, {progress.d_fake:.3f}",
        "images/s": progress and f"{progress.images_per_s:,.0f}",
        "checkpoint": checkpoint and f"at {checkpoint.images:,} images, {checkpoint.bytes / 1e6:.1f} MB",
        "generator": job.generator,
    }


@click.command("wait")
@job_argument
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after this long."
)
def wait_command(reference: str, timeout_s: float | None) -> None:
    """Wait until a job is finished.

    Exits 0 if it succeeded, 100 failed, 101 not finished in time, 102 no such job, 103 cancelled.
    """
    queue = JobQueue(Settings())
    job_id = find_job(queue, reference)
    deadline = time.monotonic() + timeout_s if timeout_s is not None else math.inf
    while not (job := patiently(lambda: queue.get(job_id), deadline)).state.is_final:
        if time.monotonic() > deadline:
            say(f"{job_id} is {job.state} after {timeout_s:g} s")
            sys.exit(NOT_IN_TIME)
        time.sleep(LOOK_S)
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
    state = queue.cancel(job_id, now)
    if state is State.RUNNING:
        say(f"{job_id} stops after its next report and a checkpoint; `ganctl wait {job_id}` tells when")
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
