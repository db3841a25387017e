"""Sides: what is measured in turn, each in a process of its own where it computes, and a row of what came of it."""

import importlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

MOST_ROUNDS = 9
OWN = ("tests", "ganservice", "workers")


class Missing(Exception):
    """A peer that is not installed, or instructions that the processor has not: a row says so."""


@dataclass(frozen=True)
class Budget:
    """The time that a part may take, s; a tiny one takes a single round of the smallest sizes."""

    seconds: float
    is_tiny: bool = False

    def share(self, parts: int) -> Self:
        """One of so many equal shares."""
        return type(self)(self.seconds / parts, self.is_tiny)

    def size(self, full: int, tiny: int) -> int:
        """How much of something is measured."""
        return tiny if self.is_tiny else full


@dataclass(frozen=True)
class Side:
    """Something that measures itself, in the unit of its row."""

    name: str
    measure: Callable[[], float]


@dataclass(frozen=True)
class Row:
    """Two sides and what they measured, round by round; or why one could not."""

    what: str  # and its unit
    ours: str
    other: str
    figures: list[tuple[float, float]] = field(default_factory=list)
    trouble: str = ""

    @property
    def medians(self) -> tuple[float, float]:
        """The median of each side."""
        ours, other = zip(*self.figures, strict=True)
        return statistics.median(ours), statistics.median(other)

    @property
    def ratio(self) -> float:
        """Our median over the other's."""
        ours, other = self.medians
        return ours / other

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest ratio of a round."""
        ratios = [ours / other for ours, other in self.figures]
        return min(ratios), max(ratios)


def take_turns(what: str, ours: Side, others: Sequence[Side], budget: Budget) -> list[Row]:
    """Measure all sides once a round, for as many rounds as the budget has time for, but one; a row for each other.

    The first round warms up and is not counted, unless the budget is tiny. A side that fails leaves the rounds, and
    its row says why; where it is ours its error is raised.
    """
    rows = {other.name: Row(what, ours.name, other.name) for other in others}
    troubles: dict[str, str] = {}
    begun, counted = time.monotonic(), 0
    warms_up = not budget.is_tiny
    while counted < (1 if budget.is_tiny else MOST_ROUNDS):
        round_begun = time.monotonic()
        our_figure = ours.measure()
        for other in others:
            if other.name not in troubles:
                figure, trouble = _measured(other)
                if trouble:
                    troubles[other.name] = trouble
                elif not warms_up:
                    rows[other.name].figures.append((our_figure, figure))
        counted += not warms_up
        warms_up = False
        now = time.monotonic()
        if len(troubles) == len(others) or (counted and 2 * now - round_begun > begun + budget.seconds):
            break
    return [Row(what, ours.name, name, row.figures, troubles.get(name, "")) for name, row in rows.items()]


def _measured(side: Side) -> tuple[float, str]:
    try:
        return side.measure(), ""
    except Missing as missing:
        return 0.0, str(missing)
    except Exception as error:  # noqa: BLE001 # a peer's trouble is its row's, and no other's
        return 0.0, f"failed: {type(error).__name__}: {error}"


def seconds(compute: Callable[[], object]) -> float:
    """How long a computation takes."""
    began = time.perf_counter()
    compute()
    return time.perf_counter() - began


def start_processes(*, from_one: bool) -> None:
    """How processes that measure begin: each anew, with the environment of its side; or all of them from one that has
    imported what they need, which takes less, but the C library has read its environment then."""
    multiprocessing.set_start_method("forkserver" if from_one else "spawn")
    multiprocessing.set_forkserver_preload([f"{__package__}.training", f"{__package__}.evaluation"])


def call(name: str, *arguments: Any) -> Any:
    """What a function of this package, written `module:function`, returns. Raises Missing without what it imports."""
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(f"{__package__}.{module}"), function)(*arguments)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in OWN:
            raise
        raise Missing(f"not installed: {error.name.partition('.')[0]}") from error


class Child:
    """A process that measures when it is asked, begun at the first asking; `build` returns what measures there."""

    def __init__(self, build: str, *arguments: Any, environment: dict[str, str] | None = None) -> None:
        context: Any = multiprocessing.get_context()
        self._pipe, theirs = context.Pipe()
        self._environment = dict(os.environ) | (environment or {})
        self._process = context.Process(target=_serve, args=(theirs, self._environment, build, arguments))

    def measure(self) -> float:
        """Have it measure once. Raises what it raises there."""
        self.ask()
        return self.answer()

    def ask(self) -> None:
        """Have it begin to measure."""
        if self._process.pid is None:
            with _variables(self._environment):
                self._process.start()
        self._pipe.send("measure")

    def answer(self) -> float:
        """Wait for what it measured. Raises what it raises there."""
        while not self._pipe.poll(1):
            if not self._process.is_alive() and not self._pipe.poll():
                raise RuntimeError(f"the process that measures ended with {self._process.exitcode}")
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return float(answer)

    def end(self) -> None:
        """End it, if it was begun."""
        if self._process.pid is not None:
            self._process.kill()  # workers of others take a polite signal for a wish to end later
            self._process.join()
        self._pipe.close()


@contextmanager
def child(name: str, build: str, *arguments: Any, **environment: str) -> Iterator[Side]:
    """A side that stays in one process until the end of the block."""
    process = Child(build, *arguments, environment=environment)
    try:
        yield Side(name, process.measure)
    finally:
        process.end()


def afresh(name: str, function: str, *arguments: Any) -> Side:
    """A side that takes a new process for each measurement, which is what the function returns there."""

    def measure() -> float:
        with child(name, "sides:partial_call", function, *arguments) as side:
            return side.measure()

    return Side(name, measure)


def partial_call(function: str, *arguments: Any) -> Callable[[], float]:
    """What measures by a single call, for `Child`."""
    return partial(call, function, *arguments)


def _serve(pipe: Any, environment: dict[str, str], build: str, arguments: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    measure: Callable[[], float] | None = None
    while True:
        try:
            pipe.recv()
        except EOFError:  # who asks has ended
            return
        try:
            measure = measure or call(build, *arguments)
            assert measure
            pipe.send(measure())
        except Missing as missing:
            pipe.send(missing)
        except Exception as error:  # noqa: BLE001 # the asking process raises it
            pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


@contextmanager
def _variables(changes: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
