"""Gang: the N Ray actors of one attempt, in one placement group, all or none.

Gangs are detached: they live on when their dispatcher dies, and the next one finds them by name and carries on where
they stand. Each step is safe to repeat, by two dispatchers too: which worker has which place is written down once,
actors are found or made by their names, and a worker takes its place once and runs once however often it is told.
"""

import contextlib
import logging
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util import get_placement_group, placement_group, placement_group_table, remove_placement_group

from ganservice.job import Lease
from ganservice.mistakes import one_line
from ganservice.model import cut_at_word
from ganservice.settings import Settings
from workers.dispatch import actors, seats
from workers.dispatch.demand import bundles
from workers.dispatch.gpus import ask_place
from workers.dispatch.name import GangName
from workers.dispatch.pool import WarmPool

log = logging.getLogger(__name__)

# Ray 2.60 may lose for good what a group is about to get when it is removed in that moment, of milliseconds.
PLACING_MOMENT_S = 5.0
# So that nothing is about to be given to a group that is not placed yet.
WAITS_FOR_ROOM = ("NO_RESOURCES", "INFEASIBLE")
# By which Ray itself labels each node.
NODE_LABEL = "ray.io/node-id"
# A warm worker answers within milliseconds; one that does not is frozen, or its node is. With GPUs it waits for who
# tells it which, a process that Ray may have to start first, and then for CUDA.
ANSWER_S, ANSWER_OF_GPUS_S = 1.0, 15.0
# Within which Ray tells a worker that is waited for which GPUs it has, or never: something else then has them.
GPUS_LIMIT_S = 120.0
# Of what a gang has broken by; Ray writes paragraphs, of which the first names ids and the second says why.
MESSAGE_CHARS = 240
DEAD_BECAUSE = "The actor is dead because "


class Phase(StrEnum):
    """How far a gang is."""

    PLACING = "placing"  # waits for its placement group
    SEATING = "seating"  # asks warm workers to take its places
    MEETING = "meeting"  # its actors start and get ready
    RUNNING = "running"
    ENDED = "ended"  # the attempt has said all it had to say
    BROKEN = "broken"  # an actor is gone


@dataclass(frozen=True)
class _Asked:
    """A warm worker that was asked to take a place, and its answer: where to meet, or nothing if it has another one."""

    name: str
    worker: Any
    answer: Any  # None of one that is not ready, and is waited for as one that is started for the place

    def has_taken(self) -> bool:
        if self.answer is None:
            return True
        with contextlib.suppress(RayError):
            return bool(ray.wait([self.answer], timeout=0)[0] and ray.get(self.answer))
        return False


