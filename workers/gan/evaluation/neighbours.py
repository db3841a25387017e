"""Nearest neighbours among features, and what they say of fidelity and variety."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.gan.evaluation.blocks import ON_CPU, Block, Blocks

NEIGHBOURS = 5


class Nearest:
    """The distances of each of N features to the nearest that were found, float64 [N, K], in rising order.

    Those that are yet to be found are infinite.
    """

    def __init__(self, total: int, count: int, device: torch.device) -> None:
        self.distances = torch.full((total, count), torch.inf, dtype=torch.float64, device=device)

    def limits(self, block: Block, place: slice, dim: int) -> Tensor:
        """Return how near a pair in a block must be to count: of the features at `place`, in rows (dim 1) or columns.

        Where nothing is known yet, the block itself tells what will be nearer.
        """
        limits, count = self.distances[place, -1], self.distances.shape[1]
        return limits if limits.isfinite().all() else torch.minimum(limits, block.bounds(count, dim))

    def add(self, which: Tensor, distances: Tensor) -> None:
        """Take in distances [P] of the features `which`, int64 [P]."""
        if not len(which):
            return
        which, order = which.sort(stable=True)
        touched, counts = which.unique_consecutive(return_counts=True)
        row = torch.arange(len(touched), device=which.device).repeat_interleave(counts)
        column = torch.arange(len(which), device=which.device) - (counts.cumsum(0) - counts)[row]
        count = self.distances.shape[1]
        found = self.distances.new_full((len(touched), count + int(counts.max())), torch.inf)
        found[:, :count] = self.distances[touched]
        found[row, count + column] = distances[order]
        self.distances[touched] = found.topk(count, dim=1, largest=False, sorted=True).values


@dataclass(frozen=True, eq=False)
class Kind:
    """Features of one kind [N, D], and of each the distances to the nearest others, float64 [N, NEIGHBOURS].

    They are in rising order, and infinite where there are no more.
    """

    features: Tensor
    distances: Tensor

    @classmethod
    def of(cls, features: Tensor, blocks: Blocks = ON_CPU) -> "Kind":
        """Find the neighbours of features."""
        found = Nearest(len(features), NEIGHBOURS, blocks.device)
        for block in blocks.within(features):
            of_rows = found.limits(block, block.rows, 1)
            if block.is_diagonal:
                pairs = block.nearer(rows=of_rows)
            else:
                pairs = block.nearer(of_rows, found.limits(block, block.columns, 0))
                found.add(pairs.columns, pairs.distances)
            found.add(pairs.rows, pairs.distances)
        return cls(features, found.distances.cpu())

    @property
    def radii(self) -> Tensor:
        """How far the ball of each feature reaches: to the last of its neighbours."""
        return self.distances[:, -1]


@dataclass(frozen=True)
class Manifolds:
    """Shares in [0, 1], but for density, which may be more than 1."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True, eq=False)
