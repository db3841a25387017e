"""Each alert fires when it should and not when it should not, by Prometheus' own tool."""

from pathlib import Path

import pytest

from tests.unit.rules import ALERTS, OF_JOBS, labels_of

JOB = '{job_id="j"}'
UP = 'up{job="ganservice"}'
DIED, STORE = (f'ganservice_retries_total{{reason="{reason}"}}' for reason in ("worker_died", "store"))
YIELDED = 'ganservice_retries_total{reason="yielded"}'
FAILED, CANCELLED, RUNNING = (
    f'ganservice_job_state{{job_id="j", state="{state}"}}' for state in ("failed", "cancelled", "running")
)
DIVERGED, COLLAPSED, SUSPECT = (
    f'ganservice_job_health{{job_id="j", health="{health}"}}' for health in ("diverged", "collapsed", "suspect")
)
EVALUATION = 'ganservice_job_info{job_id="e", name="n-evaluation", user="ada", kind="evaluate", of="j"}'
QUALITY = 'ganservice_job_quality{job_id="j", measure="fid", protocol="p", network="inception"}'
BEST = 'ganservice_job_best_quality{job_id="j", protocol="p", network="inception"}'
LEASED = {
    f'ganservice_queue_wait_seconds_bucket{{le="{bound}"}}': f"0+{count}x100"
    for bound, count in (("1800", 0), ("10800", 1), ("+Inf", 1))
}
PACE = f"ganservice_job_report_interval_seconds{JOB}"
REPORT, STILL = (f"ganservice_job_{name}_seconds{JOB}" for name in ("report_age", "still"))
WAIT = f"ganservice_job_queue_wait_seconds{JOB}"
DISK_FREE, DISK_SIZE = "ganservice_state_disk_free_bytes", "ganservice_state_disk_size_bytes"
MEMORY, MAX_MEMORY = "ganservice_broker_memory_bytes", "ganservice_broker_max_memory_bytes"
NODES, DEATHS = "ganservice_cluster_nodes", 'ganservice_outcomes_total{reason="worker_died"}'
OLDEST_WAIT = "ganservice_queue_oldest_wait_seconds"
UNPLACEABLE = {WAIT: "600x20", f"ganservice_job_unplaceable{JOB}": "1x20", OLDEST_WAIT: "600x20"}
# Of each alert: series, one value a minute, that make it fire within `at`, and others that do not.
CASES: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "ExporterDown": ("3m", {UP: "0x5"}, {UP: "1x5"}),
    "ExporterAbsent": ("6m", {'up{job="other"}': "1x9"}, {UP: "1x9"}),
    "ExporterSlow": ("6m", {"ganservice_scrape_seconds": "3x9"}, {"ganservice_scrape_seconds": "0.7 3 0.7x9"}),
    "BrokerDown": ("3m", {"ganservice_broker_up": "0x5"}, {"ganservice_broker_up": "0 1x5"}),
    "BrokerErrors": (
        "10m",
        {"ganservice_missed_beats_total": "0+5x12"},
        {"ganservice_missed_beats_total": "0+0.5x12"},
    ),
    "BrokerMemory": ("6m", {MEMORY: "90x9", MAX_MEMORY: "100x9"}, {MEMORY: "90x9", MAX_MEMORY: "0x9"}),
    "StoreDown": ("4m", {"ganservice_store_up": "0x5"}, {"ganservice_store_up": "0 1x5"}),
    "StoreErrors": (
        "10m",
        {"ganservice_store_errors_total": "0+1x12"},
        {"ganservice_store_errors_total": "7x12"},
    ),
    "DiskFilling": (
        "80m",
        {DISK_FREE: "240-1x90", DISK_SIZE: "1000x90"},
        {DISK_FREE: "240-0.001x90", DISK_SIZE: "1000x90"},
    ),
    "NoLeader": ("3m", {"ganservice_leader_up": "0x5"}, {"ganservice_leader_up": "1 1 0 1 1"}),
    # A restart of the only one is seen as two for a moment.
    "OneDispatcher": (
        "30m",
        {"ganservice_dispatchers_up": "2x20 1x20"},
        {"ganservice_dispatchers_up": "1x10 2 1x30"},
    ),
    "LeaseNotReaped": ("3m", {"ganservice_reaper_lag_seconds": "70x5"}, {"ganservice_reaper_lag_seconds": "0 70 0 0"}),
    # An autoscaler takes one that is idle.
    "NodesLost": (
        "12m",
        {NODES: "3x8 2x20", DEATHS: "0x8 1x20"},
        {NODES: "3x8 2x20", DEATHS: "4x28", WAIT: "0x28"},
    ),
    "GpuAskedNotGot": (
        "5m",
        {'ganservice_outcomes_total{reason="no_gpu"}': "0 0 1 1 1 1"},
        {'ganservice_outcomes_total{reason="no_gpu"}': "3x9", DEATHS: "0+1x9"},
    ),
    "RetriesBurning": (
        "60m",
        {DIED: "0+0.1x90", STORE: "0+0.1x90"},
        {YIELDED: "0+5x90", STORE: "0+0.1x90"},
    ),
    # Others are started all the time; but a queue that is as long every day is no news.
    "QueueNotDraining": (
        "40m",
        {WAIT: "0+60x60", "ganservice_attempts_total": "0+1x60"},
        {WAIT: "0+60x60", "ganservice_attempts_total": "0+1x60"} | LEASED,
    ),
    "QueuePaused": (
        "40m",
        {OLDEST_WAIT: "0+60x60", "ganservice_queue_paused": "1x60"},
        {OLDEST_WAIT: "0x60", "ganservice_queue_paused": "1x60"},
    ),
    "CannotBePlaced": (
        "3m",
        {f"ganservice_job_unplaceable{JOB}": "1x9"},
        {f"ganservice_job_unplaceable{JOB}": "1 0x9", WAIT: "3000x9"},
    ),
    "EvaluationBacklog": (
        "40m",
        {EVALUATION: "1x60", 'ganservice_job_queue_wait_seconds{job_id="e"}': "0+60x60"},
        {WAIT: "0+60x60"},
    ),
    "HeartbeatLate": (
        "1m",
        {f"ganservice_job_heartbeat_age_seconds{JOB}": "20x5"},
        {f"ganservice_job_heartbeat_age_seconds{JOB}": "20x5", "ganservice_lease_seconds": "120x5"},
    ),
    # 90 s are long where 2 s are usual, and short where a minute is.
    "NoProgress": ("3m", {STILL: "1 90x9", PACE: "2x9"}, {STILL: "1 90x9", PACE: "60x9"}),
    "FirstReportLate": ("20m", {REPORT: "0+60x30"}, {REPORT: "0+60x30", PACE: "3600x30"}),
    "CheckpointOld": (
        "1m",
        {f"ganservice_job_checkpoint_age_seconds{JOB}": "8000x5"},
        {f"ganservice_job_checkpoint_age_seconds{JOB}": "600x5"},
    ),
    # Fewer than the whole service must have, and none of those that the health watch asked for.
    "JobRetriesBurning": (
        "10m",
        {f"ganservice_job_attempts{JOB}": "1+0.5x10", f"ganservice_job_rollbacks{JOB}": "0x10"},
        {f"ganservice_job_attempts{JOB}": "1+0.5x10", f"ganservice_job_rollbacks{JOB}": "0+0.5x10"},
    ),
    "GpuIdle": (
        "20m",
        {f"ganservice_job_gpu_busy_ratio{JOB}": "0.02x30"},
        {f"ganservice_job_gpu_busy_ratio{JOB}": "0.02x10 0.9 0.02x30"},
    ),
    "TrainingDiverged": ("1m", {DIVERGED: "1x5"}, {DIVERGED: "0x5", SUSPECT: "1x5"}),
    "TrainingCollapsed": ("2m", {COLLAPSED: "1x5"}, {COLLAPSED: "1x5", CANCELLED: "1x5"}),
    "SuspectHealth": ("3m", {SUSPECT: "1x5"}, {SUSPECT: "1 0 1 0 1"}),
    "QualityFalling": (
        "20m",
        {QUALITY: "30x10 50x10", BEST: "30x20", RUNNING: "1x20"},
        {QUALITY: "50x10 40x10", BEST: "50x10 40x10", RUNNING: "1x20"},
    ),
    "RollbacksUsedUp": (
        "1m",
        {f"ganservice_job_rollbacks{JOB}": "2x5", f"ganservice_job_rollbacks_left{JOB}": "0x5", RUNNING: "1x5"},
        {f"ganservice_job_rollbacks{JOB}": "1x5", f"ganservice_job_rollbacks_left{JOB}": "1x5", RUNNING: "1x5"},
    ),
    "JobGivenUp": ("1m", {FAILED: "1x5"}, {FAILED: "0x5", CANCELLED: "1x5"}),
    "JobEndedWithReservation": (
        "1m",
        {'ganservice_job_reservation{job_id="j", reservation="collapsed"}': "1x5"},
        {'ganservice_job_reservation{job_id="j", reservation="none"}': "1x5"},
    ),
    "EvaluationFailed": (
        "1m",
        {EVALUATION: "1x5", 'ganservice_job_state{job_id="e", state="failed"}': "1x5"},
        {EVALUATION: "1x5", FAILED: "1x5"},
    ),
}  # fmt: skip


