"""watch: a job's progress, live; Ctrl-C leaves it alone."""

import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from ganservice.artifacts import ArtifactStore
from ganservice.cli.exit_codes import EXIT_CODES
from ganservice.cli.output import drawn, say, span
from ganservice.cli.reference import LONGEST_PAUSE_S, await_job, job_argument, patiently
from ganservice.cli.scene import Lookout, Scene
from ganservice.cli.screen import DIM, Row, bar_style, headline, rows
from ganservice.cli.watched_picture import WatchedPicture
from ganservice.errors import BrokerOutage
from ganservice.evaluation import Evaluation, best_of
from ganservice.job import Job, Reason, State
from ganservice.patience import pauses
from ganservice.queue import JobQueue
from ganservice.reservation import Reservation, ReservationKind, reservation
from ganservice.settings import Settings

LOOK_S = 0.5
# Between two lines, where lines cannot be redrawn.
LINE_S = 5.0
# Between two screens that show the same picture, unless the job takes a turn.
PICTURE_S = 5.0
# Once a job is finished, its last picture is waited for so long.
LAST_PICTURE_S = 5.0
# A bar is no narrower.
LEAST_BAR = 10
# Fewer lines show nothing of a picture.
LEAST_PICTURE_LINES = 4


@click.command("watch")
@job_argument
def watch_command(reference: str) -> None:
    """Watch a job, or a sweep, until it is finished; Ctrl-C detaches and the job goes on.

    Exits as `wait` does.
    """
    settings = Settings()
    queue = JobQueue(settings)
    if sweep_id := patiently(lambda: queue.find_sweep(reference)):
        from ganservice.cli.sweep import watch_sweep

        watch_sweep(settings, sweep_id)
    watch_job(settings, await_job(queue, reference))


def watch_job(settings: Settings, job_id: str) -> None:
    """Watch until the end, then exit with the code of the job's final state."""
    lookout, console = Lookout(settings, job_id), Console(stderr=True)
    redraws = console.is_terminal and not console.is_dumb_terminal
    try:
        job = _live(lookout, ArtifactStore(settings), console) if redraws else _lines(lookout)
    except KeyboardInterrupt:
        say("")
        say(f"detached; the job goes on. Come back with: ganctl watch {job_id}")
        sys.exit(130)
    tell_end(JobQueue(settings), job)
    sys.exit(EXIT_CODES[job.state])


def _lines(lookout: Lookout) -> Job:
    """Print a line for each change, at most one every few seconds: for outputs that cannot be redrawn."""
    last_line, last_at = "", 0.0
    while True:
        scene = patiently(lookout.look_at_job)
        line = headline(scene.job, has_dispatcher=scene.has_dispatcher, now_s=scene.now_s)
        is_due = time.monotonic() - last_at > LINE_S or scene.job.state.is_final or not last_line
        if line != last_line and is_due:
            last_line, last_at = line, time.monotonic()
            say(line)
        if scene.job.state.is_final:
            return scene.job
        time.sleep(LOOK_S)


