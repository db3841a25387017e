"""The screen of `watch`: what is known of a job, a line for each part of it, as wide as the terminal. Pure."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ganservice.cli.output import span
from ganservice.cli.scene import Scene
from ganservice.cli.sparkline import ASCII_BARS, BARS, sparkline
from ganservice.cli.standing import late_report, seconds
from ganservice.evaluation import comparable, last_and_best
from ganservice.events import Detail, attempts_story
from ganservice.job import EventKind, Health, Job, State
from ganservice.model import cut_at_word
from ganservice.quantities import texts

NO_DISPATCHER = "waits for a dispatcher: none is there; `ganctl doctor` tells more"
# Colours carry health and the end of a job; all they say is also said in words.
HEALTH_STYLES = {
    Health.OK: "green",
    Health.SUSPECT: "yellow",
    Health.COLLAPSED: "bold red",
    Health.DIVERGED: "bold red",
}
STATE_STYLES = {State.FAILED: "bold red", State.CANCELLED: "yellow", State.SUCCEEDED: "bold"}
WARNING, ALARM, DIM = "yellow", "bold red", "dim"
# Parts of the attempts' story, and lines of a long text.
STORY_PARTS, TEXT_LINES = 2, 2
# Letters of the course of a loss at most, and of that of quality.
LOSS_LETTERS, QUALITY_LETTERS = 40, 10


@dataclass(frozen=True)
class Piece:
    """A text of one style."""

    text: str
    style: str = ""


Row = list[Piece]


def rows(scene: Scene, width: int, *, is_ascii: bool = False) -> list[Row]:
    """All lines below the bar."""
    job, bars = scene.job, ASCII_BARS if is_ascii else BARS
    short = [_pace(job), *_reports(scene, width, bars), _quality(scene, bars), *_evaluation_jobs(scene)]
    return [
        _fitted([*_standing(job), *_last_report(scene)], width),
        *_told(late_report(job, scene.now_s) or "", width, ALARM),
        *_told(f"of {job.subject}" if job.subject else "", width),
        *_told(_finding(scene), width, HEALTH_STYLES[job.health]),
        *_told(wait_text(job, has_dispatcher=scene.has_dispatcher), width, WARNING),
        *_told(_message(job), width, STATE_STYLES.get(job.state, "")),
        *(_fitted(row, width) for row in short if row),
        *_told("; ".join(attempts_story(scene.events)[-STORY_PARTS:]), width, DIM),
        *_told(scene.store_trouble, width, WARNING),
    ]


def headline(job: Job, *, has_dispatcher: bool = True, now_s: float | None = None) -> str:
    """How a job stands, on one line; without a dispatcher a queued one waits for that."""
    said = list(texts("watch", job.progress).values()) if job.progress else []
    if job.evaluation and job.evaluation.has_quality:
        said.append(f"{job.evaluation.quality_name} {job.evaluation.quality:.4g} at {job.evaluation.images:,}")
    pieces = [*_standing(job), *_course(job), *_pace(job)]
    parts = [
        *(piece.text for piece in pieces),
        f"of {job.subject}" if job.subject else "",
        wait_text(job, has_dispatcher=has_dispatcher),
        *said,
        late_report(job, now_s or job.heartbeat_at or 0.0),
        _message(job),
    ]
    return "  ".join(part for part in parts if part)


def bar_style(job: Job) -> str:
    """The colour of the bar: that of the job's health."""
    return HEALTH_STYLES[job.health] if job.state is not State.FAILED else STATE_STYLES[State.FAILED]


def wait_text(job: Job, *, has_dispatcher: bool) -> str:
    """What a job waits for, or nothing."""
    is_queued = job.state is State.QUEUED
    if is_queued and not has_dispatcher:
        return NO_DISPATCHER
    waits_for = job.waits_for or ("its turn" if is_queued else None)
    return f"waits for {waits_for}" if waits_for else ""


def _standing(job: Job) -> Row:
    stopping = ", stopping" if job.state is State.RUNNING and job.cancel_requested else ""
    row = [Piece(f"{job.state}{stopping}", STATE_STYLES.get(job.state, ""))]
    if job.health_seen:
        row.append(Piece(f"health {job.health}", HEALTH_STYLES[job.health]))
    if job.attempt > 1:
        row.append(Piece(f"attempt {job.attempt}"))
    if job.preparation:
        row.append(Piece(str(job.preparation)))
    return row


def _message(job: Job) -> str:
    """What was said of the end of the last attempt, if there is none now."""
    return (job.message or "") if job.state is not State.RUNNING else ""


