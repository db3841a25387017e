"""The benchmark's own arithmetic: turns, ratios, what is missing, what is trained in which precision."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ganservice.recipe import Recipe
from tests.benchmarks import sides, table, training
from tests.benchmarks.sides import Budget, Missing, Row, Side, take_turns

NO_TIME = Budget(0.0)


def counter(*figures: float) -> Callable[[], float]:
    """What gives one figure after the other, and then the last one for ever."""
    left = list(figures)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def fails_with(error: Exception) -> Callable[[], float]:
    def measure() -> float:
        raise error

    return measure


def test_a_ratio_is_that_of_the_medians_and_the_spread_that_of_rounds() -> None:
    row = Row("x", "ours", "other", [(2.0, 1.0), (3.0, 1.0), (40.0, 10.0)])
    assert row.medians == (3.0, 1.0)
    assert row.ratio == 3.0
    assert row.spread == (2.0, 4.0)


def test_sides_take_turns_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []

    def side(name: str, *figures: float) -> Side:
        figure = counter(*figures)

        def measure() -> float:
            order.append(name)
            return figure()

        return Side(name, measure)

    [row] = take_turns("x", side("ours", 100.0, 2.0), [side("other", 100.0, 1.0)], NO_TIME)
    assert row.figures == [(2.0, 1.0)], "one round is counted however short the time is"
    assert order == ["ours", "other"] * 2


def test_rounds_end_where_there_are_enough() -> None:
    [row] = take_turns("x", Side("ours", counter(1.0)), [Side("other", counter(1.0))], Budget(1e9))
    assert len(row.figures) == sides.MOST_ROUNDS


def test_a_peer_that_is_missing_or_fails_is_a_row_that_says_so_and_no_failure_of_others() -> None:
    others = [
        Side("absent", fails_with(Missing("not installed: rq"))),
        Side("broken", fails_with(ValueError("gives 2, ours 1"))),
        Side("present", counter(1.0)),
    ]
    absent, broken, present = take_turns("x", Side("ours", counter(1.0)), others, Budget(0.0, is_tiny=True))
    assert (absent.trouble, broken.trouble) == ("not installed: rq", "failed: ValueError: gives 2, ours 1")
    assert present.figures == [(1.0, 1.0)]
    assert "absent: not installed: rq" in table.line("jobs", absent)


def test_what_fails_on_our_side_is_raised() -> None:
    with pytest.raises(ValueError, match="ours"):
        take_turns("x", Side("ours", fails_with(ValueError("ours"))), [Side("other", counter(1.0))], NO_TIME)


def test_a_peer_that_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tests.benchmarks.peers.rq_worker", raising=False)
    monkeypatch.setitem(sys.modules, "rq", None)
    with pytest.raises(Missing, match=r"^not installed: rq$"):
        sides.call("peers.rq_worker:worked_per_s")


def test_a_module_of_ours_that_is_missing_is_no_peer() -> None:
    with pytest.raises(ModuleNotFoundError):
        sides.call("peers.nobody:build")


def test_a_child_measures_and_says_what_it_raised() -> None:
    side = sides.afresh("own", "no_op:jobs_per_s", 3)
    with pytest.raises(RuntimeError, match="ValueError: 0 of 3 jobs ran"):
        side.measure()


def test_the_processor_is_named_with_its_widest_instructions(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Some Processor\nflags\t\t: fpu avx2 avx512f\n")
    assert table.processor(cpuinfo) == "Some Processor (avx512f, avx2)"
    assert table.processor(tmp_path / "none") == "an unknown processor (without AVX2)"


def test_where_bf16_does_not_pay_everything_is_trained_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    @contextmanager
    def child(name: str, build: str, recipe: Recipe, *_: Any, **__: str) -> Iterator[Side]:
        del build
        trained.append(recipe.precision_option)
        yield Side(name, counter(1.0))

    monkeypatch.setattr(training, "bf16_pays", lambda _: False)
    monkeypatch.setattr(training, "child", child)
    rows = list(training.rows(NO_TIME))
    assert set(trained) == {"fp32"}
    assert [row.what for row in rows if not row.figures] == ["DCGAN 28 px, batch 64, in bf16, images/s"]
