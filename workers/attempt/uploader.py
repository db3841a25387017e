"""Uploader: writes to the store from its own thread, in order, while training goes on.

Patience with the store is not its own: what it uploads to has it.
"""

import queue
import threading
from collections.abc import Callable
from typing import Self

# With so many uploads that wait training waits too, rather than filling the memory.
MAX_WAITING = 2


class Uploader:
    """A thread that runs uploads one after the other."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._error: BaseException | None = None
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._abandoned.set()
        self._waiting.put(None)
        self._thread.join()

    @property
    def has_room(self) -> bool:
        """Whether more uploads may wait."""
        return self._waiting.qsize() < MAX_WAITING

    @property
    def is_idle(self) -> bool:
        """Whether nothing is uploaded now: what may be left out would take the place of what may not."""
        return self._waiting.unfinished_tasks == 0

    def submit(self, upload: Callable[[], None]) -> None:
        """Enqueue an upload. Raises what an earlier one raised."""
        self.check()
        self._waiting.put(upload)

    def drain(self) -> None:
        """Wait until all is uploaded. Raises what an upload raised."""
        self._waiting.join()
        self.check()

    def check(self) -> None:
        """Raise what an upload raised, if one did."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (upload := self._waiting.get()) is not None:
            try:
                if self._error is None and not self._abandoned.is_set():
                    upload()
            except BaseException as error:  # noqa: BLE001 # carried to the training thread
                self._error = error
            finally:
                self._waiting.task_done()
