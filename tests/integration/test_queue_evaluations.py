"""What evaluation jobs find is written to the training they are about."""

import pytest
import redis

from ganservice.errors import LeaseLost
from ganservice.job import Directive, Lease, Outcome, Reason, Rollback, State
from ganservice.queue import JobQueue
from ganservice.spec import EvaluateSpec, TrainSpec
from tests.integration.jobs import SUCCESS, evaluate, evaluation, lease, reap, submit, submit_evaluation


def test_what_an_evaluation_finds_belongs_to_the_training(queue: JobQueue, spec: TrainSpec) -> None:
    training = submit(queue, spec)
    held = lease(queue)
    for images in (64, 128):
        asked = submit_evaluation(queue, spec, training, images)
        assert queue.evaluations_under_way(training) == {images}
        assert queue.events(asked)[0].detail == {"evaluates": training, "images": images, "by": "ada"}
        found = evaluation(training, images, 10.0 - images / 64, by=asked)
        assert queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=found)) is State.SUCCEEDED
    assert [(found.images, found.quality) for found in queue.evaluations(training)] == [(64, 9.0), (128, 8.0)]
    assert queue.evaluations_under_way(training) == set()
    newest = queue.get(training).evaluation
    assert newest
    assert newest.images == 128
    told = [event for event in queue.events(training) if event.kind == "evaluated"]
    assert [event.detail["images"] for event in told] == [64, 128]
    assert queue.heartbeat(held) is Directive.CONTINUE


def test_the_same_checkpoint_evaluated_again_counts_once(queue: JobQueue, spec: TrainSpec) -> None:
    training = submit(queue, spec)
    lease(queue)
    for distance in (9.0, 8.0):
        submit_evaluation(queue, spec, training, 64)
        queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation(training, 64, distance)))
    assert [found.quality for found in queue.evaluations(training)] == [8.0]


def test_evaluations_are_forgotten_with_their_training(queue: JobQueue, spec: TrainSpec, admin: redis.Redis) -> None:
    training = submit(queue, spec)
    queue.finish(lease(queue), SUCCESS)
    submit_evaluation(queue, spec, training, 64)
    queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation(training, 64, 9.0)))
    assert 0 < admin.pttl("{gan}:evaluations:" + training) <= admin.pttl("{gan}:job:" + training) + 1_000
    submit_evaluation(queue, spec, "tiny-gone", 64)
    queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation("tiny-gone", 64, 9.0)))
    assert queue.evaluations("tiny-gone") == []


def test_a_zombie_tells_no_evaluation(queue: JobQueue, spec: TrainSpec) -> None:
    training = submit(queue, spec)
    lease(queue)
    submit_evaluation(queue, spec, training, 64)
    held = lease(queue)
    assert set(reap(queue)) == {training, held.job_id}
    with pytest.raises(LeaseLost):
        queue.finish(held, Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation(training, 64, 9.0)))
    assert queue.evaluations(training) == []


def test_a_rollback_forgets_what_was_found_beyond_its_checkpoint(queue: JobQueue, spec: TrainSpec) -> None:
    training = submit(queue, spec)
    held = lease(queue)
    late = submit_evaluation(queue, spec, training, 192)
    for images in (64, 128):
        submit_evaluation(queue, spec, training, images)
    leases = [lease(queue) for _ in range(3)]
    judges = {held.spec.subject.images: held for held in leases if isinstance(held.spec, EvaluateSpec)}
    for images in (64, 128):
        found = evaluation(training, images, images / 8).model_copy(update={"attempt": 1})
        queue.finish(judges[images], Outcome(reason=Reason.SUCCEEDED, evaluation=found))
    back = Rollback(attempt=1, images=64, checkpoint="c", from_images=192, lr_share=0.5, why="worse")
    queue.finish(held, Outcome(reason=Reason.ROLLED_BACK, rollback=back))
    assert [found.images for found in queue.evaluations(training)] == [64]
    shown = queue.get(training).evaluation
    assert shown
    assert shown.images == 64
    # One of the abandoned branch that ends only now is refused; one of the new branch counts.
    stale = evaluation(training, 192, 1.0, by=late).model_copy(update={"attempt": 1})
    queue.finish(judges[192], Outcome(reason=Reason.SUCCEEDED, evaluation=stale))
    assert [found.images for found in queue.evaluations(training)] == [64]
    submit_evaluation(queue, spec, training, 128)
    new = evaluation(training, 128, 2.0).model_copy(update={"attempt": 2})
    queue.finish(next_of(queue, training), Outcome(reason=Reason.SUCCEEDED, evaluation=new))
    assert [(found.images, found.quality) for found in queue.evaluations(training)] == [(64, 8.0), (128, 2.0)]


