import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganservice.job import Checkpoint, Job, Reason, State
from ganservice.retry import (
    FIRST_DELAY_S,
    HOPELESS,
    INFRASTRUCTURE,
    LONGEST_DELAY_S,
    PROMPT,
    GiveUp,
    Retry,
    Tally,
    decide,
)
from ganservice.spec import TrainSpec

ENDS = {Reason.SUCCEEDED, Reason.CANCELLED, Reason.HALTED}  # nothing is left to decide
OWN_FAULTS = sorted(set(Reason) - HOPELESS - INFRASTRUCTURE - ENDS - {Reason.ROLLED_BACK})
TROUBLES = sorted(INFRASTRUCTURE)
FAILURES = st.integers(0, 2_000)
LIMITS = st.integers(1, 2_000)
LIMIT_S = 3600.0


def make_job(  # each a part of what is decided upon
    spec: TrainSpec,
    tally: Tally = Tally(),  # noqa: B008 # frozen
    max_attempts: int = 3,
    *,
    progressed: bool = False,
    attempt_s: float = 0.0,
) -> Job:
    return Job(
        id="tiny-1",
        spec=spec.model_copy(update={"max_attempts": max_attempts}),
        state=State.RUNNING,
        priority=50,
        submitted_at=0.0,
        order=1,
        failures=tally.failures,
        troubles=tally.troubles,
        trouble_s=tally.trouble_s,
        leased_s=100.0 + attempt_s,
        leased_before_s=100.0,
        resumed_images=8,
        checkpoint=Checkpoint(key="k", images=16 if progressed else 8, bytes=1, seconds=0.1),
    )


# What is the job's own fault.


@given(reason=st.sampled_from(OWN_FAULTS), failures=FAILURES, limit=LIMITS.filter(lambda limit: limit > 1))
def test_a_job_that_makes_progress_is_never_given_up(
    spec: TrainSpec, reason: Reason, failures: int, limit: int
) -> None:
    job = make_job(spec, Tally(failures), limit, progressed=True)
    assert decide(job, reason, LIMIT_S) == Retry(FIRST_DELAY_S, Tally(failures=1))


@given(reason=st.sampled_from(OWN_FAULTS), progressed=st.booleans())
def test_max_attempts_of_one_means_one(spec: TrainSpec, reason: Reason, progressed: bool) -> None:
    assert decide(make_job(spec, max_attempts=1, progressed=progressed), reason, LIMIT_S) == GiveUp(Tally(failures=1))


@given(reason=st.sampled_from(OWN_FAULTS), limit=st.integers(1, 60))
def test_a_job_that_stands_still_gets_exactly_max_attempts(spec: TrainSpec, reason: Reason, limit: int) -> None:
    tally = Tally()
    while isinstance(decision := decide(make_job(spec, tally, limit), reason, LIMIT_S), Retry):
        tally = decision.tally
    assert decision == GiveUp(Tally(failures=limit))


@given(reason=st.sampled_from(sorted(HOPELESS)), failures=FAILURES, limit=LIMITS, progressed=st.booleans())
def test_what_would_end_the_same_way_again_is_never_retried(
    spec: TrainSpec, reason: Reason, failures: int, limit: int, progressed: bool
) -> None:
    job = make_job(spec, Tally(failures), limit, progressed=progressed)
    assert isinstance(decide(job, reason, LIMIT_S), GiveUp)


# What is the cluster's.


@given(reason=st.sampled_from(TROUBLES), failures=FAILURES, limit=LIMITS, progressed=st.booleans())
def test_the_cluster_never_uses_up_a_jobs_own_attempts(
    spec: TrainSpec, reason: Reason, failures: int, limit: int, progressed: bool
) -> None:
    decision = decide(make_job(spec, Tally(failures), limit, progressed=progressed), reason, LIMIT_S)
    assert isinstance(decision, Retry)
    assert decision.tally.failures == (0 if progressed else failures)


@given(reason=st.sampled_from(TROUBLES), attempt_s=st.floats(0, 300))
def test_a_job_is_set_aside_when_the_cluster_has_cost_it_the_limit(
    spec: TrainSpec, reason: Reason, attempt_s: float
) -> None:
    tally, spent_s = Tally(), 0.0
    while isinstance(decision := decide(make_job(spec, tally, attempt_s=attempt_s), reason, LIMIT_S), Retry):
        spent_s += attempt_s + decision.delay_s
        tally = decision.tally
        assert tally.trouble_s == pytest.approx(spent_s)
        assert spent_s < LIMIT_S + attempt_s + LONGEST_DELAY_S
    assert spent_s + attempt_s >= LIMIT_S
    assert f"set aside: {tally.troubles + 1} attempts in " in decision.why
    assert "`ganctl retry tiny-1` goes on" in decision.why


@given(reason=st.sampled_from(TROUBLES), trouble_s=st.floats(0, 1e9), attempt_s=st.floats(0, 1e6))
def test_a_new_checkpoint_clears_the_cluster(
    spec: TrainSpec, reason: Reason, trouble_s: float, attempt_s: float
) -> None:
    job = make_job(spec, Tally(2, 100, trouble_s), progressed=True, attempt_s=attempt_s)
    decision = decide(job, reason, LIMIT_S)
    assert isinstance(decision, Retry)
    assert decision.tally == Tally(failures=0, troubles=1, trouble_s=decision.delay_s)
    assert decision.delay_s == FIRST_DELAY_S


# Pauses.


@given(reason=st.sampled_from([*OWN_FAULTS, *TROUBLES]), times=FAILURES, chance=st.floats(0, 1))
def test_the_delay_grows_and_is_bounded(spec: TrainSpec, reason: Reason, times: int, chance: float) -> None:
    now, later = (decide(make_job(spec, Tally(times + n, times + n), 10_000), reason, LIMIT_S, chance) for n in (0, 1))
    assert isinstance(now, Retry)
    assert isinstance(later, Retry)
    assert FIRST_DELAY_S / 2 <= now.delay_s <= later.delay_s <= LONGEST_DELAY_S
    assert reason in PROMPT or now.delay_s < later.delay_s or now.delay_s == LONGEST_DELAY_S * (1 - chance / 2)


@pytest.mark.parametrize("times", [0, 1, 2, 3])
@pytest.mark.parametrize("reason", [Reason.ERROR, Reason.WORKER_DIED])
def test_the_delay_doubles(spec: TrainSpec, reason: Reason, times: int) -> None:
    decision = decide(make_job(spec, Tally(times, times), 100), reason, LIMIT_S)
    assert isinstance(decision, Retry)
    assert decision.delay_s == FIRST_DELAY_S * 2**times


def test_a_reason_belongs_to_one_kind() -> None:
    assert not HOPELESS & INFRASTRUCTURE
    assert OWN_FAULTS == [Reason.ERROR]
