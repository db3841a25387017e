"""Path length regularisation of a style generator (Karras et al. 2020, "StyleGAN2", section 3.2)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ganservice.recipe import Recipe
from ganservice.recipe.networks.stylegan2 import Stylegan2Generator
from workers.gan.networks.stylegan2 import StyleGenerator
from workers.gan.randomness import Draws
from workers.gan.worker_group import WorkerGroup

# Share of the newest mean in the running one.
NEWEST = 0.01


class PathLength:
    """The penalty (|J_w^T y| - a)^2, with y normal noise in the shape of a picture and a the running mean of |J_w^T y|.

    A step in w of one length then changes the picture by one amount, whatever the w and the direction.
    """

    def __init__(self, options: Stylegan2Generator, draws: Draws, group: WorkerGroup, device: torch.device) -> None:
        self.every_steps = options.path_length_every_steps
        self._weight = options.path_length
        self._draws = draws
        self._group = group
        self._mean = torch.zeros((), device=device)

    def lengths(self, generator: nn.Module, latents: Tensor, labels: tuple[Tensor, ...]) -> Tensor:
        """|J_w^T y| at own latents [B, latent_size], [B]."""
        if not isinstance(generator, StyleGenerator):
            raise TypeError(f"expected a StyleGenerator, found {type(generator).__name__}")
        styles = generator.layer_styles(latents, *labels)
        images = generator.draw(styles)
        noise = self._draws.noise(tuple(images.shape)) / math.sqrt(math.prod(images.shape[2:]))
        (gradient,) = torch.autograd.grad((images * noise).sum(), styles, create_graph=True)
        lengths: Tensor = gradient.square().sum(dim=2).mean(dim=1).sqrt()
        return lengths

    def follow(self, lengths: Tensor) -> None:
        """Move the running mean towards that of all own lengths of a step, and of the other workers'."""
        newest = lengths.detach().mean()
        self._group.average(newest)
        self._mean.lerp_(newest, NEWEST)

    def penalty(self, lengths: Tensor) -> Tensor:
        """The penalty of some lengths [B], as a scalar, as strong as for `every_steps` steps."""
        return self.every_steps * self._weight * (lengths - self._mean).square().mean()

    def state_dict(self) -> dict[str, Any]:
        """The running mean."""
        return {"mean": self._mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from another's mean."""
        self._mean.copy_(state["mean"])


def build_path_length(recipe: Recipe, draws: Draws, group: WorkerGroup, device: torch.device) -> PathLength | None:
    """The regularisation that a recipe asks for; None of one that asks for none."""
    options = recipe.generator
    if not isinstance(options, Stylegan2Generator) or options.path_length == 0:
        return None
    return PathLength(options, draws, group, device)
