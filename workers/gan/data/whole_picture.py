"""One picture file as it is: upright, at its own size, of 8 bits, with its alpha."""

import stat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ganservice.errors import DataInvalid
from workers.gan.data.decoding import GREY_MODES, opened
from workers.gan.data.picture_source import MAX_FILE_BYTES

# The levels of 16 bits that are one of 8: 65,535 becomes 255.
LEVELS_OF_16_BITS = 257


def read_whole(path: Path) -> Image.Image:
    """The picture in a file, in Pillow's mode L, LA, RGB or RGBA.

    Raises DataInvalid of a file that is none, of what is no file, and of one without a range of values to tell.
    """
    with opened(str(path), _bytes(path)) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I;16"):
            levels = np.asarray(upright) / LEVELS_OF_16_BITS
            upright = Image.fromarray(np.rint(levels).astype(np.uint8))
        elif upright.mode in ("I", "F"):
            raise DataInvalid(f"has values of 32 bits (mode {upright.mode}), expected 8 or 16 bits in each channel")
        grey = upright.mode in GREY_MODES
        has_alpha = upright.has_transparency_data
        whole: Image.Image = upright.convert(f"{'L' if grey else 'RGB'}{'A' if has_alpha else ''}")
        return whole


def _bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataInvalid(f"{path}: is no file; expected a picture")
        if status.st_size > MAX_FILE_BYTES:
            raise DataInvalid(f"{path}: has {status.st_size:,} bytes, expected at most {MAX_FILE_BYTES:,}")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except (OSError, ValueError) as error:  # a name with a zero in it is no name
        reason = getattr(error, "strerror", None) or error
        raise DataInvalid(f"{path}: cannot be read ({reason}); expected a picture") from error
