"""Extent: about how large a network is, told from its keys alone, so that no spec asks for what no machine has."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

# Of one network: with its gradients, an average and the optimiser, 24 GB in fp32.
MAX_WEIGHTS = 10**9
# Of a batch: its images or latents, or what one layer makes of a worker's part of it; 40 GB in fp32.
MAX_BATCH_NUMBERS = 10**10
# Pixels of the kernels of most networks.
KERNEL = 5 * 5


class Extent(NamedTuple):
    """About how many weights a network has, and how many numbers its largest layer makes of one image."""

    weights: int
    features: int


def joints(sizes: Sequence[int]) -> int:
    """Weights between layers of such sizes."""
    return sum(before * after for before, after in pairwise(sizes))


def largest(maps: Sequence[int], sides: Sequence[int]) -> int:
    """Numbers of the largest feature map; each has half the sides of the one before, the image's own come first."""
    return max(
        width * math.prod(max(1, side >> max(0, place - 1)) for side in sides) for place, width in enumerate(maps)
    )
