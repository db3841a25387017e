"""Each alert fires when it should and not when it should not, by Prometheus' own tool."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ganservice.evaluation import QUALITY_NUMBER, name_pattern
from tests.unit.dashboards import series_names

RULES = Path("ganservice/prometheus/rules.yaml").absolute()
JOB = '{job_id="j"}'
FRECHET = '{job_id="j", measure="fid", protocol="p"}'
DIED, STORE = (f'ganservice_retries_total{{reason="{reason}"}}' for reason in ("worker_died", "store"))
YIELDED = 'ganservice_retries_total{reason="yielded"}'
FAILED, SUCCEEDED = (f'ganservice_jobs_finished_total{{state="{state}"}}' for state in ("failed", "succeeded"))
DIVERGED, COLLAPSED, SUSPECT = (
    f'ganservice_job_health{{job_id="j", health="{health}"}}' for health in ("diverged", "collapsed", "suspect")
)
STATE = '{job_id="j", state="running"}'
# Of each alert: series, one value a minute, that make it fire within `at`, and others that do not.
CASES: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "ExporterDown": ("3m", {'up{job="ganservice"}': "0x5"}, {'up{job="ganservice"}': "1x5"}),
    "BrokerDown": ("3m", {"ganservice_broker_up": "0x5"}, {"ganservice_broker_up": "0 1x5"}),
    "BrokerErrors": (
        "10m",
        {"ganservice_missed_beats_total": "0+5x12"},
        {"ganservice_missed_beats_total": "0+0.5x12"},
    ),
    "StoreDown": ("4m", {"ganservice_store_up": "0x5"}, {"ganservice_store_up": "0 1x5"}),
    "StoreErrors": (
        "10m",
        {"ganservice_store_errors_total": "0+1x12"},
        {"ganservice_store_errors_total": "7x12"},
    ),
    "NoLeader": ("3m", {"ganservice_leader_up": "0x5"}, {"ganservice_leader_up": "1 1 0 1 1"}),
    "LeaseNotReaped": ("3m", {"ganservice_reaper_lag_seconds": "100x5"}, {"ganservice_reaper_lag_seconds": "0 70 0 0"}),
    "QueueNotDraining": (
        "40m",
        {"ganservice_queue_oldest_wait_seconds": "3000x60", "ganservice_attempts_total": "9x60"},
        {"ganservice_queue_oldest_wait_seconds": "3000x60", "ganservice_attempts_total": "9+1x60"},
    ),
    "QueuePaused": (
        "40m",
        {"ganservice_queue_oldest_wait_seconds": "3000x60", "ganservice_queue_paused": "1x60"},
        {"ganservice_queue_oldest_wait_seconds": "0x60", "ganservice_queue_paused": "1x60"},
    ),
    "HeartbeatLate": (
        "1m",
        {f"ganservice_job_heartbeat_age_seconds{JOB}": "20x5"},
        {f"ganservice_job_heartbeat_age_seconds{JOB}": "2x5"},
    ),
    "RetriesBurning": (
        "60m",
        {DIED: "0+0.1x90", STORE: "0+0.1x90"},
        {YIELDED: "0+5x90", STORE: "0+0.1x90"},
    ),
    "JobsGivenUp": (
        "5m",
        {FAILED: "0 0 1 1 1 1"},
        {FAILED: "3x6", SUCCEEDED: "0+1x6"},
    ),
    "CheckpointOld": (
        "1m",
        {f"ganservice_job_checkpoint_age_seconds{JOB}": "8000x5"},
        {f"ganservice_job_checkpoint_age_seconds{JOB}": "600x5"},
    ),
    "TrainingDiverged": (
        "1m",
        {DIVERGED: "1x5"},
        {DIVERGED: "0x5", SUSPECT: "1x5"},
    ),
    "TrainingCollapsed": (
        "12m",
        {COLLAPSED: "1x15"},
        {COLLAPSED: "1x5 0x10"},
    ),
    "QualityFalling": (
        "20m",
        {f"ganservice_job_quality{FRECHET}": "30x10 50x10", f"ganservice_job_state{STATE}": "1x30"},
        {f"ganservice_job_quality{FRECHET}": "50x10 40x10", f"ganservice_job_state{STATE}": "1x30"},
    ),
    "GpuIdle": (
        "20m",
        {f"ganservice_job_gpu_busy_ratio{JOB}": "0.02x30"},
        {f"ganservice_job_gpu_busy_ratio{JOB}": "0.02x5 0.9x30"},
    ),
    "DiskFilling": (
        "6h",
        {"ganservice_state_disk_free_bytes": "600-1x400", "ganservice_state_disk_size_bytes": "1000x400"},
        {"ganservice_state_disk_free_bytes": "900-0.001x400", "ganservice_state_disk_size_bytes": "1000x400"},
    ),
}  # fmt: skip


def rules() -> dict[str, Any]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert shutil.which("promtool"), "these tests take promtool: install Debian's package prometheus"
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


def alerts_of(name: str, at: str, series: dict[str, str], folder: Path) -> str:
    """What promtool says when it is told that the alert stays silent: nothing where that is so."""
    case = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": key, "values": value} for key, value in series.items()],
                "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": []}],
            }
        ],
    }
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump(case))
    done = promtool("test", "rules", path)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_rules_are_valid_and_each_says_what_to_do() -> None:
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stderr
    for name, rule in rules().items():
        assert set(rule["annotations"]) == {"summary", "runbook"}, name
        assert rule["labels"]["severity"] in ("warning", "critical"), name


def test_the_distance_is_asked_for_by_all_of_its_names() -> None:
    patterns = re.findall('measure=~"(.*?)"', rules()["QualityFalling"]["expr"])
    assert patterns == 2 * [name_pattern(QUALITY_NUMBER)]


def test_every_alert_asks_for_metrics_that_there_are() -> None:
    asked = set(re.findall(r"ganservice_\w+", " ".join(rule["expr"] for rule in rules().values())))
    assert asked
    assert asked <= series_names()


def test_every_alert_has_its_cases() -> None:
    assert set(CASES) == set(rules())


def test_a_queue_that_is_paused_is_not_said_to_hang(tmp_path: Path) -> None:
    at, bad, _ = CASES["QueueNotDraining"]
    assert alerts_of("QueueNotDraining", at, bad | {"ganservice_queue_paused": "1x60"}, tmp_path) == ""


@pytest.mark.parametrize("name", CASES)
def test_an_alert(name: str, tmp_path: Path) -> None:
    at, bad, good = CASES[name]
    told = alerts_of(name, at, bad, tmp_path)
    assert f'alertname="{name}"' in told.replace(" ", ""), told or "it does not fire"
    assert alerts_of(name, at, good, tmp_path) == ""
