"""Plan: which faults strike a run and when, drawn from a seed. Pure: the same seed gives the same plan."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Family(StrEnum):
    """Faults of one family are alike; even a short plan has one of each."""

    KILL = "kill"
    CLUSTER = "cluster"
    SIGNAL = "signal"
    FREEZE = "freeze"
    BROKER = "broker"
    BROKER_ANSWER = "broker answers"
    STORE = "store"
    STORE_ANSWER = "store answers"
    LOSS = "loss"
    CLOCK = "clock"
    DISK = "disk"


class Moment(StrEnum):
    """What a fault waits for before it strikes, for MOMENT_LIMIT_S at most."""

    ANY = "at once"
    STARTING = "a gang starts"
    TRAINING = "a job trains"
    SAVED = "a checkpoint was stored"
    PUBLISHING = "a generator is published"


MOMENT_LIMIT_S = 6.0
LEASE_S = 6.0
BRIEF_S, LONG_S = (0.3, 3.0), (LEASE_S + 2, LEASE_S + 6)


@dataclass(frozen=True)
class Kind:
    """A kind of fault: how often it strikes beside the others, and how long it may hold, in s."""

    name: str
    family: Family
    weight: float
    holds_s: tuple[tuple[float, float], ...] = (BRIEF_S,)


BRIEF_OR_LONG = (BRIEF_S, BRIEF_S, LONG_S)
KINDS = (
    Kind("kill worker", Family.KILL, 10),
    Kind("kill dispatcher", Family.KILL, 8),
    Kind("kill both dispatchers", Family.KILL, 3, BRIEF_OR_LONG),
    Kind("kill broker", Family.KILL, 6, BRIEF_OR_LONG),
    Kind("kill store", Family.KILL, 6, BRIEF_OR_LONG),
    Kind("kill exporter", Family.KILL, 1),
    Kind("kill node", Family.CLUSTER, 3),
    Kind("kill head", Family.CLUSTER, 2),
    Kind("term worker", Family.SIGNAL, 4),
    Kind("term dispatcher", Family.SIGNAL, 4),
    Kind("interrupt dispatcher", Family.SIGNAL, 2),
    Kind("freeze worker", Family.FREEZE, 5, BRIEF_OR_LONG),
    Kind("freeze dispatcher", Family.FREEZE, 5, BRIEF_OR_LONG),
    Kind("freeze broker", Family.FREEZE, 4, BRIEF_OR_LONG),
    Kind("freeze store", Family.FREEZE, 4, BRIEF_OR_LONG),
    *(
        Kind(f"broker {way}", Family.BROKER, 3, BRIEF_OR_LONG)
        for way in ("drop_requests", "drop_replies", "halve_replies", "delay", "cut", "refuse")
    ),
    *(
        Kind(f"broker answers {answer}", Family.BROKER_ANSWER, 2, BRIEF_OR_LONG)
        for answer in ("readonly", "oom", "noreplicas", "misconf", "loading", "clusterdown", "busy")
    ),
    *(
        Kind(f"store {way}", Family.STORE, 3, BRIEF_OR_LONG)
        for way in ("drop_requests", "drop_replies", "halve_replies", "delay", "cut", "refuse")
    ),
    *(
        Kind(f"store answers {answer}", Family.STORE_ANSWER, 2.5, BRIEF_OR_LONG)
        for answer in ("403", "500", "503", "507")
    ),
    Kind("cut AOF back", Family.LOSS, 5, ((0.2, 1.0),)),
    Kind("flush scripts", Family.LOSS, 2),
    Kind("clock forward", Family.CLOCK, 3, BRIEF_OR_LONG),
    Kind("clock back", Family.CLOCK, 3, BRIEF_OR_LONG),
    Kind("fill the store's disk", Family.DISK, 3, BRIEF_OR_LONG),
    Kind("fill the broker's disk", Family.DISK, 3, BRIEF_OR_LONG),
)


@dataclass(frozen=True)
class Fault:
    """One fault: it strikes `pause_s` after the one before and its `moment`, and is mended after `hold_s`."""

    number: int
    kind: Kind
    moment: Moment
    pause_s: float
    hold_s: float
    choice: int  # which of several victims
    overlaps: bool  # whether the next one does not wait until this one is mended

    def __str__(self) -> str:
        return f"{self.kind.name} for {self.hold_s:.1f} s, when: {self.moment}"


def draw_plan(seed: int, count: int, families: Sequence[Family] = tuple(Family)) -> list[Fault]:
    """`count` faults of these families, of each one at least where there are so many."""
    draws = random.Random(seed)
    possible = [kind for kind in KINDS if kind.family in families]
    first = [draws.choice([kind for kind in possible if kind.family is family]) for family in families]
    draws.shuffle(first)
    kinds = first[:count]
    if len(kinds) < count:
        # The rarest kinds too, where there is room; then by weight.
        rest = [kind for kind in possible if kind not in kinds]
        kinds += rest if count >= 2 * len(possible) else []
        kinds += draws.choices(possible, [kind.weight for kind in possible], k=count - len(kinds))
        draws.shuffle(kinds)
    return [_fault(draws, number, kind) for number, kind in enumerate(kinds, start=1)]


def _fault(draws: random.Random, number: int, kind: Kind) -> Fault:
    return Fault(
        number=number,
        kind=kind,
        moment=draws.choice(list(Moment)),
        pause_s=draws.uniform(0.2, 2.0),
        hold_s=draws.uniform(*draws.choice(kind.holds_s)),
        choice=draws.randrange(1_000),
        overlaps=draws.random() < 0.4,
    )
