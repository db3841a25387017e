"""IDX: the format of MNIST and its relatives, as http://yann.lecun.com/exdb/mnist/ describes it.

Two zero bytes, the type of a value, the number of dimensions, each dimension as a big-endian uint32, the values.
"""

import math
import struct
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path

import numpy as np

from ganservice.errors import DataInvalid
from workers.gan.data.data_files import MAX_UNPACKED_BYTES, find_file, open_unpacked
from workers.gan.data.image_set import ImageSet, Pixels, Split
from workers.gan.data.mnist import IdxFiles

# The magic numbers of uint8 values (type 0x08) and the number of dimensions each announces.
DIMENSIONS = {bytes.fromhex("00000801"): 1, bytes.fromhex("00000803"): 3}
EXPECTED_MAGIC = "the uint8 magic 00000801 (labels) or 00000803 (images)"


def read_idx(path: Path) -> Pixels:
    """The uint8 array of an IDX file, plain or gzip: labels [N] or images [N, H, W].

    Raises DataInvalid when the file is anything else, is cut short, or goes on after its last value.
    """
    with open_unpacked(path) as stream:
        shape = _read_shape(path, stream)
        length_bytes = math.prod(shape)
        if max(length_bytes, *shape) > MAX_UNPACKED_BYTES:  # of nothing, too, no array is longer than memory
            raise DataInvalid(
                f"{path}: found a header for {list(shape)} values; expected at most {MAX_UNPACKED_BYTES:,}"
            )
        # One byte more than announced shows trailing data, and makes gzip check its CRC at the end.
        values = stream.read(length_bytes + 1)
    if len(values) != length_bytes:
        found = f"only {len(values):,} bytes" if len(values) < length_bytes else "more bytes"
        raise DataInvalid(
            f"{path}: found {found} after the header; expected {length_bytes:,} for {list(shape)}: fetch it again"
        )
    # A bytearray, because an array over bytes is read-only and torch warns about those.
    return np.frombuffer(bytearray(values), np.uint8).reshape(shape)


def write_idx(path: Path, values: Pixels) -> None:
    """Write a uint8 array of any number of dimensions as an IDX file."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.tobytes())


def _read_shape(path: Path, stream: BufferedReader | GzipFile) -> tuple[int, ...]:
    magic = stream.read(4)
    if magic not in DIMENSIONS:
        raise DataInvalid(f"{path}: found {magic.hex() or 'no bytes'} at its start; expected {EXPECTED_MAGIC}")
    dimensions = DIMENSIONS[magic]
    sizes = stream.read(4 * dimensions)
    if len(sizes) != 4 * dimensions:
        raise DataInvalid(
            f"{path}: found {4 + len(sizes)} bytes of header; expected {4 + 4 * dimensions}: fetch it again"
        )
    return struct.unpack(f">{dimensions}I", sizes)


def read_idx_image_set(name: str, folder: Path, files: IdxFiles, classes: tuple[str, ...], source: str) -> ImageSet:
    """An ImageSet with one channel from the four files in a folder, each plain or with .gz.

    Raises DataMissing when a file is not there, DataInvalid when one is broken or they do not fit together.
    """
    splits = {
        "train": _read_split(find_file(folder, files.train_images), find_file(folder, files.train_labels)),
        "test": _read_split(find_file(folder, files.test_images), find_file(folder, files.test_labels)),
    }
    return ImageSet(name, splits, classes, source)


def _read_split(images_path: Path, labels_path: Path) -> Split:
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, dimensions in ((images_path, images, 3), (labels_path, labels, 1)):
        if array.ndim != dimensions:
            raise DataInvalid(
                f"{path}: found {array.ndim} dimensions; expected {dimensions}: are images and labels exchanged?"
            )
    if len(images) != len(labels):
        raise DataInvalid(f"{labels_path}: found {len(labels):,} labels; expected {len(images):,}, one for each image")
    return Split(images[:, np.newaxis], labels)
