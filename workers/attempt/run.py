"""One attempt of a job: runs it, holds its lease, and says how it ended. Knows nothing of Ray."""

import gc
import logging
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace

import torch

from ganservice.artifacts import ArtifactStore
from ganservice.errors import (
    ArtifactExists,
    BrokerOutage,
    DataInvalid,
    DataMissing,
    DigestMismatch,
    DiskFull,
    Diverged,
    FormatTooNew,
    GanServiceError,
    LeaseLost,
    NetworkInvalid,
    StoreOutage,
)
from ganservice.job import Directive, Lease, Outcome, Reason
from ganservice.mistakes import brief
from ganservice.patience import patient
from ganservice.plain_text import plain_line
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, TrainSpec
from workers.attempt.context import LeaderContext, WorkerContext
from workers.attempt.evaluation import EvaluationAttempt
from workers.attempt.heartbeat import Heartbeat
from workers.attempt.interruption import Interruption
from workers.attempt.leader import lead
from workers.attempt.patience import FollowerPatience, LeaderPatience
from workers.attempt.training import follow
from workers.attempt.uploader import Uploader
from workers.gan.worker_group import WorkerGroup

log = logging.getLogger(__name__)

REASONS: list[tuple[type[Exception], Reason]] = [
    (Diverged, Reason.DIVERGED),
    (DataMissing, Reason.DATA),
    (DataInvalid, Reason.DATA),
    (DigestMismatch, Reason.DATA),
    (NetworkInvalid, Reason.NETWORK),
    (FormatTooNew, Reason.DATA),
    (StoreOutage, Reason.STORE),
    (ArtifactExists, Reason.STORE),
    (BrokerOutage, Reason.BROKER),
    (DiskFull, Reason.DISK_FULL),
    (torch.distributed.DistError, Reason.WORKER_DIED),
]


def run_attempt(
    settings: Settings,
    lease: Lease,
    group: WorkerGroup,
    device: torch.device,
    on_lost: Callable[[], None],
    leaving: threading.Event | None = None,
) -> None:
    """Run an attempt to its end as one worker of its gang; the first worker reports, uploads and finishes.

    `on_lost` is called by the heartbeat's thread as soon as the lease is lost. Once `leaving` is set on any worker, all
    leave after a checkpoint and the job goes back to the queue.

    Raises:
        LeaseLost: the job is no longer this attempt's; nothing was published.
    """
    leaving = leaving or threading.Event()
    if not group.is_first and isinstance(lease.spec, TrainSpec):
        patience = FollowerPatience(settings.outage_patience_s, leaving, group.motion)
        store = ArtifactStore(settings, patience, on_bytes=lambda _: group.motion.set())
        follow(WorkerContext(settings, lease, store, group, device, leaving), lease.spec)
        _free_memory(device)
        return
    queue = JobQueue(settings)
    heartbeat = Heartbeat(queue, lease, settings.heartbeat_s, on_lost, leaving, settings.stall_limit_s)
    heartbeat.computes_on(device.type)
    group = replace(group, on_motion=heartbeat.move)
    with heartbeat:
        with _LogsTo(heartbeat):
            outcome = _outcome(settings, lease, group, device, leaving, queue, heartbeat)
        _free_memory(device)
        heartbeat.finish(outcome)


def _free_memory(device: torch.device) -> None:
    """Give back a GPU's memory before the end is told: the next job begins there within a tenth of a second, and would
    find it taken."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def _outcome(  # the parts of the context
    settings: Settings,
    lease: Lease,
    group: WorkerGroup,
    device: torch.device,
    leaving: threading.Event,
    queue: JobQueue,
    heartbeat: Heartbeat,
) -> Outcome:
    """Run the first worker's attempt. Returns how it ended. Raises LeaseLost."""
    try:
        # In this order an error ends the waits of the uploader's thread before that is waited for.
        with Uploader() as uploader, LeaderPatience(settings.outage_patience_s, heartbeat) as patience:
            context = LeaderContext(
                settings,
                lease,
                ArtifactStore(settings, patience, on_bytes=lambda _: _come_further(heartbeat)),
                group,
                device,
                leaving,
                queue=patient(queue, patience),
                heartbeat=heartbeat,
                uploader=uploader,
            )
            context.store.abort_uploads(lease.job_id)  # of attempts that died
            if isinstance(lease.spec, EvaluateSpec):
                return EvaluationAttempt(context, lease.spec).run()
            return lead(context, lease.spec)
    except LeaseLost:
        raise
    except Interruption as interruption:
        log.info("attempt %d ended: %s", lease.attempt, interruption)
        return interruption.outcome
    except Exception as error:  # noqa: BLE001 # whatever ends an attempt is its outcome
        reason = reason_of(error, group)
        # What is known to go wrong says all in its text, for where it was raised helps nobody.
        is_unexpected = reason is Reason.ERROR and not isinstance(error, GanServiceError)
        message = f"{type(error).__name__}: {error}" if is_unexpected else _message(error, lease)
        log.error("attempt %d ended: %s", lease.attempt, message)
        if is_unexpected:
            for line in traceback.format_exc().splitlines():
                log.error("%s", line)
        return Outcome(reason=reason, message=brief(plain_line(" ".join(message.split())), 500))


def _come_further(heartbeat: Heartbeat) -> None:
    """Take note that bytes have travelled. Raises Interruption where a directive came before there is anything to keep:
    a large set may take hours to arrive."""
    heartbeat.move()
    if heartbeat.is_preparing and heartbeat.directive is not Directive.CONTINUE:
        raise Interruption(heartbeat.directive, " before it began: its data were on their way")


def reason_of(error: Exception, group: WorkerGroup) -> Reason:
    """The reason of an attempt that ended by raising `error`."""
    for kind, reason in REASONS:
        if isinstance(error, kind):
            return reason
    return Reason.WORKER_DIED if group.world_size > 1 and _is_broken_connection(error) else Reason.ERROR


def _message(error: Exception, lease: Lease) -> str:
    if isinstance(error, ArtifactExists):
        # Redis has forgotten that it gave out the number: the next one is another.
        return f"another holder of attempt {lease.attempt} wrote other bytes than this one: {error}"
    return str(error)


def _is_broken_connection(error: Exception) -> bool:
    # gloo tells of a lost peer by a plain RuntimeError.
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in ("gloo", "nccl", "peer"))


class _LogsTo(logging.Handler):
    """Sends what the workers and this package log to the job's log while it is open."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        super().__init__(logging.INFO)
        self._heartbeat = heartbeat
        self._logger = logging.getLogger("workers")

    def __enter__(self) -> None:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """One line of the job's log for each line of the record."""
        for line in record.getMessage().splitlines():
            self._heartbeat.log(plain_line(f"{record.levelname.lower()}: {line}"))
