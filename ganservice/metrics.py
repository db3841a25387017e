"""Every metric there is: its name, kind, unit, labels and meaning. `docs/metrics.md` is this list, printed."""

import sys
from dataclasses import dataclass
from enum import StrEnum

from ganservice.quantities import QUANTITIES

PREFIX = "ganservice"
# Queued jobs that have series: the first in the order in which they will be leased.
QUEUED_JOBS = 200
# Of one training, the protocols by which most of its evaluations judge; of each, the numbers of its newest evaluation.
PROTOCOLS = 4
MEASURES = 20


class Kind(StrEnum):
    """How Prometheus reads a metric."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    STATE = "state"  # a gauge for each state: 1 for the one that holds, 0 for all others


@dataclass(frozen=True)
class Metric:
    """One metric. A counter's series are called `name`_total, a histogram's `name`_bucket, _sum and _count."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name under which Prometheus knows it."""
        return f"{PREFIX}_{self.name}{'_total' if self.kind is Kind.COUNTER else ''}"

    @property
    def unit(self) -> str:
        """By its name, as Prometheus wants it."""
        ends = {"seconds": "s", "bytes": "bytes", "ratio": "0 to 1", "nats": "nats"}
        return ends.get(self.name.rpartition("_")[2], "images/s" if self.name.endswith("images_per_second") else "")


def _metrics(kind: Kind, labels: tuple[str, ...], *named: tuple[str, str]) -> list[Metric]:
    return [Metric(name, kind, text, labels) for name, text in named]


_JOB = ("job_id",)

# Of the service, always there.
SERVICE = [
    *_metrics(
        Kind.GAUGE,
        (),
        ("broker_up", "Whether Redis answers and takes a write."),
        ("broker_round_trip_seconds", "Time Redis took to answer the exporter."),
        ("broker_memory_bytes", "What Redis takes for its data."),
        ("broker_max_memory_bytes", "The most that Redis may take for its data; 0 where it has no limit."),
        ("store_up", "Whether the object store works; asked every few seconds to write, read and delete."),
        ("store_round_trip_seconds", "Time the object store took to answer the exporter."),
        (
            "store_usage_age_seconds",
            "Time since the objects of the store were counted; see GANSERVICE_STORE_USAGE_EVERY_S.",
        ),
        ("dispatchers_up", "Dispatchers that looked at the queue in the last seconds, leading or waiting."),
        ("leader_up", "Whether a dispatcher leads. Without one nothing is started."),
        ("dispatcher_lag_seconds", "Time since the leading dispatcher looked at the queue."),
        ("reaper_lag_seconds", "How long the oldest lease that ran out has not been reaped; 0 where none has."),
        ("queue_oldest_wait_seconds", "Time since the oldest queued job could have been leased; 0 of an empty queue."),
        ("queue_paused", "Whether an operator has paused the queue: nothing is started until it is resumed."),
        ("cluster_nodes", "Nodes of the Ray cluster that are alive and have room for work."),
        ("state_disk_free_bytes", "Room left on the disk of the embedded stack."),
        ("state_disk_size_bytes", "Size of the disk of the embedded stack."),
        ("scrape_seconds", "Time the exporter took for this answer."),
        ("lease_seconds", "The setting GANSERVICE_LEASE_S of the exporter, which is that of all processes."),
        ("stall_limit_seconds", "The setting GANSERVICE_STALL_LIMIT_S, likewise."),
    ),
    Metric("build_info", Kind.GAUGE, "1; names the release of the exporter.", ("version",)),
    *_metrics(
        Kind.GAUGE,
        ("use",),
        ("cluster_cpus", "CPUs of the nodes that take work: held by gangs, or free."),
        ("cluster_gpus", "GPUs of the nodes that take work: held by gangs, or free."),
    ),
    *_metrics(
        Kind.GAUGE,
        ("kind",),
        ("store_bytes", "Bytes that the object store holds of each kind, when they were last counted."),
        ("store_objects", "Objects of each kind that the object store holds, when they were last counted."),
    ),
    Metric("outage", Kind.GAUGE, "1 of the kind of outage that a server is in, 0 of all others.", ("server", "kind")),
    Metric("jobs", Kind.GAUGE, "Jobs in each state.", ("state",)),
    Metric("queue_depth", Kind.GAUGE, "Queued jobs of each priority.", ("priority",)),
    *_metrics(
        Kind.COUNTER,
        (),
        ("jobs_submitted", "Jobs submitted."),
        ("attempts", "Attempts started."),
        ("leases_lost", "Attempts whose lease ran out."),
        ("stale_writes", "Writes refused because their token was not the current one."),
        ("missed_beats", "Heartbeats that Redis did not answer."),
        ("store_errors", "Outages of the object store that a worker waited for."),
        ("leader_changes", "Times one dispatcher succeeded another."),
        ("images", "Images trained by all jobs."),
        ("checkpoints", "Checkpoints stored."),
        ("checkpoints_bytes", "Bytes of checkpoints stored."),
        ("checkpoints_seconds", "Time it took to store checkpoints."),
        ("evaluations", "Checkpoints evaluated."),
        ("cpu_seconds", "CPU time gangs have held: CPUs asked for, times the time under lease."),
        ("gpu_seconds", "GPU time gangs have held: GPUs asked for, times the time under lease."),
    ),
    Metric("outcomes", Kind.COUNTER, "Attempts ended, by reason.", ("reason",)),
    Metric("retries", Kind.COUNTER, "Attempts ended whose job went back to the queue, by reason.", ("reason",)),
    Metric("jobs_finished", Kind.COUNTER, "Jobs finished, by final state; failed ones were given up.", ("state",)),
    Metric("queue_wait_seconds", Kind.HISTOGRAM, "From when a job could be leased to its lease."),
    Metric("start_seconds", Kind.HISTOGRAM, "From a lease to the first step: actors, data, checkpoint."),
]

