"""Files of pictures for tests, and those with more than 8 bits, which Pillow reads but does not write."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def packed(picture: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    stream = BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def of_values(values: NDArray[Any], file_format: str = "PNG", **options: Any) -> bytes:
    """An array as the bytes of a file."""
    return packed(Image.fromarray(values), file_format, **options)


def png_of_16_bits(values: NDArray[np.uint16]) -> bytes:
    """A PNG of values [H, W, C]: grey, grey and alpha, RGB or RGBA."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
