"""The page that compares runs, under one protocol, as `ganctl compare` does."""

from typing import Any

from deploy.grafana import page
from deploy.grafana.jobs import FRECHET, KERNEL, MUCH_WORSE, PROTOCOL, WORSE, Jobs, seen_health_cases
from deploy.grafana.panels import Panel, bars, curves, jobs_by_images, override, row, table, words_column
from deploy.grafana.words import GREEN, GREY, RED, YELLOW, Case, either, mappings, negative, numbered

ON = "on(job_id)"
JOBS = 'job_id=~"$jobs"'
OF_EVALUATIONS = 'use="evaluation"'
NOTHING = "no evaluations by this protocol: give a spec an evaluate: section, or run ganctl evaluate JOB"


def last(metric: str, *labels: str, by: str = "max by (job_id)") -> str:
    """A metric of the chosen jobs as it was at last, of those that have ended as well."""
    return f"{by} (last_over_time(ganservice_{metric}{{{', '.join((JOBS, *labels))}}}[$__range]))"


NEWEST, BEST, FIRST = (
    last("job_quality", FRECHET, PROTOCOL),
    last("job_best_quality", PROTOCOL),
    last("job_first_quality", PROTOCOL),
)
GAIN = f"({FIRST} - {BEST})"


def held(resource: str, *labels: str) -> str:
    """The time for which jobs and their evaluations have held CPUs or GPUs, in s."""
    return f"sum by (job_id) ({last(f'job_held_{resource}_seconds', *labels, by='max by (job_id, use)')})"


NO_GAIN = Case("got no better", RED, f"{GAIN} <= 0")
NO_GPUS = Case("no GPUs", GREY, f"{held('gpu')} == 0 and {ON} {FIRST}")
# What it gained it has lost again: nothing of it was cheap.
FAR = Case("far from its best", RED, f"{NEWEST} > {ON} {MUCH_WORSE:g} * {BEST}")
COST_WORDS = {"cpu": [NO_GAIN, FAR], "gpu": [NO_GAIN, NO_GPUS, FAR]}


def cost(resource: str) -> str:
    """What each point cost by which the distance fell, from the first evaluation to the best; or why there is none."""
    gained = f"({GAIN} > 0 unless {ON} ({FAR.when}))"
    price = f"{held(resource)} / {ON} {gained}"
    return either(ON, price if resource == "cpu" else f"({price}) > 0", negative(COST_WORDS[resource], ON))


def cost_words(resource: str) -> list[dict[str, Any]]:
    """What stands where there is no price."""
    return mappings(COST_WORDS[resource], first=-1, step=-1, missing=None)


def runs() -> Panel:
    """A line for each run."""
    verdicts = [
        FAR,
        Case("was better", YELLOW, f"{NEWEST} > {ON} {WORSE:g} * {BEST}"),
        Case("at its best", GREEN, NEWEST),
    ]
    healths = seen_health_cases(Jobs(JOBS, " by (job_id) ", ON, "$__range"))
    info = f"last_over_time(ganservice_job_info{{{JOBS}}}[$__range])"
    queries = {
        "who": f"max by (job_id, name, user) ({info}) and {ON} {NEWEST}",
        "best": BEST,
        "at images": last("job_best_quality_images", PROTOCOL),
        "newest": NEWEST,
        "now": numbered(verdicts, ON),
        "health": f"({numbered(healths, ON)}) and {ON} {NEWEST}",
        "fell by": GAIN,
        "CPU time": f"{held('cpu')} and {ON} {NEWEST}",
        "GPU time": f"{held('gpu')} and {ON} {NEWEST}",
        "of it evaluations": f"{held('cpu', OF_EVALUATIONS)} / {ON} ({held('cpu')} > 0) and {ON} {NEWEST}",
        "CPU time a point": cost("cpu"),
        "GPU time a point": cost("gpu"),
    }
    columns = ["job_id", "name", "user", *(column for column in queries if column != "who")]
    found = table(
        "Runs", "By the protocol chosen above: lower is better. Evaluations are charged to their training.", queries,
        columns, sort_by="best", nothing=NOTHING, height=9,
    )  # fmt: skip
    words_column(found, "now", mappings(verdicts, missing=None))
    words_column(found, "health", mappings(healths, missing=None))
    override(found, "job_id", links=[{"title": "This job", "url": LINK, "targetBlank": False}])
    for column, resource in (("CPU time", "cpu"), ("GPU time", "gpu")):
        override(found, column, unit="s")
        override(found, f"{column} a point", unit="s", mappings=cost_words(resource))
    override(found, "of it evaluations", unit="percentunit", decimals=0)
    return found


