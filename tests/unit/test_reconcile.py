"""What exists in Ray and what should: the acts that make one the other."""

from hypothesis import given
from hypothesis import strategies as st

from ganservice.job import RunningAttempt
from workers.dispatch.name import GangName
from workers.dispatch.reconcile import Acts, reconcile

NAMES = st.builds(GangName, st.sampled_from(["a", "b", "c"]), st.integers(1, 3))
# One attempt of a job runs at most.
RUNNING = st.lists(
    st.builds(
        RunningAttempt,
        job_id=st.sampled_from(["a", "b", "c"]),
        attempt=st.integers(1, 3),
        token=st.integers(1, 9),
        owner=st.sampled_from(["host:1/abc", "host:2"]),
        has_begun=st.booleans(),
    ),
    unique_by=lambda attempt: attempt.job_id,
)


def name_of(attempt: RunningAttempt) -> GangName:
    return GangName(attempt.job_id, attempt.attempt)


def attempt(job_id: str = "a", owner: str = "host:1/abc", *, has_begun: bool = False) -> RunningAttempt:
    return RunningAttempt(job_id, 1, 7, owner, has_begun)


@given(st.sets(NAMES), st.sets(NAMES), RUNNING, st.sets(NAMES))
def test_everything_ends_up_with_its_counterpart_and_nothing_else_is_touched(
    found: set[GangName], watched: set[GangName], running: list[RunningAttempt], missing: set[GangName]
) -> None:
    acts = reconcile(found, watched, running, missing)
    current = {name_of(attempt) for attempt in running}
    assert set(acts.remove) == found - watched - current
    assert {name_of(attempt) for attempt in acts.adopt} == found & current - watched
    for given_back in acts.give_back:
        assert name_of(given_back) not in found | watched
        assert "/" in given_back.owner
        assert not given_back.has_begun or name_of(given_back) in missing
    # Once the acts are done, and what was missing is missed again, there is nothing left to do.
    left = [attempt for attempt in running if attempt not in acts.give_back]
    again = reconcile(found - set(acts.remove), watched | {name_of(it) for it in acts.adopt}, left, acts.missing)
    assert (again.remove, again.adopt) == ([], [])
    last = reconcile(
        found - set(acts.remove),
        watched | {name_of(it) for it in acts.adopt},
        [it for it in left if it not in again.give_back],
        again.missing,
    )
    assert last == Acts([], [], [], frozenset())


def test_an_attempt_that_has_not_begun_is_given_back_at_once() -> None:
    assert reconcile([], [], [attempt()]).give_back == [attempt()]


def test_an_attempt_that_has_begun_is_given_back_when_its_gang_is_missing_twice() -> None:
    begun = attempt(has_begun=True)
    first = reconcile([], [], [begun])
    assert first.give_back == []
    assert reconcile([], [], [begun], first.missing).give_back == [begun]


def test_an_attempt_outside_the_cluster_needs_no_gang() -> None:
    assert reconcile([], [], [attempt(owner="host:1")]) == Acts([], [], [], frozenset())


def test_names_of_others_are_no_gangs() -> None:
    assert GangName.parse("ring2d-c15923/4") == GangName.parse("ring2d-c15923/4/0") == GangName("ring2d-c15923", 4)
    for name in ("", "group", "a/b", "a/1/2/3", "/1", "a/1/x", "SERVE/1", "a b/1"):
        assert GangName.parse(name) is None
