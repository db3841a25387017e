"""What evaluation jobs find is written to the training they are about."""

import pytest
import redis

from ganservice.errors import LeaseLost
from ganservice.evaluation import Evaluation, Protocol
from ganservice.job import Directive, Outcome, Reason, State
from ganservice.queue import JobQueue
from ganservice.spec import EvaluateSpec, Judging, Subject, TrainSpec
from tests.integration.test_queue import SUCCESS, lease, let_lease_run_out, submit


def evaluation(job_id: str, images: int, distance: float, by: str = "e") -> Evaluation:
    return Evaluation(
        job_id=job_id, images=images, checkpoint="c", errors={}, seconds=1.0, at=float(images), by=by,
        measures={"classifier_frechet_distance": distance},
        protocol=Protocol(
            data_digest="d", only=None, split="train", real=10, network="classifier", network_digest="n",
            resize="none", samples=100, seed=0, truncation=None, neighbours=5, block=10,
        ),
    )  # fmt: skip


def submit_evaluation(queue: JobQueue, spec: TrainSpec, job_id: str, images: int) -> str:
    subject = Subject(job_id=job_id, images=images, checkpoint="c")
    asked = EvaluateSpec(name="e", recipe=spec.recipe, subject=subject, judging=Judging())
    return queue.submit(asked)[0]


def test_what_an_evaluation_finds_belongs_to_the_training(queue: JobQueue, spec: TrainSpec) -> None:
    training = submit(queue, spec)
    held = lease(queue)
    for images in (64, 128):
        asked = submit_evaluation(queue, spec, training, images)
        assert queue.evaluations_under_way(training) == {images}
        assert queue.events(asked)[0].detail == {"evaluates": training, "images": images}
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
    assert 0 < admin.pttl("{gan}:evaluations:" + training) <= admin.pttl("{gan}:job:" + training)
    submit_evaluation(queue, spec, "tiny-gone", 64)
    queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation("tiny-gone", 64, 9.0)))
    assert queue.evaluations("tiny-gone") == []


def test_a_zombie_tells_no_evaluation(queue: JobQueue, spec: TrainSpec, admin: redis.Redis) -> None:
    training = submit(queue, spec)
    lease(queue)
    submit_evaluation(queue, spec, training, 64)
    held = lease(queue)
    let_lease_run_out(admin, held.job_id)
    with pytest.raises(LeaseLost):
        queue.finish(held, Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation(training, 64, 9.0)))
    assert queue.evaluations(training) == []
