"""Restore: the checkpoint from which an attempt of a training goes on. Runs in the training thread."""

import logging
from dataclasses import dataclass
from typing import Any

import torch

from ganservice.artifacts import ArtifactStore
from ganservice.errors import DataInvalid, DigestMismatch
from ganservice.job import Activity, Checkpoint, EventKind, Progress
from ganservice.mistakes import brief
from ganservice.recipe import Precision
from ganservice.spec import TrainSpec
from workers.attempt.context import LeaderContext
from workers.gan.checkpoint import MISFITS, decode_checkpoint
from workers.gan.trainer import Trainer
from workers.gan.transfer import Transfer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint as it was read from the store."""

    key: str
    bytes: int
    state: dict[str, Any]  # of the trainer
    history: list[Progress]


@dataclass(frozen=True)
class Restored:
    """The state a trainer begins with: its images, and the part of its past that goes on counting."""

    checkpoint: Checkpoint | None = None  # None at the very beginning
    history: tuple[Progress, ...] = ()
    precision: Precision | None = None  # what that past was computed in, where that is known
    transfer: Transfer | None = None  # what was taken of other networks, where these are others


def newest_checkpoint(context: LeaderContext, spec: TrainSpec) -> StoredCheckpoint | None:
    """The newest checkpoint that can be read; one that is damaged is passed over, with an event.

    Raises:
        DigestMismatch: the checkpoint of another job, from which this one starts, is damaged.
        FormatTooNew: a later version wrote the newest one; an older one would throw its work away.
    """
    context.heartbeat.does(Activity.RESTORING)
    for key in _keys(context, spec):
        try:
            return read_checkpoint(context.store, key, spec)
        except DigestMismatch as error:
            log.warning("%s is damaged, trying the one before: %s", key, error)
            context.heartbeat.say(EventKind.CHECKPOINT_DAMAGED, key=key, message=str(error))
            if spec.start and key == spec.start.checkpoint:
                raise
    return None


def read_checkpoint(store: ArtifactStore, key: str, spec: TrainSpec) -> StoredCheckpoint:
    """A checkpoint by its key; what the job starts from has the sha256 that its spec says.

    Raises DataInvalid, DigestMismatch, FormatTooNew.
    """
    start = spec.start
    data = store.get_checkpoint(key, start.sha256 if start and key == start.checkpoint else None)
    state, history = decode_checkpoint(data)
    return StoredCheckpoint(key, len(data), state, history)


def load(checkpoint: StoredCheckpoint | None, spec: TrainSpec, trainer: Trainer) -> Restored:
    """Put a checkpoint, if there is one, into the trainer; of a job's start only the weights, if the spec says so.

    Raises:
        DigestMismatch: it is of another recipe.
        DataInvalid: other networks are gone on from, of which nothing fits.
    """
    if checkpoint is None:
        return Restored()
    try:
        return _loaded(checkpoint, spec, trainer)
    except (torch.OutOfMemoryError, DataInvalid):
        raise
    except MISFITS as error:
        reason = brief(f"{type(error).__name__} {error}")
        raise DigestMismatch(f"{checkpoint.key}: does not hold the state of its recipe: {reason}") from error


def _loaded(checkpoint: StoredCheckpoint, spec: TrainSpec, trainer: Trainer) -> Restored:
    weights_only = spec.start and spec.start.weights_only and checkpoint.key == spec.start.checkpoint
    transfer = None
    if spec.start and weights_only and spec.start.takes_what_fits:
        transfer = trainer.take_fitting_weights(checkpoint.state)
    elif weights_only:
        trainer.load_weights(checkpoint.state)
    else:
        state = checkpoint.state
        if spec.start and checkpoint.key == spec.start.checkpoint:
            # What another job had counted since its last report is none of this one's.
            state = {name: value for name, value in state.items() if name != "span"}
        trainer.load_state_dict(state)
    summary = Checkpoint(key=checkpoint.key, images=trainer.images_seen, bytes=checkpoint.bytes)
    if weights_only:
        return Restored(summary, transfer=transfer)
    return Restored(summary, tuple(checkpoint.history), checkpoint.state.get("precision"))


def _keys(context: LeaderContext, spec: TrainSpec) -> list[str]:
    """The keys of the checkpoints to try, newest first. What lies beyond a rollback's checkpoint is deleted."""
    lease = context.lease
    if lease.rollbacks:
        context.store.abandon(lease.job_id, lease.rollbacks[-1].attempt, lease.rollbacks[-1].images)
    return [*context.store.checkpoint_keys(lease.job_id), *([spec.start.checkpoint] if spec.start else [])]
