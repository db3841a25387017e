"""A loop in the manner of StyleGAN2-ADA's (Karras et al. 2020), with its augmentation off, on any networks.

Logistic losses, new fakes in each phase, a phase of R1 alone after every 16 steps with Adam corrected for it, gradients
cleared of what is not finite, an average of G. Path lengths take a style and are left out.
"""

import copy
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, TensorDataset

from ganservice.recipe import Recipe
from tests.benchmarks.peers.plain_loop import networks
from tests.benchmarks.training import pictures, use_cores

R1_EVERY, R1_WEIGHT = 16, 1.0


def build(recipe: Recipe, steps: int) -> Callable[[], float]:
    """Return what takes so many steps and gives their images/s."""
    use_cores()
    loop = Loop(recipe)

    def images_per_s() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            loop.step()
        return steps * recipe.batch_size / (time.perf_counter() - started)

    return images_per_s


class Loop:
    """Networks, optimisers and the average of G."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._g, self._d = networks(recipe)
        self._average = copy.deepcopy(self._g).eval().requires_grad_(False)
        corrected = R1_EVERY / (R1_EVERY + 1)
        self._adam_g = torch.optim.Adam(self._g.parameters(), 2e-3, (0.0, 0.99), eps=1e-8)
        self._adam_d = torch.optim.Adam(self._d.parameters(), 2e-3 * corrected, (0.0, 0.99**corrected), eps=1e-8)
        self._real = self._batches()
        self._steps = 0

    def step(self) -> None:
        """One step of G and of D, and the penalty where it is due."""
        real = next(self._real).float() / 127.5 - 1
        with _learns(self._g, self._d):
            softplus(-self._d(self._g(self._latents()))).mean().backward()
            _optimise(self._adam_g, self._g)
        with _learns(self._d, self._g):
            softplus(self._d(self._g(self._latents()))).mean().backward()
            softplus(-self._d(real)).mean().backward()
            _optimise(self._adam_d, self._d)
            if self._steps % R1_EVERY == 0:
                self._penalty(real).backward()
                _optimise(self._adam_d, self._d)
        self._steps += 1
        with torch.no_grad():
            for mean, weight in zip(self._average.parameters(), self._g.parameters(), strict=True):
                mean.copy_(weight.lerp(mean, 0.5 ** (self._recipe.batch_size / 10_000)))
            for copied, buffer in zip(self._average.buffers(), self._g.buffers(), strict=True):
                copied.copy_(buffer)

    def _penalty(self, real: Tensor) -> Tensor:
        watched = real.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self._d(watched).sum(), watched, create_graph=True)
        return gradient.square().sum(dim=(1, 2, 3)).mean() * (R1_WEIGHT / 2 * R1_EVERY)

    def _latents(self) -> Tensor:
        return torch.randn(self._recipe.batch_size, self._recipe.latent_size)

    def _batches(self) -> Iterator[Tensor]:
        data = TensorDataset(pictures(self._recipe))
        while True:
            for (images,) in DataLoader(data, self._recipe.batch_size, shuffle=True, drop_last=True):
                yield images


class _learns:  # noqa: N801 # a block, not a thing
    """The block in which one network learns and the other does not."""

    def __init__(self, learner: nn.Module, other: nn.Module) -> None:
        self._learner, self._other = learner, other

    def __enter__(self) -> None:
        self._learner.requires_grad_(True)
        self._other.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        self._other.requires_grad_(True)


def _optimise(adam: torch.optim.Optimizer, network: nn.Module) -> None:
    for parameter in network.parameters():
        if parameter.grad is not None:
            torch.nan_to_num(parameter.grad, nan=0.0, posinf=1e5, neginf=-1e5, out=parameter.grad)
    adam.step()
    adam.zero_grad(set_to_none=True)
