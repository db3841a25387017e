"""Twins: two trainings of one spec, of which one is killed and resumed, and what tells them apart."""

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import say
from ganservice.cli.reference import patiently
from ganservice.errors import BrokerOutage, GanServiceError, IllegalTransition, LeaseLost
from ganservice.job import EventKind, Job, Lease, Outcome, Reason, State
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from workers.commands.child_gang import ChildGang, nothing
from workers.commands.difference import Difference, Remains, difference, remains_of

# Between two looks at how far a training is, and between two beats by which it tells.
LOOK_S, HEARTBEAT_S = 0.02, 0.1
# Between two looks at a job that somebody else has.
AWAIT_OTHER_S = 0.5
KILLED = Outcome(reason=Reason.WORKER_DIED, message="killed by verify-resume")
DIED = Outcome(reason=Reason.WORKER_DIED, message="a worker ended without a word")


@dataclass(frozen=True)
class Verdict:
    """What two trainings of one spec came to, of which the second was interrupted."""

    undisturbed: str
    interrupted: str
    at_images: tuple[int, ...]  # of the interruptions
    from_images: tuple[int, ...]  # of the checkpoints from which it went on
    remains: Remains  # of the first
    difference: Difference | None

    @property
    def holds(self) -> bool:
        """Whether the interruptions changed nothing, or no more than is tolerated."""
        return self.difference is None or self.difference.is_tolerated

    def __str__(self) -> str:
        """One line."""
        moments = ", ".join(f"{images:,}" for images in self.at_images)
        times = f"{len(self.at_images)} time{'s' if len(self.at_images) > 1 else ''}"
        seen = (
            f"{self.remains.tensors} tensors, {len(self.remains.rows)} rows, interrupted {times} at {moments} images, "
            f"resumed from {', '.join(f'{images:,}' for images in self.from_images)}"
        )
        if self.difference is None:
            return f"identical: {seen}"
        return f"{'within the tolerance' if self.holds else 'DIFFERENT'}: {self.difference}; {seen}"


def verify(
    settings: Settings,
    spec: TrainSpec,
    at_images: list[int],
    tolerance: float = 0.0,
    prepare: Callable[[], None] = nothing,
) -> Verdict:
    """Train a resolved spec twice, the second time with interruptions. Every worker calls `prepare` first.

    Raises:
        GanServiceError: a training failed, or ended before it could be interrupted.
    """
    settings = settings.model_copy(update={"heartbeat_s": min(settings.heartbeat_s, HEARTBEAT_S)})
    queue, store = JobQueue(settings), ArtifactStore(settings)
    twins = Twins(settings, queue, spec, prepare)
    undisturbed, _ = twins.train("undisturbed", [])
    interrupted, killed_at = twins.train("interrupted", at_images)
    if not killed_at:
        raise GanServiceError(f"{interrupted.id} ended before it could be interrupted; verify a longer training")
    resumed = [
        event.detail["images"]
        for event in patiently(lambda: queue.events(interrupted.id))
        if event.kind is EventKind.STARTED and spec.first_images < event.detail["images"] < spec.total_images
    ]
    if not resumed:
        raise GanServiceError(
            f"{interrupted.id} was killed at {', '.join(map(str, killed_at))} images and never went on from a "
            "checkpoint, so nothing is proved; --set checkpoints.every_images to less, or verify a longer training"
        )
    mine, theirs = (remains_of(store, job) for job in (undisturbed, interrupted))
    moments_found = (tuple(killed_at), tuple(resumed))
    return Verdict(undisturbed.id, interrupted.id, *moments_found, mine, difference(mine, theirs, tolerance))


def moments(spec: TrainSpec, count: int, seed: int) -> list[int]:
    """Images at which to interrupt a training: some before its first checkpoint, most between that and its end."""
    draws, begin, end = random.Random(seed), spec.first_images, spec.total_images
    first_checkpoint = min(end, begin + spec.checkpoints.every_images)
    early = max(1, count // 3) if count > 1 else 0
    found = [draws.uniform((begin + first_checkpoint) / 2, first_checkpoint) for _ in range(early)]
    # One that is drawn close to the end would come too late.
    last = begin + 0.9 * (end - begin)
    found += [draws.uniform(min(first_checkpoint, last), last) for _ in range(count - early)]
    return sorted(map(int, found))


class Twins:
    """Trainings of one spec, each a job of its own, by child processes of this one."""

    def __init__(self, settings: Settings, queue: JobQueue, spec: TrainSpec, prepare: Callable[[], None]) -> None:
        self._settings = settings
        self._queue = queue
        self._spec = spec
        self._prepare = prepare

    def train(self, what: str, at_images: list[int]) -> tuple[Job, list[int]]:
        """Train to the end, killed after so many images each time. Returns the job and the images at its deaths.

        Raises:
            GanServiceError: it ended otherwise than by succeeding.
        """
        changes = {
            "name": f"{self._spec.name[:36]}-{what}",
            "evaluate": None,
            "max_attempts": self._spec.max_attempts + len(at_images),
        }
        spec = self._spec.model_copy(update=changes)
        job_id, _ = self._queue.submit(spec, held_s=self._settings.lease_s)
        say(f"{what}: {job_id}")
        try:
            killed_at = self._attempts(job_id, list(at_images))
        except BaseException:
            with contextlib.suppress(GanServiceError):
                self._queue.cancel(job_id, now=True)
            raise
        job = patiently(lambda: self._queue.get(job_id))
        if job.state is not State.SUCCEEDED:
            raise GanServiceError(f"{job_id} is {job.state}: {job.reason}: {job.message}; see `ganctl logs {job_id}`")
        return job, killed_at

    def _attempts(self, job_id: str, at_images: list[int]) -> list[int]:
        killed_at, deaths = list[int](), 0
        while not patiently(lambda: self._queue.get(job_id)).state.is_final:
            try:
                lease = patiently(lambda: self._queue.take(job_id))
            except IllegalTransition:  # it has ended, or a dispatcher was quicker after an attempt that ended by itself
                time.sleep(AWAIT_OTHER_S)
                continue
            target = at_images[len(killed_at)] if len(killed_at) < len(at_images) else None
            with ChildGang(self._settings, lease, self._prepare) as gang:
                images = self._await(gang, lease, target)
            if images is not None:
                killed_at.append(images)
                say(f"killed at {images:,} images")
            elif patiently(lambda: self._queue.holds(lease)):  # noqa: B023 # called at once
                deaths += 1
                say(f"attempt {lease.attempt} of {job_id} ended without a word")
            else:
                continue  # it has told its end
            with contextlib.suppress(LeaseLost):
                outcome = DIED if images is None else KILLED
                patiently(lambda: self._queue.finish(lease, outcome))  # noqa: B023 # called at once
            if deaths >= self._spec.max_attempts:
                raise GanServiceError(f"the workers of {job_id} end without a word; have they memory enough?")
        return killed_at

    def _await(self, gang: ChildGang, lease: Lease, target: int | None) -> int | None:
        """Return how many images a gang has seen once that is `target` or more; None when it has ended before."""
        while not gang.ends_within(LOOK_S):
            if target is None:
                continue
            with contextlib.suppress(BrokerOutage):
                job = self._queue.get(lease.job_id)
                images = job.pulse.images if job.pulse else None
                if job.attempt == lease.attempt and images is not None and images >= target:
                    return images
        return None