class Meeting:
    """What real and generated features are to each other."""

    balls_hit: Tensor  # in the balls of how many real features each generated one is, int64 [M]
    recalled: Tensor  # whether each real one is in the ball of a generated one, bool [N]
    covered: Tensor  # whether a generated one is in the ball of each real one, bool [N]
    nearest: Tensor  # the distance of each generated one to the nearest real one, float64 [M]

    @classmethod
    def of(cls, real: Tensor, real_radii: Tensor, generated: Kind, blocks: Blocks = ON_CPU) -> "Meeting":
        """Compare generated features with real ones [N, D] whose balls reach as far as `real_radii` [N]."""
        real_radii, radii = real_radii.to(blocks.device), generated.radii.to(blocks.device)
        balls_hit = torch.zeros_like(radii, dtype=torch.int64)
        recalled, covered = (torch.zeros_like(real_radii, dtype=torch.bool) for _ in range(2))
        nearest = Nearest(len(radii), 1, blocks.device)
        for block in blocks.between(real, generated.features):
            limits = torch.maximum(radii[block.columns], nearest.limits(block, block.columns, 0))
            pairs = block.nearer(real_radii[block.rows], limits)
            nearest.add(pairs.columns, pairs.distances)
            recalled[pairs.rows[pairs.distances < radii[pairs.columns]]] = True
            is_in_ball = pairs.distances < real_radii[pairs.rows]
            covered[pairs.rows[is_in_ball]] = True
            balls_hit += pairs.columns[is_in_ball].bincount(minlength=len(balls_hit))
        return cls(balls_hit.cpu(), recalled.cpu(), covered.cpu(), nearest.distances[:, 0].cpu())

    def manifolds(self, real: Tensor | slice = slice(None)) -> Manifolds:
        """Return the shares, of all real features or of those at some places."""
        return Manifolds(
            precision=_share(self.balls_hit > 0),
            recall=_share(self.recalled[real]),
            density=self.balls_hit.double().mean().item() / NEIGHBOURS,
            coverage=_share(self.covered[real]),
        )


def manifolds(real: Kind, generated: Kind, blocks: Blocks = ON_CPU) -> Manifolds:
    """Compute precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    The ball of a feature reaches to its last neighbour among its own kind. Raises ValueError where there are not more
    than NEIGHBOURS of each kind.
    """
    if (count := min(len(real.features), len(generated.features))) <= NEIGHBOURS:
        raise ValueError(f"the {NEIGHBOURS}th neighbour among {count} features")
    return Meeting.of(real.features, real.radii, generated, blocks).manifolds()


def nearest_distances(of: Tensor, among: Tensor, blocks: Blocks = ON_CPU) -> Tensor:
    """Return the distance of each feature of `of` [N, D] to the nearest among `among` [M, D]; float64 [N]."""
    found = Nearest(len(of), 1, blocks.device)
    for block in blocks.between(of, among):
        pairs = block.nearer(rows=found.limits(block, block.rows, 1))
        found.add(pairs.rows, pairs.distances)
    return found.distances[:, 0].cpu()


def nearest_unlike_distances(kind: Kind, blocks: Blocks = ON_CPU) -> Tensor:
    """Return the distance of each feature to the nearest that is not the same; float64 [N], infinite of none."""
    distances = kind.distances
    found = distances.masked_fill(distances == 0, torch.inf).amin(dim=1)
    # Where all neighbours are the same as a feature, the nearest other one is further away than they.
    repeated = (kind.radii == 0).nonzero().squeeze(1)
    limits = torch.full((len(repeated),), torch.inf, dtype=torch.float64, device=blocks.device)
    for block in blocks.between(kind.features[repeated], kind.features):
        pairs = block.nearer(rows=limits[block.rows])
        is_unlike = pairs.distances > 0
        limits.scatter_reduce_(0, pairs.rows[is_unlike], pairs.distances[is_unlike], "amin")
    found[repeated] = limits.cpu()
    return found


def nearest(of: Tensor, among: Tensor, blocks: Blocks = ON_CPU) -> Tensor:
    """Return which of `among` [M, D] is nearest to each of `of` [N, D], of equals the first; int64 [N]."""
    least = torch.full((len(of),), torch.inf, dtype=torch.float64, device=blocks.device)
    found = torch.zeros_like(least, dtype=torch.int64)
    for block in blocks.between(of, among):
        pairs = block.nearer(rows=torch.minimum(least[block.rows], block.bounds(1, 1)))
        least.scatter_reduce_(0, pairs.rows, pairs.distances, "amin")
        is_least = pairs.distances == least[pairs.rows]
        rows, columns = pairs.rows[is_least], pairs.columns[is_least]
        found[rows] = len(among)
        found.scatter_reduce_(0, rows, columns, "amin")
    return found.cpu()


def _share(which: Tensor) -> float:
    return which.double().mean().item()
