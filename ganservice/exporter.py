"""Prometheus exporter: a view of the queue, made anew at each scrape, without state of its own.

`python -m ganservice.exporter` serves it. A job has series while it runs and for FINISHED_JOB_SERIES_S after; what
was not measured has no series.
"""

import logging
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from ganservice.errors import BrokerUnreachable, GanServiceError
from ganservice.job import Health, Job, State
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import PRIORITIES

FINISHED_JOB_SERIES_S = 300.0
PREFIX = "ganservice"


class JobCollector(Collector):
    """All metrics of one queue."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    def describe(self) -> list[Metric]:
        """Nothing: the registry must not ask Redis when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric, from one look at the queue."""
        try:
            now_s = self._queue.now_s()
            counts, totals = self._queue.count_by_state(), self._queue.totals()
            dispatchers = len(self._queue.dispatchers())
            jobs = self._queue.list_jobs()
        except BrokerUnreachable:
            yield _gauge("broker_up", "Whether Redis answers.", 0)
            return
        yield _gauge("broker_up", "Whether Redis answers.", 1)
        yield _gauge("dispatchers", "Dispatchers that looked at the queue in the last seconds.", dispatchers)
        yield from _queue_metrics([job for job in jobs if job.state is State.QUEUED], now_s)
        yield _by_label("jobs", "Jobs in each state.", "state", {state.value: counts[state] for state in State})
        yield from _total_metrics(totals)
        yield from _job_metrics([job for job in jobs if _has_series(job, now_s)], now_s)


def _has_series(job: Job, now_s: float) -> bool:
    if job.state is State.RUNNING:
        return True
    return job.finished_at is not None and now_s - job.finished_at < FINISHED_JOB_SERIES_S


def _queue_metrics(queued: list[Job], now_s: float) -> Iterator[Metric]:
    names = {number: name for name, number in PRIORITIES.items()}
    depth = Counter(dict.fromkeys(PRIORITIES, 0))
    depth.update(names.get(job.priority, str(job.priority)) for job in queued)
    yield _by_label("queue_depth", "Queued jobs of each priority.", "priority", depth)
    oldest_s = max((now_s - job.submitted_at for job in queued), default=0.0)
    yield _gauge("queue_oldest_wait_seconds", "Time since the oldest queued job was submitted.", oldest_s)


def _total_metrics(totals: dict[str, int]) -> Iterator[Metric]:
    for name, text in (
        ("submitted", "Jobs submitted."),
        ("attempts", "Attempts started."),
        ("leases_lost", "Attempts whose lease ran out."),
        ("stale_writes", "Writes refused because their token was not the current one."),
        ("images", "Images trained by all jobs."),
    ):
        yield CounterMetricFamily(f"{PREFIX}_{name}", text, value=totals.get(name, 0))
    for name, label, text in (
        ("outcome", "reason", "Attempts ended, by reason."),
        ("finished", "state", "Jobs finished, by final state."),
    ):
        family = CounterMetricFamily(
            f"{PREFIX}_{name}s" if name == "outcome" else f"{PREFIX}_jobs_{name}", text, labels=[label]
        )
        for key, value in sorted(totals.items()):
            kind, _, what = key.partition(":")
            if kind == name and what:
                family.add_metric([what], value)
        yield family


def _job_metrics(jobs: list[Job], now_s: float) -> Iterator[Metric]:
    info = InfoMetricFamily(f"{PREFIX}_job", "A job and its state.", labels=["job_id"])
    for job in jobs:
        info.add_metric([job.id], {"name": job.name, "state": job.state, "priority": str(job.priority)})
    yield info
    yield _per_job("attempts", "Attempts started.", [(job.id, job.attempt) for job in jobs])
    trained = CounterMetricFamily(
        f"{PREFIX}_job_trained_images", "Images trained by all attempts of the job.", labels=["job_id"]
    )
    for job in jobs:
        trained.add_metric([job.id], job.images_trained)
    yield trained
    yield _per_job(
        "heartbeat_age_seconds",
        "Time since the running attempt's last heartbeat.",
        [(job.id, now_s - job.heartbeat_at) for job in jobs if job.state is State.RUNNING and job.heartbeat_at],
    )
    yield from _progress_metrics(jobs)
    yield from _checkpoint_metrics(jobs)
    yield _quality_metric(jobs)
    yield _health_metric([job for job in jobs if job.training])


def _health_metric(jobs: list[Job]) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}_job_health", "Whether the health watch last saw the training so.", labels=["job_id", "health"]
    )
    for job in jobs:
        for health in Health:
            family.add_metric([job.id, health.value], float(job.health is health))
    return family


def _quality_metric(jobs: list[Job]) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}_job_quality",
        "What the newest evaluation measured; only values of one protocol compare.",
        labels=["job_id", "measure", "protocol"],
    )
    for job in jobs:
        for name, value in job.evaluation.measures.items() if job.evaluation else ():
            if job.evaluation and value is not None:
                family.add_metric([job.id, name, job.evaluation.protocol.digest], value)
    return family


def _progress_metrics(jobs: list[Job]) -> Iterator[Metric]:
    measured = [(job, job.progress) for job in jobs if job.progress is not None]
    yield _per_job(
        "images",
        "Images the model as it stands has seen.",
        [(job.id, progress.images) for job, progress in measured],
    )
    yield _per_job(
        "progress_ratio",
        "Share of the job's images seen.",
        [(job.id, job.share_done) for job, _ in measured],
    )
    yield _per_job("images_per_second", "Throughput.", [(job.id, progress.images_per_s) for job, progress in measured])
    yield _per_job(
        "step_seconds", "Mean time of a training step.", [(job.id, progress.step_s) for job, progress in measured]
    )
    pairs: tuple[tuple[str, str, str, dict[str, str]], ...] = (
        ("loss", "Mean loss.", "network", {"generator": "loss_g", "discriminator": "loss_d"}),
        (
            "gradient_norm",
            "Mean norm of the gradient.",
            "network",
            {"generator": "grad_norm_g", "discriminator": "grad_norm_d"},
        ),
        (
            "discriminator_probability",
            "Mean probability D gives: D(x) for real, D(G(z)) for generated pictures.",
            "pictures",
            {"real": "d_real", "generated": "d_fake"},
        ),
        (
            "discriminator_score",
            "Mean logit D gives to real and to generated pictures.",
            "pictures",
            {"real": "score_real", "generated": "score_fake"},
        ),
    )
    for name, text, label, fields in pairs:
        family = GaugeMetricFamily(f"{PREFIX}_job_{name}", text, labels=["job_id", label])
        for job, progress in measured:
            for value, field in fields.items():
                if (measure := getattr(progress, field)) is not None:
                    family.add_metric([job.id, value], measure)
        yield family
    for name, text, field in (
        ("value", "Value V(G, D) of the two-player game, nats; -log 4 at the optimum.", "value"),
        ("jensen_shannon_nats", "Jensen-Shannon divergence of data and generator that V implies.", "jensen_shannon"),
        ("modes", "Modes of a mixture that have a good sample.", "modes"),
        (
            "diversity_ratio",
            "Distance from a sample to its nearest other sample, over the same of real pictures.",
            "diversity",
        ),
        ("good_sample_ratio", "Share of samples near a mode of a mixture.", "good_share"),
    ):
        values = [(job.id, getattr(progress, field)) for job, progress in measured]
        yield _per_job(name, text, [(job_id, value) for job_id, value in values if value is not None])


def _checkpoint_metrics(jobs: list[Job]) -> Iterator[Metric]:
    saved = [(job.id, job.checkpoint) for job in jobs if job.checkpoint is not None]
    yield _per_job("checkpoint_images", "Images at the newest checkpoint.", [(i, c.images) for i, c in saved])
    yield _per_job("checkpoint_bytes", "Size of the newest checkpoint.", [(i, c.bytes) for i, c in saved])
    yield _per_job(
        "checkpoint_seconds",
        "Time to store the newest checkpoint.",
        [(i, c.seconds) for i, c in saved if c.seconds is not None],
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)


def _by_label(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _per_job(name: str, text: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_job_{name}", text, labels=["job_id"])
    for job_id, value in values:
        family.add_metric([job_id], value)
    return family


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        settings = Settings()
        registry = CollectorRegistry()
        registry.register(JobCollector(JobQueue(settings)))
        start_http_server(settings.exporter_port, addr=settings.exporter_host, registry=registry)
    except (GanServiceError, OSError) as error:
        logging.getLogger(__name__).error("%s", error)
        return getattr(error, "exit_code", 1)
    logging.getLogger(__name__).info("metrics at http://%s:%d/metrics", settings.exporter_host, settings.exporter_port)
    stopping.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
