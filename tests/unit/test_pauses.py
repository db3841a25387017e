"""When the workers of a gang look whether one of them was told to leave."""

from itertools import pairwise

import pytest

from workers.gan import pauses
from workers.gan.pauses import LOOK_S, Pauses
from workers.gan.worker_group import WorkerGroup


class Clock:
    """A steady clock that a test moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pauses, "time", clock)
    return clock


def looks(clock: Clock, steps_s: list[float]) -> list[float]:
    """The times at which a training looks whose steps take so long."""
    found: list[float] = []

    def look() -> bool:
        found.append(clock.now)
        return False

    schedule = Pauses(look, WorkerGroup())
    for step_s in steps_s:
        clock.now += step_s
        assert not schedule.is_due()
    return found


def test_short_steps_are_counted_to_a_look_every_two_seconds(clock: Clock) -> None:
    times = looks(clock, [0.01] * 3_000)
    between = [later - before for before, later in pairwise(times)]
    assert max(between) == pytest.approx(LOOK_S)
    assert len(times) < 3_000 * 0.01 / LOOK_S + 8


def test_after_each_long_step_there_is_a_look(clock: Clock) -> None:
    assert len(looks(clock, [5.0] * 4)) == 4


def test_steps_that_become_longer_are_soon_looked_at_more_often(clock: Clock) -> None:
    times = looks(clock, [0.1] * 100 + [1.0] * 40)
    assert max(later - before for before, later in pairwise(times[-5:])) <= LOOK_S


def test_a_wish_is_heard_at_the_next_look(clock: Clock) -> None:
    wished_at = 3.0
    schedule = Pauses(lambda: clock.now >= wished_at, WorkerGroup())
    for _ in range(1_000):
        clock.now += 0.01
        if schedule.is_due():
            break
    assert wished_at <= clock.now <= wished_at + LOOK_S + 0.01
