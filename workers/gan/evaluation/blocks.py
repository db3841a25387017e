"""Distances among many features, block by block: what they take of memory is the same however many there are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

# Features of either side in a block. Of 2,048 numbers, the two sides take 66 MB in float64, the distances 32 MB and
# what they are computed from as much again: with what the allocator keeps, under 0.4 GB.
BLOCK = 2_000
CPU = torch.device("cpu")
# A squared distance below this share of the squared norms is what rounding leaves of 0: the two are the same.
ROUNDING = 1e-12
# Called before each block of what takes long; whatever it raises ends that.
Move = Callable[[], object]
# Which of the others a block is about, and its distances [rows, columns].
Block = tuple[slice, Tensor]


@dataclass(frozen=True)
class Blocks:
    """The way in which features are compared: on which device, and who is called before each block."""

    device: torch.device = CPU
    move: Move = lambda: None

    def rows(self, of: Tensor, among: Tensor) -> Iterator[tuple[slice, Iterator[Block]]]:
        """Yield some rows of `of` [N, D] and, for all of `among` [M, D], the blocks of Euclidean distances to them.

        Distances are float64 and lie on the device; those of equal features are exactly 0.
        """
        for rows in slices(len(of)):
            yield rows, map(partial(self._block, self.moved(of[rows]), among), slices(len(among)))

    def moved(self, features: Tensor) -> Tensor:
        """Return the features of a block as they are computed with: on the device, in float64."""
        return features.to(self.device, torch.float64)

    def _block(self, of: Tensor, among: Tensor, columns: slice) -> Block:
        self.move()
        return columns, _distances(of, self.moved(among[columns]))


ON_CPU = Blocks()


def slices(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Yield the places of the first `size`, the next and so on, up to `count`."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def _distances(one: Tensor, other: Tensor) -> Tensor:
    """Return all distances [N, M] of [N, D] to [M, D]."""
    norms = one.square().sum(dim=1)[:, None] + other.square().sum(dim=1)
    squares = torch.addmm(norms, one, other.T, alpha=-2)
    return squares.masked_fill_(squares < norms.mul_(ROUNDING), 0).sqrt_()
