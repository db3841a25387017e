"""Report page: one self-contained HTML page about a training, or about several side by side."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib import resources
from string import Template

from ganservice.charts import Line, Scale, line_chart, short_number
from ganservice.evaluation import Evaluation, best_of
from ganservice.job import Event, EventKind, Health, Job, Progress
from ganservice.quantities import CHARTS, texts
from ganservice.spec_file import dump_spec

# Events that say how a training went, rather than what it wrote.
STORY_KINDS = (
    EventKind.SUBMITTED, EventKind.STARTED, EventKind.PRECISION_CHANGED, EventKind.PRECISION_EMULATED,
    EventKind.HEALTH, EventKind.ROLLED_BACK, EventKind.REQUEUED, EventKind.CHECKPOINT_DAMAGED,
    EventKind.STORE_UNREACHABLE, EventKind.EVALUATION_SKIPPED, EventKind.ALREADY_PUBLISHED,
    EventKind.CANCEL_REQUESTED, EventKind.SUCCEEDED, EventKind.FAILED, EventKind.CANCELLED,
)  # fmt: skip
# After each of them no attempt holds the job.
RELEASES = (EventKind.REQUEUED, EventKind.SUCCEEDED, EventKind.FAILED, EventKind.CANCELLED)
# Grids that are shown, from the first to the last.
GRIDS = 6


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
    title = " and ".join(story.job.id for story in stories)
    body = "".join(f'<article aria-label="{escape(story.job.id)}">{_article(story)}</article>' for story in stories)
    page = Template(resources.files("ganservice").joinpath("report_page.html").read_text())
    return page.substitute(
        title=escape(title),
        columns=len(stories),
        body=body,
        written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def pick_grids(grids: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Choose the first, the last, and some evenly between: GRIDS at most."""
    if len(grids) <= GRIDS:
        return list(grids)
    return [grids[round(place * (len(grids) - 1) / (GRIDS - 1))] for place in range(GRIDS)]


def _article(story: Story) -> str:
    sections = [
        ("Samples, of the same latents each time", _samples(story)),
        ("Quality", _quality(story)),
        ("Beside the nearest training pictures", _pictures(story)),
        ("Curves", _curves(story)),
        ("What happened", _events(story)),
        ("Lineage", _lineage(story.job)),
        ("Resources", _resources(story)),
        (
            "Recipe",
            f"<details><summary>The whole spec</summary><pre>{escape(dump_spec(story.job.spec))}</pre></details>",
        ),
    ]
    return _head(story) + "".join(f"<section><h2>{title}</h2>{text}</section>" for title, text in sections if text)


def _head(story: Story) -> str:
    job, last = story.job, story.history[-1] if story.history else None
    best = best_of(list(story.evaluations))
    tiles = {
        "images": f"{job.images:,}",
        "epochs": f"{last.epochs:.1f}" if last and last.epochs else "",
        "best quality": f"{best.quality:.4g} at {short_number(best.images)}" if best else "",
        **(texts("tile", last) if last else {}),
    }
    text = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles.items() if value)
    mood = "good" if job.health is Health.OK else "bad"
    return (
        f"<header><h1>{escape(job.id)}</h1><p><span class='badge'>{job.state}</span> "
        f"<span class='badge {mood}'>health: {job.health}</span></p><dl class='tiles'>{text}</dl></header>"
    )


def _picture(png: bytes, caption: str) -> str:
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _samples(story: Story) -> str:
    figures = "".join(_picture(png, f"after {images:,} images") for images, png in story.grids)
    return f'<div class="pictures">{figures}</div>' if figures else ""


def _pictures(story: Story) -> str:
    captions = {"nearest": "samples, and below each the training picture it is nearest to"}
    return "".join(_picture(png, captions.get(shows, shows)) for shows, png in story.pictures)


def _chart(title: str, lines: Sequence[Line], x_label: str, scale: Scale, joins: Sequence[float] = ()) -> str:
    svg = line_chart(lines, x_label, scale, joins)
    if not svg:
        return ""
    keys = "".join(f'<span class="key-{number}">{escape(line.name)}</span>' for number, line in enumerate(lines))
    legend = f'<p class="keys">{keys}</p>' if len(lines) > 1 else ""
    return f'<div class="chart"><h3>{title}</h3>{legend}{svg}</div>'


def _quality(story: Story) -> str:
    best = best_of(list(story.evaluations))
    if best is None:
        return ""
    comparable = [each for each in story.evaluations if each.protocol == best.protocol]
    over_images = Line("quality", [(each.images, each.quality) for each in comparable])
    # By the time of the checkpoint: an old one may have been judged last.
    saved_at = {event.detail.get("images"): event.at for event in story.events if event.kind == EventKind.CHECKPOINT}
    times = sorted((saved_at[each.images], each.quality) for each in comparable if each.images in saved_at)
    over_time = Line("quality", [((at - story.job.submitted_at) / 60, quality) for at, quality in times])
    charts = _chart("Distance to the data, lower is better", [over_images], "images seen", Scale())
    charts += _chart("The same over time", [over_time], "minutes since submission", Scale())
    names = list(dict.fromkeys(name for each in comparable for name in each.measures))
    head = "".join(f"<th>{short_number(each.images)}{' *' if each is best else ''}</th>" for each in comparable)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{each.text(name)}</td>' for each in comparable)}</tr>"
        for name in names
    )
    protocol = best.protocol
    note = (
        f"<p class='note'>* the best. Protocol {protocol.digest}: {protocol.network}, {protocol.samples:,} samples "
        f"beside {protocol.real:,} {protocol.split} pictures. Only numbers of one protocol compare.</p>"
    )
    return (
        f'<div class="charts">{charts}</div><div class="wide"><table><tr><th>images</th>{head}</tr>{rows}</table></div>'
        + note
        + _agreement(best)
    )


