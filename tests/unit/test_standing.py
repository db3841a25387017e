"""How a job stands, in words."""

from typing import Any

import pytest

from ganservice.cli.exit_codes import worst
from ganservice.cli.standing import late_report, standing_note, state_words
from ganservice.job import Activity, Health, Job, Pulse, Reason, State
from ganservice.reservation import HEALTH
from ganservice.spec import TrainSpec

NOW_S = 1_000.0


@pytest.fixture
def running(spec: TrainSpec) -> Job:
    return Job(
        id="tiny-1", spec=spec, state=State.RUNNING, priority=50, submitted_at=0.0, order=1, heartbeat_at=NOW_S - 1,
    )  # fmt: skip


def told(job: Job, **pulse: Any) -> str | None:
    """What is said of a job whose last pulse was a second ago."""
    return late_report(job.model_copy(update={"pulse": Pulse(activity=Activity.TRAINING, **pulse)}), NOW_S)


@pytest.mark.parametrize(
    ("age_s", "every_s", "words"),
    [
        (1.0, 2.0, None),
        (44.0, 2.0, "no report for 45 s; usually 2 s"),
        (8.0, 0.2, None),  # a hiccup of a quick one
        (44.0, 20.0, None),  # a slow one takes its time
        (399.0, 100.0, "no report for 6m 40s; usually 100 s"),
    ],
)
def test_a_report_is_late_by_the_pace_of_the_job_itself(
    running: Job, age_s: float, every_s: float, words: str | None
) -> None:
    assert told(running, report_age_s=age_s, report_every_s=every_s, still_s=0.0) == words


def test_what_has_no_pace_yet_is_told_once_it_stands_still(running: Job) -> None:
    assert told(running, report_age_s=70.0, still_s=30.0) is None
    assert told(running, report_age_s=70.0, still_s=70.0) == "came no further for 71 s"
    assert told(running) is None, "an attempt of an older release tells nothing of it"


def test_an_attempt_that_is_frozen_is_late_though_its_pulse_was_not(running: Job) -> None:
    frozen = running.model_copy(update={"heartbeat_at": NOW_S - 25.0})
    assert told(frozen, report_age_s=1.0, report_every_s=2.0) == "no report for 26 s; usually 2 s"


def test_what_has_ended_reports_no_more(running: Job) -> None:
    ended = running.model_copy(update={"state": State.SUCCEEDED})
    assert told(ended, report_age_s=500.0, report_every_s=2.0, still_s=500.0) is None


def test_a_state_says_what_is_against_it(running: Job) -> None:
    done = running.model_copy(update={"state": State.SUCCEEDED})
    assert state_words(done) == "succeeded"
    assert state_words(done, HEALTH[Health.COLLAPSED]) == "succeeded, but collapsed: its samples were all alike"
    assert state_words(running.model_copy(update={"cancel_requested": True})) == "running, stopping"


def test_a_note_says_the_most_pressing_alone(running: Job) -> None:
    assert standing_note(running, HEALTH[Health.COLLAPSED], NOW_S) == "its samples were all alike"
    late = Pulse(activity=Activity.TRAINING_CLASSIFIER, report_age_s=70.0, still_s=70.0)
    note = standing_note(running.model_copy(update={"pulse": late}), None, NOW_S)
    assert note == "training the classifier of the data set: came no further for 71 s"
    waits = running.model_copy(update={"waiting_for": "64 CPUs; the cluster has 2 CPUs"})
    assert standing_note(waits, None, NOW_S) == "waits for 64 CPUs; the cluster has 2 CPUs"
    failed = running.model_copy(update={"state": State.FAILED, "reason": Reason.ERROR, "message": "on purpose"})
    assert standing_note(failed, None, NOW_S) == "on purpose"


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([], 0), ([0, 0], 0), ([0, 104], 104), ([104, 103], 103), ([103, 101], 101), ([101, 100], 100),
        ([100, 102], 102), ([102, 2], 2),
    ],
)  # fmt: skip
def test_the_worst_of_several_exit_codes_counts(codes: list[int], code: int) -> None:
    assert worst(codes) == worst(reversed(codes)) == code
