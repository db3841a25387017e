"""Uploader: writes to the store from its own thread, in order, while training goes on."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Self

from ganservice.errors import StoreOutage

# Uploads that may wait: beyond it training waits too, rather than filling the memory.
MAX_WAITING = 2
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class Uploader:
    """A thread that runs uploads one after the other. A store that does not answer is tried again for `patience_s`."""

    def __init__(self, patience_s: float, on_trouble: Callable[[StoreOutage], None]) -> None:
        self._patience_s = patience_s
        self._on_trouble = on_trouble
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_WAITING)
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
                    self._patiently(upload)
            except BaseException as error:  # noqa: BLE001 # carried to the training thread
                self._error = error
            finally:
                self._waiting.task_done()

    def _patiently(self, upload: Callable[[], None]) -> None:
        give_up_at, pause_s = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        while True:
            try:
                return upload()
            except StoreOutage as error:
                if time.monotonic() + pause_s > give_up_at:
                    raise
                self._on_trouble(error)
                if self._abandoned.wait(pause_s):
                    raise
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