class Gang:
    """A gang as its dispatcher sees it: `poll` moves it on and never blocks for long."""

    def __init__(
        self,
        settings: Settings,
        lease: Lease,
        avoided: frozenset[str] = frozenset(),
        warm: WarmPool | None = None,
    ) -> None:
        self.lease = lease
        self.avoided = avoided  # nodes on which it is not placed, as far as this dispatcher knows
        self.name = GangName(lease.job_id, lease.attempt)
        self.phase = Phase.PLACING
        self.phase_since = time.monotonic()
        self.holds_room = True  # or waits for it
        self.message = ""
        self._settings = settings
        self._warm = warm
        self._asked: dict[int, _Asked] = {}  # by rank
        self._group: Any = None  # by which it holds its room
        self._keeps_room = bool(lease.spec.resources.gpus_per_worker)  # a worker's memory on them is free when it ends
        self._nodes: tuple[str, ...] = ()
        self._workers: list[Any] = []
        self._waiting_for: list[Any] = []
        self._gpus: list[Any] = []  # of each place, as Ray is to tell its worker

    @classmethod
    def start(
        cls,
        settings: Settings,
        lease: Lease,
        avoided: frozenset[str] = frozenset(),
        warm: WarmPool | None = None,
    ) -> Self:
        """Ask the cluster for room on other nodes than the avoided ones; the actors follow when there is."""
        gang = cls(settings, lease, avoided, warm)
        selector = {NODE_LABEL: f"!in({','.join(sorted(avoided))})"} if avoided else {}
        gang._group = placement_group(
            bundles(lease.spec.resources),
            strategy="PACK",
            name=str(gang.name),
            lifetime="detached",
            bundle_label_selector=[selector] * lease.spec.resources.workers,
        )
        gang._place()
        return gang

    @classmethod
    def adopt(cls, settings: Settings, lease: Lease, *, has_begun: bool, warm: WarmPool | None = None) -> Self:
        """A gang that another dispatcher started; one that has not begun goes on where it stands.

        Raises:
            ValueError: part of it is gone.
        """
        gang = cls(settings, lease, warm=warm)
        with contextlib.suppress(ValueError):
            gang._group = get_placement_group(str(gang.name))
        gang.holds_room = gang._group is not None
        count = lease.spec.resources.workers
        for place in gang._places:
            name = seats.holder(place) or place
            with contextlib.suppress(ValueError):
                gang._workers.append(actors.find(name))
                gang._keeps_room |= name == place  # which a worker ends with that an earlier release started in it
        left = len(gang._workers)
        if not gang.holds_room and not has_begun:
            raise ValueError("its room is gone")
        if left == 0 and not has_begun:
            gang._place()
        elif left < count:
            raise ValueError(f"{count - left} of its {count} workers are gone")
        elif has_begun or not hasattr(gang._workers[0], "take"):  # a worker of 0.1.0
            gang._watch()
        else:
            gang._meet()
        return gang

    @property
    def nodes(self) -> tuple[str, ...]:
        """The node of each worker, by Ray's id, once all are known."""
        if self.phase is not Phase.PLACING and not self._nodes:
            nodes = self._placed() if self._group is not None else [actors.node_of(each) for each in self._workers]
            self._nodes = tuple(nodes) if all(nodes) else ()
        return self._nodes

    def poll(self) -> Phase:
        """Look what has happened, and take the next step when there is one."""
        try:
            if self.phase is Phase.SEATING:
                self._seat()
            elif self.phase is Phase.MEETING and self._has_no_word_of_gpus():
                self._break(f"Ray has not told in {GPUS_LIMIT_S:.0f} s which GPUs its places have")
            elif self.phase in (Phase.PLACING, Phase.MEETING, Phase.RUNNING):
                done, waiting = ray.wait(self._waiting_for, num_returns=len(self._waiting_for), timeout=0)
                answers = ray.get(done)
                if self.phase is Phase.RUNNING and any(answers):
                    self._break(" ".join(filter(None, answers)))
                elif not waiting:
                    self._next(answers)
        except RayActorError as error:
            self._break(f"a worker died: {_why_dead(str(error))}")
        except RayTaskError as error:
            self._break(f"a worker does not start: {error.cause}")
        except (RayError, ValueError) as error:
            self._break(str(error))
        return self.phase

    def vacate(self) -> None:
        """Give the room back while the workers go on, of which the first makes the last files: they take little.

        Not where they have GPUs, whose memory they hold until they end.
        """
        if self._keeps_room or not self.holds_room or not self.nodes:
            return
        log.info("gang %s has its room no more", self.name)
        remove_group(self._group)
        self._group, self.holds_room = None, False

    def end(self) -> None:
        """End what is left of the gang and give its room back."""
        for worker in (*self._workers, *(asked.worker for asked in self._asked.values())):
            ray.kill(worker)
        seats.free(self.name)
        if self._group is not None:
            remove_group(self._group)

    def _next(self, answers: list[Any]) -> None:
        match self.phase:
            case Phase.PLACING:
                self._ask_warm()
            case Phase.MEETING if not all(answers):
                self._break("a worker does not take its place: it sees none of its GPUs there, or the code has changed")
            case Phase.MEETING:
                for worker in self._workers:
                    worker.run.remote(answers[0])
                self._watch()
            case Phase.RUNNING:
                self._enter(Phase.ENDED, [])

    def _place(self) -> None:
        self._enter(Phase.PLACING, [self._group.ready()])

    def _ask_warm(self) -> None:
        """Ask an idle worker of each place's node to take it."""
        self._enter(Phase.SEATING, [])
        if self._warm is None:
            return
        for rank, (place, node) in enumerate(zip(self._places, self.nodes, strict=False)):
            if seats.holder(place) is None and (found := self._warm.take(node)):
                answer = self._take(found.worker, rank) if found.is_ready else None
                self._asked[rank] = _Asked(found.name, found.worker, answer)

    def _seat(self) -> None:
        """Write down who has which place once all have answered, or have had their time."""
        answers = [asked.answer for asked in self._asked.values() if asked.answer is not None]
        _, waiting = ray.wait(answers, num_returns=len(answers), timeout=0) if answers else ([], [])
        limit_s = ANSWER_OF_GPUS_S if self.lease.spec.resources.gpus_per_worker else ANSWER_S
        if waiting and time.monotonic() - self.phase_since < limit_s:
            return
        for rank in range(len(self._workers), len(self._places)):  # one by one: `end` ends those before one that fails
            self._workers.append(self._seated(rank, self._places[rank]))
        self._asked = {}
        self._meet()

    def _seated(self, rank: int, place: str) -> Any:
        """The worker of a place: what was asked if it has taken it, or else one that is started for it; another one if
        a dispatcher has been here before."""
        asked = self._asked.get(rank)
        mine = asked.name if asked and asked.has_taken() else place
        name = seats.give(place, mine)
        if asked and name != asked.name:
            ray.kill(asked.worker)
        if name == place:
            return self._start(rank, place)
        return asked.worker if asked and name == asked.name else actors.find(name)

    def _has_no_word_of_gpus(self) -> bool:
        """Whether Ray has had its time to tell of all of them."""
        if not self._gpus or time.monotonic() - self.phase_since < GPUS_LIMIT_S:
            return False
        return bool(ray.wait(self._gpus, num_returns=len(self._gpus), timeout=0)[1])

    def _meet(self) -> None:
        self._gpus = []
        self._enter(Phase.MEETING, [self._take(worker, rank) for rank, worker in enumerate(self._workers)])

    def _take(self, worker: Any, rank: int) -> Any:
        arguments = [self._settings.for_workers(), self.lease, rank]
        if gpus := self.lease.spec.resources.gpus_per_worker:
            self._gpus.append(ask_place(self._group, rank, gpus))
            arguments.append(self._gpus[-1])
        return worker.take.remote(*arguments)

    def _watch(self) -> None:
        self._enter(Phase.RUNNING, [worker.wait_for_end.remote() for worker in self._workers])

    def _enter(self, phase: Phase, waiting_for: list[Any]) -> None:
        self.phase, self.phase_since, self._waiting_for = phase, time.monotonic(), waiting_for

    def _break(self, message: str) -> None:
        text = one_line(message)
        if len(text) > MESSAGE_CHARS:
            log.warning("gang %s: %s", self.name, text)
            text = f"{cut_at_word(text, MESSAGE_CHARS)} (the whole of it is in the dispatcher's log)"
        self.phase, self.message = Phase.BROKEN, text

    def _placed(self) -> list[str]:
        """The node of each place; empty of one whose node has died, until it has another one."""
        placed = placement_group_table(self._group).get("bundles_to_node_id", {})
        return [placed.get(rank, "") for rank in range(self.lease.spec.resources.workers)]

    @property
    def _places(self) -> list[str]:
        return [f"{self.name}/{rank}" for rank in range(self.lease.spec.resources.workers)]

    def _start(self, rank: int, place: str) -> Any:
        """Start a worker on the node of its place."""
        if not self.nodes:
            raise ValueError("a node of its room is gone")
        return actors.start(place, self.nodes[rank])


def _why_dead(text: str) -> str:
    """What Ray says of why an actor is dead; all that it says where it does not."""
    return text.partition(DEAD_BECAUSE)[2] or text


def remove_group(group: Any) -> None:
    """Remove a placement group, placed or not, but not while Ray is placing it."""
    deadline = time.monotonic() + PLACING_MOMENT_S
    while _is_being_placed(group) and time.monotonic() < deadline:
        time.sleep(0.01)
    remove_placement_group(group)


def _is_being_placed(group: Any) -> bool:
    known = placement_group_table(group)
    if not known or known["state"] not in ("PENDING", "PREPARED"):
        return False
    return known["stats"]["scheduling_state"] not in WAITS_FOR_ROOM
