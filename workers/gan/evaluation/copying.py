"""Whether a generator repeats its training pictures, or itself."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.gan.evaluation.blocks import ON_CPU, Blocks
from workers.gan.evaluation.neighbours import Kind, nearest_unlike_distances

# A sample is a near copy if at most this share of the held-out pictures of its cell lies as near to a training picture.
RARE = 0.01
# Held-out pictures of a cell: of fewer, none is that rare. Smaller cells are judged as one, if that has so many.
LEAST_HELD_OUT = 100
# Samples of a cell: of fewer, its statistic tells nothing and does not count.
LEAST_SAMPLES = 20
# Two samples look the same where they are nearer than half of what this share of real pictures is to the nearest other
# one: as many near twins among the real ones, such as one picture saved twice, change nothing.
RARE_MEETING = 0.01


@dataclass(frozen=True)
class Copying:
    """How near samples lie to the training pictures, beside held-out pictures of the same source."""

    # Share of samples, in cells of enough held-out pictures, nearer to a training picture than all but RARE of those:
    # RARE without copying, and less where cells are small; NaN of too few held-out pictures.
    near_copies: float
    # Its standard error: binomial, of samples and held-out pictures.
    error: float
    # Mann-Whitney's statistic in standard deviations, mean over cells: far below 0 where samples lie nearer than
    # held-out pictures; NaN where no cell has enough samples.
    score: float
    score_error: float  # its standard error: by so much it scatters without copying


def copying(near: Tensor, usual: Tensor, cells: Tensor, usual_cells: Tensor) -> Copying:
    """Run the data-copying test of Meehan et al. (2020), "A Non-Parametric Test to Detect Data-Copying", C_T.

    `near` [N] and `usual` [M] are distances of samples and of held-out pictures to the nearest training picture;
    `cells` and `usual_cells`, int64, tell the cell of each. A cell counts by its share of the held-out pictures.
    """
    cells, usual_cells = _without_small(cells, usual_cells)
    copies = judged = score = weight = squares = 0.0
    for cell in usual_cells.unique():
        own, usual_own = near[cells == cell], usual[usual_cells == cell].sort().values
        # Held-out pictures that are training pictures too: beside them, no copy would be rare.
        unlike = usual_own[usual_own > 0]
        if len(unlike) >= LEAST_HELD_OUT:
            # What a sample's place would be among the held-out pictures.
            places = torch.searchsorted(unlike, own, right=True) + 1
            copies += (places <= RARE * (len(unlike) + 1)).sum().item()
            judged += len(own)
        if len(own) >= LEAST_SAMPLES:
            score += _mann_whitney(own, usual_own) * len(usual_own)
            weight += len(usual_own)
            squares += len(usual_own) ** 2
    share = copies / judged if judged else math.nan
    return Copying(
        near_copies=share,
        error=(share * (1 - share) / max(judged, 1) + RARE * (1 - RARE) / len(usual)) ** 0.5,
        score=score / weight if weight else math.nan,
        score_error=squares**0.5 / weight if weight else math.nan,
    )


def _without_small(cells: Tensor, usual_cells: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cells with all that have few held-out pictures made one."""
    total = int(torch.cat([cells, usual_cells]).max()) + 1
    is_small = torch.bincount(usual_cells, minlength=total) < LEAST_HELD_OUT
    one, other = (torch.where(is_small[each], total, each) for each in (cells, usual_cells))
    return one, other


def _mann_whitney(x: Tensor, y: Tensor) -> float:
    """Return how many standard deviations more often than by chance an x is above a y (normal approximation).

    y is in rising order.
    """
    n, m = len(x), len(y)
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


def birthdays(generated: Kind, real: Kind, blocks: Blocks = ON_CPU) -> Birthdays:
    """Test for birthdays as Arora & Zhang (2018), "Do GANs actually learn the distribution?", without their human eye.

    As many features of either kind. Two samples look the same where they lie nearer to each other than half of what all
    but RARE_MEETING of the real pictures do to the nearest other one; one that is there twice is no other.
    S(S - 1) / 2 pairs of S samples meet in a support of N once in N times.
    """
    distances = nearest_unlike_distances(real, blocks)
    distances = distances[distances.isfinite()]
    threshold = distances.quantile(RARE_MEETING).item() / 2 if len(distances) else 0.0
    count, pairs = len(generated.features), _count_pairs(generated, threshold, blocks)
    return Birthdays(count, pairs, count * (count - 1) / 2 / max(1, pairs))


def _count_pairs(kind: Kind, threshold: float, blocks: Blocks) -> int:
    """Return how many pairs of features are no further apart than a threshold."""
    # Where all neighbours are so near, there may be more of them.
    is_crowded = kind.radii <= threshold
    crowded = kind.features[is_crowded]
    hits = sum(int((block.distances() <= threshold).sum()) for block in blocks.between(crowded, kind.features))
    hits += int((kind.distances[~is_crowded] <= threshold).sum())
    return (hits - len(crowded)) // 2  # less each crowded one with itself, and each pair once
