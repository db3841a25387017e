"""RealBatches: the rows of the training set that each step looks at."""

import torch
from torch import Tensor

from ganservice.recipe import Recipe
from workers.gan.data.examples import Examples
from workers.gan.randomness import Draws, Order
from workers.gan.worker_group import WorkerGroup

# The labels of a batch, int64 [B], or nothing where the recipe has no conditioning.
Labels = tuple[Tensor, ...]


class RealBatches:
    """The training set, on the device that trains, in the order that its seed gives."""

    def __init__(
        self, recipe: Recipe, examples: Examples, seed: int, device: torch.device, draws: Draws, group: WorkerGroup
    ) -> None:
        self.images = examples.images.to(device)
        self._labels = examples.labels.to(device) if recipe.conditioning and examples.labels is not None else None
        self._batch_size = recipe.batch_size
        self._flips = recipe.pictures is not None and recipe.pictures.flip
        self._order = Order(seed, len(examples.images))
        self._draws = draws
        self._group = group

    def after(self, images_seen: int) -> tuple[Tensor, Labels]:
        """This worker's rows of the batch after `images_seen` images, in the range of G's: images [B, ...], labels."""
        rows = self._group.own_rows(self._order.indices(images_seen, self._batch_size))
        rows = rows.to(self.images.device, non_blocking=True)
        labels = () if self._labels is None else (self._labels[rows],)
        images = self.images[rows]
        if images.dtype != torch.uint8:
            return images, labels
        images = (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        if self._flips:
            is_flipped = self._draws.uniform((len(images), 1, 1, 1)) < 0.5
            images = torch.where(is_flipped, images.flip(3), images)
        return images, labels
