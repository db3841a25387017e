"""Examples: a training set in memory, as the trainer takes it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ganservice.errors import DataInvalid, DataMissing
from ganservice.recipe import Mixture
from workers.gan.randomness import derive_seed


# Tensors have no single truth value, so that a generated __eq__ would raise.
@dataclass(frozen=True, eq=False)
class Examples:
    """Images uint8 [N, C, H, W] or points float32 [N, 2]; labels int64 [N], where there are any."""

    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()

    def of_classes(self, classes: list[int]) -> "Examples":
        """The examples with one of these labels. Raises DataInvalid without labels, DataMissing where none is left."""
        if self.labels is None:
            raise DataInvalid("the pictures have no labels; expected some for recipe.data.only")
        rows = torch.from_numpy(np.isin(self.labels.numpy(), classes))
        if not rows.any():
            raise DataMissing(f"no picture has any of the labels {classes}")
        return Examples(self.images[rows], self.labels[rows], self.classes)


def draw_mixture(mixture: Mixture, seed: int) -> Examples:
    """The training set of a mixture of Gaussians: the same for each (mixture, seed); labels are the modes."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "mixture"))
    modes = torch.randint(mixture.modes, (mixture.points,), generator=generator)
    noise = torch.randn(mixture.points, 2, generator=generator)
    return Examples(torch.tensor(mixture.centres)[modes] + mixture.std * noise, modes)
