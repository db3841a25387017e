"""How long a step waits for its pictures, which lie on disk and not in memory, beside the step, s.

The memory has forgotten each batch, and the kernel is told of it a step before it is taken: as in a first epoch, or of
a set that is larger than the memory.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.sides import Budget, Row, Side, seconds, take_turns
from tests.benchmarks.training import CPU, go_on, use_cores
from tests.benchmarks.training_growth import resnet
from workers.gan.data.arrays import map_arrays
from workers.gan.data.examples import Examples
from workers.gan.data.rows import Rows
from workers.gan.trainer import Trainer

SIZES = (64, 256)
SHARDS = 4
BYTES = 600_000_000  # of the pictures of one size


def rows(budget: Budget) -> Iterator[Row]:
    use_cores()
    for size in SIZES[:1] if budget.is_tiny else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            paths = stored(Path(folder), size, budget.size(BYTES, 1_000_000) // (3 * size**2))
            reader = Reader(paths, size, budget.is_tiny)
            sides = Side("its pictures from disk", reader.waited_s), Side("a step", reader.step_s)
            yield from take_turns(f"ResNet {size} px, s", sides[0], sides[1:], budget.share(len(SIZES)))


class Reader:
    """A training of pictures in files, whose batches are taken by hand as well."""

    def __init__(self, paths: list[Path], size: int, is_tiny: bool) -> None:
        self._paths = paths
        self._rows = Rows(map_arrays(paths))
        self._recipe = resnet(size, is_tiny)
        self._trainer = Trainer(self._recipe, Examples(self._rows), 0, CPU)
        self._draws = torch.Generator().manual_seed(0)

    def step_s(self) -> float:
        """How long a step takes."""
        return go_on(self._trainer, self._recipe.images_per_step).step_s

    def waited_s(self) -> float:
        """How long it takes to take a batch that has been begun a step before."""
        batch = torch.randint(len(self._rows), (self._recipe.batch_size,), generator=self._draws)
        for path in self._paths:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self._rows.begin(batch)
        self.step_s()
        return seconds(lambda: self._rows.take(batch))


def stored(folder: Path, size: int, count: int) -> list[Path]:
    """Files of random pictures uint8 [N, 3, size, size], so many in all, that lie on disk."""
    draws = np.random.default_rng(0)
    paths = []
    for shard in range(SHARDS):
        paths.append(folder / f"{shard}.npy")
        with paths[-1].open("wb") as file:
            np.save(file, draws.integers(0, 256, (count // SHARDS, 3, size, size), dtype=np.uint8))
            file.flush()
            os.fsync(file.fileno())  # what is not written yet cannot be forgotten
    return paths
