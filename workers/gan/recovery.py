"""Searches for the latents of images. The generator is in evaluation mode throughout, and is left so."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

Optimiser = Literal["levenberg-marquardt", "adam", "descent"]
STEPS: dict[Optimiser, int] = {"levenberg-marquardt": 40, "adam": 2_000, "descent": 2_000}

# Of standard normal numbers one in 16,000 lies outside.
BOUND = 4.0
# A mean squared error per value that rounding to float32 explains.
EXACT = 1e-12
# Damping, in units of the mean curvature: at the start, and where no step makes an image any better.
FIRST_DAMPING, LAST_DAMPING = 0.1, 1e6
# What is held at once: targets, and images made to find how they change with each number of their latents.
TARGETS, IMAGES = 32, 1_024


@dataclass(frozen=True)
class Search:
    """How to look for latents: each goes down its own image's squared error, from several starts at once.

    Numbers that leave [-BOUND, BOUND] are drawn anew, so that a search does not stick to the border: the stochastic
    clipping of Lipton & Tripathi (2017), "Precise Recovery of Latent Vectors from Generative Adversarial Networks".
    They step down the plain gradient; Levenberg-Marquardt also uses the curvature of the squared error (Marquardt
    1963, "An Algorithm for Least-Squares Estimation of Nonlinear Parameters").
    """

    # Without a number, as many as STEPS says.
    steps: int | None = None
    restarts: int = 4
    # Of the gradient methods, at the start; it falls to 0 along a cosine, so that the search comes to rest.
    lr: float = 0.2
    optimiser: Optimiser = "levenberg-marquardt"
    seed: int = 0


@dataclass(frozen=True)
class BestLatents:
    """The best of all restarts: latents [B, latent_size], and each one's mean squared error per value [B]."""

    latents: Tensor
    errors: Tensor


class _Targets:
    """Images to find, each repeated for its restarts, and where they count."""

    def __init__(self, generator: nn.Module, images: Tensor, labels: tuple[Tensor, ...], mask: Tensor | None) -> None:
        self._generator = generator
        self._labels = labels
        self._weight = torch.ones_like(images) if mask is None else mask
        self._images = images

    def differences(self, latents: Tensor, rows: Tensor) -> Tensor:
        """What latents [R, latent_size] make, less the targets of `rows` [R], 0 where these do not count; [R, V]."""
        images: Tensor = self._generator(latents, *(label[rows] for label in self._labels))
        return (self._weight[rows] * (images - self._images[rows])).flatten(1)

    def errors(self, latents: Tensor, rows: Tensor) -> Tensor:
        """Mean squared error over the values that count, [R]."""
        return self.differences(latents, rows).square().sum(dim=1) / self._weight[rows].flatten(1).sum(dim=1)


def recover(
    generator: nn.Module,
    targets: Tensor,
    labels: tuple[Tensor, ...],
    latent_size: int,
    search: Search,
    mask: Tensor | None = None,
) -> BestLatents:
    """Latents whose images are nearest to `targets` [B, C, H, W], compared where `mask` (the same shape) is 1.

    `labels` are what the generator needs beside latents: nothing, or int64 [B].
    """
    parts = []
    for own in torch.split(torch.arange(len(targets)), TARGETS):
        repeated = own.repeat_interleave(search.restarts)
        part = _Targets(
            generator,
            targets[repeated],
            tuple(label[repeated] for label in labels),
            None if mask is None else mask[repeated],
        )
        parts.append(_recover(part, len(own), latent_size, search))
    return BestLatents(torch.cat([part.latents for part in parts]), torch.cat([part.errors for part in parts]))


def _recover(targets: _Targets, count: int, latent_size: int, search: Search) -> BestLatents:
    draws = torch.Generator().manual_seed(search.seed)
    rows = torch.arange(count * search.restarts)
    start = torch.randn(len(rows), latent_size, generator=draws).clamp_(-BOUND, BOUND)
    steps = search.steps or STEPS[search.optimiser]
    if search.optimiser == "levenberg-marquardt":
        latents = _levenberg_marquardt(targets, start, steps, search.restarts, draws)
    else:
        latents = _descend(targets, start, steps, search, draws)
    with torch.no_grad():
        errors = targets.errors(latents, rows).view(count, search.restarts)
    best = errors.argmin(dim=1)
    of = torch.arange(count)
    return BestLatents(latents.view(count, search.restarts, latent_size)[of, best], errors[of, best])


