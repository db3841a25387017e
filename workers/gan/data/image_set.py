"""ImageSet: pictures of one size, in memory, as every network here takes them."""

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganservice.errors import DataInvalid
from ganservice.recipe import Channels, Sides
from workers.gan.data.fitting import fitted

Pixels = NDArray[np.uint8]
Labels = NDArray[np.uint8] | NDArray[np.int64]

SPLIT_NAMES = ("train", "test")
CHANNELS = get_args(Channels)


# Arrays have no single truth value, so that a generated __eq__ would raise.
@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, C, H, W] in 0..255, C grey (1), RGB (3) or RGBA (4); labels uint8 or int64 [N], or None.

    Raises DataInvalid when the arrays are anything else.
    """

    images: Pixels
    labels: Labels | None = None

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in CHANNELS or not images.size:
            raise DataInvalid(
                f"images: found {images.dtype} {list(images.shape)}; "
                "expected uint8 [N, C, H, W] with C 1, 3 or 4 and at least one image"
            )
        if labels is None:
            return
        if labels.dtype not in (np.uint8, np.int64) or labels.shape != images.shape[:1]:
            raise DataInvalid(
                f"labels: found {labels.dtype} {list(labels.shape)}; "
                f"expected uint8 or int64 [{len(images)}], one for each image"
            )


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A named set: a "train" split, perhaps a "test" split, the names of its classes, and where it came from.

    `classes[label]` names a label; without class names labels may be any numbers. Raises DataInvalid when the
    splits do not fit each other or the classes.
    """

    name: str
    splits: dict[str, Split]
    classes: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        if "train" not in self.splits or not set(self.splits) <= set(SPLIT_NAMES):
            raise DataInvalid(f"{self.name}: found splits {sorted(self.splits)}; expected train, perhaps test")
        for split_name, split in self.splits.items():
            if split.images.shape[1:] != self.shape:
                raise DataInvalid(
                    f"{self.name}: {split_name} images are {list(split.images.shape[1:])}, train images are "
                    f"{list(self.shape)}; expected one [C, H, W] for all splits"
                )
            self._check_labels(split_name, split.labels)

    def _check_labels(self, split_name: str, labels: Labels | None) -> None:
        if labels is None or not self.classes:
            return
        smallest, largest = int(labels.min()), int(labels.max())
        if smallest < 0 or largest >= len(self.classes):
            raise DataInvalid(
                f"{self.name}: {split_name} labels run from {smallest} to {largest}; "
                f"expected 0 to {len(self.classes) - 1}, one number for each class"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of every image."""
        channels, height, width = self.splits["train"].images.shape[1:]
        return channels, height, width

    def counts_of_classes(self, split: str) -> dict[str, int]:
        """Images of each class in a split; none without labels, or without the split."""
        labels = self.splits[split].labels if split in self.splits else None
        if labels is None:
            return {}
        counts = np.bincount(labels, minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, counts, strict=False)}

    def resized(self, size: int) -> "ImageSet":
        """The same set with images of `size` x `size` px; itself when they already are."""
        if self.shape[1:] == (size, size):
            return self
        splits = {name: replace(split, images=_resize(split.images, size)) for name, split in self.splits.items()}
        return replace(self, splits=splits)


def _resize(images: Pixels, size: int) -> Pixels:
    count, channels = images.shape[:2]
    resized = np.empty((count, channels, size, size), np.uint8)
    for index, planes in enumerate(images):
        for channel, plane in enumerate(planes):
            resized[index, channel] = np.asarray(fitted(Image.fromarray(plane), Sides(size, size)))
    return resized
