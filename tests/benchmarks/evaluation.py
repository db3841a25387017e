"""Measures of quality of features that are there already, s: ours beside the libraries from which numbers are quoted.

Ours knows the statistics of the real pictures, as a protocol does, and so does TorchMetrics. A library that gives
another number than ours has failed.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tests.benchmarks.sides import Budget, Row, Side, child, seconds, take_turns
from tests.benchmarks.training import use_cores
from workers.gan.evaluation.frechet import frechet_distance, statistics
from workers.gan.evaluation.neighbours import Kind, Manifolds, manifolds


@dataclass(frozen=True)
class Features:
    """Features of real and of generated pictures, [N, D] each, drawn from a seed."""

    count: int
    width: int

    @cached_property
    def both(self) -> tuple[Tensor, Tensor]:
        """Of the real ones and of the generated ones; the others lie a little apart."""
        draws = torch.Generator().manual_seed(0)
        real = torch.randn(self.count, self.width, generator=draws)
        return real, 1.1 * torch.randn(self.count, self.width, generator=draws) + 0.1


def rows(budget: Budget) -> Iterator[Row]:
    frechet = Features(budget.size(4_000, 60), budget.size(2_048, 32))
    near = Features(budget.size(5_000, 60), budget.size(512, 8))
    yield from _compared(
        f"Frechet, {frechet.count:,} x {frechet.width:,}, s",
        frechet,
        "frechet",
        {"TorchMetrics": "torchmetrics_frechet", "torch-fidelity": "fidelity_frechet", "SciPy's sqrtm": "sqrtm"},
        budget.share(2),
    )
    yield from _compared(
        f"precision, recall, {near.count:,} x {near.width:,}, s",
        near,
        "precision_recall",
        {"prdc": "prdc", "torch-fidelity": "fidelity_precision_recall"},
        budget.share(2),
    )


def _compared(what: str, features: Features, ours: str, others: dict[str, str], budget: Budget) -> Iterator[Row]:
    with ExitStack() as ends:

        def side(name: str, build: str) -> Side:
            return ends.enter_context(child(name, build, features))

        mine = side("ours", f"evaluation:{ours}")
        yield from take_turns(
            what, mine, [side(name, f"peers.measures:{build}") for name, build in others.items()], budget
        )


def frechet(features: Features) -> Callable[[], float]:
    use_cores()
    real, generated = features.both
    known = statistics([real])
    return lambda: seconds(lambda: frechet_distance(known, statistics(generated.split(100))))


def precision_recall(features: Features) -> Callable[[], float]:
    use_cores()
    return lambda: seconds(lambda: manifolds_of(*features.both))


def manifolds_of(real: Tensor, generated: Tensor) -> Manifolds:
    """Ours, of features [N, D] and [M, D]."""
    return manifolds(Kind.of(real), Kind.of(generated))


def same_seconds(compute: Callable[[], tuple[float, ...]], expected: tuple[float, ...]) -> float:
    """The same of one that must give what is expected, but for its own rounding. Raises ValueError."""
    began = time.perf_counter()
    found = compute()
    took_s = time.perf_counter() - began
    if not all(math.isclose(one, other, rel_tol=1e-3) for one, other in zip(found, expected, strict=True)):
        raise ValueError(f"gives {found}, ours {expected}")
    return took_s
