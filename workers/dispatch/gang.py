"""Gang: the N Ray actors of one attempt, in one placement group, all or none.

Gangs are detached: they live on when their dispatcher dies, and the next one adopts them by name.
"""

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util import get_placement_group, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ganservice.job import Lease
from ganservice.settings import Settings
from workers.dispatch.demand import bundles
from workers.dispatch.worker import Worker

# Of all actors of this project.
NAMESPACE = "ganservice"
# glibc returns freed memory to the kernel and faults it in again at every step, unless told to keep it.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


class Phase(StrEnum):
    """How far a gang is."""

    PLACING = "placing"  # waits for its placement group
    MEETING = "meeting"  # its actors start and get ready
    RUNNING = "running"
    ENDED = "ended"  # the attempt has said all it had to say
    BROKEN = "broken"  # an actor is gone


@dataclass(frozen=True)
class GangName:
    """The attempt of a gang, in the name of its placement group and, with a rank, of its actors."""

    job_id: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.job_id}/{self.attempt}"

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read the name of a group or an actor."""
        job_id, attempt, *_ = name.split("/")
        return cls(job_id, int(attempt))


class Gang:
    """A gang as its dispatcher sees it: `poll` moves it on and never blocks for long."""

    def __init__(self, settings: Settings, lease: Lease) -> None:
        self.lease = lease
        self.name = GangName(lease.job_id, lease.attempt)
        self.phase = Phase.PLACING
        self.message = ""
        self.started_at = time.monotonic()
        self._settings = settings
        self._group: Any = None
        self._workers: list[Any] = []
        self._waiting_for: list[Any] = []

    @classmethod
    def start(cls, settings: Settings, lease: Lease) -> Self:
        """Ask the cluster for room; the actors follow when there is."""
        gang = cls(settings, lease)
        gang._group = placement_group(
            bundles(lease.spec.resources), strategy="PACK", name=str(gang.name), lifetime="detached"
        )
        gang._waiting_for = [gang._group.ready()]
        return gang

    @classmethod
    def adopt(cls, settings: Settings, lease: Lease) -> Self:
        """A gang that another dispatcher started and that still runs. Raises ValueError if part of it is gone."""
        gang = cls(settings, lease)
        gang._group = get_placement_group(str(gang.name))
        ranks = range(lease.spec.resources.workers)
        gang._workers = [ray.get_actor(f"{gang.name}/{rank}", NAMESPACE) for rank in ranks]
        gang._watch()
        return gang

    def poll(self) -> Phase:
        """Look what has happened, and take the next step when there is one."""
        try:
            if self.phase in (Phase.PLACING, Phase.MEETING, Phase.RUNNING):
                done, waiting = ray.wait(self._waiting_for, num_returns=len(self._waiting_for), timeout=0)
                answers = ray.get(done)
                if self.phase is Phase.RUNNING and any(answers):
                    self._break(" ".join(filter(None, answers)))
                elif not waiting:
                    self._next(answers)
        except RayActorError as error:
            self._break(f"a worker died: {error}")
        except RayTaskError as error:
            self._break(f"a worker does not start: {error.cause}")
        except RayError as error:
            self._break(str(error))
        return self.phase

    def end(self) -> None:
        """End what is left of the gang and give its room back."""
        for worker in self._workers:
            ray.kill(worker)
        if self._group is not None:
            remove_placement_group(self._group)

    def _next(self, answers: list[Any]) -> None:
        match self.phase:
            case Phase.PLACING:
                self._workers = [self._start_worker(rank) for rank in range(self.lease.spec.resources.workers)]
                self._waiting_for = [worker.get_ready.remote() for worker in self._workers]
                self.phase = Phase.MEETING
            case Phase.MEETING:
                for worker in self._workers:
                    worker.run.remote(answers[0])
                self._watch()
            case Phase.RUNNING:
                self.phase = Phase.ENDED

    def _break(self, message: str) -> None:
        self.phase, self.message = Phase.BROKEN, " ".join(message.split())[:300]

    def _watch(self) -> None:
        self._waiting_for = [worker.wait_for_end.remote() for worker in self._workers]
        self.phase = Phase.RUNNING

    def _start_worker(self, rank: int) -> Any:
        resources = self.lease.spec.resources
        actor = ray.remote(Worker).options(
            name=f"{self.name}/{rank}",
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=resources.cpus_per_worker,
            num_gpus=resources.gpus_per_worker,
            max_concurrency=2,  # run, and whoever waits for its end
            runtime_env={"env_vars": ALLOCATOR},
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=rank),
        )
        return actor.remote(self._settings, self.lease, rank)
