"""What is told of a job without reading all of it."""

import pytest

from ganservice.broker import ROOT
from ganservice.cli import completion
from ganservice.job import State
from ganservice.job_heading import name_of, read_heading
from ganservice.job_list import LAST, Wanted, matches

TRAINING = ("running", "ada", "7", "1500", None, None, "mine")
EVALUATION = ("queued", "ada", "8", "2500", "tiny-1", "64", "evaluate/jobs/tiny-1/c")


def test_a_heading_tells_what_a_list_looks_for() -> None:
    training = read_heading("tiny-fast-1a2b3c", TRAINING)
    assert training
    assert (training.name, training.kind, training.state) == ("tiny-fast", "train", State.RUNNING)
    assert (training.user, training.order, training.submitted_at) == ("ada", 7, 1.5)
    evaluation = read_heading("e-1", EVALUATION)
    assert evaluation
    assert (evaluation.kind, evaluation.evaluates, evaluation.images) == ("evaluate", "tiny-1", 64)
    assert (training.is_automatic, evaluation.is_automatic) == (False, True)


def test_what_another_hand_has_damaged_hides_nothing() -> None:
    odd = read_heading("tiny-1", ("invented", None, "x", "9" * 400, None, None, None))
    assert odd
    assert (odd.state, odd.order, odd.submitted_at) == (None, 0, 0.0)
    assert read_heading("tiny-1", (None,) * 7) is None
    assert read_heading("tiny-1", None) is None


def test_a_job_in_a_state_of_another_version_is_in_none_of_those_asked_for() -> None:
    odd = read_heading("tiny-1", ("invented", *TRAINING[1:]))
    assert odd
    assert Wanted().admits(odd)
    assert not Wanted(states=frozenset({State.RUNNING})).admits(odd)


@pytest.mark.parametrize(
    ("pattern", "is_met"), [("tiny", True), ("t*", True), ("tiny-1?2b3c", True), ("iny", False), ("[a-f]*", False)]
)
def test_a_pattern_is_of_names_and_ids(pattern: str, is_met: bool) -> None:
    heading = read_heading("tiny-1a2b3c", TRAINING)
    assert heading
    assert matches(pattern, heading) == is_met


def test_a_name_is_all_but_the_last_digits_of_an_id() -> None:
    assert [name_of(job_id) for job_id in ("tiny-1a2b3c", "a-b-c", "plain")] == ["tiny", "a-b", "plain"]


def test_completion_which_imports_nothing_of_the_queue_agrees_with_it() -> None:
    assert (completion.ROOT, completion.LAST) == (ROOT, LAST)
