"""A lock that one process at a time holds, by a file. The kernel takes it from whoever ends, however that happens."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from enum import Enum, auto
from pathlib import Path


class Holder(Enum):
    """Who has a lock. NOBODY: none can be had here (in a folder that cannot be written to, on some disks of other
    machines), so that nobody can know whether others are at work."""

    WE = auto()
    ANOTHER = auto()
    NOBODY = auto()


@contextlib.contextmanager
def file_lock(path: Path, wait: Callable[[], bool]) -> Iterator[Holder]:
    """Run the block while no other process, nor thread, of this node is in one of the same file.

    While another is, `wait` is called again and again: it sleeps, and says whether to go on waiting. If it says no, and
    where no lock can be had, the block runs beside others, and is told so: none may rely on being alone.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            yield Holder.NOBODY
            return
        try:
            while (holder := _lock(descriptor)) is Holder.ANOTHER and wait():
                pass
            # The lock of a file that was deleted meanwhile, and perhaps made again, keeps nobody out.
            if holder is not Holder.WE or _is_at(path, descriptor):
                yield holder
                return
        finally:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> Holder:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the second from some disks of other machines
        return Holder.ANOTHER
    except OSError:
        return Holder.NOBODY
    return Holder.WE
