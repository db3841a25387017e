"""One picture file as pixels of a set: decoded, turned upright, laid on a ground, scaled and brought to a shape."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntFlag, auto
from io import BytesIO
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ganservice.errors import DataInvalid
from ganservice.recipe import Channels, ImageSize, Sides, sides_of
from workers.gan.data.fitting import Fit, Ground, fitted, is_enlarged
from workers.gan.data.image_set import Pixels

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# Pillow's modes of one channel; a palette is in colour.
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
MODES: dict[Channels, str] = {1: "L", 3: "RGB", 4: "RGBA"}
# How much larger than wanted a JPEG is decoded at least: the decoder halves it by plain averages, what is left of the
# way is LANCZOS.
DRAFT_FACTOR = 2
ADVICE = "expected a whole picture: mend or remove it"


class Range(NamedTuple):
    """The values that become 0 and 255; those beyond become the same."""

    low: float
    high: float


@dataclass(frozen=True)
class Target:
    """What every picture becomes: of one size; grey (1), RGB (3) or RGBA (4), without `channels` grey or RGB.

    What is transparent is laid on `ground`, but where alpha is kept. `value_range` is that of pictures with more than
    8 bits; without one they are looked at and not decoded.
    """

    size: ImageSize
    channels: Channels | None = None
    value_range: Range | None = None
    fit: Fit = "crop"
    ground: Ground = "white"

    @property
    def sides(self) -> Sides:
        """Pixels of the sides."""
        return sides_of(self.size)


class Mark(IntFlag):
    """What there is to be said of a picture."""

    GREY = auto()  # it has one channel
    MISSHAPEN = auto()  # its sides are in another proportion than wanted
    ENLARGED = auto()  # it is smaller than wanted
    TRANSPARENT = auto()  # something of it is
    DEEP = auto()  # its values are grey and have more than 8 bits
    BEYOND = auto()  # some of them are beyond the range
    HALVED = auto()  # it is in colour with 16 bits, of which the upper 8 are left
    FURTHER = auto()  # it is the first of several in one file


@dataclass(frozen=True)
class Decoded:
    """Pixels uint8 [C, H, W], none of a deep picture whose range is not known yet.

    `low` and `high` are the smallest and the largest value of a deep picture; of one with half its bits `high` is the
    largest of what is left.
    """

    pixels: Pixels | None
    marks: Mark
    low: float = 0.0
    high: float = 0.0


def decode(where: str, packed: bytes, target: Target) -> Decoded:
    """Decode the bytes of one file; `where` names it in errors. Raises DataInvalid."""
    with opened(where, packed) as picture:
        return _decoded(picture, target)


@contextmanager
def opened(where: str, packed: bytes) -> Iterator[Any]:
    """The bytes of one file as Pillow's image; whatever goes wrong in the block raises DataInvalid with `where`."""
    try:
        with warnings.catch_warnings():
            # Broken EXIF and the like are no concern; the bomb warning starts at half the size of the error.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(packed), formats=FORMATS) as picture:
                yield picture
    except DataInvalid as error:
        raise DataInvalid(f"{where}: {error}; {ADVICE}") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise DataInvalid(
            f"{where}: has more than {limit} pixels, as a decompression bomb has; make it smaller or remove it"
        ) from error
    except UnidentifiedImageError as error:
        raise DataInvalid(f"{where}: not a {', '.join(FORMATS)} file; {ADVICE}") from error
    # Decoders of damaged bytes raise whatever their arithmetic runs into.
    except Exception as error:
        raise DataInvalid(f"{where}: cannot be read ({' '.join(str(error).split())}); {ADVICE}") from error