_EVALUATED = ("job_id", "protocol", "network")

# Of a job that waits, runs, or has ended in the last minutes.
JOB = [
    Metric(
        "job_info",
        Kind.GAUGE,
        "1; names the job. `tags` are between commas, as in `,first,second,`; `of` is the training that an evaluation "
        "judges, `sweep` the sweep of which it is a part.",
        ("job_id", "name", "kind", "priority", "user", "tags", "of", "sweep"),
    ),
    Metric("job_state", Kind.STATE, "Where the job stands.", ("job_id", "state")),
    *_metrics(
        Kind.GAUGE,
        _JOB,
        ("job_submitted_timestamp_seconds", "When the job was submitted, Unix time."),
        ("job_finished_timestamp_seconds", "When the job ended, Unix time; only of one that has."),
        (
            "job_queue_wait_seconds",
            "Time since the queued job could have been leased; 0 while it waits for a retry, another job or its sweep.",
        ),
        ("job_unplaceable", "Whether the queued job asks for more than the whole cluster has."),
        ("job_attempts", "Attempts started."),
        ("job_rollbacks", "Times the health watch sent the job back."),
        ("job_halts", "Times the job came as far as its sweep let it, and waited."),
        ("job_rollbacks_left", "Times it still may; only of a training whose spec has it do so."),
        ("job_cpus", "CPUs of the job's gang."),
        ("job_gpus", "GPUs of the job's gang."),
        ("job_heartbeat_age_seconds", "Time since the running attempt's last heartbeat."),
        (
            "job_report_age_seconds",
            "Time since the running attempt's last report, or since it began to do what it does now.",
        ),
        ("job_report_interval_seconds", "Usual time between two reports of the running attempt; none before two."),
        ("job_still_seconds", "Time since anything of the running attempt came further."),
        ("job_waits", "Whether the running attempt waits for the store, the broker or what another evaluation makes."),
        ("job_left_seconds", "Time that the running attempt still takes at the speed it has."),
        ("job_images", "Images the model as it stands has seen."),
        ("job_progress_ratio", "Share of the job's images seen; of an evaluation, of its work done."),
        ("job_checkpoint_images", "Images at the newest checkpoint."),
        ("job_checkpoint_age_seconds", "Time since the running job's newest checkpoint, or since its attempt began."),
        ("job_checkpoint_bytes", "Size of the newest checkpoint."),
        ("job_checkpoint_seconds", "Time it took to store the newest checkpoint."),
    ),
    Metric("job_device", Kind.GAUGE, "1; what the running attempt computes on, `cpu` or `cuda`.", ("job_id", "device")),
    *_metrics(
        Kind.COUNTER,
        _JOB,
        ("job_trained_images", "Images trained by all attempts, work done twice counted twice."),
        ("job_leased_seconds", "Time attempts have held the job's CPUs and GPUs."),
    ),
    *_metrics(
        Kind.GAUGE,
        ("job_id", "use"),
        ("job_held_cpu_seconds", "CPU time held for a training: by its own attempts, and by its evaluations."),
        ("job_held_gpu_seconds", "GPU time held for a training: by its own attempts, and by its evaluations."),
    ),
    *(
        Metric(each.metric, Kind.GAUGE, each.meaning, ("job_id", each.label) if each.label else _JOB)
        for each in QUANTITIES
    ),
    Metric("job_health", Kind.STATE, "What the health watch last saw.", ("job_id", "health")),
    Metric(
        "job_reservation",
        Kind.STATE,
        "What is to be said against a training that has succeeded.",
        ("job_id", "reservation"),
    ),
    Metric(
        "job_protocol",
        Kind.GAUGE,
        f"1 for each protocol by which the training was evaluated, {PROTOCOLS} at most, 0 of a further judge's. "
        "Numbers of two do not compare.",
        ("job_id", "protocol"),
    ),
    Metric(
        "job_quality",
        Kind.GAUGE,
        "What the newest evaluation by a protocol measured: that of the checkpoint of most images.",
        ("job_id", "measure", "protocol", "network"),
    ),
    *_metrics(
        Kind.GAUGE,
        _EVALUATED,
        ("job_quality_images", "Images at the checkpoint of that evaluation."),
        ("job_first_quality", "Quality number, by which the best is chosen, of the checkpoint of fewest images."),
        ("job_best_quality", "The same number of the best checkpoint; lower is better."),
        ("job_best_quality_images", "Images at the best checkpoint."),
    ),
]