def _descend(targets: _Targets, start: Tensor, steps: int, search: Search, draws: torch.Generator) -> Tensor:
    latents = start.clone().requires_grad_(True)
    rows = torch.arange(len(latents))
    kind = torch.optim.Adam if search.optimiser == "adam" else torch.optim.SGD
    optimiser = kind([latents], search.lr)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = search.lr * (1 + math.cos(math.pi * step / steps)) / 2
        optimiser.zero_grad(set_to_none=True)
        # The sum over images: no image's gradient depends on how many others there are.
        targets.errors(latents, rows).sum().backward()
        optimiser.step()
        with torch.no_grad():
            latents.copy_(_clipped(latents, draws))
    return latents.detach()


@torch.no_grad()
def _levenberg_marquardt(targets: _Targets, start: Tensor, steps: int, restarts: int, draws: torch.Generator) -> Tensor:
    """Newton's steps on the linearised images; damped more where the last one made the image worse."""
    latents, size = start.clone(), start.shape[1]
    errors = targets.errors(latents, torch.arange(len(latents)))
    damping = torch.full_like(errors, FIRST_DAMPING)
    moved = torch.ones_like(errors, dtype=torch.bool)
    curvature, slope = torch.zeros(len(latents), size, size), torch.zeros(len(latents), size)
    for _ in range(steps):
        # A start rests when it is stuck, or when any start of the same image has found it.
        best = errors.view(-1, restarts).amin(dim=1).repeat_interleave(restarts)
        resting = (best < EXACT) | (damping > LAST_DAMPING)
        if resting.all():
            break
        for part in torch.split(torch.nonzero(moved & ~resting).squeeze(1), max(1, IMAGES // size)):
            curvature[part], slope[part] = _linearised(targets, latents[part], part)
        rows = torch.nonzero(~resting).squeeze(1)
        tried = _clipped(latents[rows] - _newton_step(curvature[rows], slope[rows], damping[rows]), draws)
        then = targets.errors(tried, rows)
        moved[rows] = then < errors[rows]
        latents[rows] = torch.where(moved[rows, None], tried, latents[rows])
        errors[rows] = torch.where(moved[rows], then, errors[rows])
        damping[rows] *= torch.where(moved[rows], 1 / 3, 2.0)
    return latents


def _linearised(targets: _Targets, latents: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """J'J [R, latent_size, latent_size] and J'r [R, latent_size] of the differences r and their Jacobian J."""

    def differences(at: Tensor) -> Tensor:
        return targets.differences(at, rows)

    def along(direction: Tensor) -> Tensor:
        pushed: Tensor = jvp(differences, (latents,), (direction.expand_as(latents),))[1]
        return pushed

    jacobian = vmap(along)(torch.eye(latents.shape[1])).permute(1, 2, 0)
    return jacobian.mT @ jacobian, (jacobian.mT @ differences(latents)[..., None]).squeeze(2)


def _newton_step(curvature: Tensor, slope: Tensor, damping: Tensor) -> Tensor:
    """Solves (J'J + damping * mean(diag J'J)) step = J'r of each row; [R, latent_size]."""
    # Where nothing changes the image there is no step, and no division by 0 either.
    scale = (damping * curvature.diagonal(dim1=1, dim2=2).mean(dim=1)).clamp_min(1e-12)
    damped = curvature.double() + scale[:, None, None] * torch.eye(slope.shape[1], dtype=torch.float64)
    step: Tensor = torch.linalg.solve(damped, slope.double())
    return step.to(slope.dtype)


def _clipped(latents: Tensor, draws: torch.Generator) -> Tensor:
    fresh = torch.randn(latents.shape, generator=draws).clamp_(-BOUND, BOUND)
    return torch.where(latents.abs() > BOUND, fresh, latents)


def success_rates(true: Tensor, found: Tensor, thresholds: Sequence[float]) -> dict[float, float]:
    """Share of latents [B, latent_size] found to within each mean squared difference per number."""
    differences = (true - found).square().mean(dim=1)
    return {threshold: (differences < threshold).float().mean().item() for threshold in thresholds}
