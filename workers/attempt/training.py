"""An attempt of a training: restore, iterate the trainer, upload, publish. Knows nothing of Ray."""

import logging
import math
from typing import Any

import torch

from ganservice.artifacts import ArtifactStore
from ganservice.errors import DigestMismatch, Diverged
from ganservice.evaluation import Evaluation, best_of, quality_front
from ganservice.health import Finding, examine
from ganservice.job import Activity, Checkpoint, Directive, Health, Lease, Outcome, Progress, Reason, Rollback
from ganservice.queue import JobQueue
from ganservice.recipe import Mixture, Pictures, Precision, Recipe
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, Subject, TrainSpec, evaluation_name
from ganservice.spec_file import dump_spec
from workers.attempt.heartbeat import Heartbeat
from workers.attempt.publication import BundleContents, publish
from workers.attempt.stored_data import training_set
from workers.attempt.uploader import Uploader
from workers.attempt.usage import Usage, share_usage, with_usage
from workers.gan.checkpoint import decode_checkpoint, encode_checkpoint, snapshot
from workers.gan.curves import metrics_jsonl
from workers.gan.diversity import COUNT, Diversity
from workers.gan.grid import grid_png
from workers.gan.plane import SAMPLES as PLANE_SAMPLES
from workers.gan.plane import coverage, plane_png
from workers.gan.precision import measure_slowdown
from workers.gan.randomness import fixed_inputs, fixed_latents
from workers.gan.trainer import Trainer
from workers.gan.worker_group import WorkerGroup

log = logging.getLogger(__name__)

# Evaluations of one training in the queue: each holds a checkpoint back from being deleted.
MAX_UNDER_WAY = 3
NEVER = 10**15
# How an attempt ends that was told to, after a checkpoint.
LEAVING = {
    Directive.STOP: Outcome(reason=Reason.CANCELLED, message="stopped by its user after a checkpoint"),
    Directive.YIELD: Outcome(reason=Reason.YIELDED, message="gave its job back after a checkpoint"),
}


def follow_training(
    settings: Settings, lease: Lease, spec: TrainSpec, group: WorkerGroup, device: torch.device
) -> None:
    """The part of every worker but the first."""
    store = ArtifactStore(settings)
    trainer = Trainer(_slowed(spec.recipe, lease), training_set(settings, store, spec), spec.seed, device, group)
    key = group.first_says("")
    if key:
        state, _ = decode_checkpoint(store.objects.get(key))
        _load(trainer, spec, key, state)
    usage = Usage(device)
    for _ in trainer.train(spec.total_images, spec.report_every_images):
        share_usage(usage, group)
        if group.any(False):
            return


def _slowed(recipe: Recipe, lease: Lease) -> Recipe:
    """The recipe as rollbacks have left it."""
    return recipe.slowed(math.prod(rollback.lr_share for rollback in lease.rollbacks))


