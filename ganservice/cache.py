"""The cache: a folder of downloads. What names a file in it may come from anywhere, and leads nowhere else."""

import errno
import os
import re
import stat
from pathlib import Path

from ganservice.errors import RequestError
from ganservice.files import named_writing_trouble

ADVICE = "set GANSERVICE_CACHE_DIR to a folder of your own"
# One step down, for certain: no separator, no dot first, nothing that a terminal obeys.
STEP = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def cache_path(cache_dir: Path, *steps: str) -> Path:
    """The path of a file or folder so many steps below the cache.

    Raises:
        RequestError: a step is no plain name.
    """
    for step in steps:
        if not STEP.fullmatch(step):
            raise RequestError(f"{step!r}: is no name for a file of the cache")
    return cache_dir.joinpath(*steps)


def cache_folder(cache_dir: Path, *steps: str) -> Path:
    """A folder in the cache, made unless it is there, in which nobody else can put a file or a link.

    Raises:
        RequestError: it cannot be written to, or somebody else could do so.
        DiskFull.
    """
    folder = cache_path(cache_dir, *steps)
    with named_writing_trouble(folder, ADVICE):
        if not cache_dir.is_dir():
            cache_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for depth in range(1, len(steps) + 1):
            _make_private(cache_dir.joinpath(*steps[:depth]))
        # A cache that holds all that is wanted need not be one that can be written to.
        if not os.access(folder, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return folder


def _make_private(folder: Path) -> None:
    """Make a folder unless it is there, and take the right to write to it from all others."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        folder.mkdir(exist_ok=True, mode=0o700)
        found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise RequestError(f"{folder}: is a link or a file where the cache has a folder; delete it, or {ADVICE}")
    if found.st_uid not in (os.geteuid(), 0):
        raise RequestError(f"{folder}: belongs to another user, who could exchange what is in it; {ADVICE}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        if found.st_uid != os.geteuid():
            raise RequestError(f"{folder}: can be written to by others; {ADVICE}")
        folder.chmod(stat.S_IMODE(found.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
