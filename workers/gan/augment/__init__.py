"""Augmentation of all that D sees, real and generated, through which gradients flow to G."""

from collections.abc import Callable

import torch
from torch import Tensor

from ganservice.recipe import Augment
from workers.gan.augment.colours import COLOUR_CHANGES
from workers.gan.augment.differentiable import DIFFERENTIABLE_CHANGES
from workers.gan.augment.geometry import GEOMETRIC_CHANGES, maps_of, resample
from workers.gan.randomness import Draws

# A fixed probability, or one that a trainer leads.
Probability = float | Tensor
Change = Callable[[Tensor, Draws], Tensor]
PIXEL_CHANGES: dict[str, Change] = {**COLOUR_CHANGES, **DIFFERENTIABLE_CHANGES}


def build_augment(options: Augment, draws: Draws) -> Callable[[Tensor, Probability], Tensor]:
    """Build the changes that a recipe asks for: images [B, C, H, W] in [-1, 1] -> alike, somewhat beyond at times.

    Where things are is changed first, then colours, then what is cut out. Each image undergoes each change with the
    probability that comes with it.
    """
    geometric = [name for name in GEOMETRIC_CHANGES if name in options.changes]
    selection = [change for name, change in PIXEL_CHANGES.items() if name in options.changes]

    def augment(images: Tensor, probability: Probability) -> Tensor:
        if geometric:
            maps = maps_of(geometric, images, draws, probability)
            moved = (maps != torch.eye(3, dtype=maps.dtype, device=maps.device)).any(dim=2).any(dim=1)
            images = torch.where(moved[:, None, None, None], resample(images, maps), images)
        for change in selection:
            images = _sometimes(change, images, draws, probability)
        return images

    return augment


def _sometimes(change: Change, images: Tensor, draws: Draws, probability: Probability) -> Tensor:
    changed = change(images, draws)
    if isinstance(probability, float) and probability == 1:
        return changed  # without a draw, as when there was no probability: such trainings go on as they began
    return torch.where(draws.uniform((len(images), 1, 1, 1)) < probability, changed, images)