METRICS = {metric.name: metric for metric in (*SERVICE, *JOB)}

# At most, whatever the queue holds: a priority may be any of 101 numbers.
SERVICE_SERIES = 300
# At most, of one job with all that can be measured, by every protocol.
JOB_SERIES = 188


def page() -> str:
    """`docs/metrics.md`."""
    lines = [
        "# Metrics",
        "",
        "Every metric that `ganservice` gives Prometheus, at the address `ganctl up` prints. This page is made by",
        "`python -m ganservice.metrics`; a test holds it to the code.",
        "",
        f"- A job has series while it waits among the first {QUEUED_JOBS} of the queue, while it runs, and for five",
        "  minutes after it has ended, a training also while an evaluation of it has; what was not measured has none.",
        "  What tells how the running attempt stands goes with the attempt.",
        "- Counters live in Redis, where the transitions of jobs increment them: no restart of a worker, of a",
        "  dispatcher or of the exporter sets one back.",
        f"- At most {SERVICE_SERIES} series of the service, and {JOB_SERIES} of each job: of one that was evaluated by",
        f"  {PROTOCOLS} protocols.",
        "- Beside them stand Prometheus' own `process_...` of the exporter.",
        "",
        "## The service",
        "",
        *_table(SERVICE),
        "",
        "## Each job",
        "",
        *_table(JOB),
    ]
    return "\n".join(lines) + "\n"


def _table(metrics: list[Metric]) -> list[str]:
    rows = [
        f"| `{metric.full_name}` | {metric.kind} | {metric.unit} | {', '.join(metric.labels)} | {metric.text} |"
        for metric in metrics
    ]
    return ["| metric | kind | unit | labels | meaning |", "|---|---|---|---|---|", *rows]


if __name__ == "__main__":
    sys.stdout.write(page())  # noqa: TID251 # a page of our own
