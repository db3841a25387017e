"""Prometheus exporter: a view of the queue, made anew at each scrape.

`python -m ganservice.exporter` serves it. A job has series while it runs and for FINISHED_JOB_SERIES_S after; what
was not measured has no series. Of its own it keeps only what it last asked of the object store.
"""

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import prometheus_client.core as prometheus
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from ganservice.broker import WAIT_BOUNDS_S
from ganservice.errors import BrokerOutage, GanServiceError, OutageKind
from ganservice.job import EventKind, Health, Job, Reason, State
from ganservice.leadership import Cluster, Leadership
from ganservice.logs import start_logging
from ganservice.metrics import METRICS, PREFIX, Kind
from ganservice.metrics_server import serve
from ganservice.plain_text import plain_line
from ganservice.probes import BrokerProbe, StoreProbe
from ganservice.quantities import QUANTITIES
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import PRIORITIES
from ganservice.stack_file import SETTINGS_FILE
from ganservice.store_usage import StoreUsage, Usage

log = logging.getLogger(__name__)

FINISHED_JOB_SERIES_S = 300.0
# Those that wait are counted, not shown one by one: there may be thousands.
WITH_SERIES = [state for state in State if state is not State.QUEUED]
# Counters of the scripts, by metric; times are counted in ms.
TOTALS = {
    "submitted": "submitted",
    "attempts": "attempts",
    "leases_lost": "leases_lost",
    "stale_writes": "stale_writes",
    "missed_beats": "missed_beats",
    "store_errors": f"event:{EventKind.STORE_UNREACHABLE}",
    "leader_changes": "leader_changes",
    "images": "images",
    "checkpoints": f"event:{EventKind.CHECKPOINT}",
    "checkpoints_bytes": "checkpoint_bytes",
    "checkpoints_seconds": "checkpoint_ms",
    "evaluations": "evaluations",
    "cpu_seconds": "cpu_ms",
    "gpu_seconds": "gpu_ms",
}
# Each with all its labels from the start: Prometheus cannot see a counter increase that was not there.
TOTALS_BY_LABEL: dict[str, tuple[str, list[str]]] = {
    "outcomes": ("outcome", list(Reason)),
    "retries": ("retry", list(Reason)),
    "jobs_finished": ("finished", [state for state in State if state.is_final]),
}


class Families:
    """The samples of one scrape, by metric."""

    def __init__(self) -> None:
        self._families: dict[str, Any] = {}

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """A sample; none of what was not measured. Labels are plain text: some of them are names that users gave."""
        if value is not None:
            self._family(name).add_metric([plain_line(label) for label in labels], value)

    def add_states(self, name: str, states: Iterable[str], current: str, *labels: str) -> None:
        """A sample for each state, 1 for the one that holds."""
        for state in states:
            self.add(name, float(state == current), *labels, state)

    def add_histogram(self, name: str, counts: dict[str, int], sum_s: float) -> None:
        """Spans by the class they fell into, named by its upper end."""
        so_far, buckets = 0, []
        for bound, label in [*((f"{bound:g}", f"{float(bound)}") for bound in WAIT_BOUNDS_S), ("inf", "+Inf")]:
            so_far += counts.get(bound, 0)
            buckets.append((label, so_far))
        self._family(name).add_metric([], buckets, sum_s)

    def __iter__(self) -> Iterator[prometheus.Metric]:
        return iter(self._families.values())

    def _family(self, name: str) -> Any:  # each kind of family takes other arguments
        if name not in self._families:
            metric = METRICS[name]
            kind = {
                Kind.COUNTER: prometheus.CounterMetricFamily,
                Kind.HISTOGRAM: prometheus.HistogramMetricFamily,
            }.get(metric.kind, prometheus.GaugeMetricFamily)
            self._families[name] = kind(f"{PREFIX}_{name}", metric.text, labels=metric.labels)
        return self._families[name]


class JobCollector(Collector):
    """All metrics of one queue."""

    def __init__(self, settings: Settings) -> None:
        self._queue = JobQueue(settings)
        self._leadership = Leadership(settings)
        self._broker_probe = BrokerProbe(settings)
        self._store_probe = StoreProbe(settings)
        self._store_usage = StoreUsage(settings)
        # Only an embedded stack fills a disk of this machine.
        self._disk = settings.state_dir if os.access(settings.state_dir / SETTINGS_FILE, os.R_OK) else None

    def describe(self) -> list[prometheus.Metric]:
        """Nothing: the registry must not ask Redis when the collector is registered."""
        return []

    def collect(self) -> Iterator[prometheus.Metric]:
        """Every metric, from one look at the queue."""
        families, started = Families(), time.perf_counter()
        broker_outage: OutageKind | None = None
        try:
            self._broker_probe.check()
            families.add("broker_round_trip_seconds", time.perf_counter() - started)
            now_s = self._queue.now_s()
            jobs = self._queue.list_jobs(WITH_SERIES, finished_since=now_s - FINISHED_JOB_SERIES_S)
            counts, totals = self._queue.count_by_state(), self._queue.totals()
            families.add("broker_memory_bytes", self._queue.memory_bytes())
            _add_dispatchers(families, self._leadership, now_s)
            for state in State:
                families.add("jobs", counts[state], state)
            _add_queue(families, self._queue.waiting(), now_s)
            families.add("queue_paused", float(self._queue.paused() is not None))
            expired = [now_s - job.lease_expires_at for job in jobs if job.lease_expires_at]
            families.add("reaper_lag_seconds", max([0.0, *expired]))
            _add_totals(families, totals)
            for job in jobs:
                try:
                    _add_job(families, job, now_s)
                except Exception:  # one bad job must hide no other
                    log.exception("%s: its series are not whole", job.id)
            families.add("broker_up", 1)
        except BrokerOutage as outage:
            families, broker_outage = Families(), outage.kind
            families.add("broker_up", 0)
        store = self._store_probe.look()
        families.add("store_up", store.is_up)
        families.add("store_round_trip_seconds", store.round_trip_s)
        _add_usage(families, self._store_usage.look())
        for server, kind in (("broker", broker_outage), ("store", store.outage)):
            for each in OutageKind:
                families.add("outage", float(each is kind), server, each)
        if self._disk:
            disk = shutil.disk_usage(self._disk)
            families.add("state_disk_free_bytes", disk.free)
            families.add("state_disk_size_bytes", disk.total)
        families.add("scrape_seconds", time.perf_counter() - started)
        yield from families


