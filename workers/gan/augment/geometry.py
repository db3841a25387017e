"""The changes of where things are of Karras et al. (2020), "StyleGAN2-ADA", appendix B, made as one affine map.

Unlike there pictures are resampled bilinearly, without the filters that keep details from aliasing. A map is [3, 3], in
pixels from the middle of the picture; maps lie in float64, which no autocast makes coarse, so that flips, quarter turns
and whole pixels stay exact.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding

from workers.gan.randomness import Draws

# Standard deviations of scale and stretch in powers of 2, and of a translation as a share of the image's sides, which
# is also how far one by whole pixels goes.
SCALE = 0.2
TRANSLATION = 1 / 8


def maps_of(names: Sequence[str], images: Tensor, draws: Draws, probability: float | Tensor) -> Tensor:
    """Draw for each image [B, C, H, W] the map of all changes of these names that it undergoes, [B, 3, 3].

    It leads from a place in the changed image to the one in the image before.
    """
    maps = torch.eye(3, dtype=torch.float64, device=images.device).repeat(len(images), 1, 1)
    identity = maps
    for change, share in _steps(names, probability):
        is_made = draws.uniform((len(images), 1, 1)) < share
        maps = maps @ torch.where(is_made, change(images, draws), identity)
    return maps


def _steps(names: Sequence[str], probability: float | Tensor) -> Iterator[tuple["Change", float | Tensor]]:
    """The changes in the order in which they are made, each with its probability.

    A rotation is made before stretching or after it, or both, so that images are stretched along any line.
    """
    for name in names:
        if name == "rotation" and "stretch" in names:
            continue
        if name != "stretch":
            yield GEOMETRIC_CHANGES[name], probability
            continue
        half = 1 - (1 - probability) ** 0.5
        around = [(_rotation, half)] if "rotation" in names else []
        yield from (*around, (_stretch, probability), *around)


def _maps(*rows: Sequence[Tensor | float]) -> Tensor:
    """Maps [B, 3, 3] of their first two rows, of numbers [B] or the same for all."""
    numbers = [number for row in (*rows, (0.0, 0.0, 1.0)) for number in row]
    drawn = next(number for number in numbers if isinstance(number, Tensor)).double()
    columns = [number.double() if isinstance(number, Tensor) else torch.full_like(drawn, number) for number in numbers]
    return torch.stack(columns, dim=1).view(-1, 3, 3)


def _flip(images: Tensor, draws: Draws) -> Tensor:
    sign = torch.where(draws.uniform((len(images),)) < 0.5, -1.0, 1.0)
    return _maps((sign, 0.0, 0.0), (0.0, 1.0, 0.0))


def _quarter_turn(images: Tensor, draws: Draws) -> Tensor:
    turns = (draws.uniform((len(images),)) * 4).long()
    # Worked out, not looked up: for a table that comes from the host a GPU would be waited for.
    cosine, sine = (turns - 2).abs() - 1, turns % 2 * (2 - turns)
    return _maps((cosine, sine, 0.0), (-sine, cosine, 0.0))


def _integer_translation(images: Tensor, draws: Draws) -> Tensor:
    height, width = images.shape[2:]
    across, down = (2 * draws.uniform((len(images), 2)) - 1).unbind(1)
    return _maps((1.0, 0.0, (across * TRANSLATION * width).round()), (0.0, 1.0, (down * TRANSLATION * height).round()))


def _scale(images: Tensor, draws: Draws) -> Tensor:
    factor = 2 ** (SCALE * draws.noise((len(images),)))
    return _maps((factor, 0.0, 0.0), (0.0, factor, 0.0))


def _rotation(images: Tensor, draws: Draws) -> Tensor:
    angle = 2 * math.pi * draws.uniform((len(images),))
    return _maps((angle.cos(), angle.sin(), 0.0), (-angle.sin(), angle.cos(), 0.0))


def _stretch(images: Tensor, draws: Draws) -> Tensor:
    factor = 2 ** (SCALE * draws.noise((len(images),)))
    return _maps((factor, 0.0, 0.0), (0.0, 1 / factor, 0.0))


def _fractional_translation(images: Tensor, draws: Draws) -> Tensor:
    height, width = images.shape[2:]
    across, down = draws.noise((len(images), 2)).unbind(1)
    return _maps((1.0, 0.0, across * TRANSLATION * width), (0.0, 1.0, down * TRANSLATION * height))


Change = Callable[[Tensor, Draws], Tensor]
# In the order in which they are made.
GEOMETRIC_CHANGES: dict[str, Change] = {
    "flip": _flip,
    "quarter_turn": _quarter_turn,
    "integer_translation": _integer_translation,
    "scale": _scale,
    "rotation": _rotation,
    "stretch": _stretch,
    "fractional_translation": _fractional_translation,
}


def resample(images: Tensor, maps: Tensor) -> Tensor:
    """Images [B, C, H, W] as maps [B, 3, 3] have them, bilinear; beyond its edges an image is mirrored.

    The index of each of the four pixels around a place is worked out, and looked up in a table of all pixels. What is
    found is what `torch.nn.functional.grid_sample` finds, whose gradients on a GPU differ from one repetition to the
    next, for they are added up in any order. Those of a table do not.
    """
    count, channels, height, width = images.shape
    down, across = (torch.arange(side, device=images.device) - (side - 1) / 2 for side in (height, width))
    x, y = (
        row[:, 0, None, None] * across + row[:, 1, None, None] * down[:, None] + row[:, 2, None, None] + (side - 1) / 2
        for row, side in zip(maps.float().unbind(1)[:2], (width, height), strict=True)
    )
    table = images.permute(0, 2, 3, 1).reshape(-1, channels).float()
    first = torch.arange(count, device=images.device)[:, None, None] * height
    found = torch.zeros((), device=images.device)
    for rows, weight_y in _neighbours(y, height):
        for columns, weight_x in _neighbours(x, width):
            pixels = embedding((first + rows) * width + columns, table)
            found = found + pixels * (weight_y * weight_x)[..., None]
    return found.permute(0, 3, 1, 2)


def _neighbours(places: Tensor, side: int) -> list[tuple[Tensor, Tensor]]:
    """The pixels before and behind each place along one side, mirrored into the image, and how much each weighs."""
    before = places.floor()
    share = places - before
    return [(_mirrored(before.long(), side), 1 - share), (_mirrored(before.long() + 1, side), share)]


def _mirrored(indices: Tensor, side: int) -> Tensor:
    last = side - 1
    return last - (indices % max(1, 2 * last) - last).abs()
