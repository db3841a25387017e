"""The changes of colours of Karras et al. (2020), "StyleGAN2-ADA", appendix B, pixel by pixel.

Luma is the mean of the channels. On grey pictures, which have no other, a luma flip is a negative.
"""

import math
from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from workers.gan.randomness import Draws

# Standard deviations: of what is added, and of what is multiplied, in powers of 2.
BRIGHTNESS = 0.2
CONTRAST = 0.5
SATURATION = 1.0


def but_alpha(change: Callable[[Tensor, Draws], Tensor]) -> Callable[[Tensor, Draws], Tensor]:
    """The change, of the colours alone: alpha, the fourth channel, is none."""

    @wraps(change)
    def of_colours(images: Tensor, draws: Draws) -> Tensor:
        return torch.cat([change(images[:, :3], draws), images[:, 3:]], dim=1)

    return of_colours


def _normal(images: Tensor, draws: Draws) -> Tensor:
    return draws.noise((len(images), 1, 1, 1))


def _luma(images: Tensor) -> Tensor:
    return images.mean(dim=1, keepdim=True)


@but_alpha
def _brightness(images: Tensor, draws: Draws) -> Tensor:
    """Move all channels by the same."""
    return images + BRIGHTNESS * _normal(images, draws)


@but_alpha
def _contrast(images: Tensor, draws: Draws) -> Tensor:
    """Scale all channels about the middle of their range."""
    return images * 2 ** (CONTRAST * _normal(images, draws))


@but_alpha
def _luma_flip(images: Tensor, draws: Draws) -> Tensor:
    """Turn light into dark and leave hue and saturation, of every second image."""
    is_flipped = draws.uniform((len(images), 1, 1, 1)) < 0.5
    return images - 2 * is_flipped * _luma(images)


@but_alpha
def _hue(images: Tensor, draws: Draws) -> Tensor:
    """Rotate colours about the axis of greys by any angle (Rodrigues' formula)."""
    angle = 2 * math.pi * draws.uniform((len(images), 1, 1, 1))
    across = (images.roll(1, dims=1) - images.roll(-1, dims=1)) / math.sqrt(3)
    luma = _luma(images)
    return luma + (images - luma) * angle.cos() + across * angle.sin()


@but_alpha
def _saturation(images: Tensor, draws: Draws) -> Tensor:
    """Scale the distance of colours from grey."""
    luma = _luma(images)
    return luma + (images - luma) * 2 ** (SATURATION * _normal(images, draws))


# In the order in which they are made.
COLOUR_CHANGES = {
    "brightness": _brightness,
    "contrast": _contrast,
    "luma_flip": _luma_flip,
    "hue": _hue,
    "saturation": _saturation,
}
