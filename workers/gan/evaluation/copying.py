"""Whether a generator repeats its training pictures, or itself."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.gan.evaluation.neighbours import Move, nearest_distances

# A sample is a near copy if only this share of held-out pictures lies as near to a training picture.
RARE = 0.01


@dataclass(frozen=True)
class Copying:
    """How near samples lie to the training pictures, beside held-out pictures of the same source."""

    # Mann-Whitney's statistic in standard deviations: far below 0 where samples lie nearer than held-out pictures.
    score: float
    # Share of samples nearer to a training picture than all but RARE of the held-out ones; RARE without copying.
    near_copies: float


def copying(generated: Tensor, training: Tensor, held_out: Tensor, move: Move = lambda: None) -> Copying:
    """Run the data-copying test of Meehan et al. (2020), of one cell, on features [N, D], [M, D] and [L, D]."""
    near, usual = (nearest_distances(each, training, move=move) for each in (generated, held_out))
    return Copying(
        score=_mann_whitney(near, usual),
        near_copies=(near < usual.quantile(RARE)).double().mean().item(),
    )


def _mann_whitney(x: Tensor, y: Tensor) -> float:
    """Return how many standard deviations more often than by chance an x is above a y (normal approximation)."""
    n, m = len(x), len(y)
    y = y.sort().values
    below = torch.searchsorted(y, x, right=False)
    not_above = torch.searchsorted(y, x, right=True)
    above = (below + not_above).double().sum() / 2  # ties count half
    deviation = (n * m * (n + m + 1) / 12) ** 0.5
    return float((above - n * m / 2) / deviation)


@dataclass(frozen=True)
class Birthdays:
    """Pairs of samples that look the same, and the number of pictures that makes so many of them likely."""

    samples: int
    pairs: int
    # Of a generator of so many equally likely pictures; with no pair at all, a lower bound.
    support: float


def birthdays(generated: Tensor, real: Tensor, move: Move = lambda: None) -> Birthdays:
    """Test for birthdays as Arora & Zhang (2018), "Do GANs actually learn the distribution?", without their human eye.

    Features [N, D] and [M, D]. Two samples look the same where they lie nearer to each other than half of what the
    nearest two of as many real pictures do. S(S - 1) / 2 pairs of S samples meet in a support of N once in N times.
    """
    count = min(len(generated), len(real))
    threshold = nearest_distances(real[:count], real[:count], alike=True, move=move).min() / 2
    samples = generated[:count].double()
    pairs = 0
    for first in range(0, count, 1_000):
        move()
        distances = torch.cdist(samples[first : first + 1_000], samples)
        pairs += int((distances <= threshold).triu(diagonal=first + 1).sum())
    return Birthdays(count, pairs, count * (count - 1) / 2 / max(1, pairs))
