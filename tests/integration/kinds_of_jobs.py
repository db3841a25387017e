"""Jobs of every kind that a page may have to show, driven by script: no worker trains, no dispatcher places."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from ganservice.evaluation import Evaluation
from ganservice.job import (
    Activity,
    Capacity,
    EventKind,
    Health,
    Lease,
    Outcome,
    Progress,
    Pulse,
    Reason,
    Rollback,
    State,
)
from ganservice.leadership import Cluster, Leadership
from ganservice.queue import JobQueue, NewEvent
from ganservice.settings import Settings
from ganservice.spec import Resources, TrainSpec
from tests.integration.jobs import CLUSTER, TROUBLE, checkpoint, evaluation, report, submit, submit_evaluation

IMAGES, SEEN, IMAGES_PER_S = 1_000_000, 400_000, 100
BEAT_S = 0.5
TRAINING = Pulse(
    activity=Activity.TRAINING, images=SEEN, images_per_s=IMAGES_PER_S, report_age_s=0.5, report_every_s=2.0,
    still_s=0.1, device="cpu",
)  # fmt: skip
SUCCESS = Outcome(reason=Reason.SUCCEEDED, generator="jobs/tiny/generator")


@dataclass
class Part:
    """An attempt that somebody plays: how it stands, and by how many images it comes further with each beat."""

    lease: Lease
    progress: Progress | None
    pulse: Pulse
    step: int = 0
    is_first: bool = True


@dataclass
class Play:
    """All jobs, by their kinds."""

    settings: Settings
    queue: JobQueue
    spec: TrainSpec
    ids: dict[str, str] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    begun_at: float = field(default_factory=time.time)
    lock: Any = field(default_factory=threading.RLock)  # of the parts

    def submit(self, kind: str, **changes: Any) -> str:
        """Put a training of a kind into the queue."""
        spec = self.spec.model_copy(update={"name": kind.replace(" ", "-"), "images": IMAGES, **changes})
        self.ids[kind] = submit(self.queue, spec)
        return self.ids[kind]

    def run(self, kind: str, pulse: Pulse = TRAINING, step: int = 50, **changes: Any) -> Lease:
        """Have a training of a kind run; `changes` are of its reports."""
        resources = changes.pop("resources", self.spec.resources)
        job_id = self.ids.get(kind) or self.submit(kind, resources=resources)
        told = {"diversity": 0.9, "health": Health.OK, "used_cpus": 0.9, "memory_bytes": 2 * 10**9, "stall_s": 0.2}
        told |= {"value": -1.3, "d_held_out_gap": 0.02, "augment_probability": 0.3} | changes
        part = Part(self.queue.take(job_id), report(SEEN).model_copy(update=told), pulse, step)
        with self.lock:
            self.parts[kind] = part
            self.beat(part)
        return part.lease

    def take(self, kind: str, job_id: str, pulse: Pulse) -> None:
        """Have a job run that reports nothing of a training."""
        self.ids[kind] = job_id
        with self.lock:
            self.parts[kind] = Part(self.queue.take(job_id), None, pulse, is_first=False)

    def beat(self, part: Part) -> None:
        """Beat once, a little further than before."""
        if part.step and part.progress and part.pulse.images is not None:
            images = part.pulse.images + part.step
            part.pulse = part.pulse.model_copy(update={"images": images})
            part.progress = part.progress.model_copy(update={"images": images})
        first: dict[str, Any] = {}
        if part.is_first and part.progress:
            stored = checkpoint(SEEN)
            told = NewEvent(EventKind.CHECKPOINT, stored.model_dump())
            first = {"resumed_images": 0, "checkpoint": stored, "events": [told]}
        part.is_first = False
        self.queue.heartbeat(part.lease, part.progress, pulse=part.pulse, **first)

    def end(self, kind: str, outcome: Outcome) -> None:
        """End the attempt of a kind."""
        with self.lock:
            self.queue.finish(self.parts.pop(kind).lease, outcome)

    def finish_training(self, kind: str) -> None:
        """Have a training see all its images, and end."""
        with self.lock:
            part = self.parts[kind]
            part.step, part.pulse = IMAGES, part.pulse.model_copy(update={"images": 0})
            self.beat(part)
            self.end(kind, SUCCESS)

    def evaluate(self, kind: str, *distances: float, **protocol: Any) -> str:
        """Have evaluations find these distances, one after the other. Returns the id of the last."""
        for place, distance in enumerate(distances, start=1):
            images = 100_000 * place
            by = submit_evaluation(self.queue, self.spec, self.ids[kind], images)
            lease = self.queue.take(by)
            self.queue.heartbeat(lease, pulse=Pulse(activity=Activity.MEASURING))
            found = evaluation(self.ids[kind], images, distance, by, **protocol)
            self.queue.finish(lease, Outcome(reason=Reason.SUCCEEDED, evaluation=_with_shares(found)))
        return by


def _with_shares(found: Evaluation) -> Evaluation:
    names = ("kernel_distance", "precision", "recall", "density", "coverage")
    shares = {f"{found.protocol.network}_{name}": 0.5 for name in names}
    return found.model_copy(update={"measures": {**found.measures, **shares}})


def begin(play: Play) -> None:
    """What happens before the second act: all that run, and what ends at once."""
    play.run("running")
    play.run("late", TRAINING.model_copy(update={"report_age_s": 40.0}), step=0)
    frozen = TRAINING.model_copy(update={"report_age_s": 400.0, "still_s": 400.0})
    play.run("still", frozen, step=0)
    play.run("without store", frozen.model_copy(update={"waits_for": "the store (full)"}), step=0)
    play.run("suspect", health=Health.SUSPECT)
    play.run("collapsing", health=Health.COLLAPSED, diversity=0.01)
    gpus: dict[str, Any] = {"gpu_memory_bytes": 8 * 10**9, "gpu_busy": 0.7, "resources": Resources(gpus_per_worker=1)}
    play.run("on gpus", TRAINING.model_copy(update={"device": "cuda"}), **gpus)
    play.run("without gpus", resources=Resources(gpus_per_worker=1))
    for kind in ("again", "waits again", "succeeded", "gone", "diverged", "failed", "cancelled"):
        play.run(kind)
    play.run("collapsed", health=Health.COLLAPSED, diversity=0.01)
    loading = Pulse(activity=Activity.LOADING, report_age_s=1.0, still_s=1.0)
    play.take("starting", play.submit("starting"), loading)
    play.evaluate("running", 40.0, 28.0)
    play.ids["ended evaluation"] = play.evaluate("succeeded", 40.0, 25.0)
    play.evaluate("succeeded", 23.0, samples=200)  # by another protocol
    play.evaluate("collapsed", 300.0, 200.0, 500.0)
    play.evaluate("suspect", 30.0, 20.0, 22.0)
    play.evaluate("gone", 50.0, 45.0)
    judging = submit_evaluation(play.queue, play.spec, play.ids["running"], 300_000)
    pulse = Pulse(
        activity=Activity.MEASURING, share_done=0.4, left_s=30.0, report_age_s=1.0, report_every_s=2.0, still_s=1.0,
        device="cpu",
    )  # fmt: skip
    play.take("evaluation", judging, pulse)


def go_on(play: Play) -> None:
    """The second act: attempts end, and what waits is submitted."""
    for kind in ("succeeded", "collapsed", "gone"):
        play.finish_training(kind)
    play.end("diverged", Outcome(reason=Reason.DIVERGED, message="a loss is not finite"))
    play.end("failed", Outcome(reason=Reason.DATA, message="the data set is gone"))
    play.queue.cancel(play.ids["cancelled"])
    play.end("cancelled", Outcome(reason=Reason.CANCELLED))
    play.end("waits again", TROUBLE)
    back = Rollback(attempt=1, images=0, checkpoint="", from_images=SEEN, lr_share=0.5, why="collapsed")
    play.end("again", Outcome(reason=Reason.ROLLED_BACK, rollback=back))
    play.run("again")
    play.evaluate("running", 40.0, 28.0, 26.0)
    play.submit("queued", tags=("patient", "slow"))
    play.submit("impossible", resources=Resources(cpus_per_worker=64))
    assert play.queue.lease(Capacity(cpus=0, gpus=0), CLUSTER) is None


def forget(play: Play, admin: redis.Redis, kind: str) -> None:
    """Have a job and its evaluations have ended so long ago that the exporter tells of them no more."""
    ended = play.queue.list_jobs([State.SUCCEEDED])
    evaluations = [job.id for job in ended if job.subject and job.subject.job_id == play.ids[kind]]
    long_ago = dict.fromkeys([play.ids[kind], *evaluations], 1_000)
    assert admin.zadd("{gan}:state:succeeded", long_ago, xx=True, ch=True) == len(long_ago)


def hold_back(play: Play, admin: redis.Redis, kind: str) -> None:
    """Have a job that waits for its next attempt wait for an hour more."""
    admin.hset("{gan}:job:" + play.ids[kind], "ready_at", int((time.time() + 3600) * 1000))


def lose_leader(admin: redis.Redis) -> None:
    """Have another dispatcher have led, and be gone."""
    admin.hset("{gan}:leader", "last", "another")
    admin.hdel("{gan}:leader", "owner", "token")


@contextmanager
def playing(settings: Settings, spec: TrainSpec) -> Iterator[Play]:
    """A queue whose running jobs beat, and that a dispatcher leads, inside the block."""
    stopping = threading.Event()
    cluster = Cluster(nodes=2, total=Capacity(cpus=16, gpus=2), free=Capacity(cpus=3, gpus=1))
    with ExitStack() as stack:
        play = Play(settings, stack.enter_context(closing(JobQueue(settings))), spec)
        leadership = stack.enter_context(closing(Leadership(settings)))

        def beat() -> None:
            while not stopping.wait(BEAT_S):
                leadership.lead(cluster)
                with play.lock:
                    for part in play.parts.values():
                        play.beat(part)

        executor = stack.enter_context(ThreadPoolExecutor(1))
        beats = executor.submit(beat)
        stack.callback(stopping.set)
        yield play
        stopping.set()
        beats.result()
