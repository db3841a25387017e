"""WarmPool: workers that have imported all that an attempt needs, and wait on their nodes for a gang to take them.

They are detached, as gangs are, and hold no room: a gang's placement group does. Each dispatcher asks those that it
finds whether a gang has them.
"""

import contextlib
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from workers.dispatch import actors, seats, sources
from workers.dispatch.warm import Plan, Stage, WarmName, plan

log = logging.getLogger(__name__)

# The next one imports torch once the gang that took the last one is surely at work: they may share their cores.
REFILL_AFTER_S = 2.0
# Of a node on which one has just ended by itself, as where memory or torch is missing: no other one is started.
REST_S = 30.0
# So many in one go, each of milliseconds: the dispatcher has other things to do.
STARTS = 20
# Imports take a minute on a busy machine; one that takes longer hangs.
START_LIMIT_S = 600.0
# One that was started so lately is ahead of any that a gang would start now.
YOUNG_S = 30.0


@dataclass
class _Member:
    worker: Any
    answer: Any  # by which it says, once it is ready, which place it has
    since: float
    stage: Stage


@dataclass(frozen=True)
class Candidate:
    """A warm worker that a gang may have; one that is not ready yet answers once it is."""

    name: str
    worker: Any
    is_ready: bool


class WarmPool:
    """The warm workers of the cluster as one leading dispatcher knows them."""

    def __init__(self) -> None:
        self._members: dict[WarmName, _Member] = {}
        self._rests: dict[str, float] = {}  # until when nothing is started on a node
        self._refill_at = 0.0

    def tend(self, nodes: Collection[str], count: int, *, may_start: bool) -> None:
        """Have `count` idle ones on each of these nodes and none elsewhere, one step at a time; never blocks."""
        now = time.monotonic()
        found = {name for each in actors.names() if (name := WarmName.parse(each))}
        self._forget(self._members.keys() - found, now)
        self._meet(found - self._members.keys())
        self._listen(now)
        self._follow(self._plan(nodes, count, now), may_start=may_start and now >= self._refill_at)

    def take(self, node: str) -> Candidate | None:
        """A worker of this release on a node that no gang has, if there is one; it is the caller's from here on."""
        now = time.monotonic()
        self._listen(now)
        own = sources.release()
        here = [(name, each) for name, each in self._members.items() if (name.node, name.release) == (node, own)]
        idle = [each for each in here if each[1].stage is Stage.IDLE]
        young = [each for each in here if each[1].stage is Stage.STARTING]
        for name, member in (*idle, *(each for each in young if now - each[1].since < YOUNG_S)):
            is_ready, member.stage = member.stage is Stage.IDLE, Stage.TAKEN
            self._refill_at = now + REFILL_AFTER_S
            return Candidate(str(name), member.worker, is_ready)
        return None

    def _plan(self, nodes: Collection[str], count: int, now: float) -> Plan:
        known = {name: member.stage for name, member in self._members.items()}
        made = plan(known, nodes, count, sources.release())
        return Plan(end=made.end, start=[node for node in made.start if self._rests.get(node, 0.0) <= now])

    def _follow(self, made: Plan, *, may_start: bool) -> None:
        for name in made.end:
            self._end(name, "it is not wanted there any more")
        for node in made.start[:STARTS] if may_start else ():
            name = WarmName.new(node)
            self._add(name, actors.start(str(name), node), Stage.STARTING)

    def _forget(self, gone: Collection[WarmName], now: float) -> None:
        for name in gone:
            if self._members.pop(name).stage is not Stage.TAKEN:
                log.warning("warm worker %s has ended", name)
                self._rests[name.node] = now + REST_S

    def _meet(self, unknown: Collection[WarmName]) -> None:
        """Ask those that another dispatcher has started, unless they are gangs'."""
        taken = seats.holders() if unknown else set()
        for name in unknown:
            with contextlib.suppress(ValueError):  # it has just gone
                self._add(name, actors.find(str(name)), Stage.TAKEN if str(name) in taken else Stage.ASKED)

    def _add(self, name: WarmName, worker: Any, stage: Stage) -> None:
        answer = None if stage is Stage.TAKEN else worker.get_ready.remote()
        self._members[name] = _Member(worker, answer, time.monotonic(), stage)

    def _listen(self, now: float) -> None:
        for name, member in list(self._members.items()):
            if member.stage in (Stage.STARTING, Stage.ASKED):
                self._hear(name, member, now)

    def _hear(self, name: WarmName, member: _Member, now: float) -> None:
        done, _ = ray.wait([member.answer], timeout=0)
        if not done:
            if now - member.since > START_LIMIT_S:
                self._end(name, f"it was not ready in {now - member.since:.0f} s")
            return
        try:
            place = ray.get(member.answer)
        except RayError as error:
            self._end(name, str(error))
            self._rests[name.node] = now + REST_S
            return
        if place and seats.holder(place) != str(name):
            self._end(name, f"it took {place} for a dispatcher that went down before it wrote that down")
        else:
            member.stage = Stage.TAKEN if place else Stage.IDLE

    def _end(self, name: WarmName, why: str) -> None:
        log.info("ending warm worker %s: %s", name, why)
        self._members.pop(name)
        actors.end(str(name))
