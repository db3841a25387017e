"""The page of one job: how it stands within ten seconds, then its course, its curves and its machines."""

from typing import Any

from deploy.grafana import page
from deploy.grafana.job_tiles import tiles
from deploy.grafana.jobs import (
    FRECHET,
    KERNEL,
    PROTOCOL,
    RESERVATION_COLOURS,
    SHARES,
    THE_JOB_THEN,
    running_pace_cases,
    seen_health_cases,
)
from deploy.grafana.panels import (
    LOG_SCALE,
    Panel,
    by_images,
    curves,
    row,
    table,
    text_panel,
    timeline,
)
from deploy.grafana.words import BLUE, GREEN, GREY, RED, Case
from ganservice.job import State
from ganservice.metrics import METRICS
from ganservice.quantities import CHARTS, Quantity

OF_JOB = 'job_id="$job"'
UNITS = {"s": "s", "bytes": "bytes"}  # Grafana's name of a metric's unit
NOT_EVALUATED = "not evaluated: give the spec an evaluate: section; an evaluation is not evaluated itself"
NOTHING = "nothing yet; an evaluation trains nothing"
HOW = (
    "`ganctl link $job` prints a link to the newest grid of samples, `ganctl link $job report` to the newest report. "
    "Both expire. `ganctl report $job` writes that page, the whole story with its samples. `ganctl fetch $job` brings "
    "the best generator home, `ganctl events $job` tells what happened, `ganctl logs $job` what it wrote. What to do "
    "about an alert is in `docs/operating.md`.\n\nNo link to a picture stands here: one that opens without a password "
    "would open for everybody, and a signed one expires."
)
GENERATOR, DISCRIMINATOR = (f'network="{network}"' for network in ("generator", "discriminator"))


def of(metric: str, *labels: str) -> str:
    """A metric of the job, as it is at each moment."""
    return f"ganservice_{metric}{{{', '.join((OF_JOB, *labels))}}}"


def who() -> Panel:
    """What the job is called, and whose it is."""
    labels = ["job_id", "name", "kind", "user", "priority", "tags", "of", "sweep"]
    asked = f"max by ({', '.join(labels)}) (last_over_time({of('job_info')}[$__range]))"
    return table("Who", "Its name, user, tags and sweep; of an evaluation, the training that it judges.",
                 {"told": asked}, labels, sort_by="job_id", is_joined=False,
                 nothing="no such job in the time shown", height=3)  # fmt: skip


def course() -> Panel:
    """State, health and pace over time."""
    states = [
        Case(State.QUEUED, BLUE, THE_JOB_THEN.holds("job_state", 'state="queued"')),
        Case(State.RUNNING, GREEN, THE_JOB_THEN.holds("job_state", 'state="running"')),
        *(
            Case(f"succeeded, but {kind}", colour, THE_JOB_THEN.holds("job_reservation", f'reservation="{kind}"'))
            for kind, colour in RESERVATION_COLOURS.items()
        ),
        Case(State.SUCCEEDED, GREEN, THE_JOB_THEN.holds("job_state", 'state="succeeded"')),
        Case(State.FAILED, RED, THE_JOB_THEN.holds("job_state", 'state="failed"')),
        Case(State.CANCELLED, GREY, THE_JOB_THEN.holds("job_state", 'state="cancelled"')),
    ]
    return timeline("Course", "How it stood, from the first to the last that is told of it.",
                    {"state": states, "health": seen_health_cases(THE_JOB_THEN),
                     "reports": running_pace_cases(THE_JOB_THEN)}, THE_JOB_THEN.on)  # fmt: skip


def over_images() -> list[Panel]:
    """What two runs of different speed are compared by."""
    images = f"max({of('job_images')})"
    evaluated = f"max({of('job_quality_images', PROTOCOL)})"
    return [
        by_images("Loss, by images", "Of the last report; it says who is ahead, not how good the pictures are.", images,
                  {"G": f"max({of('job_loss', GENERATOR)})", "D": f"max({of('job_loss', DISCRIMINATOR)})"},
                  nothing=NOTHING),
        by_images("Diversity, by images", "1 as the data's; near 0 all samples are alike.", images,
                  {"samples": f"max({of('job_diversity_ratio')})"}, nothing=NOTHING, min=0),
        by_images("Quality, by images", "Frechet distance by the protocol chosen above: lower is better.", evaluated,
                  {"distance": f"max({of('job_quality', FRECHET, PROTOCOL)})"}, nothing=NOT_EVALUATED),
    ]  # fmt: skip


def chart(quantity: Quantity) -> Panel:
    """A quantity of a training over time, as the report page draws it."""
    metric = METRICS[quantity.metric]
    legend = f"{{{{{quantity.label}}}}}" if quantity.label else quantity.curves[0].legend
    more: dict[str, Any] = {"custom": LOG_SCALE} if quantity.is_log else {}
    more |= {key: limit for key, limit in zip(("min", "max"), quantity.limits or (), strict=False) if limit is not None}
    if quantity.bad_below is not None:
        more["steps"] = [("red", None), ("transparent", quantity.bad_below)]
    elif quantity.level is not None:
        more |= {"steps": [("transparent", None), ("text", quantity.level)], "steps_as": "dashed"}
    return curves(
        quantity.title,
        f"{metric.text} {quantity.reading}".strip(),
        {legend: of(quantity.metric)},
        unit="percentunit" if quantity.limits == (0, 1) else UNITS.get(metric.unit, "short"),
        nothing=NOTHING,
        **more,
    )


