"""Examples: a training set, as the trainer takes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ganservice.errors import DataInvalid, DataMissing
from ganservice.recipe import Mixture
from workers.gan.data.rows import Rows
from workers.gan.randomness import derive_seed


# Tensors have no single truth value, so that a generated __eq__ would raise.
@dataclass(frozen=True, eq=False, init=False)
class Examples:
    """Images uint8 [N, C, H, W] or points float32 [N, 2], as rows; labels int64 [N], where there are any."""

    images: Rows
    labels: Tensor | None
    classes: tuple[str, ...]

    def __init__(self, images: Rows | Tensor, labels: Tensor | None = None, classes: tuple[str, ...] = ()) -> None:
        """A tensor of images, on the CPU, is not copied."""
        rows = images if isinstance(images, Rows) else Rows.of(images)
        for name, value in (("images", rows), ("labels", labels), ("classes", classes)):
            object.__setattr__(self, name, value)

    @property
    def class_counts(self) -> Tensor:
        """How many there are of each class, int64 [K]; K = 0 without labels, or names of classes."""
        return class_counts(self.labels, self.classes)

    @property
    def present_classes(self) -> Tensor:
        """The classes of which there are any, int64: all that a network learns of them."""
        return self.class_counts.nonzero().flatten()

    def of_classes(self, classes: list[int]) -> "Examples":
        """The examples with one of these labels. Raises DataInvalid without labels, DataMissing where none is left."""
        if self.labels is None:
            raise DataInvalid("the pictures have no labels; expected some for recipe.data.only")
        indices = torch.from_numpy(np.flatnonzero(np.isin(self.labels.numpy(), classes)))
        if not len(indices):
            raise DataMissing(f"no picture has any of the labels {classes}")
        return Examples(self.images.select(indices), self.labels[indices], self.classes)


def class_counts(labels: Tensor | None, classes: Sequence[str]) -> Tensor:
    """Count the labels int64 [N] of each class, int64 [K]; K = 0 without labels, or names of classes."""
    if labels is None or not classes:
        return torch.zeros(0, dtype=torch.int64)
    return torch.bincount(labels, minlength=len(classes))


def draw_mixture(mixture: Mixture, seed: int) -> Examples:
    """The training set of a mixture of Gaussians: the same for each (mixture, seed); labels are the modes."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "mixture"))
    modes = torch.randint(mixture.modes, (mixture.points,), generator=generator)
    noise = torch.randn(mixture.points, 2, generator=generator)
    return Examples(torch.tensor(mixture.centres)[modes] + mixture.std * noise, modes)
