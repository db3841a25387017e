"""The images of one split as files on the disk, written a row at a time, in any order."""

import os
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ganservice.manifest import images_files
from workers.gan.data.image_set import Pixels

BLOCK_BYTES = 1 << 22


class RowWriter:
    """Rows uint8 [C, H, W] of a split in the .npy files that `images_files` names, while the `with` lasts.

    Files that are there and have the right length are gone on with; others are made anew, at full length, so that a
    disk without room says so at once. No more than a few rows are ever held: a mapped file would count as memory.
    """

    def __init__(self, folder: Path, split: str, count: int, shape: tuple[int, int, int]) -> None:
        self._folder, self._split, self.shape = folder, split, shape
        self._row_bytes = int(np.prod(shape))
        self._stack = ExitStack()
        self._open(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def __len__(self) -> int:
        return self._ends[-1]

    def write(self, row: int, pixels: Pixels) -> None:
        """Write a row. Raises OSError."""
        descriptor, offset = self._find(row)
        left = memoryview(pixels.tobytes())
        while left:
            written = os.pwrite(descriptor, left, offset)
            left, offset = left[written:], offset + written

    def read(self, row: int) -> Pixels:
        """Read a row; what was never written is 0. Raises OSError."""
        descriptor, offset = self._find(row)
        packed = os.pread(descriptor, self._row_bytes, offset)
        return np.frombuffer(packed.ljust(self._row_bytes, b"\0"), np.uint8).reshape(self.shape)

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Have the files hold these rows alone, whose numbers grow, one after the other."""
        if len(rows) == len(self):
            return
        for to, row in enumerate(rows):
            if to != row:
                self.write(to, self.read(int(row)))
        self._shorten(len(rows))

    def finish(self) -> dict[str, Path]:
        """Have the disk hold all that was written, and return the files by name."""
        for descriptor in self._descriptors:
            os.fsync(descriptor)
        return {path.name: path for path in self._paths}

    def _find(self, row: int) -> tuple[int, int]:
        """The file of a row, and where in it the row begins."""
        number = bisect_right(self._ends, row)
        first = self._ends[number - 1] if number else 0
        return self._descriptors[number], self._header_bytes + (row - first) * self._row_bytes

    def _open(self, count: int) -> None:
        files = images_files(self._split, count, self._row_bytes)
        self._paths = [self._folder / name for name in files]
        self._ends: Sequence[int] = list(accumulate(files.values()))
        self._descriptors = [
            self._open_file(path, rows) for path, rows in zip(self._paths, files.values(), strict=True)
        ]

    def _open_file(self, path: Path, rows: int) -> int:
        header = npy_header((rows, *self.shape))
        self._header_bytes, length_bytes = len(header), len(header) + rows * self._row_bytes
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._stack.callback(os.close, descriptor)
        if os.fstat(descriptor).st_size != length_bytes:
            os.ftruncate(descriptor, 0)
            os.posix_fallocate(descriptor, 0, length_bytes)
        os.pwrite(descriptor, header, 0)
        return descriptor

    def _shorten(self, count: int) -> None:
        """Cut the files after the first `count` rows; where one file is enough then, the first is named like it."""
        self._stack.close()
        files = images_files(self._split, count, self._row_bytes)
        for path in self._paths[len(files) :]:
            path.unlink()
        for path, (name, rows) in zip(self._paths, files.items(), strict=False):
            os.truncate(path, self._header_bytes + rows * self._row_bytes)
            path.replace(self._folder / name)
        self._open(count)


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The header of an array of uint8, as `numpy.save` writes it: of one length however many rows there are."""
    stream = BytesIO()
    descr = npy.dtype_to_descr(np.dtype(np.uint8))
    npy.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()