class Training:
    """The first worker's duties around its trainer."""

    def __init__(
        self,
        settings: Settings,
        queue: JobQueue,
        lease: Lease,
        spec: TrainSpec,
        group: WorkerGroup,
        device: torch.device,
        heartbeat: Heartbeat,
        uploader: Uploader,
    ) -> None:
        self._queue = queue
        self._lease = lease
        self._job_id = lease.job_id
        self._spec = spec
        self._group = group
        self._device = device
        self._usage = Usage(device)
        self._heartbeat = heartbeat
        self._uploader = uploader
        self._store = ArtifactStore(settings)
        self._store.put_spec(lease.job_id, dump_spec(self._spec))
        examples = training_set(settings, self._store, self._spec)
        self._classes = examples.classes
        self._trainer = Trainer(_slowed(spec.recipe, lease), examples, spec.seed, device, group)
        self._diversity = Diversity(examples.images) if isinstance(spec.recipe.data, Pictures) else None
        self._evaluations: list[Evaluation] = []
        self._history: list[Progress] = []
        self._reports = 0  # of this attempt
        self._health_told = Health.OK
        self._restore()
        self._resumed_images = self._checkpointed = self._trainer.images_seen
        grid = self._spec.samples
        self._fixed = fixed_inputs(self._spec.recipe, self._spec.seed, grid.rows, grid.columns)

    def run(self) -> Outcome:
        """Train to the end, or until a directive or the health watch says to leave; then leave what is called for."""
        try:
            return self._train()
        except Diverged as error:
            self._uploader.drain()
            left = self._act_on([Finding("not_finite", Health.DIVERGED, str(error), self._trainer.images_seen)])
            if left is None or left.reason is not Reason.ROLLED_BACK:
                raise
            return left

    def _train(self) -> Outcome:
        spec, seen = self._spec, self._trainer.images_seen
        for progress in self._trainer.train(spec.total_images, spec.report_every_images):
            leaving = self._report(with_usage(progress, self._usage, self._group))
            self._uploader.check()
            if self._group.any(leaving is not None):
                if leaving and leaving.reason is not Reason.ROLLED_BACK:
                    self._checkpoint()
                self._uploader.drain()
                return leaving or LEAVING[Directive.YIELD]
            at_end = progress.images >= spec.total_images
            if at_end or _crosses(spec.samples.every_images, seen, progress.images):
                self._draw_samples()
            if at_end or _crosses(spec.checkpoints.every_images, seen, progress.images):
                self._checkpoint()
            seen = progress.images
        self._uploader.drain()
        return Outcome(reason=Reason.SUCCEEDED, generator=self._publish())

    def _report(self, progress: Progress) -> Outcome | None:
        """Add a report to the history, with what the health watch makes of it; an outcome if it is time to leave."""
        self._history.append(self._with_diversity(progress))
        spec, probabilities = self._spec, self._spec.recipe.loss.probabilities
        findings = examine(self._history, spec.health, spec.total_images, probabilities, self._evaluations)
        health = max((finding.health for finding in findings), key=list(Health).index, default=Health.OK)
        self._reports += 1
        self._history[-1] = self._history[-1].model_copy(update={"health": health})
        self._heartbeat.progress(self._history[-1])
        if self._heartbeat.directive is not Directive.CONTINUE:
            return LEAVING[self._heartbeat.directive]
        # What an earlier attempt left behind must last before anything is done about it again.
        if health is self._health_told or (findings and self._reports < spec.health.span_reports):
            return None
        self._health_told = health
        told = [{"kind": finding.kind, "message": finding.message} for finding in findings]
        self._heartbeat.say("health", state=health, images=progress.images, findings=told)
        log.log(logging.WARNING if findings else logging.INFO, "health: %s %s", health, told)
        return self._act_on(findings)

    def _act_on(self, findings: list[Finding]) -> Outcome | None:
        """What the spec wants done about findings: nothing, the end, or a return to a good checkpoint."""
        asked, rollbacks = self._spec.health, self._lease.rollbacks
        if not findings or asked.action == "warn":
            return None
        message = "; ".join(finding.message for finding in findings)
        if asked.action == "stop" or len(rollbacks) >= asked.max_rollbacks:
            tried = f", after {len(rollbacks)} rollbacks" if rollbacks else ""
            return Outcome(reason=Reason.UNHEALTHY, message=f"stopped by the health watch{tried}: {message}")
        self._uploader.drain()
        images, checkpoint = self._good_checkpoint(min(finding.since_images for finding in findings))
        rollback = Rollback(
            attempt=self._lease.attempt,
            images=images,
            checkpoint=checkpoint,
            from_images=self._trainer.images_seen,
            lr_share=asked.lr_share,
            why=message,
        )
        told = f"back from {rollback.from_images:,} to {images:,} images: {message}"
        return Outcome(reason=Reason.ROLLED_BACK, message=told, rollback=rollback)

    def _good_checkpoint(self, before_images: int) -> tuple[int, str]:
        """Images and key of the best evaluated checkpoint, else of the newest one written before the trouble began;
        0 and nothing where there is neither."""
        kept = self._store.checkpoints(self._job_id)
        best = best_of([found for found in self._evaluations if found.checkpoint in kept.values()])
        if best:
            return best.images, kept[best.images]
        images = max((images for images in kept if images < before_images), default=0)
        start = self._spec.start
        if images == 0 and start:
            return (0 if start.weights_only else start.images), start.checkpoint
        return images, kept.get(images, "")

    def _checkpoints_to_try(self) -> list[str]:
        """Keys, newest first; what lies beyond a rollback's checkpoint is abandoned."""
        start, rollbacks = self._spec.start, self._lease.rollbacks
        if rollbacks:
            self._store.abandon(self._job_id, rollbacks[-1].attempt, rollbacks[-1].images)
        own = self._store.checkpoint_keys(self._job_id)
        return [*own, *([start.checkpoint] if start else [])]

    def _restore(self) -> None:
        """Go on from the newest checkpoint that can be read, if there is one; all workers from the same."""
        self._heartbeat.does(Activity.RESTORING)
        restored: Checkpoint | None = None
        precision: Precision | None = None
        start = self._spec.start
        for key in self._checkpoints_to_try():
            try:
                data = self._store.objects.get(key)
                state, history = decode_checkpoint(data)
                self._history = history if _load(self._trainer, self._spec, key, state) else []
            except DigestMismatch as error:
                log.warning("%s is damaged, trying the one before: %s", key, error)
                self._heartbeat.say("checkpoint_damaged", key=key, message=str(error))
                if start and key == start.checkpoint:
                    raise
                continue
            restored = Checkpoint(key=key, images=self._trainer.images_seen, bytes=len(data))
            precision = state.get("precision") if self._history else None
            break
        self._group.first_says(restored.key if restored else "")
        trainer, checkpoint = self._trainer, restored.key if restored else None
        self._tell_precision(precision)
        self._heartbeat.resumed(lambda: trainer.images_seen, restored, trainer.precision)
        self._heartbeat.say("started", images=trainer.images_seen, checkpoint=checkpoint, precision=trainer.precision)
        log.info("attempt %d starts at %s images", self._lease.attempt, f"{trainer.images_seen:,}")

    def _tell_precision(self, before: Precision | None) -> None:
        """Say what the training computes in and why; `before` is what its checkpoint was computed in, if in any."""
        trainer = self._trainer
        log.info("precision %s: %s", trainer.precision, trainer.choice.reason)
        if before and before != trainer.precision:
            self._heartbeat.say("precision_changed", before=before, now=trainer.precision, why=trainer.choice.reason)
        if trainer.precision == "bf16" and not trainer.has_bf16:
            slowdown = measure_slowdown(self._device)
            log.warning(
                "not every worker computes bf16, which is slow where it is emulated: here a step of convolutions "
                "takes %.1f times as long as in fp32; `precision: auto` would choose fp32",
                slowdown,
            )
            self._heartbeat.say("precision_emulated", slowdown=slowdown)

    def _checkpoint(self) -> None:
        state = snapshot(self._trainer.state_dict())
        images, history = self._trainer.images_seen, list(self._history)
        before, self._checkpointed = self._checkpointed, images

        def upload() -> None:
            checkpoint = self._store.put_checkpoint(self._lease, images, encode_checkpoint(state, history))
            self._store.put_metrics(self._lease, images, metrics_jsonl(history))
            self._heartbeat.checkpointed(checkpoint)
            log.info("checkpoint at %s images in %.2f s", f"{images:,}", checkpoint.seconds)
            self._have_evaluated(before, checkpoint)
            self._evaluations = self._queue.evaluations(self._job_id)
            self._store.prune(self._lease, self._spec.checkpoints, self._kept_for_quality())

        self._uploader.submit(upload)

    def _have_evaluated(self, before: int, checkpoint: Checkpoint) -> None:
        """Submit the evaluation job that is due at a checkpoint, if one is; `before` are the images of the last one."""
        asked = self._spec.evaluate
        at_end = checkpoint.images >= self._spec.total_images
        if asked is None or not (at_end or _crosses(asked.every_images or NEVER, before, checkpoint.images)):
            return
        if not at_end and len(self._queue.evaluations_under_way(self._job_id)) >= MAX_UNDER_WAY:
            self._heartbeat.say("evaluation_skipped", images=checkpoint.images, reason="others are under way")
            return
        spec = EvaluateSpec(
            name=evaluation_name(self._spec.name),
            recipe=self._spec.recipe,
            subject=Subject(
                job_id=self._job_id,
                images=checkpoint.images,
                attempt=self._lease.attempt,
                checkpoint=checkpoint.key,
            ),
            judging=asked.judging,
            resources=asked.resources,
            priority=self._spec.priority,
        )
        # Of this very checkpoint: one that a later attempt writes after as many images has other weights.
        job_id, _ = self._queue.submit(spec, idempotency_key=f"evaluate/{checkpoint.key}")
        self._heartbeat.say("evaluation_submitted", images=checkpoint.images, job=job_id)

    def _kept_for_quality(self) -> set[int]:
        """Checkpoints to keep for what evaluations found, or may find yet."""
        return {*quality_front(self._evaluations), *self._queue.evaluations_under_way(self._job_id)}

    def _with_diversity(self, progress: Progress) -> Progress:
        data, recipe = self._spec.recipe.data, self._spec.recipe
        if isinstance(data, Mixture):
            modes, good_share = coverage(data, self._trainer.sample(self._many_latents))
            found = {"modes": modes, "good_share": good_share, "diversity": modes / data.modes}
            return progress.model_copy(update=found)
        if self._diversity is None:
            return progress
        labels = (torch.arange(COUNT) % recipe.conditioning.classes,) if recipe.conditioning else ()
        samples = self._trainer.sample(fixed_latents(self._spec.seed, COUNT, recipe.latent_size), *labels)
        return progress.model_copy(update={"diversity": self._diversity.of(samples)})

    def _grid(self) -> bytes:
        data = self._spec.recipe.data
        if isinstance(data, Mixture):
            return plane_png(data, self._trainer, self._many_latents)
        return grid_png(self._trainer.sample(*self._fixed).numpy(), self._spec.samples.columns)

    @property
    def _many_latents(self) -> torch.Tensor:
        """Enough to judge the coverage of a mixture by; the same every time."""
        return fixed_latents(self._spec.seed, PLANE_SAMPLES, self._spec.recipe.latent_size)

    def _draw_samples(self) -> None:
        images, png = self._trainer.images_seen, self._grid()

        def upload() -> None:
            key = self._store.put_sample_grid(self._lease, images, png)
            self._heartbeat.say("samples", key=key, images=images)

        self._uploader.submit(upload)

    def _publish(self) -> str:
        self._heartbeat.does(Activity.PUBLISHING)
        made = BundleContents(
            job_id=self._job_id,
            attempt=self._lease.attempt,
            resumed_images=self._resumed_images,
            spec=self._spec,
            history=self._history,
            rollbacks=self._lease.rollbacks,
            classes=self._classes,
            generator=self._trainer.sampling_generator,
            precision=self._trainer.precision,
            grid=self._grid(),
        )
        # The last look before the manifest makes the generator fetchable.
        return publish(self._store, self._lease, made, self._heartbeat.hold)


def _load(trainer: Trainer, spec: TrainSpec, key: str, state: dict[str, Any]) -> bool:
    """Put the state of a checkpoint into the trainer; whether the training goes on from it, with all its past."""
    if spec.start and spec.start.weights_only and key == spec.start.checkpoint:
        trainer.load_weights(state)
        return False
    trainer.load_state_dict(state)
    return True


def _crosses(every: int, before: int, after: int) -> bool:
    return after // every > before // every