def _decoded(picture: Any, target: Target) -> Decoded:
    # Before its pixels are there: what the file is says more than what Pillow makes of it.
    marks, whole = _marks(picture), Sides(*picture.size)
    # Of a JPEG only: its decoder makes it smaller on the way, and is several times as fast. It may lie on its side yet.
    picture.draft(None, (DRAFT_FACTOR * max(target.sides),) * 2)
    upright = ImageOps.exif_transpose(picture)
    marks |= _marks_of_size(whole if upright.size == picture.size else Sides(whole.height, whole.width), target)
    if getattr(picture, "is_animated", False) and picture.format != "MPO":  # a telephone's JPEG with its previews
        marks |= Mark.FURTHER
    if upright.mode.startswith(("I", "F")):
        return _decoded_deep(np.asarray(upright), marks | Mark.DEEP, target)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        if cast(tuple[int, int], layer.getchannel("A").getextrema())[0] < 255:
            marks |= Mark.TRANSPARENT
        is_kept = target.channels == 4
        upright = layer if is_kept else Image.alpha_composite(Image.new("RGBA", layer.size, target.ground), layer)
    flat = upright.convert(MODES[_channels(marks, target)])
    largest = float(np.max(flat.getextrema()[:3])) if marks & Mark.HALVED else 0.0
    planes = _planes(np.asarray(fitted(flat, target.sides, target.fit, target.ground)))
    return Decoded(_without_unseen(planes), marks, high=largest)


def _without_unseen(planes: Pixels) -> Pixels:
    """The planes, without the colour of what is wholly transparent: nobody sees it, so nothing should learn it."""
    if len(planes) == 4:
        planes[:3, planes[3] == 0] = 0
    return planes


def _channels(marks: Mark, target: Target) -> Channels:
    return target.channels or (1 if marks & Mark.GREY else 3)


def _marks(picture: Any) -> Mark:
    """What can be said of a picture by its file."""
    # Pillow's name of how the bytes of the file lie, as in "RGB;16B".
    has_16_bits = any(";16" in str(tile[3]) for tile in picture.tile)
    if picture.mode in GREY_MODES:
        return Mark.GREY
    return Mark.HALVED if has_16_bits else Mark(0)


def _marks_of_size(own: Sides, target: Target) -> Mark:
    """What can be said of a picture by its sides once it is upright."""
    wanted, marks = target.sides, Mark(0)
    if own.width * wanted.height != own.height * wanted.width:
        marks |= Mark.MISSHAPEN
    if is_enlarged(own, wanted, target.fit):
        marks |= Mark.ENLARGED
    return marks


def _decoded_deep(values: NDArray[Any], marks: Mark, target: Target) -> Decoded:
    finite = values[np.isfinite(values)] if np.issubdtype(values.dtype, np.floating) else values
    if not finite.size:
        raise DataInvalid("has no value that is a number")
    low, high = float(finite.min()), float(finite.max())
    if target.value_range is None:
        return Decoded(None, marks, low, high)
    if low < target.value_range.low or high > target.value_range.high or finite.size < values.size:
        marks |= Mark.BEYOND
    # Scaled before it is made smaller, rounded after: means of pixels keep what lies between two levels of grey.
    scaled = Image.fromarray(_scaled(values, target.value_range))
    small = fitted(scaled, target.sides, target.fit, target.ground)
    grey = np.clip(np.rint(np.asarray(small)), 0, 255).astype(np.uint8)
    channels = _channels(marks, target)
    planes = [grey] * min(channels, 3)
    if channels == 4:  # all of it is opaque, but for what it is padded with
        opaque = Image.new("L", scaled.size, 255)
        planes.append(np.asarray(fitted(opaque, target.sides, target.fit, "black")))
    return Decoded(_without_unseen(np.stack(planes)), marks, low, high)


def _scaled(values: NDArray[Any], value_range: Range) -> NDArray[np.float32]:
    """Values with `value_range` as 0 to 255; what is no number is black."""
    # 16 bits fit exactly into a float32, more do not: a narrow range far from 0 would be lost.
    scaled: NDArray[Any] = values.astype(np.float32 if values.dtype.itemsize == 2 else np.float64)
    np.subtract(scaled, value_range.low, out=scaled)
    width = value_range.high - value_range.low
    np.multiply(scaled, 255 / width if width else 0, out=scaled)
    np.clip(np.nan_to_num(scaled, copy=False, nan=0), 0, 255, out=scaled)
    return scaled.astype(np.float32, copy=False)


def _planes(pixels: NDArray[np.uint8]) -> Pixels:
    """Pixels [H, W] or [H, W, C] as [C, H, W], which are not shared."""
    return np.array(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1), order="C")
