"""Logs of the embedded stack, kept from filling the disk: those of its parts, and those that Ray writes itself."""

import contextlib
import os
import shutil
from pathlib import Path

# A log that has grown beyond this becomes an old one, of which so many are kept.
LOG_BYTES = 16 * 2**20
OLD_LOGS = 3
# Ray turns its own logs over by itself, told by its environment; of each part of it there is one.
RAY_ROTATION = {"RAY_ROTATION_MAX_BYTES": str(LOG_BYTES), "RAY_ROTATION_BACKUP_COUNT": str(OLD_LOGS)}


def turn_over(log: Path) -> None:
    """Make a log that has grown too large an old one, NAME.1, and have whoever writes it go on with an empty one.

    Its writer holds the file open and cannot be asked to open another, so the log is copied and cut short; lines that
    are written in between are lost. Where the disk has no room for a copy, the log is cut short alone.
    """
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size <= LOG_BYTES:
            return
        for number in range(OLD_LOGS - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                _old(log, number).replace(_old(log, number + 1))
        try:
            shutil.copyfile(log, _old(log, 1))
        except OSError:
            _old(log, 1).unlink(missing_ok=True)
        os.truncate(log, 0)


def turn_all_over(folder: Path) -> None:
    """Turn over every log of a folder that has grown too large."""
    for log in folder.glob("*.log"):
        turn_over(log)


def forget_sessions(ray_dir: Path) -> None:
    """Delete what ended sessions of Ray left in its folder, but for the last one, whose logs may tell why it ended.

    For when no Ray of this folder runs.
    """
    sessions = [path for path in ray_dir.glob("session_*") if path.is_dir() and not path.is_symlink()]
    for session in sorted(sessions, key=lambda path: path.stat().st_mtime)[:-1]:
        shutil.rmtree(session, ignore_errors=True)


def _old(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")
