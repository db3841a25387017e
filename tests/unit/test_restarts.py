"""A part that ends is started again for ever, after pauses that grow."""

from pathlib import Path

import pytest

from ganservice.embedded.restarts import LONGEST_PAUSE_S, STEADY_S, Restarts, pause_s


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 1e9

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ganservice.embedded.restarts.time", clock)
    return clock


@pytest.fixture
def restarts(tmp_path: Path) -> Restarts:
    return Restarts(tmp_path / "restarts.json")


def end_until_due(restarts: Restarts, clock: Clock) -> float:
    """End the part, wait until it may be started, start it; how long that took."""
    ended_at = clock.now
    while not restarts.is_due("broker"):
        clock.now += 0.5
    restarts.note_start("broker")
    return clock.now - ended_at


def test_pauses_grow_to_a_minute_and_never_end(restarts: Restarts, clock: Clock) -> None:
    assert [end_until_due(restarts, clock) for _ in range(12)] == [0, 1, 2, 4, 8, 16, 32, *5 * [LONGEST_PAUSE_S]]


def test_a_part_that_was_steady_begins_anew(restarts: Restarts, clock: Clock) -> None:
    for _ in range(5):
        end_until_due(restarts, clock)
    assert not restarts.recorded()["broker"].is_over(clock.now)
    clock.now += STEADY_S + 1
    assert restarts.recorded()["broker"].is_over(clock.now)
    assert end_until_due(restarts, clock) == 0
    assert restarts.recorded()["broker"].ends == 1


def test_who_forgets_ends_the_pause(restarts: Restarts, clock: Clock, tmp_path: Path) -> None:
    for _ in range(6):
        end_until_due(restarts, clock)
    assert not restarts.is_due("broker")
    Restarts(tmp_path / "restarts.json").forget()  # another process, as `up -d` is
    assert restarts.is_due("broker")


def test_a_clock_that_is_set_back_makes_no_pause_longer(restarts: Restarts, clock: Clock) -> None:
    for _ in range(6):
        end_until_due(restarts, clock)
    assert not restarts.is_due("broker")
    clock.now -= 3600
    assert restarts.is_due("broker")


def test_each_part_has_its_own_count(restarts: Restarts, clock: Clock) -> None:
    for _ in range(4):
        end_until_due(restarts, clock)
    assert restarts.is_due("store")


def test_where_nothing_can_be_written_pauses_grow_all_the_same(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").write_text("in the way")
    restarts = Restarts(tmp_path / "file" / "restarts.json")
    assert [end_until_due(restarts, clock) for _ in range(4)] == [0, 1, 2, 4]


def test_a_pause_is_never_longer_than_the_longest() -> None:
    assert max(map(pause_s, range(10_000))) == LONGEST_PAUSE_S


@pytest.mark.parametrize("damage", ["", "[]", '{"broker": 1}'])
def test_a_file_that_the_power_took_is_none(restarts: Restarts, tmp_path: Path, damage: str) -> None:
    (tmp_path / "restarts.json").write_text(damage)
    assert restarts.recorded() == {}