def _add_usage(families: Families, usage: Usage | None) -> None:
    if usage is not None:
        families.add("store_usage_age_seconds", usage.age_s)
        for kind, amount in usage.amounts.items():
            families.add("store_bytes", amount.bytes, kind)
            families.add("store_objects", amount.objects, kind)


def _add_dispatchers(families: Families, leadership: Leadership, now_s: float) -> None:
    leader, cluster = leadership.leader(), leadership.cluster()
    families.add("dispatchers", len(leadership.dispatchers()))
    families.add("leader_up", float(leader is not None))
    if leader is not None:
        families.add("dispatcher_lag_seconds", max(0.0, now_s - leader.looked_at))
        if cluster is not None:
            _add_cluster(families, cluster)


def _add_cluster(families: Families, cluster: Cluster) -> None:
    families.add("cluster_nodes", cluster.nodes)
    for name in ("cpus", "gpus"):
        total, free = getattr(cluster.total, name), getattr(cluster.free, name)
        families.add(f"cluster_{name}", total - free, "held")
        families.add(f"cluster_{name}", free, "free")


def _add_queue(families: Families, waiting: list[tuple[int, float]], now_s: float) -> None:
    names = {number: name for name, number in PRIORITIES.items()}
    depth = Counter(dict.fromkeys(PRIORITIES, 0))
    depth.update(names.get(priority, str(priority)) for priority, _ in waiting)
    for name, count in depth.items():
        families.add("queue_depth", count, name)
    families.add("queue_oldest_wait_seconds", max([0.0, *(now_s - since for _, since in waiting)]))


def _add_totals(families: Families, totals: dict[str, int]) -> None:
    for name, counter in TOTALS.items():
        value = totals.get(counter, 0)
        families.add(name, value / 1000 if counter.endswith("_ms") else value)
    for name, (prefix, labels) in TOTALS_BY_LABEL.items():
        for label in labels:
            families.add(name, totals.get(f"{prefix}:{label}", 0), label)
    for name, prefix in (("queue_wait_seconds", "wait"), ("start_seconds", "start")):
        families.add_histogram(name, _below(prefix, totals), totals.get(f"{prefix}_ms", 0) / 1000)


def _below(prefix: str, totals: dict[str, int]) -> dict[str, int]:
    return {key.partition(":")[2]: value for key, value in totals.items() if key.startswith(f"{prefix}:")}


def _add_job(families: Families, job: Job, now_s: float) -> None:
    families.add("job_info", 1, job.id, job.name, job.spec.kind, str(job.priority))
    families.add_states("job_state", State, job.state, job.id)
    families.add("job_attempts", job.attempt, job.id)
    families.add("job_rollbacks", len(job.rollbacks), job.id)
    families.add("job_cpus", job.spec.resources.cpus, job.id)
    families.add("job_gpus", job.spec.resources.gpus, job.id)
    families.add("job_leased_seconds", job.leased_s, job.id)
    if job.state is State.RUNNING and job.heartbeat_at and job.leased_at:
        families.add("job_heartbeat_age_seconds", max(0.0, now_s - job.heartbeat_at), job.id)
        families.add("job_waits", float(job.waits_for is not None), job.id)
        if job.training:
            saved_at = max(job.leased_at, job.checkpoint_at or 0.0)
            families.add("job_checkpoint_age_seconds", max(0.0, now_s - saved_at), job.id)
    if job.training:
        if job.progress or job.pulse:
            families.add("job_images", job.images, job.id)
        families.add("job_trained_images", job.images_trained, job.id)
        families.add("job_progress_ratio", job.share_done, job.id)
        families.add_states("job_health", Health, job.health, job.id)
    add_quantities(families, job)
    if job.checkpoint is not None:
        families.add("job_checkpoint_images", job.checkpoint.images, job.id)
        families.add("job_checkpoint_bytes", job.checkpoint.bytes, job.id)
        families.add("job_checkpoint_seconds", job.checkpoint.seconds, job.id)
    if job.evaluation is not None:
        protocol = job.evaluation.protocol.digest
        families.add("job_quality_images", job.evaluation.images, job.id, protocol)
        for name, value in job.evaluation.measures.items():
            families.add("job_quality", value, job.id, name, protocol)


def add_quantities(families: Families, job: Job) -> None:
    """Add what the job's last report, or its last heartbeat, told."""
    for quantity in QUANTITIES:
        if quantity.only_while_running and job.state is not State.RUNNING:
            continue
        source = job if quantity.is_live else job.progress
        if source is not None:
            for curve in quantity.curves:
                labels = [curve.label] if curve.label else []
                families.add(quantity.metric, getattr(source, curve.field), job.id, *labels)


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    start_logging()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        settings = Settings()
        registry = CollectorRegistry()
        registry.register(JobCollector(settings))
        serve(registry, settings)
    except (GanServiceError, OSError) as error:
        log.error("%s", error)
        return getattr(error, "exit_code", 1)
    log.info("metrics at http://%s:%d/metrics", settings.exporter_host, settings.exporter_port)
    stopping.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
