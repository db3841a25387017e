"""The changes of Zhao et al. (2020), "Differentiable Augmentation for Data-Efficient GAN Training", section 4 and
appendix."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from workers.gan.augment.colours import but_alpha
from workers.gan.randomness import Draws

# Of the image's sides: how far it may be moved, and those of the part cut out.
MAX_SHIFT = 1 / 8
CUTOUT = 1 / 2


def _numbers(images: Tensor, draws: Draws, count: int) -> list[Tensor]:
    """`count` numbers in [0, 1) for each image, each [B, 1, 1, 1]."""
    numbers = draws.uniform((len(images), count))
    return [column[:, None, None, None] for column in numbers.unbind(1)]


@but_alpha
def _colour(images: Tensor, draws: Draws) -> Tensor:
    """Brightness moved by up to 1/2, saturation scaled by 0 to 2, contrast by 1/2 to 3/2."""
    brightness, saturation, contrast = _numbers(images, draws, 3)
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)


def _translation(images: Tensor, draws: Draws) -> Tensor:
    """Each image moved by up to 1/8 of its height and width; what comes in is 0."""
    reaches = [round(MAX_SHIFT * side) for side in images.shape[2:]]
    down, right = (
        (number[:, 0, 0, 0] * (2 * reach + 1)).long()
        for number, reach in zip(_numbers(images, draws, 2), reaches, strict=True)
    )
    padded = pad(images, [reaches[1]] * 2 + [reaches[0]] * 2)
    downward, rightward = (torch.arange(side, device=images.device) for side in images.shape[2:])
    rows = (down[:, None] + downward)[:, None, :, None]
    columns = (right[:, None] + rightward)[:, None, None, :]
    of = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return padded[of, channel, rows, columns]


def _cutout(images: Tensor, draws: Draws) -> Tensor:
    """A part of half the height and half the width set to 0, its centre anywhere in the image."""
    cut = torch.ones((), dtype=torch.bool, device=images.device)
    for axis, number in zip((2, 3), _numbers(images, draws, 2), strict=True):
        size = images.shape[axis]
        side = round(CUTOUT * size)
        first = (number * (size + 1 - side % 2)).long() - side // 2
        along = torch.arange(size, device=images.device).view(-1, *[1] * (3 - axis))
        cut = cut & (along >= first) & (along < first + side)
    return images * ~cut


# In the order in which they are made.
DIFFERENTIABLE_CHANGES = {"colour": _colour, "translation": _translation, "cutout": _cutout}