def _live(lookout: Lookout, store: ArtifactStore, console: Console) -> Job:
    lookout.ask_for_earlier_reports(store)
    pace = Pace()
    with (
        closing(lookout),
        closing(WatchedPicture(store, console)) as picture,
        Live(console=console, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        while True:
            scene = _look_patiently(lookout.look, live)
            picture.look(scene)
            if pace.is_due(scene, picture, console):
                live.update(draw(scene, picture, console), refresh=True)
            if scene.job.state.is_final:
                picture.wait(scene, LAST_PICTURE_S)
                live.update(draw(scene, picture, console), refresh=True)
                return scene.job
            time.sleep(LOOK_S)


class Pace:
    """When a screen is drawn again: a picture of tens of kilobytes, which travels with it, makes it less often."""

    def __init__(self) -> None:
        self._drawn_at = 0.0
        self._drawn: object = None

    def is_due(self, scene: Scene, picture: WatchedPicture, console: Console) -> bool:
        """Whether to draw now, which is taken for done."""
        job, trouble = scene.job, picture.trouble or scene.store_trouble
        turn = (job.state, job.attempt, job.health, job.cancel_requested, trouble, picture.shown, console.size)
        is_old = time.monotonic() - self._drawn_at >= PICTURE_S
        if picture.shown and turn == self._drawn and not is_old:
            return False
        self._drawn, self._drawn_at = turn, time.monotonic()
        return True


def _look_patiently(look: Callable[[], Scene], live: Live) -> Scene:
    """As `patiently`, where what is said takes the place of what is drawn."""
    for pause_s in pauses(longest_s=LONGEST_PAUSE_S):
        try:
            return look()
        except BrokerOutage as error:
            live.update(drawn(f"{error}; trying again"), refresh=True)
            time.sleep(pause_s)
    raise AssertionError("pauses have no end")


def draw(scene: Scene, picture: WatchedPicture, console: Console) -> RenderableType:
    """The whole screen: the bar, a line for each part, and below them the newest samples, in the room that is left."""
    is_ascii = not console.encoding.startswith("utf")
    scene = replace(scene, store_trouble=picture.trouble or scene.store_trouble)
    lines: list[RenderableType] = [_line(row) for row in rows(scene, console.width, is_ascii=is_ascii)]
    left = console.height - len(lines) - 3  # the bar, the caption, and the line on which the cursor stands
    if scene.job.training and left >= LEAST_PICTURE_LINES:
        lines += [drawn(picture.caption(scene), DIM), picture.drawing(scene, console.width, left)]
    return Group(_bar(scene.job, console.width), *lines)


def _line(row: Row) -> RenderableType:
    line = drawn("")
    line.no_wrap, line.overflow = True, "crop"
    for place, piece in enumerate(row):
        line.append("  " if place else "").append_text(drawn(piece.text, piece.style))
    return line


def _bar(job: Job, width: int) -> Table:
    left = f"{span(job.left_s)} left" if job.left_s is not None else ""
    cells: list[RenderableType] = [drawn(job.id, "bold")]
    room = width - len(job.id) - len(left) - len("100%") - 3
    if room >= LEAST_BAR:
        style = bar_style(job)
        cells.append(
            ProgressBar(total=1.0, completed=job.share_done, width=room, complete_style=style, finished_style=style)
        )
    row = Table.grid(padding=(0, 1))
    row.add_row(*cells, f"{job.share_done:.0%}", left)
    return row


def tell_end(queue: JobQueue, job: Job) -> None:
    """Say how a job ended, and what is next."""
    if job.state is State.SUCCEEDED and job.subject:
        say(f"{job.id} has succeeded{patiently(lambda: _verdict(queue, job))}; next: ganctl show {job.subject.job_id}")
    elif job.state is State.SUCCEEDED:
        evaluations = patiently(partial(queue.evaluations, job.id))
        against = reservation(job, evaluations)
        if against is None:
            say(f"{job.id} has succeeded; next: ganctl fetch {job.id}")
        else:
            say(f"{job.id} has succeeded, with a reservation: {against}")
            for line in _advice(job, evaluations, against):
                say(line)
    else:
        say(f"{job.id}: {job.state}: {job.message}; see: ganctl events {job.id}")
        if job.reason in (Reason.DIVERGED, Reason.UNHEALTHY):
            say(f"its curves: ganctl report {job.id}")


def _verdict(queue: JobQueue, job: Job) -> str:
    """What an evaluation found its training to be worth."""
    evaluations = queue.evaluations(job.subject.job_id) if job.subject else []
    own = [evaluation for evaluation in evaluations if evaluation.by == job.id]
    return "".join(f": {each.quality_name} {each.quality:.4g}" for each in own if each.has_quality)


def _advice(job: Job, evaluations: list[Evaluation], against: Reservation) -> list[str]:
    """What helps after a success with a reservation; a command ends its line, to be pasted."""
    best, report = best_of(evaluations), f"its curves: ganctl report {job.id}"
    if best and best.generator:
        return [f"its best, of {best.images:,} images: ganctl fetch {job.id} --checkpoint best", report]
    if against.kind is ReservationKind.FAR_FROM_BEST:
        return [f"to go on from its best checkpoint: ganctl submit SPEC --from {job.id}@best", report]
    return [report, "to have the next one go back by itself: --set health.action=rollback"]
