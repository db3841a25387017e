"""RealBatches: the rows of the training set that each step looks at."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import assert_never

import torch
from torch import Tensor

from ganservice.recipe import Recipe
from workers.gan.data.examples import Examples
from workers.gan.data.rows import Rows
from workers.gan.randomness import Draws, Order, derive_seed
from workers.gan.worker_group import WorkerGroup

# The labels of a batch, int64 [B], or nothing where the recipe has no conditioning.
Labels = tuple[Tensor, ...]
# The indices of a batch, on the CPU, and its rows.
Batch = tuple[Tensor, Tensor]
# A training set of this share of a GPU's free memory lies there whole; the rest is for networks.
DEVICE_SHARE = 0.5
# Bytes that are moved to the device at once, until the set is there.
BLOCK_BYTES = 64 * 2**20
# Batches that are read before their step, and those that come from disk before they are read.
AHEAD = 4
# Images that are looked at in passing: at each report, so that more would be felt.
SOME = 128


class Way(StrEnum):
    """The ways from a training set to the device that trains; whichever it is, the same numbers arrive."""

    MAPPED = "mapped"  # the device reads the same memory
    RESIDENT = "resident"  # all of it lies on the device
    AHEAD = "ahead"  # a thread reads the batches of the next steps


def choose_way(rows: Rows, device: torch.device) -> Way:
    """The best way for a training set, by the memory that is free on the device now."""
    if device.type != "cuda":
        return Way.MAPPED
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return Way.RESIDENT if rows.bytes <= DEVICE_SHARE * free_bytes else Way.AHEAD


class RealBatches:
    """The batches of a training set, on the device that trains, in the order that its seed gives."""

    def __init__(
        self, recipe: Recipe, examples: Examples, seed: int, device: torch.device, draws: Draws, group: WorkerGroup
    ) -> None:
        self._device = device
        self._labels = examples.labels.to(device) if recipe.conditioning and examples.labels is not None else None
        self._batch_size = recipe.batch_size
        self._flips = recipe.pictures is not None and recipe.pictures.flip
        self._seed = seed
        self._count = len(examples.images)
        self._order = Order(seed, self._count)
        self._draws = draws
        way = choose_way(examples.images, device)
        self._take = _take(examples.images, device, way)
        # It does not know the batches that read by it, so that its thread ends as soon as nobody needs these.
        begin = None if way is Way.RESIDENT else examples.images.begin
        reader = _Reader(self._order, group, self._batch_size, self._take, begin)
        self._read: Callable[[int], Batch] = _ReadAhead(reader) if way is Way.AHEAD else reader

    def after(self, images_seen: int) -> tuple[Tensor, Labels]:
        """This worker's rows of the batch after `images_seen` images, in the range of G's: images [B, ...], labels."""
        images, labels = self._move(*self._read(images_seen))
        if self._flips:
            is_flipped = self._draws.uniform((len(images), 1, 1, 1)) < 0.5
            images = torch.where(is_flipped, images.flip(3), images)
        return images, labels

    def some(self, images_seen: int) -> tuple[Tensor, Labels]:
        """Some images to look at after `images_seen`, and their labels: the same on every worker, none flipped."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "some", images_seen))
        indices = torch.randint(self._count, (SOME,), generator=generator)
        return self._move(indices, self._take(indices))

    def first_images(self, count: int) -> Tensor:
        """The first `count` images that a training sees, none flipped."""
        indices = self._order.indices(0, count)
        return self._move(indices, self._take(indices))[0]

    def first_labels(self, count: int) -> Labels:
        """The labels of the first `count` images that a training sees."""
        return self._labels_at(self._order.indices(0, count))

    def _move(self, indices: Tensor, images: Tensor) -> tuple[Tensor, Labels]:
        """Images on the device, in the range of G's where they are pictures, and their labels."""
        images = images.to(self._device, non_blocking=True)
        if images.dtype == torch.uint8:
            images = (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        return images, self._labels_at(indices)

    def _labels_at(self, indices: Tensor) -> Labels:
        return () if self._labels is None else (self._labels[indices.to(self._device, non_blocking=True)],)


def _take(rows: Rows, device: torch.device, way: Way) -> Callable[[Tensor], Tensor]:
    """How rows are taken by their indices."""
    match way:
        case Way.MAPPED:
            return rows.take
        case Way.RESIDENT:
            return _Resident(rows, device).take
        case Way.AHEAD:
            return partial(rows.take, pinned=device.type == "cuda")
    assert_never(way)


@dataclass(frozen=True)
class _Reader:
    """Reads this worker's rows of the batch after a number of images seen, and has the disk go ahead of it."""

    order: Order
    group: WorkerGroup
    batch_size: int
    take: Callable[[Tensor], Tensor]
    begin: Callable[[Tensor], None] | None  # None of rows that are read already

    def __call__(self, images_seen: int) -> Batch:
        if self.begin:
            self.begin(self._indices(images_seen + AHEAD * self.batch_size))
        indices = self._indices(images_seen)
        return indices, self.take(indices)

    def _indices(self, images_seen: int) -> Tensor:
        return self.group.own_rows(self.order.indices(images_seen, self.batch_size))


class _Resident:
    """Rows that all lie on a device."""

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self._values = torch.empty((len(rows), *rows.form), dtype=rows.dtype, device=device)
        count = max(1, BLOCK_BYTES * len(rows) // rows.bytes)
        for block, into in zip(rows.blocks(count), self._values.split(count), strict=True):
            into.copy_(block)

    def take(self, indices: Tensor) -> Tensor:
        return self._values[indices.to(self._values.device, non_blocking=True)]


class _ReadAhead:
    """Batches by the number of images seen, which a thread reads before they are asked for, each after the other."""

    def __init__(self, read: _Reader) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rows")
        self._begun: dict[int, Future[Batch]] = {}

    def __call__(self, images_seen: int) -> Batch:
        size = self._read.batch_size
        wanted = range(images_seen, images_seen + (AHEAD + 1) * size, size)
        # Whoever goes on elsewhere, as after a resume, has no use for what was begun.
        self._begun = {at: self._begun.get(at) or self._thread.submit(self._read, at) for at in wanted}
        return self._begun.pop(images_seen).result()
