"""Cells: which features are of one sort, so that what is dense by nature is not taken for what lies too near."""

import torch
from torch import Tensor

from workers.gan.evaluation.blocks import ON_CPU, Blocks, slices
from workers.gan.evaluation.neighbours import nearest, nearest_distances
from workers.gan.randomness import derive_seed

# Where no network knows classes, as many cells as let each have about PER_CELL pictures, and never more than MOST.
MOST, PER_CELL = 20, 200
# Features from which the middles of cells are found, and how often they are moved.
LEARNED, ROUNDS = 10_000, 20


def count_cells(pictures: int) -> int:
    """Return into how many cells so many pictures are parted."""
    return max(1, min(MOST, pictures // PER_CELL))


def k_means(features: Tensor, count: int, blocks: Blocks = ON_CPU) -> Tensor:
    """Return the middles of `count` cells of features [N, D], float64 [K, D], the same every time.

    Lloyd's algorithm, begun as k-means++ has it (Arthur & Vassilvitskii 2007). There are fewer where no more features
    differ. Raises ValueError for no features.
    """
    if not len(features):
        raise ValueError("the middles of no features")
    middles = _begin(features, count, blocks)
    for _ in range(ROUNDS):
        cells = nearest(features, middles, blocks)
        sums, counts = torch.zeros_like(middles), torch.bincount(cells, minlength=len(middles))[:, None]
        for rows in slices(len(features)):
            sums.index_add_(0, cells[rows], features[rows].double())
        moved = torch.where(counts > 0, sums / counts.clamp_min(1), middles)
        if torch.equal(moved, middles):
            break
        middles = moved
    return middles


def _begin(features: Tensor, count: int, blocks: Blocks) -> Tensor:
    """Return features of which each is drawn the rather, the further it is from those drawn before."""
    draws = torch.Generator().manual_seed(derive_seed(0, "cells"))
    chosen = [int(torch.randint(len(features), (1,), generator=draws))]
    distances = torch.full((len(features),), torch.inf, dtype=torch.float64)
    while len(chosen) < count:
        distances = torch.minimum(distances, nearest_distances(features, features[chosen[-1:]], blocks))
        if not distances.any():
            break
        chosen.append(int(torch.multinomial(distances.square(), 1, generator=draws)))
    return features[chosen].double()