LINK = "/d/" + page.JOB + "?var-job=${__data.fields.job_id}&var-protocol=$protocol"


def curve(measure: str, *, by: str = PROTOCOL) -> dict[str, str]:
    """A measure of each job over time."""
    return {"{{job_id}}": f"max by (job_id) (ganservice_job_quality{{{JOBS}, {by}, {measure}}})"}


def variables() -> list[dict[str, Any]]:
    """One protocol, that which most jobs have unless another is chosen, and the newest jobs that have it."""
    user = 'user=~"$user"'
    asked = f'max by (job_id) (last_over_time(ganservice_job_info{{kind="train", {user}}}[$__range]))'
    has = "max by (job_id, protocol) (last_over_time(ganservice_job_protocol{}[$__range]))"
    used = f"sum by (protocol) ({has.format('')} and on(job_id) {asked})"
    submitted = "max by (job_id) (last_over_time(ganservice_job_submitted_timestamp_seconds[$__range]))"
    newest = f"topk($newest, {submitted} and {ON} {asked} and {ON} {has.format(f'{{{PROTOCOL}}}')})"
    return [
        page.labels_of("user", "User", 'label_values(ganservice_job_info{kind="train"}, user)'),
        page.newest("protocol", "Protocol", f"sort_desc({used})", "protocol"),
        page.choice("newest", "Newest", {count: count for count in ("10", "20", "50", "200")}),
        page.newest_many("jobs", "Jobs", f"sort_desc({newest})", "job_id"),
    ]


def quality() -> dict[str, Any]:
    """The page."""
    wide = {"unit": "percentunit", "min": 0, "max": 1, "nothing": NOTHING}
    panels = [
        runs(),
        jobs_by_images("Distance, by images", "Frechet distance of each run: lower is better.",
                       f"max by (job_id) (ganservice_job_quality_images{{{JOBS}, {PROTOCOL}}})",
                       f"max by (job_id) (ganservice_job_quality{{{JOBS}, {PROTOCOL}, {FRECHET}}})", nothing=NOTHING),
        curves("Distance, over time", "Frechet distance of each run: lower is better.", curve(FRECHET), width=12,
               height=8, nothing=NOTHING),
        bars("Best distance", "Of each run, by this protocol.", f"sort({BEST})", nothing=NOTHING),
        bars("CPU time a point", "Held by the run and its evaluations for each point by which the distance fell, from "
             "the first evaluation to the best.", f"sort({cost('cpu')})", unit="s", nothing=NOTHING,
             mappings=cost_words("cpu")),
        bars("GPU time a point", "The same of GPUs.", f"sort({cost('gpu')})", unit="s", nothing=NOTHING,
             mappings=cost_words("gpu")),
        row("Other measures, by the same protocol"),
        curves("Kernel distance", "Lower is better.", curve(KERNEL), nothing=NOTHING),
        curves("Fidelity", "Precision: share of generated pictures that look like real ones.",
               curve('measure=~".*_precision"'), **wide),
        curves("Variety", "Recall: share of real pictures that look like generated ones.",
               curve('measure=~".*_recall"'), **wide),
        jobs_by_images("Diversity while training, by images",
                       "Distance from a sample to its nearest other one, over that of real pictures.",
                       f"max by (job_id) (ganservice_job_images{{{JOBS}}})",
                       f"max by (job_id) (ganservice_job_diversity_ratio{{{JOBS}}})", min=0,
                       nothing="no run of them trains in the time shown"),
        jobs_by_images("Loss of G while training, by images", "It says who is ahead, not how good the pictures are.",
                       f"max by (job_id) (ganservice_job_images{{{JOBS}}})",
                       f'max by (job_id) (ganservice_job_loss{{{JOBS}, network="generator"}})',
                       nothing="no run of them trains in the time shown"),
    ]  # fmt: skip
    return page.dashboard(
        page.QUALITY, "Quality", "Runs compared under one protocol, and what their quality cost.", panels, variables(),
        since="now-7d",
    )  # fmt: skip
