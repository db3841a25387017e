"""Alerts of jobs whose series end, as those of all jobs do: none is missed."""

from pathlib import Path

import pytest

from ganservice.exporter import FINISHED_JOB_SERIES_S
from tests.unit.rules import ALERTS, OF_JOBS, labels_of, summaries_of

STILL, PACE = (f'ganservice_job_{name}_seconds{{job_id="j"}}' for name in ("still", "report_interval"))
BEAT = 'ganservice_job_heartbeat_age_seconds{job_id="j"}'
EVALUATION = 'ganservice_job_info{job_id="e", name="n-evaluation", user="ada", kind="evaluate", of="j"}'
FAILED, FAILED_EVALUATION = (f'ganservice_job_state{{job_id="{job_id}", state="failed"}}' for job_id in "je")
RESERVATION = 'ganservice_job_reservation{job_id="j", reservation="suspect"}'
DIVERGED, COLLAPSED, SUSPECT = (
    f'ganservice_job_health{{job_id="j", health="{health}"}}' for health in ("diverged", "collapsed", "suspect")
)


@pytest.mark.parametrize("name", OF_JOBS)
def test_an_alert_of_a_job_waits_for_less_than_its_series_live(name: str) -> None:
    waits_s = {None: 0, "15s": 15, "1m": 60, "2m": 120}[ALERTS[name].get("for")]
    assert 2 * waits_s < FINISHED_JOB_SERIES_S


# A job ends a minute after it went wrong, or at once: its series live for five minutes more.
@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("TrainingCollapsed", {COLLAPSED: "_ 1x6 stale"}),
        ("TrainingDiverged", {DIVERGED: "_ 1x5 stale"}),
        ("SuspectHealth", {SUSPECT: "_ 1x6 stale"}),
        ("JobGivenUp", {FAILED: "_ 1x5 stale"}),
        ("JobEndedWithReservation", {RESERVATION: "_ 1x5 stale"}),
        ("HeartbeatLate", {BEAT: "1 20x2 stale"}),
        ("NoProgress", {STILL: "1 50 100 stale", PACE: "2x2 stale"}),
    ],
)
def test_what_goes_wrong_at_the_end_of_a_job_is_told(name: str, series: dict[str, str], tmp_path: Path) -> None:
    info = {'ganservice_job_info{job_id="j", name="n", user="ada", kind="train"}': "1x7 stale"}
    fired = [at for at in range(1, 7) if labels_of(name, f"{at}m", info | series, tmp_path)]
    assert fired, "it is never told"


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("JobGivenUp", [FAILED]),
        ("JobEndedWithReservation", [RESERVATION]),
        ("EvaluationFailed", [FAILED_EVALUATION, EVALUATION]),
    ],
)
def test_an_end_is_told_at_once_and_stays_told_when_the_series_are_gone(
    name: str, series: list[str], tmp_path: Path
) -> None:
    ends = dict.fromkeys(series, "1 1 stale")
    assert labels_of(name, "0m", ends, tmp_path)
    assert labels_of(name, "14m", ends, tmp_path)
    assert not labels_of(name, "20m", ends, tmp_path)


@pytest.mark.parametrize(
    ("name", "failed", "info"),
    [("JobGivenUp", FAILED, {}), ("EvaluationFailed", FAILED_EVALUATION, {EVALUATION: "1x9"})],
)
def test_a_retry_ends_what_is_told_of_the_end(name: str, failed: str, info: dict[str, str], tmp_path: Path) -> None:
    retried = info | {failed: "1 1 0x7"}
    assert labels_of(name, "1m", retried, tmp_path)
    assert labels_of(name, "2m", retried, tmp_path) == []
    # The exporter that saw the failure is gone, another one sees the retry.
    old, new = (failed.replace("}", f', instance="{name}"}}') for name in ("old", "new"))
    assert labels_of(name, "2m", info | {old: "1 1 stale", new: "_ _ 0x7"}, tmp_path) == []


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("TrainingCollapsed", COLLAPSED),
        ("TrainingDiverged", DIVERGED),
        ("SuspectHealth", SUSPECT),
        ("JobGivenUp", FAILED),
        ("JobEndedWithReservation", RESERVATION),
    ],
)
def test_an_end_of_long_ago_is_not_told_again_where_an_evaluation_brings_its_series_back(
    name: str, series: str, tmp_path: Path
) -> None:
    far = RESERVATION.replace("suspect", "far from its best")
    info = {'ganservice_job_info{job_id="j", name="n", user="ada", kind="train"}': "_x60 1x9", far: "_x60 0x9"}
    ended = 'ganservice_job_finished_timestamp_seconds{job_id="j"}'
    back = info | {series: "_x60 1x9"}
    assert labels_of(name, "65m", back | {ended: "_x60 3600x9"}, tmp_path)
    assert labels_of(name, "65m", back | {ended: "_x60 60x9"}, tmp_path) == []


def test_a_late_finding_about_quality_is_told_however_long_the_end_is_ago(tmp_path: Path) -> None:
    far = RESERVATION.replace("suspect", "far from its best")
    info = {'ganservice_job_info{job_id="j", name="n", user="ada", kind="train"}': "_x60 1x9", far: "_x60 1x9"}
    ended = {'ganservice_job_finished_timestamp_seconds{job_id="j"}': "_x60 60x9"}
    assert labels_of("JobEndedWithReservation", "65m", info | ended, tmp_path)


def test_what_befalls_a_retried_job_is_told_alone(tmp_path: Path) -> None:
    series = {FAILED: "1 0x9", COLLAPSED: "0 0 1x7"}
    assert labels_of("TrainingCollapsed", "4m", series, tmp_path)
    assert labels_of("JobGivenUp", "4m", series, tmp_path) == []


def test_each_job_that_is_given_up_is_told_of_by_itself(tmp_path: Path) -> None:
    second = 'ganservice_job_info{job_id="k", name="m", user="bob", kind="train"}'
    series = {FAILED: "1x5", second: "1x9", 'ganservice_job_state{job_id="k", state="failed"}': "0 0 1x5"}
    assert len(labels_of("JobGivenUp", "1m", series, tmp_path)) == 1
    assert len(labels_of("JobGivenUp", "3m", series, tmp_path)) == 2


def test_a_job_that_is_given_up_is_told_with_its_health(tmp_path: Path) -> None:
    series = {FAILED: "1x5", DIVERGED: "1x5", COLLAPSED: "0x5"}
    assert summaries_of("JobGivenUp", "1m", series, tmp_path) == ["n (j) was given up; its health was diverged."]
    assert summaries_of("JobGivenUp", "1m", {FAILED: "1x5"}, tmp_path) == [
        "n (j) was given up; its health was not known."
    ]
    gone = {FAILED: "1 stale", DIVERGED: "1 stale", COLLAPSED: "0 stale"}
    assert summaries_of("JobGivenUp", "9m", gone, tmp_path) == ["n (j) was given up; its health was diverged."]
