"""Leader: the duties of a training's first worker, which reports, stores and publishes for the whole gang.

Every method runs in the training thread; what it hands to the uploader runs in the uploader's.
"""

import contextlib
import logging
import time

from ganservice.cadence import is_due_at
from ganservice.errors import ArtifactExists, Diverged
from ganservice.health import Finding, Remedy, examine, remedy, worst
from ganservice.job import Activity, Directive, EventKind, Health, Outcome, Progress, Reason, Rollback
from ganservice.job_keys import attempt_of
from ganservice.retention import good_checkpoint
from ganservice.spec import TrainSpec
from ganservice.spec_file import dump_spec
from workers.attempt.checkpoints import CheckpointWriter
from workers.attempt.context import LeaderContext
from workers.attempt.publication import BundleContents, publish
from workers.attempt.report_log import ReportLog
from workers.attempt.restore import Restored, newest_checkpoint
from workers.attempt.training import TOLD_TO_LEAVE, train
from workers.gan.curves import metrics_jsonl
from workers.gan.data.examples import Examples
from workers.gan.domain import Domain, build_domain
from workers.gan.precision import measure_slowdown
from workers.gan.trainer import Trainer

log = logging.getLogger(__name__)

# How often reports are stored between checkpoints, s: until then only the newest is known outside. Twice as long for
# so many reports, for they are stored whole.
METRICS_EVERY_S, METRICS_REPORTS = 30.0, 2_000
# So many reports of a training are kept; see `thin`.
MOST_REPORTS = 20_000
# How an attempt ends when a directive says so, after a checkpoint.
OUTCOMES = {
    Directive.STOP: Outcome(reason=Reason.CANCELLED, message="stopped after a checkpoint"),
    Directive.YIELD: TOLD_TO_LEAVE,
}


class AlreadyPublished(Exception):
    """The generator is published: there is nothing left to train."""

    def __init__(self, generator: str) -> None:
        super().__init__(generator)
        self.generator = generator


def lead(context: LeaderContext, spec: TrainSpec) -> Outcome:
    """Run the attempt of a training as the first worker."""

    def prepare() -> None:
        context.store.put_spec(context.lease.job_id, dump_spec(spec))
        _look_for_published(context)

    def begin(trainer: Trainer, examples: Examples, held_out: Examples | None, restored: Restored) -> Leader:
        _say_start(context, trainer, restored)
        return Leader(context, spec, trainer, build_domain(spec, examples, held_out), examples, restored)

    try:
        return train(context, spec, prepare, lambda: newest_checkpoint(context, spec), begin)
    except AlreadyPublished as published:
        return Outcome(reason=Reason.SUCCEEDED, generator=published.generator)


def _look_for_published(context: LeaderContext) -> None:
    """Raise AlreadyPublished where an attempt before has published the generator and died before it could say so."""
    lease = context.lease
    rolled_back_attempt = lease.rollbacks[-1].attempt if lease.rollbacks else 0
    folder = context.store.published_generator(lease.job_id, after_attempt=rolled_back_attempt)
    if folder is None:
        return
    log.info("attempt %d has published the generator already: there is nothing left to train", attempt_of(folder))
    context.heartbeat.say(EventKind.ALREADY_PUBLISHED, generator=folder)
    raise AlreadyPublished(folder)


