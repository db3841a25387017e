"""CIFAR-10's binary format, as https://www.cs.toronto.edu/~kriz/cifar.html describes it.

Each record is one label byte, then 1,024 bytes of red, of green and of blue, row by row. No pickle is read.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ganservice.errors import DataInvalid
from workers.gan.data.data_files import MAX_UNPACKED_BYTES, find_file, open_unpacked
from workers.gan.data.image_set import ImageSet, Pixels, Split

SHAPE = (3, 32, 32)
RECORD_BYTES = 1 + 3 * 32 * 32


def read_cifar_image_set(
    name: str, folder: Path, train: Sequence[str], test: Sequence[str], classes: tuple[str, ...], source: str
) -> ImageSet:
    """An ImageSet from the named files of a folder. Raises DataMissing or DataInvalid."""
    splits = {"train": _read_all(folder, train), "test": _read_all(folder, test)}
    return ImageSet(name, splits, classes, source)


def _read_all(folder: Path, names: Sequence[str]) -> Split:
    parts = [_records(find_file(folder, name)) for name in names]
    records = np.concatenate(parts)
    return Split(records[:, 1:].reshape(-1, *SHAPE).copy(), records[:, 0].copy())


def _records(path: Path) -> Pixels:
    """The bytes of one file, a row for each record. Raises DataInvalid."""
    with open_unpacked(path) as stream:
        values = stream.read(MAX_UNPACKED_BYTES + 1)
    if len(values) > MAX_UNPACKED_BYTES:
        raise DataInvalid(f"{path}: unpacks to more than {MAX_UNPACKED_BYTES:,} bytes; expected less: fetch it again")
    if not values or len(values) % RECORD_BYTES:
        raise DataInvalid(
            f"{path}: found {len(values):,} bytes; expected a whole number of records of {RECORD_BYTES} bytes: "
            "fetch it again"
        )
    return np.frombuffer(values, np.uint8).reshape(-1, RECORD_BYTES)
