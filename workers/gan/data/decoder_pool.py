"""Processes that decode: batches of picture files go out, rows come back in the same order."""

import hashlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganservice.errors import DataInvalid, RequestError
from workers.gan.data.decoding import Target, decode
from workers.gan.data.image_set import Pixels

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

DIGEST_BYTES = 16
# What is known of one picture: the digest of its pixels, zero until they are there, and what `Decoded` tells.
RECORD = np.dtype([("digest", np.uint64, 2), ("marks", np.uint16), ("low", np.float64), ("high", np.float64)])
TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Batches for each process: one that it has and one to begin with at once, unless they are this large together.
AHEAD = 2
AHEAD_BYTES = 256 << 20
# How long a process that was killed may take to be gone; it is longer only where the kernel holds it.
END_S = 5.0


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


Work = Callable[[Batch], list[DecodedPicture]]


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


class _Decoder:
    """A process that decodes batches one after the other, and the connection to it.

    Not an executor of the standard library: its threads, queues and locks wait for one another without a bound where a
    process ends in the midst of something, or where a second Ctrl-C comes while the first is dealt with.
    """

    def __init__(self, target: Target) -> None:
        # Copies of this process would hold what it holds, and its threads' locks as they were.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        work = partial(decode_batch, target=target)
        # As a daemon it is ended by the exit of this process, should it not have been before.
        self._process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        with theirs:
            self._process.start()

    def send(self, batch: Batch) -> None:
        """Hand over a batch; it takes it at once, whatever it is at."""
        with _named_death(batch):
            self._connection.send(batch)

    def receive(self, batch: Batch) -> list[DecodedPicture]:
        """Wait for the pictures of a batch, the oldest one that was sent and not received yet."""
        with _named_death(batch):
            answer: list[DecodedPicture] | Exception = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        """End it, whatever it is at: it holds nothing that is to be kept."""
        self._process.kill()
        self._connection.close()

    def await_end(self) -> None:
        """Wait until it is gone."""
        self._process.join(END_S)


Waiting = deque[tuple[Batch, _Decoder]]


def decode_all(batches: Iterable[Batch], target: Target, processes: int) -> Generator[DecodedPicture, None, None]:
    """Yield the pictures of batches in order, decoded by so many processes; no more than a few batches are held.

    With 0 processes by this one, unless there is a TIFF among them: libtiff writes to stderr what it likes, and files
    have made it crash. Raises RequestError when one of the processes ends, which may be for want of memory.
    """
    decoders: list[_Decoder] = []  # those that were begun; they take turns
    waiting: Waiting = deque()
    try:
        for batch in batches:
            is_for_others = processes > 0 or batch.has_tiff
            if is_for_others:
                if len(decoders) < max(1, processes):
                    with _without_interrupts():
                        decoders.append(_Decoder(target))
                else:
                    decoders.append(decoders.pop(0))
                decoders[-1].send(batch)
                waiting.append((batch, decoders[-1]))
            while len(waiting) > (_most(waiting, max(1, processes)) if is_for_others else 0):
                yield from _next(waiting)
            if not is_for_others:
                yield from decode_batch(batch, target)
        while waiting:
            yield from _next(waiting)
    finally:
        for decoder in decoders:
            decoder.kill()
        for decoder in decoders:
            decoder.await_end()


def _most(waiting: Waiting, processes: int) -> int:
    """How many batches may wait."""
    is_large = sum(batch.length_bytes for batch, _ in waiting) > AHEAD_BYTES
    return processes if is_large else AHEAD * processes


def _next(waiting: Waiting) -> list[DecodedPicture]:
    batch, decoder = waiting.popleft()
    return decoder.receive(batch)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM waiting while a process is begun, which inherits that: half a process is not known of."""
    # Who begins the first process begins this too, which lets all of them in again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _named_death(batch: Batch) -> Iterator[None]:
    """Turn the death of a process, at which its connection ends, into RequestError that says where."""
    try:
        yield
    except (EOFError, OSError) as error:
        raise RequestError(
            f"{batch.wheres[0]}: a process that decodes pictures has ended while it had this one or one near it; "
            "with fewer --processes there is more memory for each"
        ) from error


def _serve(connection: "Connection", work: Work) -> None:
    """Decode what comes, in a process of its own, until who has begun it ends or ends it."""
    # Ctrl-C goes on waiting for ever: it is meant for who has begun this.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    # libtiff writes what it thinks of a file to stderr by itself; we say what is wrong in one line.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    batches: SimpleQueue[Batch] = SimpleQueue()
    answers: SimpleQueue[list[DecodedPicture] | Exception] = SimpleQueue()
    # Were one thread to do it all, it could wait for its answer to be taken, and the other end for its batch to be.
    for step in (lambda: batches.put(connection.recv()), lambda: connection.send(answers.get())):
        threading.Thread(target=_repeat, args=(step,), daemon=True).start()
    _repeat(lambda: answers.put(_answer(work, batches.get())))


def _answer(work: Work, batch: Batch) -> list[DecodedPicture] | Exception:
    try:
        return work(batch)
    except Exception as error:  # noqa: BLE001 - it is raised where the pictures are waited for
        error.add_note(traceback.format_exc())
        return error


def _repeat(step: Callable[[], None]) -> None:
    """Repeat a step until it fails, as it does when the other end of the connection is gone, and end this process."""
    try:
        while True:
            step()
    finally:
        os.kill(os.getpid(), signal.SIGKILL)
