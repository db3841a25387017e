"""Files of a known data set: plain or gzip, found by either name, known by their unpacked bytes."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from ganservice.errors import DataInvalid, DataMissing
from ganservice.files import sha256_of

GZIP_MAGIC = b"\x1f\x8b"
# Far above any IDX file known here (MNIST's largest unpacks to 47 MB), far below what a gzip bomb can reach.
MAX_UNPACKED_BYTES = 1_000_000_000
CHUNK_BYTES = 1 << 20


def find_file(folder: Path, name: str) -> Path:
    """`name` in a folder, plain or with .gz. Raises DataMissing when there is neither."""
    for path in (folder / name, folder / f"{name}.gz"):
        try:
            if path.is_file():
                return path
        except PermissionError as error:
            raise DataInvalid(f"{path}: cannot be looked at ({error.strerror}); expected a readable folder") from error
    raise DataMissing(f"{folder}: found neither {name} nor {name}.gz; expected one of them there")


@contextmanager
def open_unpacked(path: Path) -> Iterator[BufferedReader | gzip.GzipFile]:
    """The unpacked bytes of a file; gzip is told by its first bytes, not by its name.

    Raises DataInvalid, also from reads inside the `with`, when the file or its gzip stream cannot be read.
    """
    try:
        with path.open("rb") as plain:
            is_gzip = plain.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            plain.seek(0)
            if not is_gzip:
                yield plain
                return
            with gzip.open(plain) as unpacked:
                yield unpacked
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataInvalid(
            f"{path}: cannot be read ({reason}); expected a whole file, plain or gzip: fetch it again"
        ) from error


def verify(path: Path, sha256: str) -> None:
    """Raise DataInvalid, naming both digests, unless the unpacked bytes of a file have this sha256."""
    with open_unpacked(path) as stream:
        actual = sha256_of(bounded_chunks(stream, path))
    if actual != sha256:
        raise DataInvalid(f"{path}: found sha256 {actual} of its unpacked bytes; expected {sha256}: fetch it again")


def bounded_chunks(stream: IO[bytes] | gzip.GzipFile, path: Path) -> Iterator[bytes]:
    """Yield the bytes of a stream. Raises DataInvalid, naming `path`, beyond MAX_UNPACKED_BYTES."""
    length_bytes = 0
    while chunk := stream.read(CHUNK_BYTES):
        length_bytes += len(chunk)
        if length_bytes > MAX_UNPACKED_BYTES:
            raise DataInvalid(
                f"{path}: unpacks to more than {MAX_UNPACKED_BYTES:,} bytes; expected less: fetch it again"
            )
        yield chunk
