"""Decides which warm workers there should be: idle ones, on nodes that take work, for the next gang. Pure."""

import secrets
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from workers.dispatch import sources

PREFIX = "warm"


@dataclass(frozen=True, order=True)
class WarmName:
    """The name of a warm worker: by code of which release it was started, and on which node, by Ray's id."""

    release: str
    node: str
    key: str

    def __str__(self) -> str:
        return f"{PREFIX}/{self.release}/{self.node}/{self.key}"

    @classmethod
    def new(cls, node: str) -> Self:
        """A name that no other worker has, of this release."""
        return cls(sources.release(), node, secrets.token_hex(8))

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Read the name of a worker; None of one that was started for a gang."""
        words = name.split("/")
        return cls(*words[1:]) if words[0] == PREFIX and len(words) == 4 else None


class Stage(StrEnum):
    """How far a warm worker is, as far as this dispatcher knows."""

    STARTING = "starting"  # by this dispatcher, so that no gang has it yet
    ASKED = "asked"  # it has not yet said whether a gang has it, of an earlier dispatcher
    IDLE = "idle"
    TAKEN = "taken"  # by a gang, which ends it


@dataclass(frozen=True)
class Plan:
    """What makes the warm workers that there are be those that there should be."""

    end: list[WarmName]
    start: list[str]  # nodes, for one worker each


def plan(known: Mapping[WarmName, Stage], nodes: Collection[str], count: int, release: str) -> Plan:
    """Have `count` idle workers of this release on each of `nodes`, and none elsewhere.

    One that was asked may be a gang's: it is left alone, and no other one is started beside it.
    """
    idle = sorted(name for name, stage in known.items() if stage is Stage.IDLE)
    kept = Counter[str]()
    end = []
    for name in idle:
        if name.release != release or name.node not in nodes or kept[name.node] >= count:
            end.append(name)
        else:
            kept[name.node] += 1
    starting = sorted(name for name, stage in known.items() if stage is Stage.STARTING)
    end += [name for name in starting if name.node not in nodes or not count]
    busy = {name.node for name, stage in known.items() if stage in (Stage.STARTING, Stage.ASKED)}
    return Plan(end=end, start=[node for node in sorted(nodes) if kept[node] < count and node not in busy])
