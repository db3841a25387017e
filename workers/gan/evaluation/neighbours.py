"""Nearest neighbours among features, and what they say of fidelity and variety."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.gan.evaluation.blocks import ON_CPU, Blocks

NEIGHBOURS = 5


@dataclass(frozen=True)
class Manifolds:
    """Shares in [0, 1], but for density, which may be more than 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifolds(real: Tensor, generated: Tensor, neighbours: int = NEIGHBOURS, blocks: Blocks = ON_CPU) -> Manifolds:
    """Compute precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Features [N, D] and [M, D]. The ball of a feature reaches to its k-th nearest neighbour among its own kind.
    Raises ValueError where there are not more than `neighbours` of each kind.
    """
    radii_real = nearest_distances(real, real, neighbours, alike=True, blocks=blocks).to(blocks.device)
    radii_generated = nearest_distances(generated, generated, neighbours, alike=True, blocks=blocks).to(blocks.device)
    balls_hit = torch.zeros_like(radii_generated)  # of how many real features each generated one is in the ball
    recalled, covered = (torch.zeros_like(radii_real, dtype=torch.bool) for _ in range(2))
    for rows, row_blocks in blocks.rows(real, generated):
        for columns, distances in row_blocks:
            in_real_ball = distances < radii_real[rows, None]
            balls_hit[columns] += in_real_ball.sum(dim=0)
            recalled[rows] |= (distances < radii_generated[columns]).any(dim=1)
            covered[rows] |= in_real_ball.any(dim=1)
    return Manifolds(
        precision=_share(balls_hit > 0),
        recall=_share(recalled),
        density=(balls_hit.mean() / neighbours).item(),
        coverage=_share(covered),
    )


def nearest_distances(
    of: Tensor, among: Tensor, neighbour: int = 1, *, alike: bool = False, blocks: Blocks = ON_CPU
) -> Tensor:
    """Return the distance of each feature of `of` [N, D] to its n-th nearest among `among` [M, D]; float64 [N].

    With `alike` both are the same features, and none is its own neighbour. Raises ValueError for too few of them.
    """
    place = neighbour + alike
    if len(among) < place:
        raise ValueError(f"the {neighbour}th neighbour among {len(among)} features")
    found = torch.empty(len(of), dtype=torch.float64)
    for rows, row_blocks in blocks.rows(of, among):
        least = torch.empty(rows.stop - rows.start, 0, dtype=torch.float64, device=blocks.device)
        for _, distances in row_blocks:
            least = _least(torch.cat([least, _least(distances, place)], dim=1), place)
        found[rows] = least[:, -1].cpu()
    return found


def nearest_unlike_distances(features: Tensor, blocks: Blocks = ON_CPU) -> Tensor:
    """Return the distance of each of [N, D] to the nearest that is not the same; float64 [N], infinite of none."""
    found = torch.full((len(features),), torch.inf, dtype=torch.float64)
    for rows, row_blocks in blocks.rows(features, features):
        for _, distances in row_blocks:
            own = distances.masked_fill_(distances == 0, torch.inf).amin(dim=1)
            found[rows] = torch.minimum(found[rows], own.cpu())
    return found


def nearest(of: Tensor, among: Tensor, blocks: Blocks = ON_CPU) -> Tensor:
    """Return which of `among` [M, D] is nearest to each of `of` [N, D], of equals the first; int64 [N]."""
    found = torch.empty(len(of), dtype=torch.int64)
    for rows, row_blocks in blocks.rows(of, among):
        least = torch.full((rows.stop - rows.start,), torch.inf, dtype=torch.float64, device=blocks.device)
        place = torch.zeros_like(least, dtype=torch.int64)
        for columns, distances in row_blocks:
            own, own_place = distances.min(dim=1)
            place = torch.where(own < least, own_place + columns.start, place)
            least = torch.minimum(own, least)
        found[rows] = place.cpu()
    return found


def _least(distances: Tensor, count: int) -> Tensor:
    """Return the least of each row, [N, `count`] of [N, M] in rising order; all where there are no more."""
    if count == 1:
        return distances.amin(dim=1, keepdim=True)
    return distances.topk(min(count, distances.shape[1]), dim=1, largest=False, sorted=True).values


def _share(which: Tensor) -> float:
    return which.double().mean().item()
