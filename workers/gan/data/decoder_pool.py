"""Processes that decode: batches of picture files go out, rows come back in the same order."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganservice.errors import DataInvalid, RequestError
from workers.gan.data.decoding import Target, decode
from workers.gan.data.image_set import Pixels

DIGEST_BYTES = 16
# What is known of one picture: the digest of its pixels, zero until they are there, and what `Decoded` tells.
RECORD = np.dtype([("digest", np.uint64, 2), ("marks", np.uint16), ("low", np.float64), ("high", np.float64)])
TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Batches for each process: one that it has and one to begin with at once, unless they are this large together.
AHEAD = 2
AHEAD_BYTES = 256 << 20


@dataclass
class Batch:
    """Files to decode: what names each in errors, its place in the set, its bytes."""

    wheres: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    length_bytes: int = 0

    def add(self, where: str, place: int, packed: bytes) -> None:
        """Take one more file."""
        self.wheres.append(where)
        self.places.append(place)
        self.files.append(packed)
        self.length_bytes += len(packed)

    @property
    def has_tiff(self) -> bool:
        """Whether one of them begins as a TIFF does, whatever its name is."""
        return any(packed.startswith(TIFF_BEGINNINGS) for packed in self.files)


@dataclass(frozen=True)
class DecodedPicture:
    """One picture of a batch: its place, its record and pixels, or why it cannot be read."""

    place: int
    record: NDArray[Any]
    pixels: Pixels | None
    error: str | None = None


Waiting = deque[tuple[Batch, Future[list[DecodedPicture]]]]


def digest_of(pixels: Pixels) -> NDArray[np.uint64]:
    """A digest by which equal pictures are known: 128 bits of BLAKE2b."""
    return np.frombuffer(hashlib.blake2b(pixels.tobytes(), digest_size=DIGEST_BYTES).digest(), np.uint64)


def decode_batch(batch: Batch, target: Target) -> list[DecodedPicture]:
    """Decode each file of a batch; one that cannot be read is told, not raised."""
    found = []
    for where, place, packed in zip(batch.wheres, batch.places, batch.files, strict=True):
        record = np.zeros((), RECORD)
        try:
            decoded = decode(where, packed, target)
        except DataInvalid as error:
            found.append(DecodedPicture(place, record, None, str(error)))
            continue
        record["marks"], record["low"], record["high"] = int(decoded.marks), decoded.low, decoded.high
        if decoded.pixels is not None:
            record["digest"] = digest_of(decoded.pixels)
        found.append(DecodedPicture(place, record, decoded.pixels))
    return found


def decode_all(batches: Iterable[Batch], target: Target, processes: int) -> Generator[DecodedPicture, None, None]:
    """Yield the pictures of batches in order, decoded by so many processes; no more than a few batches are held.

    With 0 processes by this one, unless there is a TIFF among them: libtiff writes to stderr what it likes, and files
    have made it crash. Raises RequestError when one of the processes ends, which may be for want of memory.
    """
    pool: ProcessPoolExecutor | None = None
    waiting: Waiting = deque()
    try:
        for batch in batches:
            is_for_pool = processes > 0 or batch.has_tiff
            if is_for_pool:
                pool = pool or _open_pool(processes)
                waiting.append((batch, _submit(pool, batch, target)))
            while len(waiting) > (_most(waiting, max(1, processes)) if is_for_pool else 0):
                yield from _next(waiting)
            if not is_for_pool:
                yield from decode_batch(batch, target)
        while waiting:
            yield from _next(waiting)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)


def _open_pool(processes: int) -> ProcessPoolExecutor:
    # Copies of this process would hold what it holds, and its threads' locks as they were.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(max(1, processes), mp_context=context, initializer=_begin)


def _most(waiting: Waiting, processes: int) -> int:
    """How many batches may wait."""
    is_large = sum(batch.length_bytes for batch, _ in waiting) > AHEAD_BYTES
    return processes if is_large else AHEAD * processes


def _submit(pool: ProcessPoolExecutor, batch: Batch, target: Target) -> Future[list[DecodedPicture]]:
    with _named_death(batch), _without_interrupts():
        return pool.submit(decode_batch, batch, target)


def _next(waiting: Waiting) -> list[DecodedPicture]:
    batch, future = waiting.popleft()
    with _named_death(batch):
        return future.result()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Keep Ctrl-C waiting while processes are begun, which inherit that: it is meant for who starts them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _named_death(batch: Batch) -> Iterator[None]:
    """Turn the death of a process into RequestError that says where."""
    try:
        yield
    except BrokenProcessPool as error:
        raise RequestError(
            f"{batch.wheres[0]}: a process that decodes pictures has ended while it had this one or one near it; "
            "with fewer --processes there is more memory for each"
        ) from error


def _begin() -> None:
    """Prepare a process that decodes."""
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    # libtiff writes what it thinks of a file to stderr by itself; we say what is wrong in one line.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
