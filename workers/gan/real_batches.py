"""RealBatches: the rows of the training set that each step looks at."""

import torch
from torch import Tensor

from ganservice.recipe import Recipe
from workers.gan.data.examples import Examples
from workers.gan.randomness import Draws, Order, derive_seed
from workers.gan.worker_group import WorkerGroup

# The labels of a batch, int64 [B], or nothing where the recipe has no conditioning.
Labels = tuple[Tensor, ...]
# Images that are looked at in passing: at each report, so that more would be felt.
SOME = 128


class RealBatches:
    """The training set, on the device that trains, in the order that its seed gives."""

    def __init__(
        self, recipe: Recipe, examples: Examples, seed: int, device: torch.device, draws: Draws, group: WorkerGroup
    ) -> None:
        self.images = examples.images.to(device)
        self._labels = examples.labels.to(device) if recipe.conditioning and examples.labels is not None else None
        self._batch_size = recipe.batch_size
        self._flips = recipe.pictures is not None and recipe.pictures.flip
        self._seed = seed
        self._order = Order(seed, len(examples.images))
        self._draws = draws
        self._group = group

    def after(self, images_seen: int) -> tuple[Tensor, Labels]:
        """This worker's rows of the batch after `images_seen` images, in the range of G's: images [B, ...], labels."""
        rows = self._group.own_rows(self._order.indices(images_seen, self._batch_size))
        images, labels = self._at(rows)
        if self._flips:
            is_flipped = self._draws.uniform((len(images), 1, 1, 1)) < 0.5
            images = torch.where(is_flipped, images.flip(3), images)
        return images, labels

    def some(self, images_seen: int) -> tuple[Tensor, Labels]:
        """Some images to look at after `images_seen`, and their labels: the same on every worker, none flipped."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "some", images_seen))
        return self._at(torch.randint(len(self.images), (SOME,), generator=generator))

    def first_labels(self, count: int) -> Labels:
        """The labels of the first `count` images that a training sees."""
        return self._labels_at(self._order.indices(0, count))

    def _at(self, rows: Tensor) -> tuple[Tensor, Labels]:
        rows = rows.to(self.images.device, non_blocking=True)
        images = self.images[rows]
        if images.dtype == torch.uint8:
            images = (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        return images, self._labels_at(rows)

    def _labels_at(self, rows: Tensor) -> Labels:
        return () if self._labels is None else (self._labels[rows.to(self._labels.device)],)
