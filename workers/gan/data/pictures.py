"""Pictures: a folder, an archive or a table of picture files, decoded, as an ImageSet."""

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ganservice.errors import DataInvalid
from workers.gan.data.image_set import ImageSet, Pixels, Split, to_square
from workers.gan.data.layout import Layout, read_layout
from workers.gan.data.picture_source import PictureSource, open_source

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
# Pillow's modes of one channel; a palette is in colour.
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")

Say = Callable[[str], None]


def _say_nothing(_: str) -> None:
    pass


def read_pictures(
    path: Path,
    name: str,
    size: int,
    channels: Literal[1, 3] | None,
    say: Say = _say_nothing,
    *,
    labels: str | None = None,
    under: str = "",
) -> ImageSet:
    """The pictures of a folder, an archive or a table as `decode` makes them, laid out as `read_layout` tells.

    `say` gets the lines of the layout. Raises DataInvalid.
    """
    with open_source(path) as source:
        layout = read_layout(source, labels, under=under)
        for line in layout.lines:
            say(line)
        return decode(source, layout, name, size, channels, say)


def decode(
    source: PictureSource,
    layout: Layout,
    name: str,
    size: int,
    channels: Literal[1, 3] | None,
    say: Say = _say_nothing,
    *,
    skip_unreadable: bool = False,
) -> ImageSet:
    """An ImageSet of the pictures of a layout, uint8 [N, channels, size, size] in the order of the files' names.

    Each picture is turned as its EXIF says, laid on white where transparent, made grey or RGB, scaled so that its
    shorter side is `size` px, and cropped to its centre. Without `channels` all pictures must be grey, or none.
    `say` gets a line of each that is left out. Raises DataInvalid; of one picture that cannot be read only unless
    `skip_unreadable`.
    """
    read: dict[str, Pixels] = {}
    wanted = {file.name for file in layout.files}
    # In stored order, because going back in a compressed tar means unpacking it again.
    for file_name in filter(wanted.__contains__, source.names()):
        try:
            read[file_name] = _read(source.path, file_name, source, size, channels)
        except DataInvalid as error:
            if not skip_unreadable:
                raise
            say(f"left out: {error}")
        _check_channels(source.path, read)
    return ImageSet(name, _splits(layout, read), layout.classes, str(source.path))


def _splits(layout: Layout, read: dict[str, Pixels]) -> dict[str, Split]:
    """The pictures that were read, by split. Raises DataInvalid for fewer than two to train on."""
    splits = {}
    for split in ("train", "test"):
        files = [file for file in layout.files if file.split == split and file.name in read]
        if split == "train" and len(files) < 2:
            raise DataInvalid(f"pictures to train on: {len(files)}; expected at least 2 that can be read")
        if files:
            labels = [file.label for file in files if file.label is not None]
            images = np.stack([read[file.name] for file in files])
            splits[split] = Split(images, np.array(labels, np.int64) if labels else None)
    return splits


def _check_channels(path: Path, read: dict[str, Pixels]) -> None:
    """Compare the first and the last picture. Raises DataInvalid."""
    first, last = next(iter(read), None), next(reversed(read), None)
    if first is None or last is None or len(read[first]) == len(read[last]):
        return
    grey, colour = (first, last) if len(read[first]) == 1 else (last, first)
    raise DataInvalid(
        f"{path}: mixed channels: {grey} is grey, {colour} is in colour; expected one kind: "
        "mend them, or give --channels to make all of them 1 (grey) or 3 (RGB)"
    )


def _read(path: Path, name: str, source: PictureSource, size: int, channels: int | None) -> Pixels:
    """One file as uint8 [channels, size, size], without `channels` as many as it has."""
    where = f"{path}: {name}"
    advice = "expected a whole picture: mend or remove it"
    try:
        packed = source.read(name)
        with warnings.catch_warnings():
            # Broken EXIF and the like are no concern; the bomb warning starts at half the size of the error.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(packed), formats=FORMATS) as picture:
                pixels = np.asarray(to_square(_flatten(picture, channels), size))
    except DataInvalid:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise DataInvalid(f"{where}: a decompression bomb of more than {limit} pixels; {advice}") from error
    except UnidentifiedImageError as error:
        raise DataInvalid(f"{where}: not a {', '.join(FORMATS)} file; {advice}") from error
    # Decoders of damaged bytes raise whatever their arithmetic runs into.
    except Exception as error:
        raise DataInvalid(f"{where}: cannot be read ({' '.join(str(error).split())}); {advice}") from error
    return pixels.reshape(size, size, -1).transpose(2, 0, 1)


def _flatten(picture: Image.Image, channels: int | None) -> Image.Image:
    grey = channels == 1 if channels else picture.mode in GREY_MODES
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        # Pillow's own conversion of 16-bit grey clips at 255 instead of scaling.
        upright = Image.fromarray((np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8))
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return upright.convert("L" if grey else "RGB")
