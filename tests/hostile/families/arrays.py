"""Arrays whose headers lie: IDX, .npy and .npz."""

import gzip
import io
import struct
import zipfile
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.hostile.draw import damaged_bytes


def idx(dimensions: tuple[int, ...], data: bytes, magic: bytes | None = None) -> bytes:
    """An IDX file that says so many dimensions, whatever follows."""
    return (magic or bytes([0, 0, 8, len(dimensions)])) + struct.pack(f">{len(dimensions)}I", *dimensions) + data


SIZES = st.sampled_from([0, 1, 28, 2**16, 2**31, 2**32 - 1])
idx_files = st.one_of(
    st.builds(idx, st.tuples(SIZES, SIZES, SIZES), st.binary(max_size=64)),
    st.builds(idx, st.tuples(SIZES), st.binary(max_size=64)),
    st.binary(max_size=64),
    st.builds(lambda size: gzip.compress(idx((size, 28, 28), bytes(784))), SIZES),
    st.just(gzip.compress(idx((2**20, 1_000, 1), bytes(50_000_000)))),
    damaged_bytes(gzip.compress(idx((2, 28, 28), bytes(1_568)))),
)


def npy(array: NDArray[Any], header: bytes | None = None) -> bytes:
    """A .npy file of an array; with another header in the place of its own."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    if header is None:
        return stream.getvalue()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + array.tobytes()


NPY_HEADERS = (
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 1, 16, 16), }\n",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (4,), }\n",
    b"{'descr': '<f4', 'fortran_order': True, 'shape': (-4, 8), }\n",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0, 99999999999), }\n",
    b"{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (), }\n",
    b"{'descr': '<M8[D]', 'fortran_order': False, 'shape': (2,), }\n",
    b"(" * 5_000, b"__import__('os').system('touch /tmp/owned')", b"{" * 60_000, b"", b"\x00" * 40,
    b"{'descr': '|S2147483647', 'fortran_order': False, 'shape': (1,), }\n", b"9" * 50_000,
)  # fmt: skip
npy_files = st.one_of(
    st.sampled_from(NPY_HEADERS).map(lambda header: npy(np.zeros(4, np.float32), header)),
    st.just(npy(np.array([{"a": 1}], dtype=object))),
    st.just(npy(np.full((4, 8), np.nan, np.float32))),
    st.just(npy(np.zeros((3, 5), np.complex64))),
    st.just(npy(np.array(["x" * 100]))),
    st.just(npy(np.zeros((20_000, 8), np.float16))),
    damaged_bytes(npy(np.zeros((4, 1, 16, 16), np.uint8))),
    st.binary(max_size=200),
)


@cache
def npz(name: str, way: str) -> bytes:
    """An .npz with a bomb in it, or something else that is no array."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        data = {
            "bomb": npy(np.zeros(8, np.float32))[:128] + bytes(300_000_000),
            "pickle": npy(np.array([{}], dtype=object)),
            "deep": b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 10_000, "empty": b"",
        }[way]  # fmt: skip
        archive.writestr(name, data)
    return stream.getvalue()


npz_files = st.builds(
    npz,
    st.sampled_from(["latents.npy", "../latents.npy", "latents"]),
    st.sampled_from(["bomb", "pickle", "deep", "empty"]),
)
