"""Nearest neighbours among features, and what they say of fidelity and variety."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Rows of a distance matrix that are held at once.
ROWS = 1_000
NEIGHBOURS = 5
# Called before each block of what takes long; whatever it raises ends that.
Move = Callable[[], object]


@dataclass(frozen=True)
class Manifolds:
    """Shares in [0, 1], but for density, which may be more than 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifolds(real: Tensor, generated: Tensor, neighbours: int = NEIGHBOURS, move: Move = lambda: None) -> Manifolds:
    """Compute precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Features [N, D] and [M, D]. The ball of a feature reaches to its k-th nearest neighbour among its own kind.
    Memory is ROWS x (N + M). Raises ValueError where there are not more than `neighbours` of each kind.
    """
    radii_real = nearest_distances(real, real, neighbours, alike=True, move=move)
    radii_generated = nearest_distances(generated, generated, neighbours, alike=True, move=move)
    balls_hit = torch.zeros(len(generated))  # of how many real features each generated one is in the ball
    recall, coverage = [], []
    for rows, distances in _distances(real, generated, move):
        in_real_ball = distances < radii_real[rows, None]
        balls_hit += in_real_ball.sum(dim=0)
        recall.append((distances < radii_generated).any(dim=1))
        coverage.append(in_real_ball.any(dim=1))
    return Manifolds(
        precision=_share(balls_hit > 0),
        recall=_share(torch.cat(recall)),
        density=(balls_hit.double().mean() / neighbours).item(),
        coverage=_share(torch.cat(coverage)),
    )


def nearest_distances(
    of: Tensor, among: Tensor, neighbour: int = 1, *, alike: bool = False, move: Move = lambda: None
) -> Tensor:
    """Return the distance of each feature of `of` [N, D] to its n-th nearest among `among` [M, D]; float64 [N].

    With `alike` both are the same features, and none is its own neighbour. Raises ValueError for too few of them.
    """
    place = neighbour + alike
    if len(among) < place:
        raise ValueError(f"the {neighbour}th neighbour among {len(among)} features")
    return torch.cat([distances.kthvalue(place, dim=1).values for _, distances in _distances(of, among, move)])


def nearest(of: Tensor, among: Tensor, move: Move = lambda: None) -> Tensor:
    """Return which of `among` [M, D] is nearest to each of `of` [N, D]; int64 [N]."""
    return torch.cat([distances.argmin(dim=1) for _, distances in _distances(of, among, move)])


def _distances(of: Tensor, among: Tensor, move: Move) -> Iterator[tuple[slice, Tensor]]:
    """Yield Euclidean distances of some rows of `of` to all of `among`; float64, for those of copies are near 0."""
    others = among.double()
    for first in range(0, len(of), ROWS):
        move()
        rows = slice(first, first + ROWS)
        yield rows, torch.cdist(of[rows].double(), others, compute_mode="use_mm_for_euclid_dist")


def _share(which: Tensor) -> float:
    return which.double().mean().item()
