"""Rows: the pictures or points of a data set by index, wherever they lie; nobody copies the whole of them."""

import math
import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Rows:
    """Rows of one form, such as pictures uint8 [C, H, W], in shards that follow one another: in memory, or mapped.

    All processes of a node that map the same files share the memory in which the kernel keeps them.
    """

    def __init__(self, shards: Sequence[NDArray[Any]], indices: NDArray[np.int64] | None = None) -> None:
        """Shards [N, ...] of one dtype, of whose rows `indices` int64 are those that count; all without."""
        self._shards = tuple(shards)
        self._ends = np.cumsum([len(shard) for shard in self._shards])
        self._starts = self._ends - [len(shard) for shard in self._shards]
        self._indices = indices

    @classmethod
    def of(cls, values: Tensor) -> "Rows":
        """The rows of a tensor [N, ...], which lies in the memory of this process."""
        return cls((values.cpu().numpy(),))

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._indices is None else len(self._indices)

    @property
    def form(self) -> tuple[int, ...]:
        """The shape of one row, such as [C, H, W]."""
        return self._shards[0].shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        """The type of all numbers."""
        return torch.from_numpy(np.empty(0, self._shards[0].dtype)).dtype

    @property
    def bytes(self) -> int:
        """How much memory all rows would take."""
        return len(self) * math.prod(self.form) * self._shards[0].itemsize

    def select(self, indices: Tensor) -> "Rows":
        """Some of the rows, int64 [M], in this order; none of them is copied."""
        chosen = indices.numpy()
        return Rows(self._shards, chosen if self._indices is None else self._indices[chosen])

    def take(self, indices: Tensor, *, pinned: bool = False) -> Tensor:
        """A copy of the rows `indices` int64 [B], [B, ...]; `pinned` in memory that a GPU reads by itself."""
        chosen = indices.cpu().numpy()
        taken = torch.from_numpy(self._gather(chosen if self._indices is None else self._indices[chosen]))
        return taken.pin_memory() if pinned else taken

    def begin(self, indices: Tensor) -> None:
        """Have the kernel read the rows `indices` int64 [B] from disk, if they are mapped, while others are worked on:
        who takes them then need not wait. Nothing else is changed by it."""
        maps = [_mapped(shard) for shard in self._shards]
        if not any(maps):
            return
        chosen = indices.cpu().numpy()
        row_bytes = self._shards[0].strides[0]
        for shard, row in self._places(chosen if self._indices is None else self._indices[chosen]):
            if found := maps[shard]:
                memory, begins = found[0], found[1] + row * row_bytes
                page = begins - begins % mmap.PAGESIZE
                memory.madvise(mmap.MADV_WILLNEED, page, begins + row_bytes - page)

    def _places(self, chosen: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Yield in which shard each of these rows lies, and which row of that it is."""
        shard_of = np.searchsorted(self._ends, chosen, side="right")
        yield from zip(shard_of.tolist(), (chosen - self._starts[shard_of]).tolist(), strict=True)

    def _gather(self, chosen: NDArray[np.int64]) -> NDArray[Any]:
        if len(self._shards) == 1:
            return self._shards[0][chosen]
        gathered = np.empty((len(chosen), *self.form), self._shards[0].dtype)
        for into, (shard, row) in enumerate(self._places(chosen)):
            gathered[into] = self._shards[shard][row]
        return gathered

    def first(self, count: int) -> Tensor:
        """A copy of the first `count` rows, or of all."""
        return self.take(torch.arange(min(count, len(self))))

    def blocks(self, count: int) -> Iterator[Tensor]:
        """Yield copies of all rows in order, `count` at a time and the rest at the end, whatever shards they lie in."""
        for start in range(0, len(self), count):
            yield self.take(torch.arange(start, min(start + count, len(self))))


def _mapped(shard: NDArray[Any]) -> tuple[mmap.mmap, int] | None:
    """The mapped file in which a shard lies, and where it begins there, bytes; None of one that lies in memory."""
    memory: Any = shard.base
    while memory is not None and not isinstance(memory, mmap.mmap):
        memory = getattr(memory, "base", None)
    if memory is None:
        return None
    return memory, _address(shard) - _address(np.frombuffer(memory, np.uint8))


def _address(values: NDArray[Any]) -> int:
    return int(values.__array_interface__["data"][0])