def test_every_alert_has_its_cases() -> None:
    assert set(CASES) == set(ALERTS)


@pytest.mark.parametrize("name", CASES)
def test_an_alert(name: str, tmp_path: Path) -> None:
    at, bad, good = CASES[name]
    [labels] = labels_of(name, at, bad, tmp_path) or ["it does not fire"]
    assert f'severity="{ALERTS[name]["labels"]["severity"]}"' in labels
    assert labels_of(name, at, good, tmp_path) == []
    if name in OF_JOBS:
        # The job's own labels, and none of the exporter's.
        named = {"e": 'job_id="e", name="n-evaluation", of="j"', "j": 'job_id="j", name="n"'}
        assert any(each in labels for each in named.values()), labels
        assert 'user="ada"' in labels


@pytest.mark.parametrize(
    ("name", "at", "series"),
    [
        ("QueueNotDraining", "40m", {WAIT: "0+60x60", "ganservice_queue_paused": "1x60"}),
        ("QueueNotDraining", "40m", {WAIT: "0+60x60", f"ganservice_job_unplaceable{JOB}": "1x60"}),
        # Nodes that an autoscaler takes while nothing waits but what no node would help.
        ("NodesLost", "12m", {NODES: "3x8 2x20", **UNPLACEABLE}),
        (
            "NodesLost",
            "12m",
            {NODES: "3x8 2x20", WAIT: "600x20", OLDEST_WAIT: "600x20", "ganservice_queue_paused": "1x20"},
        ),
        ("NoProgress", "3m", {STILL: "1 90x9", PACE: "2x9", f"ganservice_job_waits{JOB}": "1x9"}),
        # It stores a large checkpoint after its last report.
        ("NoProgress", "3m", {REPORT: "1 90x9", PACE: "2x9", STILL: "1x9"}),
        ("FirstReportLate", "20m", {REPORT: "0+60x30", f"ganservice_job_progress_ratio{JOB}": "1x30"}),
        ("DiskFilling", "15m", {DISK_FREE: "240-1x90", DISK_SIZE: "1000x90"}),
        ("GpuIdle", "10m", {f"ganservice_job_gpu_busy_ratio{JOB}": "0.02x30"}),
    ],
)
def test_what_another_alert_tells_or_nobody_can_know_yet_is_not_told(
    name: str, at: str, series: dict[str, str], tmp_path: Path
) -> None:
    assert labels_of(name, at, series, tmp_path) == []