def _finding(scene: Scene) -> str:
    """What the health watch found last of a job that is not well."""
    told = [Detail(event.detail) for event in scene.events if event.kind == EventKind.HEALTH]
    if scene.job.health is Health.OK or not told:
        return ""
    return f"since {told[-1].images()}: {'; '.join(told[-1].findings())}"


def _pace(job: Job) -> Row:
    progress, row = job.progress, list[Piece]()
    if job.training and (progress or job.pulse):
        row.append(Piece(f"{job.images:,} of {job.training.total_images:,} images"))
    if progress and progress.epochs is not None:
        row.append(Piece(f"{progress.epochs:.2f} epochs"))
    if job.images_per_s:
        row.append(Piece(f"{job.images_per_s:,.0f} images/s{_used(job)}"))
    return row


def _used(job: Job) -> str:
    """What a job keeps busy of what it holds, beside its speed: fewer than it holds tell of a busy machine."""
    progress, resources = job.progress, job.spec.resources
    if progress and resources.gpus and progress.gpu_busy is not None:
        return f" on {resources.gpus} GPU{'' if resources.gpus == 1 else 's'}, {progress.gpu_busy:.0%} busy"
    # What keeps a GPU busy is not told by CPUs.
    if progress and progress.used_cpus is not None and not resources.gpus:
        return f" on {progress.used_cpus:.1f} of {resources.cpus} CPUs"
    return ""


def _reports(scene: Scene, width: int, bars: str) -> Iterator[Row]:
    """The last report, and beside each loss its course."""
    progress = scene.job.progress
    if progress is None:
        return
    letters = min(LOSS_LETTERS, (width - 30) // 2)
    course_g = sparkline([report.loss_g for report in scene.reports], letters, bars)
    course_d = sparkline([report.loss_d for report in scene.reports], letters, bars)
    yield [Piece(f"loss G {progress.loss_g:.3f} {course_g}".rstrip()), Piece(f"D {progress.loss_d:.3f} {course_d}")]
    rest = [Piece(text) for name, text in texts("watch", progress).items() if name != "loss"]
    if progress.diversity is not None and progress.modes is None:
        rest.append(Piece(f"diversity {progress.diversity:.2f} of the data's"))
    yield rest


def _quality(scene: Scene, bars: str) -> Row:
    """The newest evaluation and the best, of those that compare."""
    pair = last_and_best(scene.evaluations)
    if pair is None:
        return []
    last, best = pair
    course = sparkline([each.quality for each in comparable(scene.evaluations)], QUALITY_LETTERS, bars)
    better = "the best so far" if best is last else f"best {best.quality:.4g} at {best.images:,}"
    return [Piece(f"{last.quality_name} {last.quality:.4g} at {last.images:,} images"), Piece(better), Piece(course)]


def _evaluation_jobs(scene: Scene) -> Iterator[Row]:
    """The evaluations that are in the queue, with how far they are."""
    for job in scene.evaluation_jobs:
        images = job.subject.images if job.subject else 0
        row = [Piece(f"evaluation of {images:,} images"), Piece(str(job.preparation or job.state)), *_course(job)]
        yield [*row, Piece(wait_text(job, has_dispatcher=True), WARNING)]
    if scene.more_evaluation_jobs:
        yield [Piece(f"{scene.more_evaluation_jobs} more in the queue")]


def _course(job: Job) -> Row:
    """How far a running evaluation is, and how long the rest takes."""
    if job.subject is None or job.state is not State.RUNNING:
        return []
    return [Piece(f"{job.share_done:.0%}"), Piece(f"{span(job.left_s)} left" if job.left_s is not None else "")]


def _last_report(scene: Scene) -> Row:
    """When the running attempt last reported; of one that is late a line of its own tells."""
    job = scene.job
    if late_report(job, scene.now_s) or job.reported_at is None or not (job.pulse and job.pulse.report_every_s):
        return []
    age_s = max(0.0, scene.now_s - job.reported_at)
    return [Piece(f"last report {seconds(age_s)} ago; usually every {seconds(job.pulse.report_every_s)}", DIM)]


def _told(text: str, width: int, style: str = "") -> list[Row]:
    """A text that may be long, on a few lines; none where there is nothing to tell."""
    lines = textwrap.wrap(text, max(width, 20), max_lines=TEXT_LINES, placeholder="...")
    return [[Piece(line, style)] for line in lines]


def _fitted(row: Sequence[Piece], width: int) -> Row:
    """The pieces that fit into a line, two blanks between them; the first that does not ends at a word."""
    fitted: Row = []
    for piece in row:
        left = width - sum(len(each.text) + 2 for each in fitted)
        if piece.text and left > 3:
            fitted.append(Piece(cut_at_word(piece.text, left), piece.style))
    return fitted
