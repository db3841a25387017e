"""watch: a job's progress, live; Ctrl-C leaves it alone."""

import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import entry_points

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from ganservice.artifacts import ArtifactStore
from ganservice.cli.exit_codes import EXIT_CODES
from ganservice.cli.output import drawn, say, span
from ganservice.cli.reference import LONGEST_PAUSE_S, await_job, job_argument, patiently
from ganservice.errors import ArtifactMissing, BrokerOutage, DataInvalid, DigestMismatch, StoreOutage
from ganservice.extras import remedy
from ganservice.job import Health, Job, State
from ganservice.leadership import Leadership
from ganservice.patience import pauses
from ganservice.quantities import texts
from ganservice.queue import JobQueue
from ganservice.settings import Settings

LOOK_S = 0.5
GRID_LOOK_S = 5.0
GRID_COLUMNS = 76
NO_DISPATCHER = "waits for a dispatcher: none is there; `ganctl doctor` tells more"


@click.command("watch")
@job_argument
def watch_command(reference: str) -> None:
    """Watch a job until it is finished; Ctrl-C detaches and the job goes on.

    Exits as `wait` does.
    """
    settings = Settings()
    watch_job(settings, await_job(JobQueue(settings), reference))


def watch_job(settings: Settings, job_id: str) -> None:
    """Watch until the end, then exit with the code of the job's final state."""
    queue, leadership = JobQueue(settings), Leadership(settings)
    console = Console(stderr=True)
    redraws = console.is_terminal and not console.is_dumb_terminal

    def look() -> tuple[Job, str]:
        job = queue.get(job_id)
        # Who leads matters only to a job that nobody has taken yet.
        return job, headline(job, has_dispatcher=job.state is not State.QUEUED or leadership.leader() is not None)

    try:
        job = _live(look, ArtifactStore(settings), console) if redraws else _lines(look)
    except KeyboardInterrupt:
        say("")
        say(f"detached; the job goes on. Come back with: ganctl watch {job_id}")
        sys.exit(130)
    tell_end(queue, job)
    sys.exit(EXIT_CODES[job.state])


def tell_end(queue: JobQueue, job: Job) -> None:
    """Say how a job ended, and what is next."""
    if job.state is State.SUCCEEDED:
        say(f"{job.id} has succeeded{patiently(lambda: _verdict(queue, job))}; next: ganctl {_next(job)}")
    else:
        say(f"{job.id}: {job.state}: {job.message}; see: ganctl events {job.id}")


def _verdict(queue: JobQueue, job: Job) -> str:
    """What an evaluation found its training to be worth."""
    evaluations = queue.evaluations(job.subject.job_id) if job.subject else []
    own = [evaluation for evaluation in evaluations if evaluation.by == job.id]
    return "".join(f": {each.quality_name} {each.quality:.4g}" for each in own if each.has_quality)


def _next(job: Job) -> str:
    """The next commands for a user, by what the job left behind."""
    return f"show {job.subject.job_id}" if job.subject else f"fetch {job.id}"


def _lines(look: Callable[[], tuple[Job, str]]) -> Job:
    """Print a line for each change, at most one every few seconds: for outputs that cannot be redrawn."""
    last_line, last_at = "", 0.0
    while True:
        job, line = patiently(look)
        if line != last_line and (time.monotonic() - last_at > GRID_LOOK_S or job.state.is_final or not last_line):
            last_line, last_at = line, time.monotonic()
            say(line)
        if job.state.is_final:
            return job
        time.sleep(LOOK_S)


def _live(look: Callable[[], tuple[Job, str]], store: ArtifactStore, console: Console) -> Job:
    picture: RenderableType = drawn("")
    picture_at = 0.0
    with Live(console=console, auto_refresh=False) as live:
        while True:
            job, line = _look_patiently(look, live)
            if time.monotonic() - picture_at > GRID_LOOK_S or job.state.is_final:
                picture_at = time.monotonic()
                picture = _picture(store, job.id, console)
            live.update(Group(_bar(job), drawn(line), picture), refresh=True)
            if job.state.is_final:
                return job
            time.sleep(LOOK_S)


def _look_patiently(look: Callable[[], tuple[Job, str]], live: Live) -> tuple[Job, str]:
    """As `patiently`, where what is said takes the place of what is drawn."""
    for pause_s in pauses(longest_s=LONGEST_PAUSE_S):
        try:
            return look()
        except BrokerOutage as error:
            live.update(drawn(f"{error}; trying again"), refresh=True)
            time.sleep(pause_s)
    raise AssertionError("pauses have no end")


def _bar(job: Job) -> Table:
    row = Table.grid(padding=(0, 1))
    left = f"{span(job.left_s)} left" if job.left_s is not None else ""
    bar = ProgressBar(total=1.0, completed=job.share_done, width=40)
    row.add_row(drawn(job.id, "bold"), bar, f"{job.share_done:.0%}", left)
    return row


def headline(job: Job, has_dispatcher: bool) -> str:
    """How a job stands, on one line; without a dispatcher a queued one waits for that."""
    parts = [f"{job.state}{', stopping' if job.cancel_requested else ''}"]
    if job.health is not Health.OK:
        parts.append(f"health: {job.health}")
    if job.attempt > 1:
        parts.append(f"attempt {job.attempt}")
    if job.state is State.QUEUED:
        parts.append(job.message or "")
    parts.append(_wait(job, has_dispatcher))
    if job.subject:
        parts.append(f"of {job.subject}")
    if job.preparation:
        parts.append(job.preparation)
    if job.training and (job.progress or job.pulse):
        parts.append(f"{job.images:,}/{job.training.total_images:,} images")
    if progress := job.progress:
        parts += texts("watch", progress).values()
    if job.images_per_s:
        parts.append(f"{job.images_per_s:,.0f} images/s")
        # Fewer than it holds tell of a busy machine; what keeps a GPU busy is not told by CPUs.
        if progress and progress.used_cpus is not None and not job.spec.resources.gpus:
            parts.append(f"on {progress.used_cpus:.1f} of {job.spec.resources.cpus} CPUs")
    return "  ".join(part for part in parts if part)


def _wait(job: Job, has_dispatcher: bool) -> str:
    is_queued = job.state is State.QUEUED
    if is_queued and not has_dispatcher:
        return NO_DISPATCHER
    waits_for = job.waits_for or ("its turn" if is_queued else None)
    return f"waits for {waits_for}" if waits_for else ""


def draws_pictures(console: Console) -> bool:
    """Whether a terminal has the colours for pictures, and the letters that they are made of."""
    return console.color_system == "truecolor" and "NO_COLOR" not in os.environ and console.encoding.startswith("utf")


def _picture(store: ArtifactStore, job_id: str, console: Console) -> RenderableType:
    """The newest sample grid as coloured half blocks, where the terminal has the colours and the machine Pillow."""
    if not draws_pictures(console):
        return drawn("")
    (drawing,) = entry_points(group="ganctl.pictures")
    try:
        png = store.latest_sample_grid(job_id)
        picture: RenderableType = drawn("")
        if png is not None:
            picture = drawing.load()(png, min(GRID_COLUMNS, console.width), console.height - 4)
        return picture
    except (StoreOutage, ArtifactMissing):
        return drawn("")
    except ModuleNotFoundError as error:
        return drawn(f"to see the samples here: {remedy(error)}", "dim")
    except (DataInvalid, DigestMismatch) as error:  # whoever writes to the store put it there; the job goes on
        return drawn(str(error), "dim")
