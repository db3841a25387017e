import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganservice.job import Checkpoint, Job, Reason, State
from ganservice.retry import BLAMELESS, FIRST_DELAY_S, HOPELESS, LONGEST_DELAY_S, GiveUp, Retry, decide
from ganservice.spec import TrainSpec

ENDS = {Reason.SUCCEEDED, Reason.CANCELLED}  # nothing is left to decide
RETRYABLE = sorted(set(Reason) - HOPELESS - BLAMELESS - ENDS)
FAILURES = st.integers(0, 2_000)
LIMITS = st.integers(1, 2_000)


def make_job(spec: TrainSpec, failures: int, max_attempts: int, progressed: bool) -> Job:
    return Job(
        id="tiny-1",
        spec=spec.model_copy(update={"max_attempts": max_attempts}),
        state=State.RUNNING,
        priority=50,
        submitted_at=0.0,
        order=1,
        failures=failures,
        resumed_images=8,
        checkpoint=Checkpoint(key="k", images=16 if progressed else 8, bytes=1, seconds=0.1),
    )


@given(reason=st.sampled_from(RETRYABLE), failures=FAILURES, limit=LIMITS.filter(lambda limit: limit > 1))
def test_a_job_that_makes_progress_is_never_given_up(
    spec: TrainSpec, reason: Reason, failures: int, limit: int
) -> None:
    assert decide(make_job(spec, failures, limit, progressed=True), reason) == Retry(FIRST_DELAY_S, failures=1)


@given(reason=st.sampled_from(RETRYABLE), progressed=st.booleans())
def test_max_attempts_of_one_means_one(spec: TrainSpec, reason: Reason, progressed: bool) -> None:
    assert decide(make_job(spec, 0, 1, progressed), reason) == GiveUp(failures=1)


@given(reason=st.sampled_from(RETRYABLE), limit=st.integers(1, 60))
def test_a_job_that_stands_still_gets_exactly_max_attempts(spec: TrainSpec, reason: Reason, limit: int) -> None:
    failures = 0
    while isinstance(decision := decide(make_job(spec, failures, limit, False), reason), Retry):
        failures = decision.failures
    assert decision == GiveUp(failures=limit)


@given(reason=st.sampled_from(RETRYABLE), failures=FAILURES)
def test_the_delay_grows_and_is_bounded(spec: TrainSpec, reason: Reason, failures: int) -> None:
    now, later = (decide(make_job(spec, failures + n, 10_000, False), reason) for n in (0, 1))
    assert isinstance(now, Retry)
    assert isinstance(later, Retry)
    assert FIRST_DELAY_S <= now.delay_s <= later.delay_s <= LONGEST_DELAY_S
    assert now.delay_s < later.delay_s or now.delay_s == LONGEST_DELAY_S


@given(reason=st.sampled_from(sorted(HOPELESS)), failures=FAILURES, limit=LIMITS, progressed=st.booleans())
def test_what_would_end_the_same_way_again_is_never_retried(
    spec: TrainSpec, reason: Reason, failures: int, limit: int, progressed: bool
) -> None:
    assert isinstance(decide(make_job(spec, failures, limit, progressed), reason), GiveUp)


@given(failures=FAILURES, limit=LIMITS, progressed=st.booleans())
def test_a_cluster_without_room_never_counts_against_the_job(
    spec: TrainSpec, failures: int, limit: int, progressed: bool
) -> None:
    decision = decide(make_job(spec, failures, limit, progressed), Reason.UNPLACED)
    assert decision == Retry(FIRST_DELAY_S, failures)


def test_a_reason_is_never_both_hopeless_and_blameless() -> None:
    assert not HOPELESS & BLAMELESS


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_the_delay_doubles(spec: TrainSpec, failures: int) -> None:
    decision = decide(make_job(spec, failures, 100, False), Reason.WORKER_DIED)
    assert decision == Retry(FIRST_DELAY_S * 2**failures, failures + 1)
