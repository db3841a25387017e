"""A training as every worker of its gang runs it, in the worker's training thread.

All collective calls are made here, in `train`, or by the trainer: what only one worker does stands behind `Duties`,
which knows no other worker. So none can be made on one side alone, which would hang the other.
"""

import math
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from ganservice.errors import Diverged
from ganservice.job import Outcome, Progress, Reason
from ganservice.spec import TrainSpec
from workers.attempt.context import WorkerContext
from workers.attempt.own_code import bring_code
from workers.attempt.restore import Restored, StoredCheckpoint, load, read_checkpoint
from workers.attempt.stored_data import held_out, training_set
from workers.attempt.usage import Usage, mean_usage
from workers.gan.data.examples import Examples
from workers.gan.networks.examination import examine_networks
from workers.gan.pauses import Paused
from workers.gan.trainer import Trainer

Result = TypeVar("Result", covariant=True)
TOLD_TO_LEAVE = Outcome(reason=Reason.YIELDED, message="gave its job back after a checkpoint")


class Duties(Protocol[Result]):
    """The duties of one worker between and after the steps that all take together. It may call no other worker."""

    def is_told_to_leave(self) -> bool:
        """Whether it is time to leave, without waiting for a report."""

    def report(self, progress: Progress) -> Outcome | None:
        """Take note of a report. Returns how the attempt ends, if it is time to leave."""

    def has_room(self) -> bool:
        """Whether what is due after a report may be stored; all workers wait until it may."""

    def save(self) -> None:
        """Store what is due after a report."""

    def leave(self, outcome: Outcome | None) -> Result:
        """Leave before the end, for what `report` returned here, or for nothing where no report came or another worker
        wants to."""

    def diverge(self, error: Diverged) -> Result:
        """Leave because a loss or a gradient is not finite any more."""

    def halt(self) -> Result:
        """Leave because the sweep lets the training come no further yet."""

    def succeed(self) -> Result:
        """Complete the training after its last step."""


def train(
    context: WorkerContext,
    spec: TrainSpec,
    prepare: Callable[[], None],
    choose_checkpoint: Callable[[], StoredCheckpoint | None],
    begin: Callable[[Trainer, Examples, Examples | None, Restored], Duties[Result]],
) -> Result:
    """Train to the end, or until a worker wants to leave.

    All workers start from the checkpoint that the first one chooses. `begin` is called once the trainer stands there.
    """
    group, usage = context.group, Usage(context.device)
    # What may wait for the store is done together, so that nobody takes a worker that waits for one that died.
    group.together(prepare)
    group.together(lambda: bring_code(context.settings, context.store, spec.recipe))
    micro_batch_size = spec.resources.micro_batch_size
    group.together(lambda: examine_networks(spec.recipe, spec.seed, context.device, micro_batch_size))
    examples = group.together(lambda: training_set(context.settings, context.store, spec))
    # Rollbacks have lowered both learning rates.
    recipe = spec.recipe.slowed(math.prod(rollback.lr_share for rollback in context.lease.rollbacks))
    # The first worker speaks for the gang: only its reports are read.
    others = group.together(lambda: held_out(context.settings, context.store, spec) if group.is_first else None)
    trainer = Trainer(recipe, examples, spec.seed, context.device, group, others, micro_batch_size)
    chosen = group.together(choose_checkpoint)
    key = group.first_says(chosen.key if chosen else "")
    checkpoint = group.together(lambda: chosen or (read_checkpoint(context.store, key, spec) if key else None))
    duties = begin(trainer, examples, others, load(checkpoint, spec, trainer))
    try:
        for progress in trainer.train(
            context.lease.end_images(spec), spec.report_every_images, duties.is_told_to_leave
        ):
            outcome = duties.report(progress.model_copy(update=mean_usage(usage, group)))
            if group.any(outcome is not None):
                return duties.leave(outcome)
            group.wait_until(duties.has_room)
            duties.save()
    except Paused:
        return duties.leave(None)
    except Diverged as error:  # on every worker at the same step, for what is not finite is a mean over all of them
        return duties.diverge(error)
    return duties.succeed() if trainer.images_seen >= spec.total_images else duties.halt()


class Follower:
    """The duties of every worker but the first, which speaks for all: to leave when its own process is told to."""

    def __init__(self, leaving: threading.Event) -> None:
        self._leaving = leaving

    def is_told_to_leave(self) -> bool:
        """Whether its process was told to leave."""
        return self._leaving.is_set()

    def report(self, progress: Progress) -> Outcome | None:
        """Ask to leave, once its process was told to."""
        del progress
        return TOLD_TO_LEAVE if self._leaving.is_set() else None

    def has_room(self) -> bool:
        """Yes."""
        return True

    def save(self) -> None:
        """Do nothing."""

    def leave(self, outcome: Outcome | None) -> None:
        """Do nothing."""

    def diverge(self, error: Diverged) -> None:
        """Do nothing."""

    def halt(self) -> None:
        """Do nothing."""

    def succeed(self) -> None:
        """Do nothing."""


def follow(context: WorkerContext, spec: TrainSpec) -> None:
    """Run the attempt of a training as any worker but the first."""
    follower = Follower(context.leaving)
    train(context, spec, prepare=lambda: None, choose_checkpoint=lambda: None, begin=lambda *_: follower)
