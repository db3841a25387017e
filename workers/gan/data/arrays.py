"""Arrays of .npy files whose headers are held against the bytes that are there before any memory is taken."""

import math
import resource
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ganservice.errors import DataInvalid
from ganservice.mistakes import brief

# Of an array in an .npz, which may be packed: latents for the pictures of a command.
MAX_UNPACKED_BYTES = 1_000_000_000
MAX_DIMENSIONS = 4
# Files that a process of ours has open beside arrays, and sockets, at most.
FILES_OF_ITS_OWN = 1_024


def read_array(path: Path) -> NDArray[Any]:
    """The array of a .npy file. Raises DataInvalid when the file is anything else, or another length than it says."""
    try:
        with path.open("rb") as file:
            _check_header(file, path.stat().st_size)
            return np.asarray(npy.read_array(file, allow_pickle=False))
    except Exception as error:  # a damaged header raises whatever its damage leads to
        raise DataInvalid(f"{path}: {brief(str(error))}; expected a whole .npy file") from error


def map_arrays(paths: Sequence[Path]) -> list[NDArray[Any]]:
    """The arrays of .npy files, not read but mapped: all processes share the memory in which the kernel keeps them.

    Raises DataInvalid as `read_array`.
    """
    _allow_open_files(len(paths))
    arrays = []
    for path in paths:
        try:
            with path.open("rb") as file:
                _check_header(file, path.stat().st_size)
            arrays.append(np.asarray(npy.open_memmap(path, mode="r")))
        except Exception as error:  # as above
            raise DataInvalid(f"{path}: {brief(str(error))}; expected a whole .npy file") from error
    return arrays


def _allow_open_files(more: int) -> None:
    """Let this process have so many files more open, if its user may: each that is mapped counts as one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = more + FILES_OF_ITS_OWN
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def read_packed_array(path: Path, name: str) -> NDArray[Any]:
    """An array of a .npz file. Raises DataInvalid as `read_array`, and for more than MAX_UNPACKED_BYTES."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
            data = member.read(MAX_UNPACKED_BYTES + 1)
        if len(data) > MAX_UNPACKED_BYTES:
            raise ValueError(f"{name} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
        _check_header(stream := BytesIO(data), len(data))
        return np.asarray(npy.read_array(stream, allow_pickle=False))
    except Exception as error:  # a damaged archive raises whatever its damage leads to
        raise DataInvalid(f"{path}: {brief(str(error))}; expected a whole .npz file") from error


def _check_header(file: IO[bytes], size: int) -> None:
    """Raise ValueError unless a header announces exactly the bytes that follow; the file is at its start again then."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"found version {version} of the format, expected 1.0 or 2.0")
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject or len(shape) > MAX_DIMENSIONS or min(shape, default=0) < 0:
        raise ValueError(f"found {dtype} of {len(shape)} dimensions, expected up to {MAX_DIMENSIONS}, of numbers")
    announced, follow = math.prod(shape) * dtype.itemsize, size - file.tell()
    if announced != follow:
        raise ValueError(f"its header announces {announced:,} bytes, {follow:,} follow")
    file.seek(0)