def _agreement(best: Evaluation) -> str:
    """Per class, how many pictures of those asked for are found to be of it."""
    if not best.class_accuracies:
        return ""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{'' if share is None else f'{share:.1%}'}</td></tr>"
        for name, share in best.class_accuracies.items()
    )
    return f"<h3>Pictures that are found to be of the class asked for</h3><table>{rows}</table>"


def _curves(story: Story) -> str:
    training = story.job.training
    joins = training.start.joins if training and training.start else []
    charts = []
    for quantity in CHARTS:
        lines = [
            Line(curve.legend, [(p.images, y) for p in story.history if (y := getattr(p, curve.field)) is not None])
            for curve in quantity.curves
        ]
        scale = Scale(quantity.level, quantity.limits, quantity.is_log)
        charts.append(_chart(quantity.title, [line for line in lines if line.points], "images seen", scale, joins))
    return f'<div class="charts">{"".join(charts)}</div>' if any(charts) else ""


def _events(story: Story) -> str:
    rows = "".join(
        f"<tr class='{event.kind} {event.detail.get('state', '')}'>"
        f"<td>{_clock(event.at - story.job.submitted_at)}</td><td>{event.attempt}</td><td>{event.kind}</td>"
        f"<td>{escape(_detail(event))}</td></tr>"
        for event in story.events
        if event.kind in STORY_KINDS
    )
    return (
        f'<div class="wide"><table><tr><th>after</th><th>attempt</th><th>event</th><th></th></tr>{rows}</table></div>'
    )


def _detail(event: Event) -> str:
    if event.kind == EventKind.HEALTH:
        findings = "; ".join(finding["message"] for finding in event.detail.get("findings", []))
        return f"{event.detail.get('state')} at {event.detail.get('images'):,} images {findings}".strip()
    if event.kind == EventKind.ROLLED_BACK:
        return f"to {event.detail.get('images'):,} images; why stands in the lineage"
    # What was changed stands in the lineage.
    detail = {key: value for key, value in event.detail.items() if value not in (None, "", {}) and key != "changes"}
    return ", ".join(f"{key}: {value}" for key, value in detail.items())


def _clock(seconds: float) -> str:
    minutes, left = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{left:02}"


def _lineage(job: Job) -> str:
    training = job.training
    if training is None or (training.start is None and not job.rollbacks):
        return ""
    links = [
        f"<li>{escape(link.job_id)} up to {link.images:,} images"
        f"{', weights only' if link.weights_only else ''}{_changes(link.changes)}</li>"
        for link in (training.start.lineage[::-1] if training.start else [])
    ]
    back = [
        f"<li>back from {rollback.from_images:,} to {rollback.images:,} images, learning rates times "
        f"{rollback.lr_share:g}: {escape(rollback.why)}</li>"
        for rollback in job.rollbacks
    ]
    return f"<ol>{''.join([*links, f'<li>{escape(job.id)}</li>', *back])}</ol>"


def _changes(changes: dict[str, tuple[object, object]]) -> str:
    text = "; ".join(f"{key}: {before} to {after}" for key, (before, after) in changes.items())
    return f"; then {escape(text)}" if text else ""


def _resources(story: Story) -> str:
    job = story.job
    resources, running_s = job.spec.resources, _running_s(story.events, job)
    again = job.images_trained - job.images
    facts = {
        "gang": f"{resources.workers} worker(s) of {resources.cpus_per_worker} CPU(s) and "
        f"{resources.gpus_per_worker} GPU(s)",
        "running": f"{_clock(running_s)}, {running_s * resources.cpus / 3600:.2f} CPU hours, "
        f"{running_s * resources.gpus / 3600:.2f} GPU hours",
        "user": escape(job.user or ""),
        "attempts": str(job.attempt),
        "images trained": f"{job.images_trained:,}" + (f", {again:,} of them again" if again > 0 else ""),
        "stored": f"{story.stored_bytes / 1e6:.1f} MB",
    }
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts.items() if value)
    return f"<table>{rows}</table>"


def _running_s(events: Sequence[Event], job: Job) -> float:
    """How long attempts held the gang's resources."""
    total, since = 0.0, None
    for event in events:
        if event.kind == EventKind.LEASED:
            since = event.at
        elif since is not None and event.kind in RELEASES:
            total, since = total + event.at - since, None
    return total + (max(0.0, (job.heartbeat_at or since) - since) if since is not None else 0.0)
