"""Folders of the cache in which imports work, one at a time in each; the next goes on with what one has left."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import PIL

from ganservice.cache import ADVICE, cache_folder
from ganservice.file_lock import Holder, file_lock
from ganservice.files import is_disk_full, named_writing_trouble
from workers.gan.data.decoding import Target
from workers.gan.data.layout import Layout
from workers.gan.data.picture_source import PictureSource

FOLDER = "imports"
LOCK = "lock"
# What the names of folders begin with in which nobody goes on.
ALONE = "alone-"
KEY_CHARS = 24
# Which pixels decoding makes of a picture: one more when it makes others.
PIXELS = 2
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
    another state of the source, and those that nobody has gone on with for a week, are deleted first. Where the disk
    knows no locks, it is a new one, which is always deleted: nobody knows whether others work in those that are there.

    Raises:
        RequestError: the cache cannot be written to.
        DiskFull: nothing is left.
    """
    root = cache_folder(cache_dir, FOLDER)
    with named_writing_trouble(root, ADVICE):
        _delete_stale(root, key)
    for number in count():
        folder = cache_folder(cache_dir, FOLDER, f"{key.source}-{key.state}-{number}")
        with named_writing_trouble(folder, ADVICE), file_lock(folder / LOCK, _never) as holder:
            if holder is Holder.NOBODY and folder.exists():  # else it was deleted since
                break
            if holder is Holder.WE:
                os.utime(folder)
                try:
                    yield folder
                except OSError as error:
                    if is_disk_full(error):
                        shutil.rmtree(folder)
                    raise
                shutil.rmtree(folder)
                return
    with (
        named_writing_trouble(root, ADVICE),
        tempfile.TemporaryDirectory(prefix=ALONE, dir=root) as name,
    ):
        yield Path(name)


def is_kept(folder: Path) -> bool:
    """Whether the next work of the same key goes on with what is left in a folder."""
    return not folder.name.startswith(ALONE)


def _never() -> bool:
    return False


def _delete_stale(root: Path, key: WorkKey) -> None:
    for folder in root.iterdir():
        source, _, rest = folder.name.partition("-")
        is_superseded = source == key.source and not rest.startswith(f"{key.state}-")
        with contextlib.suppress(FileNotFoundError):
            is_stale = time.time() - folder.stat().st_mtime > STALE_S
            if is_superseded or is_stale:
                with file_lock(folder / LOCK, _never) as holder:
                    if holder is Holder.WE or (holder is Holder.NOBODY and is_stale):
                        shutil.rmtree(folder)