class Leader:
    """The duties of the first worker; see `training.Duties`."""

    def __init__(
        self,
        context: LeaderContext,
        spec: TrainSpec,
        trainer: Trainer,
        domain: Domain,
        examples: Examples,
        restored: Restored,
    ) -> None:
        self._context = context
        self._spec = spec
        self._trainer = trainer
        self._classes, self._class_counts = examples.classes, tuple(examples.class_counts.tolist())
        self._end_images = context.lease.end_images(spec)
        self._domain = domain
        self._checkpoints = CheckpointWriter(context, spec, trainer, restored.checkpoint)
        self._history = list(restored.history)
        self._report_log = ReportLog(spec.total_images, log.info)
        self._own_reports = 0
        self._health = Health.OK  # as it was last said
        self._start_images = self._saved_images = trainer.images_seen
        self._metrics_at, self._metrics_images = time.monotonic(), self._start_images  # of the last that were stored
        self._stall_s = 0.0  # of the last `save`
        self._engine_trouble: str | None = None  # as it was said
        self._trouble_images = 0  # where the trouble began that a rollback is to undo

    def is_told_to_leave(self) -> bool:
        """Whether a directive says so, or a signal to this process."""
        return self._context.heartbeat.directive is not Directive.CONTINUE

    def report(self, progress: Progress) -> Outcome | None:
        """Send a report with what the health watch makes of it. Returns how the attempt ends, if it must."""
        spec, heartbeat = self._spec, self._context.heartbeat
        measured = self._domain.measure(self._trainer)
        self._history = thin(self._history, spec.images_per_report, spec.health.span_reports)
        self._history.append(progress.model_copy(update={"stall_s": self._stall_s, **measured}))
        self._own_reports += 1
        findings = examine(
            self._history, spec.health, spec.total_images, spec.recipe.loss, self._checkpoints.evaluations
        )
        self._history[-1] = self._history[-1].model_copy(update={"health": worst(findings)})
        heartbeat.progress(self._history[-1])
        self._report_log.add(self._history[-1])
        self._say_engine_trouble()
        if heartbeat.directive is not Directive.CONTINUE:
            return OUTCOMES[heartbeat.directive]
        outcome = self._watch(findings) if self._is_news(findings) else None
        self._context.uploader.check()
        return outcome

    def _say_engine_trouble(self) -> None:
        if self._trainer.engine_trouble != self._engine_trouble:
            self._engine_trouble = self._trainer.engine_trouble
            log.warning("steps are not recorded any more: %s", self._engine_trouble)
            self._context.heartbeat.say(EventKind.STEPS_NOT_RECORDED, why=self._engine_trouble)
            self._context.heartbeat.gives_steps(f"eager: {self._engine_trouble}")

    def has_room(self) -> bool:
        """Whether not too many uploads wait already."""
        return self._context.uploader.has_room

    def save(self) -> None:
        """Store the grid and the checkpoint that are due; training waits where too many uploads do."""
        started, images = time.monotonic(), self._trainer.images_seen
        if self._is_grid_due():
            self._store_grid()
        if is_due_at(self._spec.checkpoints.every_images, self._saved_images, images, self._end_images):
            self._checkpoints.write(self._history)
            self._metrics_at, self._metrics_images = time.monotonic(), images
        elif self._is_metrics_due() and self._context.uploader.is_idle:
            self._store_metrics()
        self._saved_images = images
        self._stall_s = time.monotonic() - started

    def _is_metrics_due(self) -> bool:
        every_s = METRICS_EVERY_S * (1 + len(self._history) / METRICS_REPORTS)
        return time.monotonic() - self._metrics_at >= every_s

    def _is_grid_due(self) -> bool:
        images = self._trainer.images_seen
        return is_due_at(self._spec.samples.every_images, self._saved_images, images, self._end_images)

    def leave(self, outcome: Outcome | None) -> Outcome:
        """End with a checkpoint, unless what was trained is to be forgotten."""
        outcome = outcome or OUTCOMES.get(self._context.heartbeat.directive, TOLD_TO_LEAVE)
        if outcome.reason is Reason.ROLLED_BACK:
            return self._roll_back(outcome)
        # The next attempt begins here, and would not know that it is due.
        if self._is_grid_due():
            self._store_grid()
        self._checkpoints.write(self._history)
        self._context.uploader.drain()
        return outcome

    def diverge(self, error: Diverged) -> Outcome:
        """Roll back if the spec wants that. Raises the error if not."""
        self._context.uploader.drain()
        outcome = self._treat([Finding("not_finite", Health.DIVERGED, str(error), self._trainer.images_seen)])
        if outcome is None or outcome.reason is not Reason.ROLLED_BACK:
            self._keep_metrics()
            raise error
        return self._roll_back(outcome)

    def _keep_metrics(self) -> None:
        """Store the reports of a training that ends without a checkpoint: they show how it came to that."""
        if self._history:
            with contextlib.suppress(ArtifactExists):  # those of the last checkpoint
                metrics = metrics_jsonl(self._history)
                self._context.store.put_metrics(self._context.lease, self._history[-1].images, metrics)

    def halt(self) -> Outcome:
        """End with what is stored: the next attempt goes on from there, once the sweep lets it."""
        self._context.uploader.drain()
        return Outcome(reason=Reason.HALTED, message=f"its sweep lets it train to {self._end_images:,} images")

    def succeed(self) -> Outcome:
        """Publish the generator once all else is stored."""
        self._context.uploader.drain()
        self._context.heartbeat.does(Activity.PUBLISHING)
        contents = BundleContents(
            job_id=self._context.lease.job_id,
            attempt=self._context.lease.attempt,
            resumed_images=self._start_images,
            spec=self._spec,
            history=self._history,
            rollbacks=self._context.lease.rollbacks,
            classes=self._classes,
            class_counts=self._class_counts,
            generator=self._trainer.sampling_generator,
            precision=self._trainer.precision,
            grid=self._domain.grid(self._trainer),
            evaluations=self._checkpoints.evaluations,
        )
        # The last look before the manifest makes the generator fetchable.
        folder = publish(self._context.store, self._context.lease, contents, self._context.heartbeat.hold)
        return Outcome(reason=Reason.SUCCEEDED, generator=folder)

    def _is_news(self, findings: list[Finding]) -> bool:
        """Whether the health is another than was said last. What an earlier attempt left behind must last in this one
        before anything is done about it again."""
        lasts = not findings or self._own_reports >= self._spec.health.span_reports
        return worst(findings) is not self._health and lasts

    def _watch(self, findings: list[Finding]) -> Outcome | None:
        """Say how healthy the training is now. Returns how the attempt ends, if the spec wants it to."""
        before, self._health = self._health, worst(findings)
        summary = [{"kind": finding.kind, "message": finding.message} for finding in findings]
        images = self._history[-1].images
        said = {"before": before, "state": self._health, "images": images, "findings": summary}
        self._context.heartbeat.say(EventKind.HEALTH, **said)
        messages = "; ".join(finding.message for finding in findings)
        log.log(logging.WARNING if findings else logging.INFO, "health %s: %s", self._health, messages or "all is well")
        return self._treat(findings)

    def _treat(self, findings: list[Finding]) -> Outcome | None:
        """How the attempt ends, if the spec wants findings to end it. A rollback is told in full by `_roll_back`."""
        rollbacks = self._context.lease.rollbacks
        message = "; ".join(finding.message for finding in findings)
        match remedy(findings, self._spec.health, len(rollbacks)):
            case Remedy.NONE:
                return None
            case Remedy.STOP:
                after = f", after {len(rollbacks)} rollbacks" if rollbacks else ""
                return Outcome(reason=Reason.UNHEALTHY, message=f"stopped by the health watch{after}: {message}")
            case Remedy.ROLL_BACK:
                self._trouble_images = min(finding.since_images for finding in findings)
                return Outcome(reason=Reason.ROLLED_BACK, message=message)

    def _roll_back(self, outcome: Outcome) -> Outcome:
        """Choose the checkpoint from which the next attempt starts; the other workers, which have left, wait for no
        store meanwhile."""
        self._context.uploader.drain()
        before_images, why = self._trouble_images, outcome.message
        lease, stored = self._context.lease, self._context.store.checkpoints(self._context.lease.job_id)
        images, checkpoint = good_checkpoint(stored, self._checkpoints.evaluations, self._spec.start, before_images)
        rollback = Rollback(
            attempt=lease.attempt,
            images=images,
            checkpoint=checkpoint,
            from_images=self._trainer.images_seen,
            lr_share=self._spec.health.lr_share,
            why=why,
        )
        message = f"back from {rollback.from_images:,} to {images:,} images: {why}"
        return Outcome(reason=Reason.ROLLED_BACK, message=message, rollback=rollback)

    def _store_metrics(self) -> None:
        """Have the reports stored, in the place of those that were stored last."""
        images, before, data = self._trainer.images_seen, self._metrics_images, metrics_jsonl(self._history)
        lease, store = self._context.lease, self._context.store
        self._context.uploader.submit(lambda: store.put_metrics(lease, images, data, instead_of=before))
        self._metrics_at, self._metrics_images = time.monotonic(), images

    def _store_grid(self) -> None:
        images, png = self._trainer.images_seen, self._domain.grid(self._trainer)

        def upload() -> None:
            key = self._context.store.put_sample_grid(self._context.lease, images, png)
            self._context.heartbeat.say(EventKind.SAMPLES, key=key, images=images)

        self._context.uploader.submit(upload)


