"""Series of the service as a whole: its servers, its queue, its cluster and what was counted since it began."""

from collections.abc import Mapping
from importlib.metadata import version

from ganservice.errors import OutageKind
from ganservice.exporter.families import Families
from ganservice.job import EventKind, Job, Reason, State
from ganservice.job_records import JobRecords
from ganservice.leadership import Cluster, Leadership
from ganservice.probes import Look
from ganservice.settings import Settings
from ganservice.spec import PRIORITIES
from ganservice.store_usage import Usage

# Counters of the scripts, by metric; times are counted in ms.
TOTALS = {
    "jobs_submitted": "submitted",
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


def add_release(families: Families, settings: Settings) -> None:
    """Add what the exporter knows of itself: its release, and the settings by which thresholds go."""
    families.add("build_info", 1, version("ganservice"))
    families.add("lease_seconds", settings.lease_s)
    families.add("stall_limit_seconds", settings.stall_limit_s)


def add_queue(families: Families, queue: JobRecords, jobs: list[Job], now_s: float) -> None:
    """Add how many jobs there are in each state, how long they wait, and what was counted. `jobs` are those with series
    of their own. Raises BrokerOutage."""
    counts, totals = queue.count_by_state(), queue.totals()
    used, most = queue.memory_bytes()
    families.add("broker_memory_bytes", used)
    families.add("broker_max_memory_bytes", most)
    for state in State:
        families.add("jobs", counts[state], state)
    _add_waiting(families, queue.depth(), queue.waits_since(), now_s)
    families.add("queue_paused", float(queue.paused() is not None))
    expired = [now_s - job.lease_expires_at for job in jobs if job.lease_expires_at]
    families.add("reaper_lag_seconds", max([0.0, *expired]))
    _add_totals(families, totals)


def add_dispatchers(families: Families, leadership: Leadership, now_s: float) -> None:
    """Add who dispatches, and what the one that leads sees of the cluster. Raises BrokerOutage."""
    leader, cluster = leadership.leader(), leadership.cluster()
    families.add("dispatchers_up", len(leadership.dispatchers()))
    families.add("leader_up", float(leader is not None))
    if leader is not None:
        families.add("dispatcher_lag_seconds", max(0.0, now_s - leader.looked_at))
        if cluster is not None:
            _add_cluster(families, cluster)


def add_store(families: Families, store: Look, usage: Usage | None) -> None:
    """Add how the object store was when it was last asked, and what it held when it was last counted."""
    if store.is_up is not None:
        families.add("store_up", store.is_up)
    families.add("store_round_trip_seconds", store.round_trip_s)
    if usage is not None:
        families.add("store_usage_age_seconds", usage.age_s)
        for kind, amount in usage.amounts.items():
            families.add("store_bytes", amount.bytes, kind)
            families.add("store_objects", amount.objects, kind)


def add_outages(families: Families, **outages: OutageKind | None) -> None:
    """Add the kind of outage that each server is in, by its name."""
    for server, kind in outages.items():
        for each in OutageKind:
            families.add("outage", float(each is kind), server, each)


def _add_cluster(families: Families, cluster: Cluster) -> None:
    families.add("cluster_nodes", cluster.nodes)
    for name in ("cpus", "gpus"):
        total, free = getattr(cluster.total, name), getattr(cluster.free, name)
        families.add(f"cluster_{name}", total - free, "held")
        families.add(f"cluster_{name}", free, "free")


def _add_waiting(families: Families, depth: Mapping[int, int], since: float | None, now_s: float) -> None:
    names = {number: name for name, number in PRIORITIES.items()}
    for priority, count in {**dict.fromkeys(names, 0), **depth}.items():
        families.add("queue_depth", count, names.get(priority, str(priority)))
    families.add("queue_oldest_wait_seconds", 0.0 if since is None else max(0.0, now_s - since))


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
