import json
import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from ganservice.errors import BrokerOutage, IllegalTransition, JobNotFound, LeaseLost, RequestError
from ganservice.job import Activity, Capacity, Directive, EventKind, Outcome, Pulse, Reason, State
from ganservice.queue import JobQueue, NewEvent
from ganservice.settings import Settings
from ganservice.spec import Resources, TrainSpec
from ganservice.submissions import once_key
from tests.integration.broker import Broker
from tests.integration.jobs import (
    CLUSTER,
    FAILURE,
    SUCCESS,
    TROUBLE,
    checkpoint,
    kinds,
    lease,
    reap,
    report,
    skip_delay,
    submit,
)
from workers.attempt.heartbeat import Heartbeat

CANCELLED = Outcome(reason=Reason.CANCELLED)

Eventually = Callable[..., Any]


# Submission.


def test_a_submitted_job_waits_in_the_queue(queue: JobQueue, spec: TrainSpec) -> None:
    job = queue.get(submit(queue, spec, priority="high"))
    assert (job.state, job.priority, job.attempt, job.spec.recipe) == (State.QUEUED, 75, 0, spec.recipe)
    assert job.id.startswith("tiny-")
    assert kinds(queue, job.id) == ["submitted"]


def test_the_same_idempotency_key_after_another_job_is_a_conflict(queue: JobQueue, spec: TrainSpec) -> None:
    before, other = submit(queue, spec), submit(queue, spec)
    job_id, _ = queue.submit(spec, "k", after=before)
    assert queue.submit(spec, "k", after=before) == (job_id, False)
    for after in (other, None):
        with pytest.raises(RequestError, match=f"the idempotency key k belongs to {job_id}, which was submitted other"):
            queue.submit(spec, "k", after=after)
    alone, _ = queue.submit(spec, "alone")
    with pytest.raises(RequestError, match=f"belongs to {alone}"):
        queue.submit(spec, "alone", after=before)
    assert len({once_key(spec), once_key(spec, before), once_key(spec, other)}) == 3


