"""A lock that one process at a time holds, by a file. The kernel takes it from whoever ends, however that happens."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def file_lock(path: Path, wait: Callable[[], bool]) -> Iterator[None]:
    """Run the block while no other process, nor thread, of this node is in one of the same file.

    While another is, `wait` is called again and again: it sleeps, and says whether to go on waiting. If it says no, and
    where no lock can be had (in a folder that cannot be written to, on some disks of other machines), the block runs
    beside others: none may rely on being alone.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        while _is_held_by_another(descriptor) and wait():
            pass
        yield
    finally:
        os.close(descriptor)


def _is_held_by_another(descriptor: int) -> bool:
    """Take a lock. Returns whether somebody else has it; where the disk knows no locks, nobody has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the second from some disks of other machines
        return True
    except OSError:
        return False
    return False
