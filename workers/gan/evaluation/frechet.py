"""The Frechet distance of two sets of features, from their means and covariances."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

# Feature statistics are float64 throughout: float32 loses the small eigenvalues that a low rank leaves.
FLOAT = torch.float64


@dataclass(frozen=True)
class Statistics:
    """Mean [D] and a factor F [D, R] of the covariance, F F' = covariance; of `count` features."""

    count: int
    mean: Tensor
    factor: Tensor

    @property
    def variance(self) -> Tensor:
        """The trace of the covariance, a scalar."""
        variance: Tensor = self.factor.square().sum()
        return variance


def statistics(batches: Iterable[Tensor]) -> Statistics:
    """Compute the statistics of features that come in batches [B, D].

    Memory is D x D, or N x D where there are fewer features than that. Raises ValueError for fewer than two.
    """
    first: list[Tensor] = []  # batches, while there are no more features than D
    moments: _Moments | None = None
    for batch in batches:
        features = batch.to(FLOAT)
        if moments is None and sum(map(len, first)) + len(features) > features.shape[1]:
            moments = _Moments(torch.cat([*first, features]))
            first = []
        elif moments is None:
            first.append(features)
        else:
            moments.add(features)
    if moments is not None:
        return Statistics(moments.count, moments.mean, _factor(moments.scatter / (moments.count - 1)))
    if sum(map(len, first)) < 2:
        raise ValueError("a covariance takes at least two features")
    features = torch.cat(first)
    mean = features.mean(dim=0)
    # Of fewer features than they have numbers, the features themselves are the smaller factor.
    return Statistics(len(features), mean, (features - mean).T / (len(features) - 1) ** 0.5)


class _Moments:
    """Count, mean and scatter, batch by batch (Chan, Golub & LeVeque 1983, "Algorithms for Computing the Variance")."""

    def __init__(self, features: Tensor) -> None:
        self.count = len(features)
        self.mean = features.mean(dim=0)
        centred = features - self.mean
        self.scatter = centred.T @ centred

    def add(self, features: Tensor) -> None:
        total = self.count + len(features)
        mean = features.mean(dim=0)
        centred, shift = features - mean, mean - self.mean
        self.scatter += centred.T @ centred
        self.scatter += torch.outer(shift, shift) * (self.count * len(features) / total)
        self.mean = self.mean + shift * (len(features) / total)
        self.count = total


def _factor(covariance: Tensor) -> Tensor:
    """Return F with F F' = covariance [D, D]; of any rank."""
    factor: Tensor
    factor, error = torch.linalg.cholesky_ex(covariance)
    if error:
        values, vectors = torch.linalg.eigh(covariance)
        # The others are what rounding leaves of 0; their roots would not be small.
        positive = values > values[-1] * len(values) * torch.finfo(FLOAT).eps
        factor = vectors[:, positive] * values[positive].sqrt()
    return factor


def frechet_distance(one: Statistics, other: Statistics) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), of Gaussians with these moments (Dowson & Landau 1982).

    The trace of the root is the sum of the singular values of P = F1' F2, whatever the ranks.
    """
    shift = (one.mean - other.mean).square().sum()
    product = one.factor.T @ other.factor
    if min(product.shape) == len(one.mean):
        # The roots of the eigenvalues of P P', much faster than the singular values of P and as exact at full rank.
        roots = torch.linalg.eigvalsh(product @ product.T).clamp_min(0).sqrt().sum()
    else:
        roots = torch.linalg.svdvals(product).sum()
    return float(shift + one.variance + other.variance - 2 * roots)