def test_what_is_submitted_once_is_the_same_however_another_release_writes_it(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    """Of a key that a release brings with a default, the one before wrote nothing."""
    job_id, _ = queue.submit(spec, once_key(spec))
    text: Any = admin.hget("{gan}:job:" + job_id, "spec")
    written = json.loads(text)
    del written["max_attempts"]
    admin.hset("{gan}:job:" + job_id, "spec", json.dumps(written))
    assert queue.submit(spec, once_key(spec)) == (job_id, False)
    assert queue.submit_all([(spec, once_key(spec))]) == [(job_id, False)]


def test_how_an_attempt_ended_is_told_again_for_as_long_as_it_may_be_asked(
    settings: Settings, admin: redis.Redis, spec: TrainSpec
) -> None:
    with closing(JobQueue(settings.model_copy(update={"lease_s": 900.0}))) as queue:
        submit(queue, spec)
        queue.finish(lease(queue), SUCCESS, request="asked")
    assert admin.pttl("{gan}:reply:asked") > 900_000


def test_the_same_idempotency_key_gives_the_same_job(queue: JobQueue, spec: TrainSpec) -> None:
    first, created = queue.submit(spec, idempotency_key="k")
    assert created
    assert queue.submit(spec, idempotency_key="k") == (first, False)
    assert queue.submit(spec, idempotency_key="other")[1]
    assert queue.count_by_state()[State.QUEUED] == queue.totals()["submitted"] == 2


def test_an_id_that_is_taken_never_overwrites_its_job(
    queue: JobQueue, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = iter(range(100))
    suffixes = iter(["aaaaaa", "aaaaaa", "bbbbbb"])
    monkeypatch.setattr(
        "ganservice.submissions.secrets.token_hex",
        lambda size: next(suffixes) if size == 3 else f"request {next(requests)}",
    )
    assert submit(queue, spec) != submit(queue, spec)
    assert len(queue.list_jobs()) == 2


# Order and capacity.


def test_jobs_go_by_priority_then_age(queue: JobQueue, spec: TrainSpec) -> None:
    priorities = [50, "low", 100, "high", 50, 0, 100, 0]
    submitted = [submit(queue, spec, priority=priority) for priority in priorities]
    leased = [lease(queue).job_id for _ in submitted]
    assert leased == [submitted[place] for place in (2, 6, 3, 0, 4, 1, 5, 7)]
    assert queue.lease(CLUSTER, CLUSTER) is None


def test_a_priority_is_changed_in_the_queue_at_once(queue: JobQueue, spec: TrainSpec) -> None:
    first, second, third = (submit(queue, spec) for _ in range(3))
    assert queue.prioritise(third, 90) == 50
    assert queue.prioritise(first, 10) == 50
    assert [lease(queue).job_id for _ in range(3)] == [third, second, first]
    told = [event for event in queue.events(third) if event.kind == "priority_changed"]
    assert [event.detail for event in told] == [{"before": 50, "now": 90, "by": "ada"}]
    assert queue.get(third).priority == 90
    assert queue.prioritise(third, 90) == 90
    assert len([event for event in queue.events(third) if event.kind == "priority_changed"]) == 1, "nothing changed"


def test_a_running_job_has_its_new_priority_when_it_comes_back(
    queue: JobQueue, spec: TrainSpec, admin: redis.Redis
) -> None:
    held = submit(queue, spec, priority=90)
    granted = lease(queue)
    waiting = submit(queue, spec)
    queue.prioritise(held, 5)
    queue.finish(granted, Outcome(reason=Reason.YIELDED))
    skip_delay(admin, held)
    assert [lease(queue).job_id for _ in range(2)] == [waiting, held]


def test_a_job_that_is_delayed_stays_so_with_another_priority(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    queue.finish(lease(queue), TROUBLE)
    queue.prioritise(job_id, 100)
    assert queue.lease(CLUSTER, CLUSTER) is None


def test_only_what_waits_or_runs_has_a_priority(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    queue.cancel(job_id)
    with pytest.raises(IllegalTransition, match="is cancelled; only a queued or running job has a priority"):
        queue.prioritise(job_id, 1)
    with pytest.raises(JobNotFound):
        queue.prioritise("tiny-gone", 1)


def test_the_head_of_the_queue_is_what_will_be_leased_next(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    low, high, normal = (submit(queue, spec, priority=priority) for priority in (10, 90, 50))
    assert [job.id for job in queue.head(9)] == [high, normal, low]
    assert [job.id for job in queue.head(2)] == [high, normal]
    assert lease(queue).job_id == high
    admin.hset("{gan}:job:" + normal, "spec", "of another version")
    assert [job.id for job in queue.head(9)] == [low]


def test_a_lease_carries_all_its_attempt_needs(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    found = lease(queue)
    assert (found.job_id, found.attempt, found.lease_s, found.spec) == (job_id, 1, 30.0, spec)
    job = queue.get(job_id)
    assert (job.state, job.token) == (State.RUNNING, found.token)
    assert job.leased_at is not None
    assert job.lease_expires_at == pytest.approx(job.leased_at + 30)


def test_jobs_are_told_what_they_wait_for_where_nothing_is_free(queue: JobQueue, spec: TrainSpec) -> None:
    waiting = [submit(queue, spec) for _ in range(2)]
    assert queue.lease(Capacity(0, 0), CLUSTER) is None
    assert [queue.get(job_id).waiting_for for job_id in waiting] == ["1 CPU to be free"] * 2


def test_a_job_that_must_wait_holds_back_what_it_waits_for(queue: JobQueue, spec: TrainSpec) -> None:
    large = submit(queue, spec, resources=Resources(workers=4))
    submit(queue, spec)
    assert queue.lease(Capacity(3, 1), CLUSTER) is None
    assert queue.get(large).waiting_for == "4 CPUs to be free"
    assert lease(queue).job_id == large
    assert queue.get(large).waiting_for is None


def test_a_held_job_waits_for_its_submitter_and_then_is_as_any_other(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id, _ = queue.submit(spec, held_s=30)
    assert queue.get(job_id).state is State.QUEUED
    assert queue.lease(CLUSTER, CLUSTER) is None
    assert queue.totals().get("wait_ms", 0) == 0
    skip_delay(admin, job_id)
    assert lease(queue).job_id == job_id


def test_a_job_is_taken_by_its_id_whatever_it_needs(queue: JobQueue, spec: TrainSpec) -> None:
    first = submit(queue, spec, priority=90)
    large = submit(queue, spec, resources=Resources(cpus_per_worker=64))
    held, _ = queue.submit(spec, held_s=30)
    taken = [queue.take(job_id) for job_id in (held, large)]
    assert [(found.job_id, found.attempt, found.spec.resources.cpus) for found in taken] == [
        (held, 1, 1),
        (large, 1, 64),
    ]
    assert queue.heartbeat(taken[0]) is Directive.CONTINUE
    with pytest.raises(IllegalTransition, match=f"{held} is running; only a queued job can be run"):
        queue.take(held)
    assert queue.reap({held: queue.leases()[held]}) == [held]
    assert queue.take(held).attempt == 2, "the delay before a retry is for others"
    assert lease(queue).job_id == first


def test_a_job_that_needs_no_gpu_passes_one_that_waits_for_a_gpu(queue: JobQueue, spec: TrainSpec) -> None:
    submit(queue, spec, resources=Resources(gpus_per_worker=1))
    small = submit(queue, spec)
    assert lease(queue, Capacity(cpus=2, gpus=0)).job_id == small


def test_a_job_too_large_for_the_cluster_is_passed_over_and_told_so(queue: JobQueue, spec: TrainSpec) -> None:
    giant = submit(queue, spec, resources=Resources(workers=4, cpus_per_worker=2, gpus_per_worker=2), priority="high")
    small = submit(queue, spec)
    assert lease(queue).job_id == small
    job = queue.get(giant)
    assert job.state is State.QUEUED
    assert job.waiting_for == "8 CPUs and 8 GPUs; the cluster has 4 CPUs and 1 GPU"


# What an attempt reports.


def test_a_heartbeat_carries_all_an_attempt_has_to_say(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    directive = queue.heartbeat(
        held,
        report(16),
        trained_images=16,
        checkpoint=checkpoint(16),
        events=[NewEvent(EventKind.SAMPLES, {"key": "grid 1", "mean": 0.5})],
        logs=["a line", "another: \N{SNOWMAN}"],
    )
    job = queue.get(job_id)
    assert directive is Directive.CONTINUE
    assert (job.progress, job.checkpoint, job.images_trained) == (report(16), checkpoint(16), 16)
    assert [line.text for line in queue.logs(job_id)] == ["a line", "another: \N{SNOWMAN}"]
    said = queue.events(job_id)[-1]
    assert (said.kind, said.attempt, said.detail) == (EventKind.SAMPLES, 1, {"key": "grid 1", "mean": 0.5})
    assert queue.totals()["images"] == 16


def test_a_pulse_moves_what_a_job_tells_between_reports(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    assert queue.get(job_id).preparation is Activity.STARTING
    queue.heartbeat(held, pulse=Pulse(activity=Activity.LOADING))
    job = queue.get(job_id)
    assert (job.preparation, job.images, job.images_per_s, job.left_s) == (Activity.LOADING, 0, None, None)
    pulse = Pulse(activity=Activity.TRAINING, images=24, images_per_s=8.0)
    queue.heartbeat(held, pulse=pulse, precision="bf16", engine="eager: as ordered")
    job = queue.get(job_id)
    assert (job.preparation, job.images, job.images_per_s) == (None, 24, 8.0)
    assert (job.precision, job.engine) == ("bf16", "eager: as ordered")
    assert (job.share_done, job.left_s) == (24 / 64, 5.0)


def test_what_is_told_of_an_attempt_ends_with_it(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, report(16), pulse=Pulse(activity=Activity.TRAINING, images=24, images_per_s=8.0))
    queue.finish(held, Outcome(reason=Reason.WORKER_DIED))
    job = queue.get(job_id)
    assert (job.pulse, job.images, job.images_per_s, job.preparation) == (None, 16, None, None)


def test_images_are_counted_with_or_without_a_progress_report(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, report(8), trained_images=8)
    queue.heartbeat(held, trained_images=16)
    assert queue.get(job_id).images_trained == queue.totals()["images"] == 16


def test_images_that_an_attempt_tells_of_twice_count_once_and_those_of_the_next_come_on_top(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    for images in (8, 8, 0):  # an answer was lost
        queue.heartbeat(held, trained_images=images)
    queue.finish(held, TROUBLE)
    skip_delay(admin, job_id)
    queue.heartbeat(lease(queue), trained_images=8)
    assert queue.get(job_id).images_trained == queue.totals()["images"] == 16


def test_a_beat_that_is_sent_again_counts_once(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    for _ in range(3):
        queue.heartbeat(
            held, trained_images=8, missed_beats=1, checkpoint=checkpoint(8), logs=["once"], request="beat",
            events=[NewEvent(EventKind.CHECKPOINT, checkpoint(8).model_dump())],
        )  # fmt: skip
    totals = queue.totals()
    assert (totals["event:checkpoint"], totals["checkpoint_bytes"], totals["missed_beats"]) == (1, 1000, 1)
    assert (len(queue.logs(job_id)), kinds(queue, job_id).count("checkpoint")) == (1, 1)


def test_a_heartbeat_renews_the_lease(queue: JobQueue, spec: TrainSpec, eventually: Eventually) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    before = queue.get(job_id).lease_expires_at or 0

    def renewed() -> bool:
        queue.heartbeat(held)
        return (queue.get(job_id).lease_expires_at or 0) > before

    assert eventually(renewed)


def test_an_attempt_starts_from_the_newest_checkpoint(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    first = lease(queue)
    queue.heartbeat(first, checkpoint=checkpoint(16))
    assert queue.finish(first, FAILURE) is State.QUEUED
    skip_delay(admin, job_id)
    assert lease(queue).attempt == 2
    job = queue.get(job_id)
    assert (job.resumed_images, job.made_progress) == (16, False)


@pytest.mark.parametrize("resumed", [0, 8])
def test_a_newer_checkpoint_that_could_not_be_read_is_forgotten(queue: JobQueue, spec: TrainSpec, resumed: int) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, checkpoint=checkpoint(16))
    queue.heartbeat(held, resumed_images=resumed)
    job = queue.get(job_id)
    assert (job.resumed_images, job.checkpoint) == (resumed, None)
    queue.heartbeat(held, checkpoint=checkpoint(12))
    assert queue.get(job_id).made_progress


def test_the_checkpoint_an_attempt_resumed_from_is_kept(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, checkpoint=checkpoint(16))
    queue.heartbeat(held, resumed_images=16)
    job = queue.get(job_id)
    assert (job.resumed_images, job.checkpoint) == (16, checkpoint(16))


# Fencing.


def test_tokens_only_grow(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    for _ in range(2):
        submit(queue, spec)
    tokens = []
    for _ in range(4):
        held = lease(queue)
        tokens.append(held.token)
        queue.finish(held, Outcome(reason=Reason.UNPLACED))
        skip_delay(admin, held.job_id)
    assert tokens == sorted(set(tokens))


@pytest.mark.parametrize(
    "write",
    [
        lambda queue, held: queue.heartbeat(
            held,
            report(8),
            trained_images=8,
            checkpoint=checkpoint(8),
            logs=["late"],
            events=[NewEvent(EventKind.SAMPLES, {})],
        ),
        lambda queue, held: queue.finish(held, SUCCESS),
        lambda queue, held: queue.finish(held, FAILURE),
        lambda queue, held: queue.finish(held, CANCELLED),
    ],
    ids=["heartbeat", "succeed", "fail", "cancel"],
)
@pytest.mark.parametrize("successor", [True, False], ids=["a successor runs", "the job waits"])
def test_a_stale_token_writes_nothing_and_is_counted(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, write: Callable[..., Any], successor: bool
) -> None:
    job_id = submit(queue, spec)
    stale = lease(queue)
    queue.finish(stale, FAILURE)
    if successor:
        skip_delay(admin, job_id)
        assert lease(queue).token > stale.token
    before, totals, told = queue.get(job_id), queue.totals(), kinds(queue, job_id)
    with pytest.raises(LeaseLost, match=f"attempt 1 of {job_id} no longer holds its lease"):
        write(queue, stale)
    assert queue.get(job_id) == before
    assert queue.logs(job_id) == []
    assert queue.totals() == totals | {"stale_writes": 1}
    assert kinds(queue, job_id) == [*told, "stale_write_refused"]


@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE, CANCELLED], ids=lambda outcome: outcome.reason)
def test_finishing_a_job_that_is_gone_is_a_lost_lease(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, outcome: Outcome
) -> None:
    submit(queue, spec)
    held = lease(queue)
    admin.flushdb()
    with pytest.raises(LeaseLost):
        queue.finish(held, outcome)
    with pytest.raises(LeaseLost):
        queue.heartbeat(held)


# Expiry.


def test_a_silent_attempt_loses_its_job(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    assert queue.reap(queue.leases()) == [job_id]
    job = queue.get(job_id)
    assert (job.state, job.reason, job.failures, job.troubles) == (State.QUEUED, Reason.LEASE_EXPIRED, 0, 1)
    assert job.message is not None
    assert job.message.startswith("no heartbeat for 30 s from ")
    assert queue.totals()["leases_lost"] == 1
    with pytest.raises(LeaseLost):
        queue.heartbeat(held)
    assert reap(queue) == []


def test_an_attempt_that_has_moved_its_lease_is_not_reaped(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    silent = {job_id: queue.leases()[job_id] - 1}
    assert queue.reap(silent) == []
    assert queue.heartbeat(held) is Directive.CONTINUE


@pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000], ids=["back", "forward"])
def test_a_step_of_the_clock_takes_no_lease_and_turns_no_counter_back(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, step_ms: int
) -> None:
    """All times that are stored are moved, which is what a step of the clock the other way looks like."""
    job_id = submit(queue, spec)
    held = lease(queue)
    totals = queue.totals()
    for name in ("heartbeat_at", "leased_at", "lease_expires_at", "ready_at"):
        admin.hincrby("{gan}:job:" + job_id, name, -step_ms)
    admin.zincrby("{gan}:state:running", -step_ms, job_id)
    assert queue.heartbeat(held) is Directive.CONTINUE
    assert queue.finish(held, FAILURE) is State.QUEUED
    after = queue.totals()
    assert all(after[name] >= value for name, value in totals.items())
    assert 0 <= queue.get(job_id).leased_s <= 31
    admin.zincrby("{gan}:delayed", -step_ms, job_id)
    if step_ms < 0:  # an hour is longer than anything is delayed
        assert lease(queue).job_id == job_id


@pytest.mark.parametrize("ahead_s", [0, 86_400], ids=["", "and its clock steps back"])
def test_a_token_that_redis_has_forgotten_is_not_given_again(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, ahead_s: int
) -> None:
    """As after a power loss, or when a replica takes over that lags a second behind."""
    job_id = submit(queue, spec)
    if ahead_s:
        admin.set("{gan}:token", int((queue.now_s() + ahead_s) * 1e6))
    before = {key: admin.dump(key) for key in ("{gan}:token", "{gan}:job:" + job_id) if admin.exists(key)}
    old = lease(queue)
    if not ahead_s:
        admin.delete("{gan}:token")
    for key, value in before.items():
        admin.restore(key, 0, value, replace=True)  # type: ignore[arg-type]  # bytes
    admin.zrem("{gan}:state:running", job_id)
    admin.zadd("{gan}:state:queued", {job_id: 0})
    admin.zadd("{gan}:ready", {job_id: 0})
    new = lease(queue)
    assert (new.job_id, new.attempt) == (job_id, 1)
    assert new.token > old.token or ahead_s
    assert new.token != old.token
    assert queue.heartbeat(new) is Directive.CONTINUE
    with pytest.raises(LeaseLost):
        queue.finish(old, SUCCESS)
    assert queue.get(job_id).state is State.RUNNING


# How an attempt ends.


def test_a_success_keeps_its_generator(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    assert queue.finish(lease(queue), SUCCESS) is State.SUCCEEDED
    job = queue.get(job_id)
    assert (job.state, job.generator, job.token) == (State.SUCCEEDED, "jobs/tiny/generator", 0)
    assert job.finished_at is not None
    assert queue.totals() | {"outcome:succeeded": 1, "finished:succeeded": 1} == queue.totals()


def test_a_failed_attempt_is_tried_again_after_its_delay(
    queue: JobQueue, spec: TrainSpec, eventually: Eventually
) -> None:
    job_id = submit(queue, spec)
    assert queue.finish(lease(queue), FAILURE) is State.QUEUED
    waiting = queue.get(job_id)
    assert (waiting.failures, waiting.reason, waiting.message) == (1, FAILURE.reason, FAILURE.message)
    assert queue.lease(CLUSTER, CLUSTER) is None
    again = eventually(lambda: queue.lease(CLUSTER, CLUSTER))
    job = queue.get(job_id)
    assert (again.job_id, again.attempt, job.reason, job.not_before) == (job_id, 2, None, None)
    assert waiting.not_before is not None
    assert job.leased_at is not None
    assert job.leased_at >= waiting.not_before


def test_a_job_that_waits_for_its_retry_keeps_its_place_in_the_queue(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    first = submit(queue, spec)
    queue.finish(lease(queue), FAILURE)
    second = submit(queue, spec)
    skip_delay(admin, first)
    assert [lease(queue).job_id for _ in range(2)] == [first, second]


def test_a_job_is_given_up_after_max_attempts(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = submit(queue, spec, max_attempts=2)
    assert queue.finish(lease(queue), FAILURE) is State.QUEUED
    skip_delay(admin, job_id)
    assert queue.finish(lease(queue), FAILURE) is State.FAILED
    job = queue.get(job_id)
    assert (job.attempt, job.failures, job.reason) == (2, 2, Reason.ERROR)
    assert kinds(queue, job_id) == ["submitted", "leased", "requeued", "leased", "failed"]


# Cancelling and retrying.


def test_a_queued_job_is_cancelled_at_once(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    assert queue.cancel(job_id) is State.CANCELLED
    assert queue.lease(CLUSTER, CLUSTER) is None
    assert queue.get(job_id).message == "cancelled by ada"


def test_a_job_that_waits_for_its_retry_is_cancelled_at_once(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    queue.finish(lease(queue), FAILURE)
    assert queue.cancel(job_id) is State.CANCELLED
    assert admin.zcard("{gan}:delayed") == 0


def test_a_running_job_is_asked_to_stop_once(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    assert [queue.cancel(job_id) for _ in range(2)] == [State.RUNNING, State.RUNNING]
    assert queue.get(job_id).cancel_requested
    assert queue.heartbeat(held) is Directive.STOP
    assert queue.finish(held, CANCELLED) is State.CANCELLED
    assert kinds(queue, job_id) == ["submitted", "leased", "cancel_requested", "cancelled"]


def test_cancelling_now_takes_the_lease_away(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    assert queue.cancel(job_id, now=True) is State.CANCELLED
    with pytest.raises(LeaseLost):
        queue.heartbeat(held)
    with pytest.raises(LeaseLost):
        queue.finish(held, SUCCESS)


def test_a_cancel_wins_over_the_retry_of_a_failure(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.cancel(job_id)
    assert queue.finish(held, FAILURE) is State.CANCELLED
    assert queue.get(job_id).reason is Reason.CANCELLED


def test_a_cancel_wins_over_the_retry_of_a_lost_lease(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    lease(queue)
    queue.cancel(job_id)
    assert reap(queue) == [job_id]
    assert queue.get(job_id).state is State.CANCELLED


def test_a_job_done_before_it_could_stop_has_succeeded(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.cancel(job_id)
    assert queue.finish(held, SUCCESS) is State.SUCCEEDED
    assert queue.cancel(job_id, now=True) is State.SUCCEEDED
    assert not queue.get(job_id).cancel_requested


@pytest.mark.parametrize("end", [Outcome(reason=Reason.DATA), CANCELLED], ids=lambda outcome: outcome.reason)
def test_a_retried_job_has_all_its_tries_and_its_checkpoint(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, end: Outcome
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, checkpoint=checkpoint(16))
    queue.cancel(job_id)
    queue.finish(held, end)
    queue.retry(job_id)
    job = queue.get(job_id)
    assert (job.state, job.failures, job.reason, job.finished_at) == (State.QUEUED, 0, None, None)
    assert admin.ttl("{gan}:job:" + job_id) == -1
    again = lease(queue)
    assert (again.attempt, queue.get(job_id).resumed_images) == (2, 16)
    assert queue.heartbeat(again) is Directive.CONTINUE


def test_only_a_failed_or_cancelled_job_can_be_retried(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)

    def refused(state: State) -> None:
        with pytest.raises(IllegalTransition, match=f"{job_id} is {state}; only a failed or cancelled job"):
            queue.retry(job_id)

    refused(State.QUEUED)
    held = lease(queue)
    refused(State.RUNNING)
    queue.finish(held, SUCCESS)
    refused(State.SUCCEEDED)


@pytest.mark.parametrize("ask", ["get", "take", "cancel", "retry", "resolve"])
def test_a_job_that_does_not_exist_is_not_found(queue: JobQueue, ask: str) -> None:
    with pytest.raises(JobNotFound, match="no job has the id or name absent"):
        getattr(queue, ask)("absent")


# Looking.


def test_a_job_is_found_by_id_by_prefix_and_by_name(queue: JobQueue, spec: TrainSpec) -> None:
    tiny, *_, newest = (submit(queue, spec) for _ in range(3))
    other = submit(queue, spec, name="other")
    assert queue.resolve(tiny) == tiny
    assert queue.resolve(other[:-1]) == other
    assert queue.resolve("tiny") == newest


def test_a_prefix_of_several_jobs_names_them(queue: JobQueue, spec: TrainSpec) -> None:
    job_ids = sorted(submit(queue, spec) for _ in range(2))
    with pytest.raises(RequestError, match=f"tin is the beginning of several jobs: {', '.join(job_ids)}"):
        queue.resolve("tin")


def test_no_word_means_no_job(queue: JobQueue, spec: TrainSpec) -> None:
    submit(queue, spec)
    with pytest.raises(RequestError, match="JOB: found nothing"):
        queue.resolve("")


def test_jobs_are_listed_by_state_in_the_order_they_came(queue: JobQueue, spec: TrainSpec) -> None:
    job_ids = [submit(queue, spec, priority=priority) for priority in (10, 90, 50)]
    running = lease(queue).job_id
    assert [job.id for job in queue.list_jobs()] == job_ids
    assert [job.id for job in queue.list_jobs([State.RUNNING])] == [running]
    assert queue.count_by_state() == dict.fromkeys(State, 0) | {State.QUEUED: 2, State.RUNNING: 1}


def test_events_are_read_from_where_one_left_off(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    lease(queue)
    submitted, leased = queue.events(job_id)
    assert queue.events(job_id, after=submitted.id) == [leased]
    assert queue.events(job_id, after=leased.id, block_ms=1) == []
    assert leased.at == pytest.approx(queue.now_s(), abs=60)


def test_a_reader_is_woken_by_the_next_event(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, eventually: Eventually
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    last = queue.events(job_id)[-1].id
    with ThreadPoolExecutor() as pool:
        reader = pool.submit(queue.events, job_id, after=last, block_ms=8_000)
        eventually(lambda: admin.info("clients")["blocked_clients"] == 1)
        queue.heartbeat(held, events=[NewEvent(EventKind.SAMPLES, {})])
        assert [event.kind for event in reader.result()] == [EventKind.SAMPLES]


def test_an_event_of_another_version_hides_no_other(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    admin.xadd("{gan}:events:" + job_id, {"kind": "of_tomorrow", "attempt": 1, "detail": "{}"})
    assert [event.kind for event in queue.events(job_id)] == [EventKind.SUBMITTED, "of_tomorrow"]


def test_a_reader_may_wait_longer_than_an_answer_may_take(settings: Settings, broker: Broker) -> None:
    hasty = Settings(broker_url=f"{broker.url}?socket_timeout=1", state_dir=settings.state_dir)
    with closing(JobQueue(hasty)) as queue:
        assert queue.logs("tiny-1", block_ms=1500) == []


def test_a_finished_job_is_listed_until_it_is_forgotten(
    settings: Settings, admin: redis.Redis, spec: TrainSpec, eventually: Eventually
) -> None:
    with closing(JobQueue(settings.model_copy(update={"finished_ttl_s": 3.0}))) as queue:
        job_id = submit(queue, spec)
        held = lease(queue)
        queue.heartbeat(held, logs=["a line"])
        queue.finish(held, SUCCESS)
        queue.forget()
        assert [job.id for job in queue.list_jobs()] == [job_id]
        eventually(lambda: not queue.list_jobs())
        with pytest.raises(JobNotFound):
            queue.get(job_id)

        def nothing_is_left() -> bool:
            queue.forget()
            return not any(queue.count_by_state().values())

        eventually(nothing_is_left)
        assert queue.count_by_state() == dict.fromkeys(State, 0)
        assert not list(admin.scan_iter(f"*{job_id}*"))


# When the broker fails.


class Proxy(socketserver.ThreadingTCPServer):
    """Passes bytes to the broker and back, but loses the first `losses` replies to requests with `marker` in them."""

    def __init__(self, broker_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.broker_port = broker_port
        self.marker = b""
        self.losses = 1
        self.done = 0  # marked requests that the broker carried out
        self.lost = 0


class _Connection(socketserver.BaseRequestHandler):
    server: Proxy
    is_marked = False  # the request whose reply comes next

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.broker_port)) as broker:
            while self._pass_on(broker):
                pass

    def _pass_on(self, broker: socket.socket) -> bool:
        for end in select.select([self.request, broker], [], [])[0]:
            data = end.recv(1 << 20)
            if end is self.request:
                self.is_marked = bool(self.server.marker) and self.server.marker in data
                broker.sendall(data)
            elif self._loses(data):
                return False
            else:
                self.request.sendall(data)
            if not data:
                return False
        return True

    def _loses(self, reply: bytes) -> bool:
        # A refusal does not count: a server whose scripts another test flushed asks for the script first.
        if not self.is_marked or reply.startswith(b"-"):
            return False
        self.is_marked = False
        self.server.done += 1
        if self.server.lost == self.server.losses:
            return False
        self.server.lost += 1
        return True


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    with Proxy(broker.port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def shaky(proxy: Proxy, broker: Broker, settings: Settings) -> Iterator[JobQueue]:
    """A client that speaks to the broker through the proxy."""
    through_proxy = Settings(broker_url=broker.at(proxy.server_address[1]).url, state_dir=settings.state_dir)
    with closing(JobQueue(through_proxy)) as client:
        yield client


def test_a_lost_reply_leases_no_second_job(shaky: JobQueue, queue: JobQueue, proxy: Proxy, spec: TrainSpec) -> None:
    first, second = submit(queue, spec), submit(queue, spec)
    proxy.marker = b'"owner": '
    held = lease(shaky)
    assert (proxy.done, proxy.lost) == (2, 1)
    assert (held.job_id, held.attempt) == (first, 1)
    assert queue.heartbeat(held) is Directive.CONTINUE
    assert queue.get(second).state is State.QUEUED
    assert queue.totals()["attempts"] == 1


def test_a_lost_reply_submits_no_second_job(shaky: JobQueue, queue: JobQueue, proxy: Proxy, spec: TrainSpec) -> None:
    proxy.marker = b'"spec": '
    job_id = submit(shaky, spec)
    assert (proxy.done, proxy.lost) == (2, 1)
    assert [job.id for job in queue.list_jobs()] == [job_id]


def test_lost_replies_to_jobs_that_travel_together_submit_none_twice(
    shaky: JobQueue, queue: JobQueue, proxy: Proxy, spec: TrainSpec
) -> None:
    queue.submit_all([(spec, None)])  # the script is loaded
    proxy.marker = b'"spec": '
    submitted = shaky.submit_all([(spec, None), (spec, "key"), (spec, "key"), (spec, None)])
    assert proxy.lost == 1
    ids = [job_id for job_id, _ in submitted]
    assert [created for _, created in submitted] == [True, True, False, True]
    assert ids[1] == ids[2]
    assert len(queue.list_jobs()) == 1 + len(set(ids)) == 4
    assert shaky.submit_all([(spec, "key")]) == [(ids[1], False)]


def test_of_jobs_that_travel_together_one_that_is_refused_keeps_out_no_other(queue: JobQueue, spec: TrainSpec) -> None:
    other = spec.model_copy(update={"seed": 77})
    with pytest.raises(RequestError, match="the idempotency key key belongs to"):
        queue.submit_all([(spec, "key"), (other, "key"), (other, None)])
    assert [job.spec for job in queue.list_jobs()] == [spec, other]
    with pytest.raises(RequestError, match='the idempotency key: found ""'):
        queue.submit_all([(spec, None), (spec, "")])
    assert len(queue.list_jobs()) == 2
    assert queue.submit_all([]) == []


def test_a_lost_reply_counts_no_image_twice(shaky: JobQueue, queue: JobQueue, proxy: Proxy, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    proxy.marker = b'"trained_images": '
    held = lease(queue)
    shaky.heartbeat(held, report(8), trained_images=8, logs=["once"])
    assert (proxy.done, proxy.lost) == (2, 1)
    assert queue.get(job_id).images_trained == 8
    assert len(queue.logs(job_id)) == 1


def test_beats_whose_answers_are_lost_one_after_the_other_count_once(
    shaky: JobQueue, queue: JobQueue, proxy: Proxy, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    heartbeat, images = Heartbeat(shaky, lease(queue), 1_000.0, lambda: None), [0]
    heartbeat.resumed(lambda: images[0], None)
    # The client asks three times for each of three beats.
    proxy.marker, proxy.losses = b'"trained_images": ', 9
    for number in range(1, 5):
        images[0] = 8 * number
        heartbeat.checkpointed(checkpoint(8 * number))
        heartbeat.log(f"line {number}")
        if number < 4:
            with pytest.raises(BrokerOutage):
                heartbeat.beat()
    heartbeat.beat()
    assert proxy.lost == 9
    totals = queue.totals()
    assert queue.get(job_id).images_trained == totals["images"] == 32
    assert kinds(queue, job_id).count("checkpoint") == totals["event:checkpoint"] == 4
    assert totals["checkpoint_bytes"] == 4 * 1_000
    assert [line.text for line in queue.logs(job_id)] == [f"line {number}" for number in range(1, 5)]


def test_each_attempt_counts_its_images_from_nothing(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    for attempt, images in ((1, 16), (2, 8)):
        held = lease(queue)
        assert held.attempt == attempt
        queue.heartbeat(held, trained_images=images)
        queue.finish(held, Outcome(reason=Reason.UNPLACED))
        skip_delay(admin, job_id)
    assert queue.get(job_id).images_trained == queue.totals()["images"] == 24


@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE], ids=lambda outcome: outcome.reason)
def test_a_lost_reply_loses_no_outcome(
    shaky: JobQueue, queue: JobQueue, proxy: Proxy, spec: TrainSpec, outcome: Outcome
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    proxy.marker = b'"reason": '
    state = shaky.finish(held, outcome)
    assert (proxy.done, proxy.lost) == (2, 1)
    job = queue.get(job_id)
    assert (job.state, job.failures) == (state, int(outcome is FAILURE))
    assert "stale_writes" not in queue.totals()


@pytest.mark.parametrize("ask", ["ping", "list_jobs", "forget", "totals", "count_by_state", "now_s"])
def test_an_unreachable_broker_is_told_in_one_line(unused_port: int, tmp_path: Path, ask: str) -> None:
    settings = Settings(broker_url=f"redis://:secret@127.0.0.1:{unused_port}/0", state_dir=tmp_path)
    with closing(JobQueue(settings)) as queue, pytest.raises(BrokerOutage) as caught:
        getattr(queue, ask)()
    line = str(caught.value)
    assert line.splitlines() == [line]
    assert line.startswith(f"the broker at 127.0.0.1:{unused_port} cannot be reached (")
    assert "secret" not in line


def test_a_wrong_password_is_told_without_it(broker: Broker, tmp_path: Path) -> None:
    settings = Settings(broker_url=f"redis://:secret@127.0.0.1:{broker.port}/0", state_dir=tmp_path)
    with closing(JobQueue(settings)) as queue, pytest.raises(BrokerOutage, match="password") as caught:
        queue.ping()
    assert "secret" not in str(caught.value)


@pytest.fixture
def full(admin: redis.Redis) -> Iterator[Callable[[], object]]:
    """full(): from now on the broker has no memory left."""
    yield lambda: admin.config_set("maxmemory", 1)
    admin.config_set("maxmemory", 0)


def test_a_full_broker_is_told_and_takes_nothing_in(
    queue: JobQueue, spec: TrainSpec, broker: Broker, full: Callable[[], object]
) -> None:
    queue.submit(spec)
    full()
    with pytest.raises(
        BrokerOutage, match=f"^the broker at 127.0.0.1:{broker.port} takes no more writes: its memory is full"
    ):
        queue.submit(spec)
    assert len(queue.list_jobs()) == len(queue.head(9)) == queue.totals()["submitted"] == 1


def test_a_full_broker_loses_no_lease(queue: JobQueue, spec: TrainSpec, full: Callable[[], object]) -> None:
    job_id = submit(queue, spec)
    full()
    with pytest.raises(BrokerOutage):
        queue.lease(CLUSTER, CLUSTER)
    job = queue.get(job_id)
    assert (job.state, job.attempt) == (State.QUEUED, 0)


def test_the_same_request_to_finish_is_told_how_the_attempt_ended(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    assert queue.finish(held, SUCCESS, "once") is State.SUCCEEDED
    assert queue.finish(held, SUCCESS, "once") is State.SUCCEEDED
    with pytest.raises(LeaseLost):
        queue.finish(held, SUCCESS)
    assert [event.kind for event in queue.events(job_id)].count("succeeded") == 1


def test_an_attempt_asked_to_yield_is_told_and_blamed_for_nothing(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    for _ in range(3):
        held = lease(queue)
        assert queue.heartbeat(held) is Directive.CONTINUE
        queue.ask_to_yield(held)
        assert queue.heartbeat(held) is Directive.YIELD
        assert queue.finish(held, Outcome(reason=Reason.YIELDED)) is State.QUEUED
        skip_delay(admin, job_id)
    assert queue.get(job_id).failures == 0
    with pytest.raises(LeaseLost):
        queue.ask_to_yield(held)


def test_every_attempt_is_found_while_beats_move_them(
    queue: JobQueue, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is read by its place in the set would miss what a beat has moved to its end meanwhile."""
    monkeypatch.setattr("ganservice.job_records.PAGE_MEMBERS", 2)
    monkeypatch.setattr("ganservice.job_records.PAGE_HASHES", 2)
    for _ in range(9):
        submit(queue, spec)
    held = [queue.take(job.id) for job in queue.list_jobs()]
    beats, translated = iter(held), JobQueue._translated  # noqa: SLF001 # between any two requests

    def beating(self: JobQueue) -> Any:
        monkeypatch.setattr(JobQueue, "_translated", translated)
        queue.heartbeat(next(beats, held[0]))
        monkeypatch.setattr(JobQueue, "_translated", beating)
        return translated(self)

    monkeypatch.setattr(JobQueue, "_translated", beating)
    assert {attempt.job_id for attempt in queue.running_attempts()} == {each.job_id for each in held}


def test_what_is_kept_longer_keeps_no_other_from_being_forgotten(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganservice.job_index.FORGOTTEN_AT_ONCE", 2)
    job_ids = [submit(queue, spec) for _ in range(7)]
    for job_id in job_ids:
        queue.cancel(job_id)
        admin.zadd("{gan}:state:cancelled", {job_id: job_ids.index(job_id)})
    for job_id in (job_ids[4], job_ids[6]):
        admin.delete("{gan}:job:" + job_id)
    assert queue.resolve("tiny") == job_ids[5], "the newest that is there"
    queue.forget()
    assert [job.id for job in queue.list_jobs()] == [*job_ids[:4], job_ids[5]]
    assert admin.zrange("{gan}:named:tiny", 0, -1) == [*job_ids[:4], job_ids[5]]