def thin(history: list[Progress], images_per_report: int, span_reports: int) -> list[Progress]:
    """Keep each second, fourth, eighth... report once there are too many, and the last `span_reports`.

    All that are kept travel with each checkpoint, and a training of weeks makes a million. Which ones those are follows
    from their images, so that whoever resumes it keeps the same.
    """
    if len(history) < MOST_REPORTS:
        return history
    every = 1
    while history[-1].images // images_per_report > every * MOST_REPORTS // 2:
        every *= 2
    old = (each for each in history[:-span_reports] if each.images // images_per_report % every == 0)
    return [*old, *history[-span_reports:]]


def _say_start(context: LeaderContext, trainer: Trainer, restored: Restored) -> None:
    """Say where the attempt starts, what it computes in and why."""
    heartbeat, precision, reason = context.heartbeat, trainer.precision, trainer.choice.reason
    log.info("precision %s: %s", precision, reason)
    if restored.precision and restored.precision != precision:
        heartbeat.say(EventKind.PRECISION_CHANGED, before=restored.precision, now=precision, why=reason)
    if precision == "bf16" and not trainer.bf16_pays:
        slowdown = measure_slowdown(context.device)
        log.warning(
            "bf16 is not faster on every worker: here a step of convolutions takes %.1f times as long as in fp32; "
            "`precision: auto` would choose fp32",
            slowdown,
        )
        heartbeat.say(EventKind.PRECISION_EMULATED, slowdown=slowdown)
    heartbeat.resumed(lambda: trainer.images_seen, restored.checkpoint, precision)
    key, images = restored.checkpoint.key if restored.checkpoint else None, trainer.images_seen
    engine = trainer.engine_choice
    log.info("engine %s: %s", engine.engine, engine.reason)
    heartbeat.say(EventKind.STARTED, images=images, checkpoint=key, precision=precision, engine=engine.engine)
    heartbeat.gives_steps(f"{engine.engine}: {engine.reason}")
    if not engine.is_as_ordered:
        heartbeat.say(EventKind.STEPS_NOT_RECORDED, why=engine.reason)
    if transfer := restored.transfer:
        of_g, of_d = transfer.shares
        heartbeat.say(EventKind.TRANSFERRED, checkpoint=key, share_g=of_g, share_d=of_d)
        for line in transfer.lines:
            log.info("%s", line)
    log.info("attempt %d starts at %s images", context.lease.attempt, f"{images:,}")
