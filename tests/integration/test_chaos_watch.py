"""What a chaos run must see: each breach put in by hand is noted."""

from typing import Any

import pytest
import redis
from pydantic import SecretStr

from ganservice.job import Activity, Event, Pulse, Reason
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.chaos.invariants import events_wrong
from tests.chaos.watch import Watch
from tests.integration.broker import Broker
from tests.integration.jobs import SUCCESS, lease, submit


@pytest.fixture
def watch(broker: Broker, settings: Settings) -> Watch:
    """A watch that looks when it is told to."""
    return Watch(settings.model_copy(update={"broker_url": SecretStr(broker.admin_url)}))


@pytest.fixture
def job_id(queue: JobQueue, spec: TrainSpec, watch: Watch) -> str:
    """A job that runs and was seen to."""
    job_id = submit(queue, spec)
    lease(queue)
    watch.look()
    assert not watch.violations
    return job_id


def noted(watch: Watch) -> str:
    watch.looks = 0  # with the keys
    watch.look()
    [violation] = watch.violations
    return violation.what


def moves(watch: Watch) -> bool:
    """Whether the next look finds that something has moved since the one before."""
    watch.moved_at = 0.0
    watch.look()
    return watch.moved_at > 0


def test_an_attempt_that_only_beats_does_not_move(watch: Watch, queue: JobQueue, spec: TrainSpec) -> None:
    submit(queue, spec)
    held = lease(queue)

    def beat(images: int, still_s: float) -> None:
        pulse = Pulse(activity=Activity.TRAINING, images=images, report_age_s=still_s, still_s=still_s)
        queue.heartbeat(held, pulse=pulse)

    beat(64, 1.0)
    assert moves(watch)
    beat(64, 2.0)
    assert not moves(watch)
    beat(128, 0.0)
    assert moves(watch)


def test_what_went_before_a_watch_is_no_standing_still(watch: Watch) -> None:
    watch.moved_at = 0.0
    with watch:
        assert watch.moved_at > 0


def test_a_counter_that_falls(watch: Watch, job_id: str, admin: redis.Redis) -> None:
    admin.hincrby("{gan}:totals", "attempts", -1)
    assert noted(watch) == "the counter attempts fell from 1 to 0"
    watch.violations.clear()
    admin.hincrby("{gan}:totals", "submitted", -1)
    watch.forget_totals()
    watch.look()
    assert not watch.violations
    assert job_id


def test_a_failure_that_is_counted(watch: Watch, job_id: str, admin: redis.Redis) -> None:
    admin.hset("{gan}:job:" + job_id, "failures", 1)
    assert noted(watch).startswith("a failure is counted")


@pytest.mark.parametrize("place", ["ready", "delayed", "state:queued", "state:failed"])
def test_a_job_in_two_places(place: str, watch: Watch, job_id: str, admin: redis.Redis) -> None:
    admin.zadd("{gan}:" + place, {job_id: 1})
    assert noted(watch).startswith(f"keys disagree: {job_id} is in ")


def test_a_job_in_no_place(watch: Watch, job_id: str, admin: redis.Redis) -> None:
    admin.zrem("{gan}:state:running", job_id)
    assert noted(watch) == f"keys disagree: {job_id} is indexed, and in no state"


def test_a_token_that_is_given_twice(watch: Watch, job_id: str, admin: redis.Redis) -> None:
    admin.hincrby("{gan}:job:" + job_id, "attempt", 1)
    assert noted(watch).startswith("token ")


def test_a_token_that_shrinks(watch: Watch, job_id: str, admin: redis.Redis) -> None:
    admin.hset("{gan}:job:" + job_id, mapping={"attempt": 2, "token": 1})
    assert noted(watch).startswith("token 1 of attempt 2 is smaller than ")


def test_a_job_that_ends_twice(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    queue.finish(lease(queue), SUCCESS)
    events = queue.events(job_id)
    assert not list(events_wrong(queue.get(job_id), events))
    [twice] = events_wrong(queue.get(job_id), [*events, events[-1]])
    assert twice.what == "the event succeeded follows the state succeeded"
    [unended] = events_wrong(queue.get(job_id), events[:-1])
    assert unended.what == "its events end in running, its state is succeeded"


@pytest.mark.parametrize("reason", [Reason.ERROR, Reason.DATA])
def test_an_attempt_that_ended_for_what_is_no_fault_of_the_run(
    reason: Reason, queue: JobQueue, spec: TrainSpec
) -> None:
    job = queue.get(submit(queue, spec))
    detail: dict[str, Any] = {"reason": reason, "message": "why"}
    told = [Event(id="1-0", at=1.0, kind=kind, attempt=1, detail={}) for kind in ("submitted", "leased")]
    told.append(Event(id="2-0", at=2.0, kind="requeued", attempt=1, detail=detail))
    [violation] = events_wrong(job, told)
    assert violation.what == f"an attempt ended as {reason}: why"
