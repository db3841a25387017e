"""Files on a local disk: there whole or not at all, and known by their sha256."""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ganservice.errors import DiskFull, RequestError

UNWRITABLE = (
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS,
    errno.ENAMETOOLONG, errno.ELOOP, errno.EIO,
)  # fmt: skip
CHUNK_BYTES = 1 << 20


def is_disk_full(error: OSError) -> bool:
    """Say whether there was no room on a disk, or none within the user's quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def named_writing_trouble(path: Path, advice: str = "choose another place") -> Iterator[None]:
    """Turn what the disk has against writing to `path` into DiskFull or RequestError that name it."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull(
                f"{path}: the disk is full; nothing half-written was kept; free some space, or {advice}"
            ) from error
        if error.errno in UNWRITABLE:
            raise RequestError(f"{path}: cannot be written ({error.strerror}); {advice}") from error
        raise


def make_folder(path: Path, variable: str, mode: int = 0o777) -> None:
    """Make a folder, unless it is there, and make sure that it can be written to.

    Raises:
        RequestError: it cannot be; the text names the variable by which another is chosen.
        DiskFull.
    """
    with named_writing_trouble(path, f"set {variable} to a folder of your own"):
        path.mkdir(parents=True, exist_ok=True, mode=mode)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def make_private_folder(path: Path, variable: str) -> None:
    """Make a folder that only this user can look into, or make one of his private.

    Raises:
        RequestError: it is another user's, or cannot be made; the text names the variable by which another is chosen.
        DiskFull.
    """
    make_folder(path, variable, mode=0o700)
    # A link counts as its maker's: another user may have led us into a folder of our own.
    if {path.lstat().st_uid, path.stat().st_uid} != {os.geteuid()}:
        raise RequestError(f"{path}: is another user's; set {variable} to a folder of your own")
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)


@contextlib.contextmanager
def write_aside(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """A path beside `path` to write to; it takes `path`'s place if all goes well and is gone if not.

    Raises:
        RequestError: it cannot be written, or `path` is there and no file: a device would be one from then on.
        DiskFull: `path` is as it was.
    """
    if is_there(str(path)) and not (path.is_file() or path.is_dir()):
        raise RequestError(f"{path}: is no file, so that none can take its place; choose another place")
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with named_writing_trouble(path):
            # A file of our own: in a folder that others write to, a name could be a link of theirs.
            os.close(os.open(aside, os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode))
            yield aside
            aside.replace(path)
    finally:
        with contextlib.suppress(OSError):  # where there never was one, or none can be any more
            aside.unlink()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    with write_aside(path, mode=0o600) as aside:
        aside.write_text(text)


def file_sha256(path: Path, moved: Callable[[int], None] = lambda _: None) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal; `moved` gets the length of each piece that is read.

    Raises OSError when it cannot be read.
    """
    with path.open("rb") as file:

        def read() -> bytes:
            chunk = file.read(CHUNK_BYTES)
            moved(len(chunk))
            return chunk

        return sha256_of(iter(read, b""))


def sha256_of(chunks: Iterable[bytes]) -> str:
    """Return the sha256 of bytes that come in chunks, in hexadecimal."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def is_there(path: str) -> bool:
    """Whether there is a file or folder of this name; of one that no file can have there is none."""
    try:
        return Path(path).exists()
    except OSError:
        return False
