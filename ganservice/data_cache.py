"""A data set in the local cache: one process of a node fetches it for all, and each file is verified once.

data/DIGEST/FILE.npy            the files
data/DIGEST.verified.json       which of them were found to be right, and how they looked then
data/DIGEST.lock                held by who fetches or verifies
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from ganservice.cache import cache_folder, cache_path
from ganservice.errors import GanServiceError
from ganservice.file_lock import file_lock
from ganservice.files import file_sha256, write_aside
from ganservice.manifest import MANIFEST_BYTES, DataManifest
from ganservice.objects import ObjectStore
from ganservice.parallel import side_by_side

LOOK_S = 0.2
# Who fetches and brings nothing for so long is not waited for: it may be frozen.
SILENCE_S = 60.0
# Nobody writes to a half-fetched file that has not changed for so long.
DEAD_S = 3600.0
# Two changes of a file within this time may look as one, on disks that tell time coarsely.
TICK_NS = 2 * 10**9
# By name: the sha256 that a file was found to have, its bytes, and its time of change in ns.
Verified = dict[str, tuple[str, int, int]]
VERIFIED = TypeAdapter(Verified)


class DataCache:
    """The files of one data set on this node."""

    def __init__(self, objects: ObjectStore, key: str, manifest: DataManifest, cache_dir: Path) -> None:
        """`key` is that of the folder in the store. Raises RequestError, DiskFull: no cache can be there."""
        self._objects = objects
        self._key = key
        self._files = manifest.files
        self._folder = cache_folder(cache_dir, "data", manifest.digest)
        self._paths = {name: cache_path(cache_dir, "data", manifest.digest, name) for name in manifest.files}
        self._marker = cache_path(cache_dir, "data", f"{manifest.digest}.verified.json")
        self._lock_file = cache_path(cache_dir, "data", f"{manifest.digest}.lock")
        self._marking = threading.Lock()
        self._seen: tuple[int, ...] = ()  # of what another process has fetched
        self._seen_at = time.monotonic()

    def bring(self) -> Path:
        """Have all files here, whole and right, and return their folder.

        A file is read through and compared with its digest once; and again where it was changed since.

        Raises:
            ArtifactMissing, DigestMismatch, StoreOutage, DiskFull.
        """
        if self._unverified():
            with file_lock(self._lock_file, self._wait):
                self._sweep()
                side_by_side(partial(self._bring_file, name) for name in self._unverified())
        return self._folder

    def _unverified(self) -> list[str]:
        """The files that are not known to be right as they are now."""
        verified = self._read_marker()
        return [
            name
            for name, expected in self._files.items()
            if verified.get(name) != (expected.sha256, expected.bytes, _changed_at(self._paths[name], expected.bytes))
        ]

    def _bring_file(self, name: str, check: Callable[[], None]) -> None:
        path, expected = self._paths[name], self._files[name]

        def moved(length_bytes: int) -> None:
            check()
            self._objects.moved(length_bytes)

        changed_at = _settle(path) if _changed_at(path, expected.bytes) is not None else None
        if changed_at is None or file_sha256(path, moved) != expected.sha256:
            self._objects.download(self._key + name, path, expected.sha256, expected.bytes, lambda _: check())
            changed_at = _settle(path)
        if changed_at is not None:
            self._mark(name, changed_at)

    def _mark(self, name: str, changed_at: int) -> None:
        """Write down that a file is right. Where that is impossible it is verified again each time."""
        expected = self._files[name]
        with self._marking, contextlib.suppress(OSError, GanServiceError):
            verified = self._read_marker() | {name: (expected.sha256, expected.bytes, changed_at)}
            with write_aside(self._marker, mode=0o600) as aside:
                aside.write_bytes(VERIFIED.dump_json(verified))

    def _read_marker(self) -> Verified:
        try:
            with self._marker.open("rb") as file:
                return VERIFIED.validate_json(file.read(MANIFEST_BYTES))
        except (OSError, ValueError):
            return {}

    def _wait(self) -> bool:
        """Wait a moment for who fetches. Returns whether there is still something to wait for."""
        time.sleep(LOOK_S)
        now, seen = time.monotonic(), self._look()
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
            self._objects.moved(0)
        return now - self._seen_at < SILENCE_S

    def _look(self) -> tuple[int, ...]:
        """How far the files and the marker have come."""
        found = []
        for path in (self._marker, *self._folder.iterdir()):
            with contextlib.suppress(OSError):
                about = path.stat()
                found += [about.st_size, about.st_mtime_ns]
        return tuple(found)

    def _sweep(self) -> None:
        """Delete what killed processes have fetched by halves."""
        for path in self._folder.glob(".*.part"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > DEAD_S:
                    path.unlink()


def _changed_at(path: Path, length_bytes: int) -> int | None:
    """When a file was changed last, ns; None unless there is one of this length."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns if about.st_size == length_bytes else None


def _settle(path: Path) -> int | None:
    """When a file was changed last, ns, set back where that is so young that a change now might leave the same; None
    where there is no file."""
    try:
        about = path.stat()
        if abs(time.time_ns() - about.st_mtime_ns) < TICK_NS:
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns - 2 * TICK_NS))
        return path.stat().st_mtime_ns
    except OSError:
        return None
