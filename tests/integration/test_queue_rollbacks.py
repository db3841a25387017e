"""A training that the health watch sends back to a good checkpoint."""

import pytest
import redis

from ganservice.errors import LeaseLost
from ganservice.job import Checkpoint, Health, Outcome, Reason, Rollback, State
from ganservice.queue import JobQueue
from ganservice.spec import TrainSpec
from tests.integration.jobs import checkpoint, kinds, lease, reap, report, skip_delay, submit


def rollback(attempt: int, images: int = 64) -> Outcome:
    sent = Rollback(attempt=attempt, images=images, checkpoint=f"c/{images}", from_images=128, lr_share=0.5, why="lost")
    return Outcome(reason=Reason.ROLLED_BACK, message="D has won", rollback=sent)


def test_the_next_attempt_is_told_where_to_start_and_what_was_before(
    queue: JobQueue, spec: TrainSpec, admin: redis.Redis
) -> None:
    job_id = submit(queue, spec, max_attempts=1)
    for attempt in (1, 2, 3):
        held = lease(queue)
        assert [sent.attempt for sent in held.rollbacks] == list(range(1, attempt))
        queue.heartbeat(held, report(128), checkpoint=checkpoint(128))
        # It is nobody's failure, however often.
        assert queue.finish(held, rollback(attempt)) is State.QUEUED
        skip_delay(admin, job_id)
    job = queue.get(job_id)
    assert (job.failures, job.checkpoint, len(job.rollbacks)) == (0, None, 3)
    assert kinds(queue, job_id).count("rolled_back") == 3
    assert next(event for event in queue.events(job_id) if event.kind == "rolled_back").detail["from_images"] == 128


def test_a_stopped_training_is_not_tried_again(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, report(128).model_copy(update={"health": Health.SUSPECT}))
    assert queue.finish(held, Outcome(reason=Reason.UNHEALTHY, message="D has won")) is State.FAILED
    assert (queue.get(job_id).health, queue.get(job_id).reason) == (Health.SUSPECT, Reason.UNHEALTHY)


def test_a_training_that_diverged_is_seen_so(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    queue.finish(lease(queue), Outcome(reason=Reason.DIVERGED, message="not finite"))
    assert queue.get(job_id).health is Health.DIVERGED


def test_a_user_who_cancelled_is_obeyed_and_a_zombie_rolls_nothing_back(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.cancel(job_id)
    assert queue.finish(held, rollback(1)) is State.CANCELLED
    assert queue.get(job_id).rollbacks == ()

    job_id = submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, checkpoint=Checkpoint(key="c", images=64, bytes=1))
    assert reap(queue) == [job_id]
    with pytest.raises(LeaseLost):
        queue.finish(held, rollback(1))
    assert queue.get(job_id).rollbacks == ()
