"""Deleting jobs from the queue: all that Redis keeps of them, and of nothing else."""

import pytest
import redis

from ganservice.errors import IllegalTransition, JobNotFound, LeaseLost
from ganservice.job import Outcome, Reason, State
from ganservice.queue import JobQueue, NewEvent
from ganservice.spec import TrainSpec
from tests.integration.jobs import SUCCESS, checkpoint, evaluation, kinds, lease, report, submit, submit_evaluation


def trained(queue: JobQueue, spec: TrainSpec, idempotency_key: str | None = None) -> str:
    """A job that has succeeded and left all there is to leave in Redis."""
    job_id, _ = queue.submit(spec, idempotency_key)
    held = lease(queue)
    queue.heartbeat(held, report(8), checkpoint=checkpoint(8), logs=["a line"])
    queue.finish(held, SUCCESS)
    return job_id


def judged(queue: JobQueue, spec: TrainSpec, training: str) -> str:
    """An evaluation of a training that has found something."""
    job_id = submit_evaluation(queue, spec, training, 8)
    held = lease(queue)
    assert held.job_id == job_id
    found = evaluation(training, 8, 1.5, by=job_id)
    queue.finish(held, Outcome(reason=Reason.SUCCEEDED, evaluation=found))
    return job_id


def traces(admin: redis.Redis, job_id: str) -> list[str]:
    """Every key that is the job's own, or has its id within, but for what is remembered for lost answers."""
    found = []
    for key in admin.scan_iter("*"):
        kind = admin.type(key)
        values: list[object] = []
        if kind == "zset":
            values = list(admin.zrange(key, 0, -1))
        elif kind == "hash":
            values = [*admin.hkeys(key), *admin.hvals(key)]
        elif kind == "string":
            values = [admin.get(key)]
        if not key.startswith("{gan}:reply:") and (job_id in key or job_id in values):
            found.append(key)
    return found


def test_nothing_is_left_of_a_deleted_job(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    other = trained(queue, spec)
    kept = sorted(traces(admin, other))
    job_id = trained(queue, spec, "mine")
    assert len(traces(admin, job_id)) >= 8
    assert queue.delete(job_id) is True
    assert traces(admin, job_id) == []
    assert sorted(traces(admin, other)) == kept
    with pytest.raises(JobNotFound):
        queue.get(job_id)
    assert queue.delete(job_id) is False, "a repeat finds nothing to do"
    assert queue.list_ids() == {other}


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_whatever_is_final_can_be_deleted(state: State, queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = submit(queue, spec, max_attempts=1)
    if state is State.FAILED:
        queue.finish(lease(queue), Outcome(reason=Reason.DATA, message="gone"))
    else:
        queue.cancel(job_id)
    assert queue.get(job_id).state is state
    assert queue.delete(job_id)
    assert traces(admin, job_id) == []


def test_what_is_not_final_is_cancelled_first(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    with pytest.raises(IllegalTransition, match=f"^{job_id} is queued; `ganctl cancel {job_id}` first$"):
        queue.delete(job_id)
    held = lease(queue)
    with pytest.raises(IllegalTransition, match=f"^{job_id} is running; "):
        queue.delete(job_id)
    queue.heartbeat(held, report(8))
    queue.cancel(job_id, now=True)
    assert queue.delete(job_id)
    with pytest.raises(LeaseLost):  # of an attempt that has not heard of it yet
        queue.heartbeat(held, report(16), events=[NewEvent("samples", {})], logs=["late"])  # type: ignore[arg-type]
    assert queue.list_ids() == set()


def test_a_job_whose_checkpoint_is_being_judged_stays(queue: JobQueue, spec: TrainSpec) -> None:
    training = trained(queue, spec)
    reader = submit_evaluation(queue, spec, training, 8)
    with pytest.raises(IllegalTransition, match=f"{reader}, which is in the queue, reads its checkpoint"):
        queue.delete(training)
    queue.cancel(reader)
    assert queue.delete(training)


def test_a_reader_that_is_gone_holds_nothing_back(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    training = trained(queue, spec)
    admin.hset(f"{{gan}}:evaluations_under_way:{training}", "gone-000000", "8")  # as after a lost second
    assert queue.delete(training)


def test_what_an_evaluation_found_stays_with_its_training(queue: JobQueue, spec: TrainSpec) -> None:
    training = trained(queue, spec)
    judge = judged(queue, spec, training)
    assert queue.delete(judge)
    [found] = queue.evaluations(training)
    assert found.by == judge
    assert queue.get(training).evaluation == found
    assert kinds(queue, training)[-1] == "evaluated"


def test_a_deleted_job_gives_its_idempotency_key_back(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    first = trained(queue, spec, "mine")
    queue.delete(first)
    second, created = queue.submit(spec, "mine")
    assert created
    # The key of one job may have come to stand for another, once the first had left.
    third = trained(queue, spec.model_copy(update={"priority": "high"}), "other")
    admin.hset(f"{{gan}}:job:{third}", "idempotency_key", "mine")
    queue.delete(third)
    assert queue.submit(spec, "mine") == (second, False)


def test_a_job_that_nobody_can_read_can_be_deleted(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = trained(queue, spec)
    admin.hset(f"{{gan}}:job:{job_id}", mapping={"spec": "{", "order": "x"})
    assert queue.list_jobs() == []
    assert queue.list_ids() == {job_id}
    assert queue.state_of(job_id) is State.SUCCEEDED
    assert queue.delete(job_id)
    assert not queue.knows(job_id)


def test_nothing_is_left_of_a_job_whose_state_is_damaged(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    admin.hset(f"{{gan}}:job:{job_id}", "state", "?")
    assert queue.state_of(job_id) is None
    assert queue.delete(job_id)
    assert traces(admin, job_id) == []
