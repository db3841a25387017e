"""Sources of pictures: folders, archives and tables, whose files are known by name and read one at a time.

Nothing is extracted. A name is text and a path below the source, with "/" between its parts, whatever the source has.
"""

import errno
import os
import tarfile
import unicodedata
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from ganservice.errors import DataInvalid
from ganservice.mistakes import brief
from workers.gan.data.foreign_files import advice_alone

if TYPE_CHECKING:
    from workers.gan.data.label_files import Labels
    from workers.gan.data.splits import Part

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# What a file in Parquet begins with.
PARQUET_MAGIC = b"PAR1"
# One file in an archive may claim to unpack to anything; no picture under Pillow's limit of pixels needs more.
MAX_FILE_BYTES = 512 << 20
# Of a source: what lists more of them takes all memory.
MAX_FILES = 5_000_000
# Names of links and loops are paths of the file system, which has no deeper ones.
MAX_DEPTH = 1_000


class PictureSource(ABC):
    """Files by name, while the `with` lasts; they are read from one thread.

    `path` is where they lie. `lines` tells what is to be said of the source itself: links, names that come twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - a folder has nothing to close
        """Close what is open."""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """The names of all files, in stored order: the one in which they are read without going back."""

    @abstractmethod
    def folders(self) -> Sequence[str]:
        """The names of the folders that the source has, as far as it tells of folders."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises DataInvalid, naming the file, when it cannot be read or is too large."""

    def paths(self) -> Sequence[Path]:
        """The files of the disk that are read, in an order that stays."""
        return [self.path]

    def labels(self, column: str | None) -> "Labels | None":  # noqa: ARG002 - of a column where there are columns
        """The labels that the source itself holds, in the column of that name; None where it has no such thing.

        Raises:
            LayoutUnclear: it does not tell which column holds them.
        """
        return None

    def parts(self) -> "tuple[str, dict[str, Part]] | None":
        """What tells the splits that the source itself holds, and the part of each picture; None where it has none.

        Raises:
            LayoutUnclear: what it holds names no splits.
        """
        return None

    def _bounded(self, name: str, stream: IO[bytes]) -> bytes:
        packed = stream.read(MAX_FILE_BYTES + 1)
        if len(packed) > MAX_FILE_BYTES:
            raise self._too_large(name)
        return packed

    def _too_large(self, name: str) -> DataInvalid:
        return DataInvalid(
            f"{self.path}: {brief(name)}: more than {MAX_FILE_BYTES:,} bytes; expected a picture: remove it"
        )


class FolderSource(PictureSource):
    """A folder of the disk. Links are followed and counted; one that leads back to a folder it lies in is refused."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._paths: dict[str, str] = {}
        self._folders: list[str] = []
        self._links: list[str] = []
        self._dead_links: list[str] = []
        self._walk("", "", [])
        if self._links:
            self.lines.append(f"links: {len(self._links):,} followed, such as {self._links[0]}")
        if self._dead_links:
            self.lines.append(f"links: {len(self._dead_links):,} to nothing, such as {self._dead_links[0]}")

    def names(self) -> Sequence[str]:
        """As PictureSource has it."""
        return list(self._paths)

    def folders(self) -> Sequence[str]:
        """As PictureSource has it."""
        return self._folders

    def paths(self) -> Sequence[Path]:
        """As PictureSource has it."""
        return [Path(path) for path in self._paths.values()]

    def lines_beside(self, files: Container[str]) -> list[str]:
        """The lines of a folder of which some files are the source, and one about the others."""
        others = [name for name in self._paths if name not in files]
        more = f", with {len(others) - 1:,} more" if len(others) > 1 else ""
        return [*self.lines, *([f"ignored: {others[0]}{more}, beside what holds pictures"] if others else [])]

    def location(self, name: str) -> Path:
        """Where a file lies."""
        return Path(self._paths[name])

    def read(self, name: str) -> bytes:
        """As PictureSource has it."""
        try:
            with Path(self._paths[name]).open("rb") as stream:
                return self._bounded(name, stream)
        except OSError as error:
            raise DataInvalid(f"{self.path}: {brief(name)}: cannot be read ({error.strerror})") from error

    def _walk(self, below: str, folder_name: str, above: list[tuple[int, int]]) -> None:
        folder = os.path.join(self.path, below)  # noqa: PTH118 - a million of them
        try:
            status = os.stat(folder)  # noqa: PTH116 - the same
            if (status.st_dev, status.st_ino) in above or len(above) > MAX_DEPTH:
                raise DataInvalid(
                    f"{self.path}: {brief(folder_name)} is a link to a folder that it lies in; remove the link"
                )
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise DataInvalid(
                f"{self.path}: the folder {brief(folder_name) or '.'} cannot be read ({error.strerror}); make it "
                "readable, or move it away"
            ) from error
        here = [*above, (status.st_dev, status.st_ino)]
        for entry in entries:
            name = self._unused(f"{folder_name}/{file_text(entry.name)}".lstrip("/"))
            if entry.is_symlink() and not self._leads_somewhere(entry, name):
                continue
            if entry.is_dir():
                self._folders.append(name)
                self._check_count()
                self._walk(os.path.join(below, entry.name), name, here)  # noqa: PTH118 - the same
            elif entry.is_file():
                self._paths[name] = entry.path
                self._check_count()

    def _check_count(self) -> None:
        if len(self._paths) + len(self._folders) > MAX_FILES:
            raise too_many_files(self.path)

    def _leads_somewhere(self, entry: os.DirEntry[str], name: str) -> bool:
        """Whether a link leads to anything. Raises DataInvalid for links in a circle."""
        try:
            entry.stat()
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise DataInvalid(f"{self.path}: {brief(name)} is a link to itself; remove the link") from error
            self._dead_links.append(name)
            return False
        self._links.append(name)
        return True

    def _unused(self, name: str) -> str:
        """A name that no other file has: two whose bytes are others may be spelled alike, such as é in two forms."""
        path = PurePosixPath(name)
        return name if name not in self._paths else self._unused(str(path.with_stem(f"{path.stem}'")))


def file_text(name: str) -> str:
    r"""A file's name, as the disk has it, as text; bytes that are no UTF-8 are spelled out: \xe9."""
    return spelled(os.fsencode(name).decode(errors="backslashreplace"))


