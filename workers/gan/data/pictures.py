"""Pictures: a folder, zip or tar of picture files as an ImageSet; archives are read in place, never extracted."""

import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Literal, TypeVar, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ganservice.errors import DataInvalid
from ganservice.mistakes import brief
from workers.gan.data.image_set import ImageSet, Labels, Pixels, Split, to_square

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
# One file in an archive may claim to unpack to anything; no picture under Pillow's limit of pixels needs more.
MAX_FILE_BYTES = 512 << 20
# Of a folder or an archive: what lists more of them takes all memory.
MAX_FILES = 5_000_000
# Of the name of a folder, which becomes that of a class; in a zip there may be longer ones.
MAX_CLASS_CHARS = 255
# Pillow's modes of one channel; a palette is in colour.
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")

T = TypeVar("T")
Open = Callable[[], IO[bytes]]
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
    under: str = "",
    skip_unreadable: bool = False,
) -> ImageSet:
    """An ImageSet with one "train" split, uint8 [N, channels, size, size], in the order of the files' names.

    Each picture is turned as its EXIF says, laid on white where transparent, made grey or RGB, scaled so that its
    shorter side is `size` px, and cropped to its centre. When every picture lies in a sub-folder, none deeper, the
    sub-folders are the classes; a folder around a whole archive does not count. `say` gets lines about what was
    left out. Only names that begin with `under` count. Without `channels` all pictures must be grey, or none.
    Raises DataInvalid; of one picture that cannot be read only unless `skip_unreadable`.
    """
    with _open(path, say, under) as files:
        read = {}
        # In stored order, because going back in a compressed tar means unpacking it again.
        for file_name, open_file in files.items():
            try:
                read[file_name] = _read(f"{path}: {file_name}", open_file, size, channels)
            except DataInvalid as error:
                if not skip_unreadable:
                    raise
                say(f"left out: {error}")
            _check_channels(path, read)
    if len(read) < 2:
        raise DataInvalid(
            f"{path}: pictures found: {len(read)}; expected at least 2 files named *{', *'.join(SUFFIXES)}"
        )
    names = sorted(read)
    classes, labels = _classes(names, is_archive=path.is_file())
    images = np.stack([read[file_name] for file_name in names])
    return ImageSet(name, {"train": Split(images, labels)}, classes, str(path))


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


def _classes(names: list[str], *, is_archive: bool) -> tuple[tuple[str, ...], Labels | None]:
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    if is_archive and len({folder[:1] for folder in folders}) == 1:
        folders = [folder[1:] for folder in folders]
    if any(len(folder) != 1 for folder in folders):
        return (), None
    classes = tuple(sorted({class_name for (class_name,) in folders}))
    if (longest := max(map(len, classes))) > MAX_CLASS_CHARS:
        raise DataInvalid(f"the name of a class has {longest:,} letters, expected at most {MAX_CLASS_CHARS}")
    numbers = {class_name: number for number, class_name in enumerate(classes)}
    return classes, np.array([numbers[class_name] for (class_name,) in folders], np.int64)


def _read(where: str, open_file: Open, size: int, channels: int | None) -> Pixels:
    """One file as uint8 [channels, size, size], without `channels` as many as it has; `where` names it in errors."""
    advice = "expected a whole picture: mend or remove it"
    try:
        with open_file() as stream, warnings.catch_warnings():
            packed = stream.read(MAX_FILE_BYTES + 1)
            if len(packed) > MAX_FILE_BYTES:
                raise DataInvalid(f"{where}: more than {MAX_FILE_BYTES:,} bytes; {advice}")
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


@contextmanager
def _open(path: Path, say: Say, under: str) -> Iterator[dict[str, Open]]:
    """The picture files below a path by their names from there, in stored order, while the `with` lasts."""
    with ExitStack() as stack:
        try:
            files = _list_files(path, stack)
        except DataInvalid:
            raise
        except Exception as error:  # a damaged archive raises whatever its damage leads to
            reason = brief(str(error))
            raise DataInvalid(
                f"{path}: cannot be read ({reason}); expected a whole folder, zip or tar: make or fetch it again"
            ) from error
        pictures = {name: open_file for name, open_file in files if _is_picture(name) and name.startswith(under)}
        if ignored := len(files) - len(pictures):
            say(f"{path}: {ignored} files ignored; pictures are named *{', *'.join(SUFFIXES)}")
        yield pictures


def _list_files(path: Path, stack: ExitStack) -> list[tuple[str, Open]]:
    if path.is_dir():
        paths = _bounded(path, (file for file in path.rglob("*") if file.is_file()))
        return [(str(file.relative_to(path)), cast(Open, partial(file.open, "rb"))) for file in paths]
    if not path.is_file():
        raise DataInvalid(f"{path}: no such folder or file; expected a folder, zip or tar of pictures")
    if zipfile.is_zipfile(path):
        zip_file = stack.enter_context(zipfile.ZipFile(path))
        infos = _bounded(path, (info for info in zip_file.infolist() if not info.is_dir()))
        if any(info.flag_bits & 1 for info in infos):
            raise DataInvalid(f"{path}: is encrypted; expected a zip that opens without a password")
        return [(_plain(info.filename), partial(zip_file.open, info)) for info in infos]
    if tarfile.is_tarfile(path):
        tar_file = stack.enter_context(tarfile.open(path))  # noqa: SIM115 - the stack closes it
        members = _bounded(path, (member for member in tar_file if member.isfile()))
        # extractfile returns None only for what is no file.
        return [(_plain(member.name), cast(Open, partial(tar_file.extractfile, member))) for member in members]
    raise DataInvalid(f"{path}: neither a folder nor a whole zip or tar; expected one of these with pictures in it")


def _bounded(path: Path, files: Iterable[T]) -> list[T]:
    """The files of a folder or an archive. Raises DataInvalid of more than MAX_FILES."""
    found = list(islice(files, MAX_FILES + 1))
    if len(found) > MAX_FILES:
        raise DataInvalid(f"{path}: holds more than {MAX_FILES:,} files; expected fewer: make several of it")
    return found


def _plain(name: str) -> str:
    """A name without the "./" that tar likes to begin with."""
    return str(PurePosixPath(name))


def _is_picture(name: str) -> bool:
    # "." also begins the "..", with which a name would leave the archive.
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
    return name.lower().endswith(SUFFIXES) and not hidden