def over_time() -> list[Panel]:
    """Quality, what the reports tell, checkpoints and machines."""
    return [
        curves("Frechet distance", "By the protocol chosen above: lower is better.",
               {"{{measure}}": of("job_quality", FRECHET, PROTOCOL)}, nothing=NOT_EVALUATED),
        curves("Kernel distance", "By the same protocol: lower is better.",
               {"{{measure}}": of("job_quality", KERNEL, PROTOCOL)}, nothing=NOT_EVALUATED),
        curves("Precision, recall, density, coverage", "Of the newest evaluation by the same protocol.",
               {"{{measure}}": of("job_quality", SHARES, PROTOCOL)}, min=0, nothing=NOT_EVALUATED),
        *(chart(quantity) for quantity in CHARTS if quantity.on_dashboard),
        curves("Age of the newest checkpoint", "What would be lost.", {"age": of("job_checkpoint_age_seconds")},
               unit="s", min=0, nothing=NOTHING),
        curves("Time to store a checkpoint", "Of the newest one.", {"seconds": of("job_checkpoint_seconds")}, unit="s",
               min=0, nothing=NOTHING),
        curves("Memory", "Of the workers of the gang.", {"memory": of("job_memory_bytes")}, unit="bytes", min=0,
               nothing=NOTHING),
        curves("CPUs", "Kept busy by the workers, and held by the gang.",
               {"busy": of("job_used_cpus"), "held": of("job_cpus")}, min=0),
        curves("Time since the last report", "Of a job that reports, it climbs to the usual time between two of them.",
               {"report": of("job_report_age_seconds")}, unit="s", min=0),
    ]  # fmt: skip


def gpus() -> list[Panel]:
    """What only a job with GPUs has."""
    nothing = "this job holds no GPUs"
    return [
        curves("GPUs busy", "Share of the time, mean over the GPUs of the gang.", {"busy": of("job_gpu_busy_ratio")},
               unit="percentunit", min=0, max=1, width=12, nothing=nothing),
        curves("GPU memory", "Of the workers of the gang.", {"memory": of("job_gpu_memory_bytes")}, unit="bytes", min=0,
               width=12, nothing=nothing),
    ]  # fmt: skip


def events() -> list[dict[str, Any]]:
    """What is marked on the curves."""
    ended = of("job_state", 'state=~"succeeded|failed|cancelled"')
    return [
        page.annotation("Attempts", "blue", page.appeared(of("job_attempts")), "an attempt begins"),
        page.annotation("Ends", "#808080", f"{ended} == 1 and {page.changed(ended)}", "{{state}}"),
        page.annotation("Checkpoints", "green", page.appeared(of("job_checkpoint_images")), "checkpoint"),
        page.annotation("Rollbacks", "red", page.changed(of("job_rollbacks")), "rolled back"),
        page.annotation("Health", "orange", f"{of('job_health')} == 1 and {page.changed(of('job_health'))}",
                        "health: {{health}}"),
        page.annotation("Evaluations", "purple", page.appeared(of("job_quality_images")), "evaluated", "{{network}}"),
    ]  # fmt: skip


def variables() -> list[dict[str, Any]]:
    """Trainings, newest first, of some users, names, tags and sweeps; evaluations only if they are asked for."""
    kind, user, name = 'kind="$kind"', 'user=~"$user"', 'name=~"$name"'
    tag = 'tags=~"(.*,)?($tag)(,.*)?"'
    sweep = 'sweep=~"$sweep"'
    asked = f"last_over_time(ganservice_job_info{{{', '.join((kind, user, name, tag, sweep))}}}[$__range])"
    submitted = "max by (job_id) (last_over_time(ganservice_job_submitted_timestamp_seconds[$__range]))"
    used = "sum by (protocol) (max by (job_id, protocol) (last_over_time(ganservice_job_protocol[$__range])))"
    own = f"max by (protocol) (last_over_time({of('job_protocol')}[$__range]))"
    return [
        page.choice("kind", "Kind", {"trainings": "train", "evaluations": "evaluate"}),
        page.labels_of("user", "User", f"label_values(ganservice_job_info{{{kind}}}, user)"),
        page.labels_of("name", "Name", f"label_values(ganservice_job_info{{{kind}, {user}}}, name)"),
        page.labels_of("tag", "Tag", f"label_values(ganservice_job_info{{{kind}, {user}}}, tags)", regex="/([^,]+)/g"),
        page.labels_of("sweep", "Sweep", f"label_values(ganservice_job_info{{{kind}, {user}}}, sweep)"),
        page.newest("job", "Job", f"sort_desc({submitted} and on(job_id) {asked})", "job_id", stays=True),
        page.newest("protocol", "Protocol", f"sort_desc({used} and on(protocol) {own})", "protocol"),
    ]


def job() -> dict[str, Any]:
    """The page."""
    panels = [
        *tiles(),
        who(),
        course(),
        text_panel("Pictures and more", "How to see the pictures.", HOW, height=3),
        row("By images"),
        *over_images(),
        row("Over time"),
        *over_time(),
        row("GPUs, of jobs that hold some", gpus()),
    ]
    return page.dashboard(
        page.JOB, "Job", "One job: how it stands, its course, its quality, its curves.", panels, variables(), events()
    )
