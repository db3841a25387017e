"""Packed files: data files that are plain or gzip, found by either name, known by their unpacked bytes."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from ganservice.errors import DataInvalid, DataMissing

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
    """Raise DataInvalid, naming both digests, unless the unpacked bytes of a file have this SHA-256."""
    digest, length_bytes = hashlib.sha256(), 0
    with open_unpacked(path) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            length_bytes += len(chunk)
            if length_bytes > MAX_UNPACKED_BYTES:
                raise DataInvalid(
                    f"{path}: unpacks to more than {MAX_UNPACKED_BYTES:,} bytes; expected less: fetch it again"
                )
    if digest.hexdigest() != sha256:
        raise DataInvalid(
            f"{path}: found sha256 {digest.hexdigest()} of its unpacked bytes; expected {sha256}: fetch it again"
        )
