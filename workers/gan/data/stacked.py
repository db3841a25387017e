"""Stacked sets: three grey pictures as the channels of one, for counting modes.

Metz et al. (2017), "Unrolled GANs", appendix: from ten classes come a thousand modes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ganservice.errors import DataInvalid
from workers.gan.data.image_set import ImageSet, Split

SEED = 0


def stacked(images: ImageSet) -> ImageSet:
    """Draw as many stacks as there are pictures, drawn at random; the same stacks every time.

    The label of a stack is first + K * second + K^2 * third of K classes. Raises DataInvalid for pictures that are
    not grey or have no labels.
    """
    if images.shape[0] != 1:
        raise DataInvalid(f"{images.name}: found {images.shape[0]} channels; expected grey pictures to stack")
    chance = np.random.default_rng(SEED)
    splits = {name: _stack(split, len(images.classes), chance) for name, split in images.splits.items()}
    return replace(images, name=f"stacked-{images.name}", splits=splits, classes=stack_names(images.classes))


def stack_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all stacks of grey pictures of these classes, by label."""
    return tuple(f"{first}/{second}/{third}" for third in classes for second in classes for first in classes)


def is_stacked(names: Sequence[str]) -> bool:
    """Say whether classes are those of a stacked set, whatever it is called: all stacks of some other classes."""
    count = round(len(names) ** (1 / 3))
    if count < 2 or count**3 != len(names):
        return False
    # The first stack is the first class three times.
    first = names[0][: (len(names[0]) - 2) // 3]
    classes = [name.removesuffix(f"/{first}/{first}") for name in names[:count]]
    return stack_names(classes) == tuple(names)


def _stack(split: Split, classes: int, chance: np.random.Generator) -> Split:
    if split.labels is None:
        raise DataInvalid("the pictures have no labels; expected some to name the stacks by")
    rows = chance.integers(len(split.images), size=(len(split.images), 3))
    weights = classes ** np.arange(3)
    return Split(split.images[rows, 0], (split.labels[rows].astype(np.int64) * weights).sum(axis=1))