def next_of(queue: JobQueue, training: str) -> Lease:
    """The next lease of an evaluation: the training itself waits for its retry."""
    found = lease(queue)
    assert found.job_id != training
    return found


def test_shown_with_the_job_is_what_was_found_of_its_latest_checkpoint(queue: JobQueue, spec: TrainSpec) -> None:
    training = submit(queue, spec)
    lease(queue)
    for images in (128, 64):
        submit_evaluation(queue, spec, training, images)
        found = evaluation(training, images, images / 8)
        queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=found))
    shown = queue.get(training).evaluation
    assert shown
    assert shown.images == 128


def test_what_is_advisory_is_shown_with_the_job_only_as_long_as_there_is_nothing_else(
    queue: JobQueue, spec: TrainSpec
) -> None:
    training = submit(queue, spec)
    held = lease(queue)

    def find(images: int, distance: float, *, advisory: bool) -> int | None:
        """Have it evaluated. Returns the images of what is shown then, less than 0 of what is advisory."""
        network = "pixels" if advisory else "classifier"
        found = evaluation(training, images, distance, network=network)
        evaluate(queue, spec, found.model_copy(update={"advisory": advisory, "attempt": 1}))
        shown = queue.get(training).evaluation
        return shown.images * (-1 if shown.advisory else 1) if shown else None

    assert find(64, 0.1, advisory=True) == -64
    assert find(128, 0.1, advisory=True) == -128
    assert find(64, 9.0, advisory=False) == 64
    assert find(192, 0.2, advisory=True) == 64
    assert find(128, 8.0, advisory=False) == 128
    assert [found.images for found in queue.evaluations(training)] == [64, 64, 128, 128, 192]
    back = Rollback(attempt=1, images=64, checkpoint="c", from_images=192, lr_share=0.5, why="worse")
    queue.finish(held, Outcome(reason=Reason.ROLLED_BACK, rollback=back))
    assert len(queue.evaluations(training)) == 2
    shown = queue.get(training).evaluation
    assert shown
    assert (shown.images, shown.advisory) == (64, False)


def test_an_evaluation_is_under_way_until_it_is_finished(queue: JobQueue, spec: TrainSpec) -> None:
    training = submit(queue, spec)
    lease(queue)
    job_id = submit_evaluation(queue, spec, training, 64)
    held = lease(queue)
    assert queue.evaluations_under_way(training) == {64}
    queue.finish(held, Outcome(reason=Reason.DATA))
    assert queue.evaluations_under_way(training) == set()
    queue.retry(job_id)
    assert queue.evaluations_under_way(training) == {64}
    queue.cancel(job_id)
    assert queue.evaluations_under_way(training) == set()


# What one evaluation makes for all


def test_what_is_claimed_is_made_by_one_for_as_long_as_its_attempt_lives(queue: JobQueue, spec: TrainSpec) -> None:
    submit(queue, spec)
    submit(queue, spec)
    one, other = lease(queue), lease(queue)
    assert queue.claim(one, "networks/a") is None
    assert queue.claim(other, "networks/a") == one.job_id
    assert queue.claim(other, "networks/b") is None
    assert queue.claim(one, "networks/a") is None, "its own claim stands in nobody's way"
    queue.finish(one, Outcome(reason=Reason.YIELDED))
    assert queue.claim(other, "networks/a") is None
    again = queue.take(one.job_id)
    assert queue.claim(again, "networks/a") == other.job_id
    with pytest.raises(LeaseLost):
        queue.claim(one, "networks/c")


def test_a_claim_of_another_kind_of_value_is_none(queue: JobQueue, spec: TrainSpec, admin: redis.Redis) -> None:
    submit(queue, spec)
    held = lease(queue)
    admin.set("{gan}:claim:networks/a", "\xff no job")
    admin.hset("{gan}:claim:networks/b", "a", "b")
    assert queue.claim(held, "networks/a") is None
    assert queue.claim(held, "networks/b") is None


def test_a_training_tells_when_its_evaluations_last_changed(queue: JobQueue, spec: TrainSpec) -> None:
    training = submit(queue, spec)
    assert queue.get(training).evaluated_at is None
    lease(queue)
    submit_evaluation(queue, spec, training, 64)
    before = queue.now_s()
    queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation(training, 64, 9.0)))
    assert (queue.get(training).evaluated_at or 0) >= before - 0.001