def spelled(name: str) -> str:
    """A name in normal form, with all that is no letter but a control spelled out."""
    letters = (
        letter if unicodedata.category(letter) not in ("Cc", "Cs") else letter.encode("unicode_escape").decode()
        for letter in name
    )
    return unicodedata.normalize("NFC", name if name.isprintable() else "".join(letters))


@contextmanager
def named_damage(path: Path) -> Iterator[None]:
    """Turn whatever an archive or table raises that is damaged into DataInvalid that names it."""
    try:
        yield
    except (DataInvalid, ModuleNotFoundError):
        raise
    except Exception as error:
        reason = brief(str(error))
        raise DataInvalid(
            f"{path}: cannot be read ({reason}); expected a whole folder, zip, tar or Parquet: make or fetch it again"
        ) from error


def too_many_files(path: Path) -> DataInvalid:
    """What is said of a source with more than MAX_FILES."""
    return DataInvalid(f"{path}: holds more than {MAX_FILES:,} files and folders; expected fewer: make several of it")


@contextmanager
def open_source(path: Path) -> Iterator[PictureSource]:
    """A folder, zip or tar, or a table or folder of tables in Parquet, as a PictureSource.

    Raises DataInvalid when it is none of them, or damaged.
    """
    with named_damage(path):
        source = _opened(path)
    with source:
        yield source


def _opened(path: Path) -> PictureSource:
    # What is made of this module.
    from workers.gan.data.archives import ZipSource  # noqa: PLC0415
    from workers.gan.data.parquet import ParquetSource, tables_of  # noqa: PLC0415
    from workers.gan.data.tars import TarShards, TarSource, shards_of  # noqa: PLC0415

    if path.is_dir():
        folder = FolderSource(path)
        if tables := tables_of(folder):
            return ParquetSource(path, tables, folder.lines_beside(tables))
        if shards := shards_of(folder):
            return TarShards(folder, shards)
        return folder
    if not path.is_file():
        raise DataInvalid(f"{path}: no such folder or file; expected a folder, zip, tar or Parquet of pictures")
    with path.open("rb") as file:
        is_table = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    if is_table:
        return ParquetSource(path, {path.name: path})
    if zipfile.is_zipfile(path):
        return ZipSource(path)
    if tarfile.is_tarfile(path):
        return TarSource(path)
    what = "; give the folder that it lies in" if path.name.lower().endswith(SUFFIXES) else advice_alone([path.name])
    raise DataInvalid(
        f"{path}: neither a folder nor a whole zip, tar or Parquet; expected one of these with pictures{what}"
    )
