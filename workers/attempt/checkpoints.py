"""CheckpointWriter: stores the checkpoints of a training, and does what follows each of them."""

import logging
from collections.abc import Sequence

from ganservice.cadence import is_due_at
from ganservice.evaluation import Evaluation, quality_front
from ganservice.job import Checkpoint, EventKind, Progress
from ganservice.job_keys import attempt_of, attempt_prefix
from ganservice.judging import Judging
from ganservice.spec import EvaluateSpec, Resources, Subject, TrainSpec, evaluation_name
from ganservice.submissions import EVALUATE
from workers.attempt.context import LeaderContext
from workers.gan.checkpoint import encode_checkpoint, snapshot
from workers.gan.curves import metrics_jsonl
from workers.gan.trainer import Trainer

log = logging.getLogger(__name__)

# Evaluations of one training in the queue: each holds a checkpoint back from being deleted.
MAX_UNDER_WAY = 3


class CheckpointWriter:
    """`write` belongs to the training thread, all it leads to runs in the uploader's.

    `evaluations` is written by the uploader's thread and read by the training thread: the list is replaced as a whole
    and never changed.
    """

    def __init__(
        self, context: LeaderContext, spec: TrainSpec, trainer: Trainer, started_from: Checkpoint | None
    ) -> None:
        """Begin with a trainer that stands where the attempt does."""
        self.evaluations: Sequence[Evaluation] = ()
        self._context = context
        self._spec = spec
        self._trainer = trainer
        self._started_from = started_from.key if started_from else None
        self._images = trainer.images_seen  # at the checkpoint before
        self._end_images = context.lease.end_images(spec)
        if started_from:
            context.uploader.submit(lambda: self._make_up_for_evaluation(started_from))

    def write(self, history: Sequence[Progress]) -> None:
        """Take a checkpoint now, and have it stored while training goes on."""
        state, past = snapshot(self._trainer.state_dict()), list(history)
        images, before = self._trainer.images_seen, self._images
        self._images = images
        self._context.uploader.submit(lambda: self._store(state, past, images, before))

    def _store(self, state: dict[str, object], history: list[Progress], images: int, before: int) -> None:
        lease, store, queue = self._context.lease, self._context.store, self._context.queue
        checkpoint = store.put_checkpoint(lease, images, encode_checkpoint(state, history))
        store.put_metrics(lease, images, metrics_jsonl(history))
        self._context.heartbeat.checkpointed(checkpoint)
        log.info("checkpoint at %s images in %.2f s", f"{images:,}", checkpoint.seconds)
        self._submit_evaluation(checkpoint, before)
        # In this order: an evaluation that ends in between is in one of them at least.
        under_way = queue.evaluations_under_way(lease.job_id)
        self.evaluations = queue.evaluations(lease.job_id)
        spared = {*quality_front(self.evaluations), *under_way}
        store.prune(lease, self._spec.checkpoints, self._started_from, spared, self._trouble_may_begin(history))

    def _trouble_may_begin(self, history: Sequence[Progress]) -> int | None:
        """The images at which a trouble may have begun that the health watch has yet to find; None where none is to be
        undone."""
        watch = self._spec.health
        if watch.action != "rollback":
            return None
        return history[-watch.span_reports].images if len(history) >= watch.span_reports else 0

    def _submit_evaluation(self, checkpoint: Checkpoint, before: int) -> None:
        """Submit the evaluation jobs that are due at a checkpoint, one for each judge; `before` are the images of the
        last one."""
        evaluate, queue, heartbeat = self._spec.evaluate, self._context.queue, self._context.heartbeat
        if evaluate is None or not is_due_at(evaluate.every_images, before, checkpoint.images, self._end_images):
            return
        job_id, at_end = self._context.lease.job_id, checkpoint.images >= self._end_images
        if not at_end and len(queue.evaluations_under_way(job_id)) >= MAX_UNDER_WAY:
            heartbeat.say(EventKind.EVALUATION_SKIPPED, images=checkpoint.images, reason="others are under way")
            return
        for place, judging in enumerate(evaluate.judgings):
            spec = self._evaluation(checkpoint, judging, evaluate.resources, advisory=place > 0)
            # Of this very checkpoint: one that a later attempt writes after as many images has other weights.
            key = f"{EVALUATE}{checkpoint.key}{f'/{place}' if place else ''}"
            evaluation_id, _ = queue.submit(spec, idempotency_key=key, for_user_of=job_id)
            heartbeat.say(
                EventKind.EVALUATION_SUBMITTED, images=checkpoint.images, job=evaluation_id, network=judging.network
            )

    def _make_up_for_evaluation(self, checkpoint: Checkpoint) -> None:
        """Submit the evaluation jobs that an attempt died or left before it could, at the checkpoint it left behind."""
        job_id, queue = self._context.lease.job_id, self._context.queue
        is_own = checkpoint.key.startswith(attempt_prefix(job_id, attempt_of(checkpoint.key)))
        if self._spec.evaluate is None or not (is_own or checkpoint.images >= self._end_images):
            return
        known = {each.images for each in queue.evaluations(job_id)} | queue.evaluations_under_way(job_id)
        before = max((images for images in known if images <= checkpoint.images), default=0)
        self._submit_evaluation(checkpoint, before)

    def _evaluation(
        self, checkpoint: Checkpoint, judging: Judging, resources: Resources, *, advisory: bool
    ) -> EvaluateSpec:
        """The job that judges a checkpoint."""
        lease = self._context.lease
        return EvaluateSpec(
            name=evaluation_name(self._spec.name),
            recipe=self._spec.recipe,
            subject=Subject(
                job_id=lease.job_id,
                images=checkpoint.images,
                # That which wrote it, so that a later one asks for the same.
                attempt=attempt_of(checkpoint.key),
                checkpoint=checkpoint.key,
            ),
            judging=judging,
            advisory=advisory,
            resources=resources,
            priority=self._spec.priority,
            tags=self._spec.tags,
        )
