"""Folders of the cache in which imports work, one at a time in each; the next goes on with what one has left."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import PIL

from ganservice.cache import ADVICE, cache_folder
from ganservice.files import is_disk_full, named_writing_trouble
from workers.gan.data.decoding import Target
from workers.gan.data.layout import Layout
from workers.gan.data.picture_source import PictureSource

FOLDER = "imports"
LOCK = "lock"
KEY_CHARS = 24
# Which pixels decoding makes of a picture: one more when it makes others.
PIXELS = 1
# An import that nobody went on with for so long is not gone on with.
STALE_S = 7 * 86_400


class WorkKey(NamedTuple):
    """What an import works on, and the state in which that is: another for whatever would make other rows of it."""

    source: str
    state: str


def key_of(source: PictureSource, layout: Layout, target: Target) -> WorkKey:
    """The key of the work on a source as it lies there now."""
    state = hashlib.sha256(f"{PIXELS} {PIL.__version__} {layout.classes}".encode())
    for file in layout.files:
        state.update(f"{file.name}\n{file.split} {file.label}\n".encode(errors="backslashreplace"))
    for path in source.paths():
        with contextlib.suppress(OSError):  # whoever reads it says that it is gone
            status = path.stat()
            state.update(f"{path.absolute()}\n{status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    whole = hashlib.sha256(f"{target} {source.path.absolute()}".encode(errors="surrogateescape"))
    return WorkKey(whole.hexdigest()[:KEY_CHARS], state.hexdigest()[:KEY_CHARS])


@contextlib.contextmanager
def work_folder(cache_dir: Path, key: WorkKey) -> Iterator[Path]:
    """A folder for the work `key` that nobody else works in, with what an earlier one has left there.

    It is deleted when the work is done, and when the disk is full; whatever else ends the work leaves it. Those of
    another state of the source, and those that nobody has gone on with for a week, are deleted first.

    Raises:
        RequestError: the cache cannot be written to.
        DiskFull: nothing is left.
    """
    root = cache_folder(cache_dir, FOLDER)
    with named_writing_trouble(root, ADVICE):
        _delete_stale(root, key)
    for number in count():
        folder = cache_folder(cache_dir, FOLDER, f"{key.source}-{key.state}-{number}")
        with named_writing_trouble(folder, ADVICE), _locked(folder) as is_ours:
            if is_ours:
                os.utime(folder)
                try:
                    yield folder
                except OSError as error:
                    if is_disk_full(error):
                        shutil.rmtree(folder)
                    raise
                shutil.rmtree(folder)
                return


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Say whether a folder is ours alone while the `with` lasts; a lock ends with its process, however that ends."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:  # the folder was deleted since
        yield False
        return
    try:
        yield _lock(descriptor, folder / LOCK)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The lock of a folder that was deleted, and perhaps made again, keeps nobody out.
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _delete_stale(root: Path, key: WorkKey) -> None:
    for folder in root.iterdir():
        source, _, rest = folder.name.partition("-")
        is_superseded = source == key.source and not rest.startswith(f"{key.state}-")
        with contextlib.suppress(FileNotFoundError):
            if is_superseded or time.time() - folder.stat().st_mtime > STALE_S:
                with _locked(folder) as is_ours:
                    if is_ours:
                        shutil.rmtree(folder)
