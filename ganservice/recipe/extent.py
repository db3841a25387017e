"""Extent: about how large a network is, told from its keys alone, so that no spec asks for what no machine has."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, assert_never

from ganservice.recipe.networks import (
    AffineGenerator,
    AvgPoolDiscriminator,
    AvgPoolGenerator,
    DcganDiscriminator,
    DcganGenerator,
    DenseDcganDiscriminator,
    DenseDcganGenerator,
    Discriminating,
    MlpDiscriminator,
    MlpGenerator,
)

# Of one network: with its gradients, an average and the optimiser, 24 GB in fp32.
MAX_WEIGHTS = 10**9
# Of a batch: its images or latents, or what one layer makes of a worker's part of it; 40 GB in fp32.
MAX_BATCH_NUMBERS = 10**10
# Pixels of the largest kernel of a DCGAN for squares, and of the kernels of the others.
DCGAN_KERNEL, KERNEL = 7 * 7, 5 * 5


class Extent(NamedTuple):
    """About how many weights a network has, and how many numbers its largest layer makes of one image."""

    weights: int
    features: int


def extent_of(  # noqa: PLR0911 - an arm for each network
    network: MlpGenerator | DcganGenerator | DenseDcganGenerator | AvgPoolGenerator | AffineGenerator | Discriminating,
    shape: Sequence[int],
    other_end: int,
) -> Extent:
    """The extent of a network between images of `shape` ([C, H, W], or [2]) and `other_end` numbers."""
    channels, sides, image = shape[0], shape[1:], math.prod(shape)
    match network:
        case AffineGenerator():
            return Extent(other_end * image, image)
        case MlpGenerator(widths=widths):
            return Extent(_joints((other_end, *widths, image)), max(*widths, image))
        case MlpDiscriminator(widths=widths):
            return Extent(_joints((image, *widths, other_end)), max(*widths, image))
        case DcganGenerator(widths=widths):
            weights, maps = _joints((other_end, *widths, channels)), widths[::-1]
            return Extent(_dcgan_kernel(sides) * weights, _largest((channels, *maps), sides))
        case DcganDiscriminator(widths=widths):
            weights = _joints((channels, *widths, other_end))
            return Extent(_dcgan_kernel(sides) * weights, _largest((channels, *widths), sides))
        case DenseDcganGenerator(widths=widths) | DenseDcganDiscriminator(widths=widths):
            maps = widths if isinstance(network, DenseDcganDiscriminator) else widths[::-1]
            dense = other_end * maps[-1] * math.prod(side // 4 for side in sides)
            return Extent(dense + KERNEL * _joints((channels, *maps)), _largest((channels, *maps), sides))
        case AvgPoolGenerator(widths=widths, dense=dense, seed_channels=seed):
            smallest = seed * math.prod(side >> len(widths) for side in sides)
            weights = _joints((other_end, *dense, smallest)) + KERNEL * _joints((seed, *widths, channels))
            return Extent(weights, _largest((channels, *widths[::-1]), sides))
        case AvgPoolDiscriminator(widths=widths, dense=dense):
            smallest = widths[-1] * math.prod(side >> len(widths) for side in sides)
            weights = KERNEL * _joints((channels, *widths)) + _joints((smallest, *dense, other_end))
            return Extent(weights, _largest((channels, *widths), sides))
        case _:
            assert_never(network)


def _dcgan_kernel(sides: Sequence[int]) -> int:
    """Pixels of the largest kernel: of images that are no squares, one is as long as their smallest feature map."""
    return DCGAN_KERNEL * -(-max(sides) // min(sides))


def _joints(sizes: Sequence[int]) -> int:
    """Weights between layers of such sizes."""
    return sum(before * after for before, after in pairwise(sizes))


def _largest(maps: Sequence[int], sides: Sequence[int]) -> int:
    """Numbers of the largest feature map; each has half the sides of the one before, the image's own come first."""
    return max(
        width * math.prod(max(1, side >> max(0, place - 1)) for side in sides) for place, width in enumerate(maps)
    )
