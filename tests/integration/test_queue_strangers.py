"""Jobs that another release, or another hand, has written: none of them stands in the way of others."""

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ganservice.errors import JobNotFound, JobUnreadable
from ganservice.holdings import Holdings
from ganservice.job import Capacity, Directive, Outcome, Reason, Rollback, State
from ganservice.job_hash import FORMAT
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.jobs import CLUSTER, SUCCESS, TROUBLE, evaluation, kinds, lease, reap, skip_delay, submit

WAITS_FOR_NEWER = "a dispatcher of the newer release that it was submitted by"


def key(job_id: str) -> str:
    return "{gan}:job:" + job_id


def unreadable(admin: redis.Redis, job_id: str) -> None:
    """Give the job a spec with a key of another release."""
    spec = json.loads(admin.hget(key(job_id), "spec") or "")
    admin.hset(key(job_id), "spec", json.dumps(spec | {"invented_later": 1}))


def raw(admin: redis.Redis, job_id: str) -> Any:
    return admin.hmget(key(job_id), "state", "reason")


def test_a_queued_job_that_cannot_be_read_fails_and_hides_no_other(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    bad, good = submit(queue, spec), submit(queue, spec)
    unreadable(admin, bad)
    assert lease(queue).job_id == good
    assert raw(admin, bad) == ["failed", "unreadable"]
    assert f"{bad}: the job was written by another version" in (admin.hget(key(bad), "message") or "")
    assert kinds(queue, bad) == ["submitted", "leased", "failed"]


def test_a_running_job_that_cannot_be_read_is_reaped(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    bad = submit(queue, spec)
    lease(queue)
    unreadable(admin, bad)
    assert reap(queue) == [bad]
    assert raw(admin, bad) == ["failed", "unreadable"]


def test_a_job_that_is_taken_by_name_and_cannot_be_read_is_told(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    bad = submit(queue, spec)
    unreadable(admin, bad)
    with pytest.raises(JobUnreadable, match=bad):
        queue.take(bad)
    assert raw(admin, bad) == ["failed", "unreadable"]


def test_a_job_of_a_newer_release_waits_for_a_newer_dispatcher(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    newer, ours = submit(queue, spec), submit(queue, spec)
    admin.hset(key(newer), "format", FORMAT + 1)
    unreadable(admin, newer)
    assert lease(queue).job_id == ours, "it holds back no room either"
    assert queue.lease(CLUSTER, CLUSTER) is None
    assert admin.hmget(key(newer), "state", "waiting_for", "attempt") == ["queued", WAITS_FOR_NEWER, "0"]
    with pytest.raises(JobUnreadable, match="newer release of ganservice, which is needed to run it"):
        queue.take(newer)


def test_a_running_job_of_a_newer_release_goes_back_to_the_queue_when_it_is_silent(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    newer = submit(queue, spec)
    lease(queue)
    admin.hset(key(newer), "format", FORMAT + 1)
    unreadable(admin, newer)
    assert reap(queue) == [newer]
    assert raw(admin, newer) == ["queued", "unreadable"]
    admin.hset(key(newer), "format", FORMAT)


KINDS_OF_KEYS = ("job", "events", "logs", "evaluations", "evaluations_under_way")


@pytest.mark.parametrize("name", KINDS_OF_KEYS)
@pytest.mark.parametrize("runs", [True, False])
def test_another_type_of_value_under_a_key_of_a_job_hides_no_other(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, settings: Settings, name: str, runs: bool
) -> None:
    bad = submit(queue, spec)
    if runs:
        lease(queue)
    admin.delete(f"{{gan}}:{name}:{bad}")
    admin.rpush(f"{{gan}}:{name}:{bad}", "x")
    good = submit(queue, spec)
    shown = {good} if name == "job" else {bad, good}
    assert {job.id for job in queue.list_jobs()} == {job.id for job in queue.newest(5)} == shown
    assert len(queue.head(5)) == len(shown) - (runs and name != "job")
    assert queue.depth().total() == 1 + (not runs), "it has its place until the next look"
    assert queue.waits_since() == (queue.get(good if runs or name == "job" else bad).ready_at)
    assert len(queue.running_attempts()) == (runs and name != "job")
    assert (queue.evaluations(bad), queue.evaluations_under_way(bad)) == ([], set())
    assert isinstance(queue.events(bad), list)
    assert queue.logs(bad) == []
    with Holdings(settings) as holdings:
        assert holdings.of_users()["ada"].jobs_running == (runs and name != "job")
    assert good in [held.job_id for held in iter(lambda: queue.lease(CLUSTER, Capacity(cpus=4, gpus=1)), None)]
    reap(queue)
    assert queue.get(good).state is State.QUEUED
    if name == "job":
        with pytest.raises(JobNotFound):
            queue.cancel(bad)
    else:
        assert queue.cancel(bad, now=True) is State.CANCELLED
    queue.delete(bad)
    assert not queue.knows(bad)


@pytest.mark.parametrize("place", ["ids", "named:away"])
def test_what_can_be_no_id_is_found_by_no_word(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, place: str
) -> None:
    job_id = submit(queue, spec)
    outside = "away-1/../../../home"
    admin.zadd("{gan}:" + place, {outside: 0})
    admin.copy(key(job_id), key(outside))
    for word in ("away", "away-1", "awa"):
        with pytest.raises(JobNotFound):
            queue.resolve(word)


def test_a_job_that_is_of_another_type_is_told_to_be_unreadable(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    bad = submit(queue, spec)
    admin.set(key(bad), "x")
    with pytest.raises(JobUnreadable, match=bad):
        queue.get(bad)


def test_a_job_in_a_state_that_nobody_knows_is_not_cancelled(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    bad = submit(queue, spec)
    admin.hset(key(bad), "state", "\x1b[2J")
    with pytest.raises(JobUnreadable, match=f"^{bad}: the job was written by another version"):
        queue.cancel(bad)


@pytest.mark.parametrize("finds", ["running", "queued"])
def test_a_job_whose_hash_is_gone_is_forgotten(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, finds: str
) -> None:
    gone = submit(queue, spec)
    if finds == "running":
        lease(queue)
    admin.delete(key(gone))
    other = submit(queue, spec)
    assert reap(queue) == []
    assert lease(queue).job_id == other
    assert queue.count_by_state() == {state: int(state is State.RUNNING) for state in State}
    with pytest.raises(JobNotFound):
        queue.get(gone)


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
def test_a_job_whose_hash_is_gone_is_in_no_state_even_where_no_look_comes_to_it(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, state: State
) -> None:
    there = submit(queue, spec)
    if state is State.RUNNING:
        lease(queue)
    admin.zadd("{gan}:state:" + state, {"gone-1": 0})
    list(queue.index())
    assert admin.zrange("{gan}:state:" + state, 0, -1) == [there]


def test_a_running_job_that_another_hand_delays_is_not_queued(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    admin.zadd("{gan}:delayed", {job_id: 0})
    assert queue.lease(CLUSTER, CLUSTER) is None
    places = ("delayed", "ready_of:ada", "queued_of:ada", "state:queued")
    assert [place for place in places if admin.exists("{gan}:" + place)] == []
    assert queue.holds(held)


def test_a_running_job_that_another_hand_has_queued_leaves_the_queue_with_its_end(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    admin.zadd("{gan}:state:queued", {job_id: 0})
    admin.zadd("{gan}:ready_of:ada", {job_id: 0})
    admin.sadd("{gan}:queued_of:ada", job_id)
    queue.finish(held, SUCCESS)
    assert queue.count_by_state() == {state: int(state is State.SUCCEEDED) for state in State}
    assert not admin.exists("{gan}:ready_of:ada", "{gan}:queued_of:ada")


@pytest.mark.parametrize("stream", ["events", "logs"])
def test_a_stream_that_has_no_more_ids_begins_anew(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, stream: str
) -> None:
    job_id = submit(queue, spec)
    last: Any = f"{2**64 - 1}-{2**64 - 1}"
    admin.xadd(f"{{gan}}:{stream}:{job_id}", {"kind": "odd"}, id=last)
    held = lease(queue)
    queue.heartbeat(held, logs=["a line"])
    queue.finish(held, SUCCESS)
    assert [line.text for line in queue.logs(job_id)] == ["a line"]
    assert kinds(queue, job_id)[-2:] == ["leased", "succeeded"]


TEXTS = st.sampled_from(["", "x", "-1", "nan", "1e999", "[]", "{}", "null", "9" * 400, "\x00", "\ud7ff"])
FIELDS = st.sampled_from(
    [
        "spec", "state", "priority", "order", "cpus", "gpus", "attempt", "token", "failures", "troubles", "format",
        "checkpoint", "rollbacks", "progress", "pulse", "evaluation", "ready_at", "leased_at", "heartbeat_at",
        "lease_expires_at", "leased_ms", "leased_before_ms", "submitted_at", "id", "trouble_ms", "images_trained",
    ]
)  # fmt: skip


@given(damage=st.dictionaries(FIELDS, TEXTS, min_size=1, max_size=4), runs=st.booleans())
@hypothesis_settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_no_damage_to_a_job_ends_what_is_done_for_others(
    settings: Settings, admin: redis.Redis, spec: TrainSpec, damage: dict[str, str], runs: bool
) -> None:
    admin.flushdb()
    with closing(JobQueue(settings)) as queue:
        bad = submit(queue, spec)
        if runs:
            lease(queue)
        else:
            queue.finish(lease(queue), TROUBLE)  # so that it waits for a retry
            skip_delay(admin, bad)
        admin.hset(key(bad), mapping=damage)  # type: ignore[arg-type]  # its keys may be strings
        good = submit(queue, spec)
        looks: list[Callable[[], Any]] = [
            lambda: reap(queue), queue.list_jobs, queue.depth, queue.waits_since, lambda: queue.head(10), queue.forget,
            lambda: list(queue.index()), queue.totals, lambda: queue.newest(5), lambda: queue.resolve(spec.name),
        ]  # fmt: skip
        for look in looks:
            look()
        leased = [held.job_id for held in iter(lambda: queue.lease(CLUSTER, Capacity(cpus=4, gpus=1)), None)]
        assert good in leased
        assert queue.get(good).state is State.RUNNING


# What the last release has written.


def test_a_job_of_the_last_release_runs_on(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    """It says no format, is in no index, counts its images one by one and was leased before this release came."""
    job_id = submit(queue, spec)
    held = lease(queue)
    admin.hdel(key(job_id), "format", "attempt_images", "leased_before_ms")
    admin.hset(key(job_id), "images_trained", 8)
    admin.delete("{gan}:jobs", "{gan}:ids", "{gan}:named:tiny")
    list(queue.index())
    assert queue.resolve("tiny") == queue.resolve(job_id[:-1]) == job_id
    assert [job.id for job in queue.newest(5)] == [job_id]
    assert queue.heartbeat(held, trained_images=8) is Directive.CONTINUE
    assert queue.finish(held, TROUBLE) is State.QUEUED
    skip_delay(admin, job_id)
    assert queue.finish(lease(queue), SUCCESS) is State.SUCCEEDED
    assert queue.get(job_id).reason is Reason.SUCCEEDED


def test_what_the_last_release_leased_owes_nothing_for_its_past(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    admin.hdel(key(job_id), "leased_before_ms", "format")
    admin.hset(key(job_id), "leased_ms", 100 * 3600 * 1000)
    assert queue.finish(held, TROUBLE) is State.QUEUED


def test_an_attempt_whose_job_has_become_unreadable_can_be_ended(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    admin.hset(key(job_id), "progress", '{"invented": "later"}')
    assert queue.finish(held, TROUBLE) is State.FAILED
    assert raw(admin, job_id) == ["failed", "unreadable"]
    admin.hdel(key(job_id), "progress", "attempt")
    queue.retry(job_id)


def test_an_evaluation_that_cannot_be_read_hides_no_other_and_stands_in_no_way(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    training = submit(queue, spec)
    held = lease(queue)
    readable = evaluation(training, 64, 1.0)
    found = {"000000000064/p": readable.model_dump_json(), "000000000128/p": '{"invented": "later"}', "odd": "?"}
    admin.hset("{gan}:evaluations:" + training, mapping=found)  # type: ignore[arg-type]  # its keys may be strings
    assert queue.evaluations(training) == [readable]
    back = Rollback(attempt=1, images=64, checkpoint="c", from_images=256, lr_share=1.0, why="a test")
    assert queue.finish(held, Outcome(reason=Reason.ROLLED_BACK, rollback=back)) is State.QUEUED
    assert "000000000128/p" not in admin.hkeys("{gan}:evaluations:" + training)


@pytest.mark.parametrize("entry", [{"a": "b"}, {"kind": "later", "attempt": "x", "detail": "{}"}, {"detail": "?"}])
def test_an_event_that_cannot_be_read_hides_no_other(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, entry: dict[str, str]
) -> None:
    job_id = submit(queue, spec)
    admin.xadd("{gan}:events:" + job_id, entry)  # type: ignore[arg-type]  # its keys may be strings
    queue.cancel(job_id)
    assert kinds(queue, job_id) == ["submitted", "cancelled"]


@pytest.mark.parametrize("place", ["ready", "ready_of:eve"])
def test_what_is_over_is_not_leased_wherever_another_hand_puts_it(
    place: str, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    over = submit(queue, spec)
    queue.cancel(over)
    admin.zadd(f"{{gan}}:{place}", {over: 0})
    admin.sadd("{gan}:ready_users", "eve")
    good = submit(queue, spec)
    assert lease(queue).job_id == good
    assert queue.lease(CLUSTER, CLUSTER) is None
    assert queue.get(over).state is State.CANCELLED
    assert admin.zcard(f"{{gan}}:{place}") == 0
