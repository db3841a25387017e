"""ganctl follow: what trainings report, into TensorBoard, MLflow or W&B."""

import contextlib
import time

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.completion import JobReference
from ganservice.cli.output import say
from ganservice.cli.reference import find_jobs, is_pattern
from ganservice.errors import JobNotFound, Outage, RequestError
from ganservice.job import Job, State
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from workers.trackers import Tracker, open_tracker
from workers.trackers.follower import Follower

LOOK_S = 1.0


@click.command()
@click.argument("references", metavar="[JOB]...", nargs=-1, type=JobReference())
@click.option(
    "--to", "target", required=True, metavar="TARGET", help="tensorboard:FOLDER, mlflow:URI or wandb:[ENTITY/]PROJECT."
)
@click.option(
    "--all", "all_jobs", is_flag=True, help="All trainings that are queued or run, and those that come, until Ctrl-C."
)
def follow(references: tuple[str, ...], target: str, all_jobs: bool) -> None:
    """Send reports, health, evaluations and sample grids of trainings to a tracker until they are finished.

    What the tracker holds already is not sent again: after Ctrl-C, or later, the same command goes on. An image seen is
    a step.
    """
    if bool(references) is all_jobs:
        raise RequestError("follow: expected one or more jobs, or else --all")
    settings = Settings()
    with (
        JobQueue(settings) as queue,
        contextlib.closing(_Trainings(queue, ArtifactStore(settings), target)) as followed,
    ):
        for reference in references:
            for job_id in find_jobs(queue, reference, tuple(State)):
                job = queue.get(job_id)
                if job.training or not is_pattern(reference):
                    followed.add(job)
        while followed or all_jobs:
            followed.look(is_well=followed.add_all() if all_jobs else True)
            time.sleep(LOOK_S if followed or all_jobs else 0)


class _Trainings:
    """The trainings that are followed. An outage is told once and ends nothing."""

    def __init__(self, queue: JobQueue, store: ArtifactStore, target: str) -> None:
        self._queue = queue
        self._store = store
        self._target = target
        self._followers: dict[str, tuple[Follower, Tracker]] = {}
        self._outage: str | None = None  # the one that was told

    def __bool__(self) -> bool:
        return bool(self._followers)

    def add(self, job: Job) -> None:
        """Follow a training. Raises RequestError where it is none."""
        if job.id in self._followers:
            return
        if job.training is None:
            raise RequestError(f"{job.id} is an evaluation; what it finds is shown with the training: {job.subject}")
        tracker = open_tracker(self._target, job)
        try:
            follower = Follower(self._queue, self._store, job.id, job.training, tracker)
        except Outage:
            with contextlib.suppress(Outage):
                tracker.close(None)
            raise
        self._followers[job.id] = (follower, tracker)
        say(f"{job.id} is followed")

    def add_all(self) -> bool:
        """Follow every training that is not finished; False where an outage kept one out, which the next call adds."""
        try:
            for job in self._queue.list_jobs([State.QUEUED, State.RUNNING]):
                if job.training:
                    self.add(job)
        except Outage as outage:
            self._tell(outage)
            return False
        return True

    def look(self, *, is_well: bool = True) -> None:
        """Send what is new of each, and let go of those that are finished; `is_well` unless an outage was told before
        that is not over."""
        outages = 0 if is_well else 1
        for job_id, (follower, tracker) in list(self._followers.items()):
            try:
                if not follower.look():
                    continue
                state = self._queue.get(job_id).state
                tracker.close(state)
                say(f"{job_id} has {state}, and all of it is sent")
            except JobNotFound:
                tracker.close(None)
                say(f"{job_id} was deleted")
            except Outage as outage:
                outages += 1
                self._tell(outage)
                continue
            del self._followers[job_id]
        if not outages:
            self._outage = None

    def close(self) -> None:
        """Let go of all."""
        for _, tracker in self._followers.values():
            with contextlib.suppress(Outage):
                tracker.close(None)

    def _tell(self, outage: Outage) -> None:
        if str(outage) != self._outage:
            say(f"{outage}; trying again")
        self._outage = str(outage)
