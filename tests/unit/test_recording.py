"""What is recorded, and what the tile of the state makes of it, computed by Prometheus' own tool."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.tiles import panels_of
from tests.unit.dashboards import PAGES

RECORDING = Path("ganservice/prometheus/recording.yaml").absolute()
J = '{job_id="j"}'
RUNNING, QUEUED = (f'ganservice_job_state{{job_id="j", state="{state}"}}' for state in ("running", "queued"))
AGE, STILL = f"ganservice_job_report_age_seconds{J}", f"ganservice_job_still_seconds{J}"
INTERVAL, SPEED = f"ganservice_job_report_interval_seconds{J}", f"ganservice_job_images_per_second{J}"
LOSS, WAITS = 'ganservice_job_loss{job_id="j", network="generator"}', f"ganservice_job_waits{J}"
HEALTHY = 'ganservice_job_health{job_id="j", health="ok"}'
STALL_LIMIT = "ganservice_stall_limit_seconds"


def answer(expression: str, series: dict[str, float], folder: Path) -> str:
    """What promtool has to say of an expression, of which it was told that it has no value."""
    case = {
        "rule_files": [str(RECORDING)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": f"{value}x8"} for name, value in series.items()],
                "promql_expr_test": [{"expr": expression, "eval_time": "1m", "exp_samples": []}],
            }
        ],
    }
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump(case))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def value(expression: str, series: dict[str, float], folder: Path) -> float | None:
    """The one value of an expression; None where it has none."""
    told = answer(expression, series, folder)
    if "FAILED" not in told:
        return None
    [found] = [line for line in told.splitlines() if line.strip().startswith("got:")]
    return float(found.split()[-1].strip('"'))


def shown(page: str, title: str, series: dict[str, float], folder: Path) -> str:
    """The words of a tile."""
    [panel] = [panel for panel in panels_of(PAGES[page]) if panel["title"] == title and panel["type"] == "stat"]
    [target] = panel["targets"]
    found = value(target["expr"].replace("$job", "j").replace("$__range", "1h"), series, folder)
    assert found is not None
    words: str = panel["fieldConfig"]["defaults"]["mappings"][0]["options"][f"{found:.0f}"]["text"]
    return words


def test_the_rules_are_valid() -> None:
    subprocess.run(["promtool", "check", "rules", RECORDING], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("series", "pace"),
    [
        ({AGE: 1, STILL: 0.1, INTERVAL: 2}, 0),
        ({AGE: 14, STILL: 0.1, INTERVAL: 2}, 0),  # under a quarter of a minute nobody is late
        ({AGE: 16, STILL: 0.1, INTERVAL: 2}, 1),
        ({AGE: 133, STILL: 0.1, INTERVAL: 133}, 0),  # a slow job that reports as it always does
        ({AGE: 70, STILL: 70, INTERVAL: 2}, 3),
        ({AGE: 960, STILL: 960, INTERVAL: 400}, 2),  # NoProgress fires since 450 s
        ({AGE: 440, STILL: 440, INTERVAL: 400}, 0),
        ({AGE: 500, STILL: 0.1}, 0),  # the first report may take ten minutes
        ({AGE: 700, STILL: 0.1}, 1),
        ({AGE: 600, STILL: 600}, 2),  # it froze while it loaded
        ({AGE: 440, STILL: 440}, 0),
        ({AGE: 1100, STILL: 1100}, 3),
        ({}, None),
    ],
)
def test_the_pace_of_a_job_is_its_own(series: dict[str, float], pace: float | None, tmp_path: Path) -> None:
    assert value("ganservice:job_pace", {STALL_LIMIT: 1800} | series, tmp_path) == pace


def test_the_pace_follows_the_setting_by_which_a_job_is_given_back(tmp_path: Path) -> None:
    series: dict[str, float] = {AGE: 960, STILL: 960, INTERVAL: 400, STALL_LIMIT: 7200}
    assert value("ganservice:job_pace", series, tmp_path) == 0


@pytest.mark.parametrize(
    ("series", "images_per_s"),
    [
        ({SPEED: 1000, AGE: 80, STILL: 0.1, INTERVAL: 90, "ganservice_broker_up": 1}, 1000),
        ({SPEED: 1000, AGE: 80, STILL: 80, INTERVAL: 2, "ganservice_broker_up": 1}, 0),  # it stands still
        ({"ganservice_broker_up": 1}, 0),
        ({"ganservice_broker_up": 0}, None),  # nothing is known
    ],
)
def test_the_throughput_of_steady_jobs_is_steady(
    series: dict[str, float], images_per_s: float | None, tmp_path: Path
) -> None:
    assert value("ganservice:images_per_second:sum", {STALL_LIMIT: 1800} | series, tmp_path) == images_per_s


def test_only_trainings_that_run_are_counted_by_health(tmp_path: Path) -> None:
    health = 'ganservice_job_health{job_id="j", health="collapsed"}'
    counted = 'ganservice:jobs_by_health{health="collapsed"}'
    assert value(counted, {health: 1, RUNNING: 1, LOSS: 1}, tmp_path) == 1
    assert value(counted, {health: 1, RUNNING: 0, LOSS: 1}, tmp_path) is None
    assert value(counted, {health: 1, RUNNING: 1}, tmp_path) is None  # it has not reported


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ({}, "none trains"),
        ({RUNNING: 1}, "none reported yet"),
        ({RUNNING: 1, HEALTHY: 1}, "none reported yet"),
        ({RUNNING: 1, HEALTHY: 1, LOSS: 1}, "all that report are well"),
        ({RUNNING: 1, HEALTHY: 1, LOSS: 1, AGE: 70, STILL: 70, INTERVAL: 2}, "some stand still"),
        ({RUNNING: 1, HEALTHY: 1, LOSS: 1, AGE: 70, STILL: 70, INTERVAL: 2, WAITS: 1}, "all that report are well"),
        ({RUNNING: 1, AGE: 600, STILL: 600}, "some stand still"),
    ],
)
def test_the_fleet_calls_no_training_well_that_is_not_seen_to_be(
    series: dict[str, float], words: str, tmp_path: Path
) -> None:
    known = {"ganservice_broker_up": 1, STALL_LIMIT: 1800, 'ganservice_job_info{job_id="j", kind="train"}': 1}
    assert shown("fleet", "Trainings", known | series, tmp_path) == words


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ({}, "queued: waits for room"),
        ({"ganservice_queue_paused": 1}, "queued: the queue is paused"),
        ({"ganservice_leader_up": 0}, "queued: no dispatcher leads"),
        ({f"ganservice_job_unplaceable{J}": 1, "ganservice_queue_paused": 1}, "queued: fits no cluster"),
        ({f"ganservice_job_attempts{J}": 2}, "queued: waits for its next attempt"),
    ],
)
def test_a_queued_job_says_what_it_waits_for(series: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert shown("job", "State", {QUEUED: 1, "ganservice_leader_up": 1} | series, tmp_path) == words


@pytest.mark.parametrize(
    ("state", "words"),
    [("running", "ok"), ("succeeded", "ok"), ("failed", "ok when last seen"), ("cancelled", "ok when last seen")],
)
def test_runs_that_did_not_end_well_are_not_compared_as_well(state: str, words: str, tmp_path: Path) -> None:
    [panel] = [panel for panel in panels_of(PAGES["quality"]) if panel["title"] == "Runs"]
    [asked] = [target["expr"] for target in panel["targets"] if target["legendFormat"] == "health"]
    for name, meant in {"$jobs": "j", "$protocol": "p", "$__range": "1h"}.items():
        asked = asked.replace(name, meant)
    quality = 'ganservice_job_quality{job_id="j", protocol="p", measure="inception_frechet_distance"}'
    of_state = f'ganservice_job_state{{job_id="j", state="{state}"}}'
    found = value(asked, {HEALTHY: 1, LOSS: 1, quality: 20, of_state: 1}, tmp_path)
    [override] = [each for each in panel["fieldConfig"]["overrides"] if each["matcher"]["options"] == "health"]
    options = override["properties"][0]["value"][0]["options"]
    assert found is not None
    assert options[f"{found:.0f}"]["text"] == words
