"""Sources of pictures: folders, archives and tables, whose files are known by name and read one at a time.

Nothing is extracted. A name is text and a path below the source, with "/" between its parts, whatever the source has.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ganservice.errors import DataInvalid
from ganservice.mistakes import brief
from workers.gan.data.labels import Labels
from workers.gan.data.splits import Part

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# What a file in Parquet begins with.
PARQUET_MAGIC = b"PAR1"
# One file in an archive may claim to unpack to anything; no picture under Pillow's limit of pixels needs more.
MAX_FILE_BYTES = 512 << 20
# Of a source: what lists more of them takes all memory.
MAX_FILES = 5_000_000


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

    def labels(self, column: str | None) -> Labels | None:  # noqa: ARG002 - of a column where there are columns
        """The labels that the source itself holds, in the column of that name; None where it has no such thing.

        Raises:
            LayoutUnclear: it does not tell which column holds them.
        """
        return None

    def parts(self) -> tuple[str, dict[str, Part]] | None:
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
