"""Walks and searches in latent space. The generator is in evaluation mode throughout, and is left so."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

# Latents float [B, latent_size] -> images [B, C, H, W]: a generator with its labels already given.
Decode = Callable[[Tensor], Tensor]
Between = Callable[[Tensor, Tensor, float], Tensor]
Optimiser = Literal["descent", "adam"]

# Angles closer than this to 0 or to pi have no direction of their own.
MIN_ANGLE = 1e-6
# Standard normal latents lie within this bound but for 3 in 1,000 numbers.
BOUND = 3.0


def lerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """The point `share` of the way along the straight line, [latent_size]."""
    return torch.lerp(start, end, share)


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """The point `share` of the way along the great circle (Shoemake 1985), its length between those of the ends.

    Where there is no one great circle it still goes from end to end: straight for parallel vectors and from or to
    zero, along some half circle for opposite ones. [latent_size].
    """
    a, b = start.double(), end.double()
    if a.norm() == 0 or b.norm() == 0 or len(a) < 2:
        return lerp(start, end, share)
    u, v = a / a.norm(), b / b.norm()
    # More exact than the arc cosine for vectors that are nearly parallel or opposite (Kahan 2006).
    angle = 2 * torch.atan2((u - v).norm(), (u + v).norm())
    if angle < MIN_ANGLE:
        return lerp(start, end, share)
    aside = v - torch.dot(u, v) * u if torch.pi - angle > MIN_ANGLE else _aside(u)
    direction = torch.cos(share * angle) * u + torch.sin(share * angle) * aside / aside.norm()
    length = (1 - share) * a.norm() + share * b.norm()
    walked: Tensor = length * direction
    return walked.to(start.dtype)


def _aside(unit: Tensor) -> Tensor:
    """Some vector at a right angle to `unit`, the same every time."""
    axis = torch.zeros_like(unit)
    axis[unit.abs().argmin()] = 1
    return axis - torch.dot(axis, unit) * unit


def walk(points: Tensor, steps: int, between: Between) -> Tensor:
    """Latents from each point to the next, `steps` for each leg, and the last point.

    [P, latent_size] -> [(P - 1) * steps + 1, latent_size].
    """
    legs = [between(start, end, step / steps) for start, end in pairwise(points) for step in range(steps)]
    return torch.stack([*legs, points[-1]])


@dataclass(frozen=True)
class Search:
    """How to look for latents: after Lipton & Tripathi (2017), "Precise Recovery of Latent Vectors".

    Each latent goes down the gradient of its own image's squared error. Numbers that leave [-BOUND, BOUND] are
    drawn anew from within it (stochastic clipping), so that a search does not stick to the border.
    """

    steps: int = 2_000
    restarts: int = 3
    # At the start; it falls to 0 along a cosine, so that the search comes to rest.
    lr: float = 0.2
    optimiser: Optimiser = "adam"
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """The best of all restarts: latents [B, latent_size], and each one's mean squared error per value [B]."""

    latents: Tensor
    errors: Tensor


def recover(decode: Decode, targets: Tensor, latent_size: int, search: Search, known: Tensor | None = None) -> Found:
    """Latents whose images are nearest to `targets` [B, C, H, W], compared where `known` (the same shape) is 1.

    `decode` gets all restarts at once, those of the first target first: latents [B * restarts, latent_size].
    """
    generator = torch.Generator().manual_seed(search.seed)
    rows = len(targets) * search.restarts
    repeated = targets.repeat_interleave(search.restarts, dim=0)
    weight = torch.ones_like(repeated) if known is None else known.repeat_interleave(search.restarts, dim=0)
    latents = torch.randn(rows, latent_size, generator=generator).clamp_(-BOUND, BOUND).requires_grad_(True)
    optimiser = _optimiser(latents, search)
    for step in range(search.steps):
        for group in optimiser.param_groups:
            group["lr"] = search.lr * (1 + math.cos(math.pi * step / search.steps)) / 2
        optimiser.zero_grad(set_to_none=True)
        # The sum over images: no image's gradient depends on how many others there are.
        _errors(decode(latents), repeated, weight).sum().backward()  # type: ignore[no-untyped-call] # torch gives no types
        optimiser.step()
        _clip(latents, generator)
    with torch.no_grad():
        errors = _errors(decode(latents), repeated, weight).view(-1, search.restarts)
    best = errors.argmin(dim=1)
    of = torch.arange(len(targets))
    return Found(latents.detach().view(len(targets), search.restarts, latent_size)[of, best], errors[of, best])


def _optimiser(latents: Tensor, search: Search) -> torch.optim.Optimizer:
    if search.optimiser == "adam":
        return torch.optim.Adam([latents], search.lr)
    return torch.optim.SGD([latents], search.lr)


def _errors(images: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error of each image over the values that count, [B]."""
    squared = (weight * (images - targets).square()).flatten(1)
    return squared.sum(dim=1) / weight.flatten(1).sum(dim=1)


@torch.no_grad()
def _clip(latents: Tensor, generator: torch.Generator) -> None:
    outside = latents.abs() > BOUND
    fresh = torch.empty_like(latents).uniform_(-BOUND, BOUND, generator=generator)
    latents.copy_(torch.where(outside, fresh, latents))


def success_rates(true: Tensor, found: Tensor, thresholds: Sequence[float]) -> dict[float, float]:
    """Share of latents [B, latent_size] found to within each mean squared difference per number."""
    differences = (true - found).square().mean(dim=1)
    return {threshold: (differences < threshold).float().mean().item() for threshold in thresholds}
