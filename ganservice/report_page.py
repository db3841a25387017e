"""Report page: one self-contained HTML page about a training, or about several side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ganservice.charts import Line, Scale, short_number
from ganservice.evaluation import Evaluation, best_of
from ganservice.events import sentence
from ganservice.job import Event, EventKind, Health, Job, Progress
from ganservice.judges import disagreements, other_judges
from ganservice.markup import Markup, element, markup
from ganservice.page_parts import chart, heads, row, table, whole_page
from ganservice.quantities import CHARTS, texts
from ganservice.report_pictures import picture
from ganservice.spec_file import dump_spec

# Events that say how a training went, rather than what it wrote.
STORY_KINDS = (
    EventKind.SUBMITTED, EventKind.STARTED, EventKind.TRANSFERRED, EventKind.PRECISION_CHANGED,
    EventKind.PRECISION_EMULATED, EventKind.STEPS_NOT_RECORDED, EventKind.HEALTH, EventKind.ROLLED_BACK,
    EventKind.REQUEUED, EventKind.CHECKPOINT_DAMAGED, EventKind.STORE_UNREACHABLE, EventKind.EVALUATION_SKIPPED,
    EventKind.ALREADY_PUBLISHED, EventKind.CANCEL_REQUESTED, EventKind.SUCCEEDED, EventKind.FAILED, EventKind.CANCELLED,
)  # fmt: skip
# After each of them no attempt holds the job.
RELEASES = (EventKind.REQUEUED, EventKind.SUCCEEDED, EventKind.FAILED, EventKind.CANCELLED)


@dataclass(frozen=True)
class Story:
    """All that the report page needs to know of one training."""

    job: Job
    history: Sequence[Progress]
    evaluations: Sequence[Evaluation]
    events: Sequence[Event]
    grids: Sequence[tuple[int, bytes]]  # images seen, PNG
    pictures: Sequence[tuple[str, bytes]]  # of the best evaluation: what each shows, PNG
    stored_bytes: int


def report_page(stories: Sequence[Story]) -> str:
    """Write the page; of several jobs each is a column."""
    articles = (element("article", _article(story), aria_label=story.job.id) for story in stories)
    return whole_page(" and ".join(story.job.id for story in stories), *articles)


def _article(story: Story) -> Markup:
    spec = element("pre", dump_spec(story.job.spec))
    sections = [
        ("Samples, of the same latents each time", _samples(story)),
        ("Quality", _quality(story)),
        ("Beside the nearest training pictures", _pictures(story)),
        ("Curves", _curves(story)),
        ("What happened", _events(story)),
        ("Lineage", _lineage(story.job)),
        ("Resources", _resources(story)),
        ("Recipe", element("details", element("summary", "The whole spec"), spec)),
    ]
    return markup(
        _head(story), *(element("section", element("h2", title), content) for title, content in sections if content)
    )


def _head(story: Story) -> Markup:
    job, last = story.job, story.history[-1] if story.history else None
    best = best_of(list(story.evaluations))
    tiles = {
        "images": f"{job.images:,}",
        "epochs": f"{last.epochs:.1f}" if last and last.epochs else "",
        "best quality": f"{best.quality:.4g} at {short_number(best.images)}" if best else "",
        **(texts("tile", last) if last else {}),
    }
    mood = "good" if job.health is Health.OK else "bad"
    return element(
        "header",
        element("h1", job.id),
        element(
            "p",
            element("span", job.state, class_="badge"),
            " ",
            element("span", f"health: {job.health}", class_=f"badge {mood}"),
        ),
        element(
            "dl",
            *(element("div", element("dt", name), element("dd", value)) for name, value in tiles.items() if value),
            class_="tiles",
        ),
    )


def _samples(story: Story) -> Markup | None:
    figures = [picture(png, f"after {images:,} images") for images, png in story.grids]
    return element("div", *figures, class_="pictures") if figures else None


def _pictures(story: Story) -> Markup:
    captions = {"nearest": "samples, and below each the training picture it is nearest to"}
    return markup(*(picture(png, captions.get(shows, shows)) for shows, png in story.pictures))


def _quality(story: Story) -> Markup | None:
    best = best_of(list(story.evaluations))
    if best is None:
        return None
    comparable = [each for each in story.evaluations if each.protocol == best.protocol]
    over_images = Line("quality", [(each.images, each.quality) for each in comparable])
    charts = [
        chart("Distance to the data, lower is better", [over_images], "images seen", Scale()),
        chart("The same over time", [_over_time(story, comparable)], "minutes since submission", Scale()),
    ]
    names = dict.fromkeys(name for each in comparable for name in each.measures)
    protocol = best.protocol
    note = (
        f"* the best by {best.quality_name}. Protocol {protocol.digest}: {protocol.network}, {protocol.samples:,} "
        f"samples beside {protocol.real:,} {protocol.split} pictures. Only numbers of one protocol compare."
    )
    first = heads("images", *(f"{short_number(each.images)}{' *' if each is best else ''}" for each in comparable))
    rows = [row(name, *(each.text(name) for each in comparable)) for name in names]
    return markup(
        element("div", *charts, class_="charts"),
        table(first, *rows, *_other_rows(story, comparable), is_wide=True),
        element("p", note, class_="note"),
        *(element("p", disagreement, class_="note") for disagreement in disagreements(story.evaluations)),
        _by_class(best),
    )


def _other_rows(story: Story, comparable: Sequence[Evaluation]) -> Iterator[Markup]:
    """A row for each other judge, with what it found of the same checkpoints."""
    for own in other_judges(story.evaluations):
        name, by_subject = own[0].quality_name, {each.subject: each for each in own}
        found = [by_subject.get(each.subject) for each in comparable]
        yield row(name, *(each.text(name) if each else "" for each in found))


def _over_time(story: Story, comparable: Sequence[Evaluation]) -> Line:
    """Quality by the time of the checkpoint: an old one may have been judged last."""
    saved_at = {event.detail.get("images"): event.at for event in story.events if event.kind == EventKind.CHECKPOINT}
    times = sorted((saved_at[each.images], each.quality) for each in comparable if each.images in saved_at)
    return Line("quality", [((at - story.job.submitted_at) / 60, quality) for at, quality in times])


def _by_class(best: Evaluation) -> Markup | None:
    """Per class, how many pictures of those asked for are found to be of it, and how far they are from real ones."""
    if not best.class_texts:
        return None
    first = heads("class", "found to be of it", "Frechet distance", "pictures")
    rows = [row(name, *texts) for name, texts in best.class_texts.items()]
    return markup(element("h3", "Pictures of each class, as they were asked for"), table(first, *rows))


def _curves(story: Story) -> Markup | None:
    training = story.job.training
    joins = training.start.joins if training and training.start else []
    charts = []
    for quantity in CHARTS:
        lines = [
            Line(curve.legend, [(p.images, y) for p in story.history if (y := getattr(p, curve.field)) is not None])
            for curve in quantity.curves
        ]
        scale = Scale(quantity.level, quantity.limits, quantity.is_log)
        charts.append(chart(quantity.title, [line for line in lines if line.points], "images seen", scale, joins))
    return element("div", *charts, class_="charts") if any(charts) else None


def _events(story: Story) -> Markup:
    rows = [
        element(
            "tr",
            *(element("td", cell) for cell in (_clock(event.at - story.job.submitted_at), event.attempt, event.kind)),
            element("td", sentence(event)),
            class_=_event_class(event),
        )
        for event in story.events
        if event.kind in STORY_KINDS
    ]
    return table(heads("after", "attempt", "event", ""), *rows, is_wide=True)


def _event_class(event: Event) -> str:
    """The kind, and of the health watch what it saw, by which the style colours a row."""
    state = event.detail.get("state")
    return f"{event.kind} {state}" if state in list(Health) else event.kind


def _clock(seconds: float) -> str:
    minutes, left = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{left:02}"


def _lineage(job: Job) -> Markup | None:
    training = job.training
    if training is None or (training.start is None and not job.rollbacks):
        return None
    links = [
        f"{link.job_id} up to {link.images:,} images{', weights only' if link.weights_only else ''}"
        f"{_changes(link.changes)}"
        for link in (training.start.lineage[::-1] if training.start else [])
    ]
    back = [
        f"back from {rollback.from_images:,} to {rollback.images:,} images, learning rates times "
        f"{rollback.lr_share:g}: {rollback.why}"
        for rollback in job.rollbacks
    ]
    return element("ol", *(element("li", text) for text in (*links, job.id, *back)))


def _changes(changes: dict[str, tuple[object, object]]) -> str:
    text = "; ".join(f"{key}: {before} to {after}" for key, (before, after) in changes.items())
    return f"; then {text}" if text else ""


def _resources(story: Story) -> Markup:
    job = story.job
    resources, running_s = job.spec.resources, _running_s(story.events, job)
    again = job.images_trained - job.images
    facts = {
        "gang": f"{resources.workers} worker(s) of {resources.cpus_per_worker} CPU(s) and "
        f"{resources.gpus_per_worker} GPU(s)",
        "running": f"{_clock(running_s)}, {running_s * resources.cpus / 3600:.2f} CPU hours, "
        f"{running_s * resources.gpus / 3600:.2f} GPU hours",
        "user": job.user or "",
        "attempts": str(job.attempt),
        "images trained": f"{job.images_trained:,}" + (f", {again:,} of them again" if again > 0 else ""),
        "stored": f"{story.stored_bytes / 1e6:.1f} MB",
    }
    return table(*(row(name, value) for name, value in facts.items() if value))


def _running_s(events: Sequence[Event], job: Job) -> float:
    """How long attempts held the gang's resources."""
    total, since = 0.0, None
    for event in events:
        if event.kind == EventKind.LEASED:
            since = event.at
        elif since is not None and event.kind in RELEASES:
            total, since = total + event.at - since, None
    return total + (max(0.0, (job.heartbeat_at or since) - since) if since is not None else 0.0)
