"""Walks through latent space."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

Between = Callable[[Tensor, Tensor, float], Tensor]

# Angles closer than this to 0 or to pi have no direction of their own.
MIN_ANGLE = 1e-6


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
