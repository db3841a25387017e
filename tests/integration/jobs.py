"""Jobs in the broker: submitted, leased, reported on, evaluated, without a dispatcher or a worker."""

from typing import Any

import redis

from ganservice.evaluation import QUALITY_NUMBER, Evaluation, Protocol, full_name
from ganservice.job import Capacity, Checkpoint, Health, Lease, Outcome, Progress, Reason
from ganservice.judging import Judging
from ganservice.queue import JobQueue
from ganservice.spec import EvaluateSpec, Subject, TrainSpec
from ganservice.submissions import Submissions
from ganservice.sweep import SweepSpec

CLUSTER = Capacity(cpus=4, gpus=1)
FAILURE = Outcome(reason=Reason.ERROR, message="ValueError: on purpose")
TROUBLE = Outcome(reason=Reason.WORKER_DIED, message="an actor is gone")
SUCCESS = Outcome(reason=Reason.SUCCEEDED, generator="jobs/tiny/generator")


def submit(queue: JobQueue, spec: TrainSpec, **changes: Any) -> str:
    job_id, created = queue.submit(spec.model_copy(update=changes))
    assert created
    return job_id


def submit_sweep(queue: Submissions, spec: SweepSpec, idempotency_key: str | None = None) -> str:
    sweep_id, _ = queue.submit_sweep(spec, idempotency_key)
    return sweep_id


def lease(queue: JobQueue, free: Capacity = CLUSTER) -> Lease:
    found = queue.lease(free, CLUSTER)
    assert found
    return found


def report(images: int) -> Progress:
    return Progress(
        images=images,
        step=images // 8,
        loss_g=0.7,
        loss_d=1.4,
        score_real=0.0,
        score_fake=0.0,
        d_real=0.5,
        d_fake=0.5,
        d_accuracy_real=0.5,
        d_accuracy_generated=0.5,
        grad_norm_g=1.0,
        grad_norm_d=1.0,
        images_per_s=100.0,
        step_s=0.08,
    )


def checkpoint(images: int) -> Checkpoint:
    return Checkpoint(key=f"checkpoints/{images}", images=images, bytes=1000, seconds=0.1)


def skip_delay(admin: redis.Redis, job_id: str) -> None:
    assert admin.zadd("{gan}:delayed", {job_id: 0}, xx=True, ch=True) == 1


def reap(queue: JobQueue) -> list[str]:
    """End every attempt that runs, as if none had been heard of for a whole lease."""
    return queue.reap(queue.leases())


def kinds(queue: JobQueue, job_id: str) -> list[str]:
    return [event.kind for event in queue.events(job_id)]


def evaluation(job_id: str, images: int, distance: float, by: str = "e", **changes: Any) -> Evaluation:
    """What was found of a checkpoint; `changes` are of the protocol."""
    protocol: dict[str, Any] = {
        "data_digest": "d", "only": None, "split": "train", "real": 10, "network": "classifier", "network_digest": "n",
        "resize": "none", "samples": 100, "seed": 0, "truncation": None, "neighbours": 5, "block": 10,
    } | changes  # fmt: skip
    return Evaluation(
        job_id=job_id, images=images, checkpoint="c", errors={}, seconds=1.0, at=float(images), by=by,
        measures={full_name(QUALITY_NUMBER, protocol["network"]): distance}, protocol=Protocol(**protocol),
    )  # fmt: skip


def submit_evaluation(queue: JobQueue, spec: TrainSpec, job_id: str, images: int) -> str:
    subject = Subject(job_id=job_id, images=images, checkpoint=f"weights/{'0' * 64}.safetensors")
    asked = EvaluateSpec(name="e", recipe=spec.recipe, subject=subject, judging=Judging())
    return queue.submit(asked)[0]


def evaluate(queue: JobQueue, spec: TrainSpec, *found: Evaluation) -> None:
    """Have evaluation jobs find these, one after the other."""
    for each in found:
        job_id = submit_evaluation(queue, spec, each.job_id, each.images)
        queue.finish(queue.take(job_id), Outcome(reason=Reason.SUCCEEDED, evaluation=each))


def finish_training(queue: JobQueue, spec: TrainSpec, health: Health = Health.OK, **changes: Any) -> str:
    """A training that has succeeded, in this health."""
    job_id = submit(queue, spec, **changes)
    held = lease(queue)
    queue.heartbeat(held, report(64).model_copy(update={"health": health}))
    queue.finish(held, SUCCESS)
    return job_id


def judge(queue: JobQueue, spec: TrainSpec, job_id: str, images: int, distance: float) -> str:
    """An evaluation of a training that has found this distance."""
    by = submit_evaluation(queue, spec, job_id, images)
    queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation(job_id, images, distance, by)))
    return by