def test_what_moves_too_seldom_is_told_by_the_limit_of_settings(tmp_path: Path) -> None:
    series = {STILL: "0+60x20", REPORT: "0+60x20"}
    assert labels_of("NoProgress", "10m", series, tmp_path)
    assert labels_of("NoProgress", "10m", series | {"ganservice_stall_limit_seconds": "7200x20"}, tmp_path) == []


def test_a_node_that_lacks_while_jobs_wait_that_could_run_is_told(tmp_path: Path) -> None:
    series = {NODES: "3x8 2x20", WAIT: "600x20", 'ganservice_job_unplaceable{job_id="j"}': "0x20"}
    assert labels_of("NodesLost", "12m", series, tmp_path)


def test_an_evaluation_that_is_begun_again_and_again_is_told_too(tmp_path: Path) -> None:
    series = {EVALUATION: "1x20", 'ganservice_job_attempts{job_id="e"}': "1+0.5x10"}
    assert labels_of("JobRetriesBurning", "10m", series, tmp_path)


def test_a_job_that_its_sweep_lets_go_on_is_not_told(tmp_path: Path) -> None:
    begun = {f"ganservice_job_attempts{JOB}": "1+0.5x10"}
    assert labels_of("JobRetriesBurning", "10m", begun | {f"ganservice_job_halts{JOB}": "0x10"}, tmp_path)
    assert not labels_of("JobRetriesBurning", "10m", begun | {f"ganservice_job_halts{JOB}": "0+0.5x10"}, tmp_path)


def test_another_exporter_in_the_place_of_one_begins_no_alert_anew(tmp_path: Path) -> None:
    old, new = (f'ganservice_job_health{{job_id="j", health="suspect", instance="{name}"}}' for name in ("old", "new"))
    assert labels_of("SuspectHealth", "3m", {old: "1 1 stale", new: "_ _ 1x5"}, tmp_path)
    both = {
        f'ganservice_job_info{{job_id="j", name="n", user="ada", kind="train", instance="{name}"}}': "1x9"
        for name in "ab"
    }
    assert labels_of("SuspectHealth", "3m", {old: "1x9", new: "1x9"} | both, tmp_path)


@pytest.mark.parametrize(
    ("name", "counter"),
    [
        ("BrokerErrors", "ganservice_missed_beats_total"),
        ("StoreErrors", "ganservice_store_errors_total"),
        ("RetriesBurning", DIED),
        ("GpuAskedNotGot", 'ganservice_outcomes_total{reason="no_gpu"}'),
    ],
)
def test_a_counter_that_falls_a_little_is_no_storm(name: str, counter: str, tmp_path: Path) -> None:
    """As of a Redis that comes back from a backup: `increase` took all that there ever was for new."""
    assert labels_of(name, "12m", {counter: "5000x9 4990x9"}, tmp_path) == []
    assert labels_of(name, "15m", {counter: "5000x9 4990+20x9"}, tmp_path)
