"""Question: what the store is asked beside a screen that goes on meanwhile."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ganservice.errors import ArtifactMissing, GanServiceError, StoreOutage

T = TypeVar("T")

# A store that does not answer is asked again after so long.
OUTAGE_PAUSE_S = 10.0
# Who has waited for so long is told so.
SILENCE_TOLD_S = 3.0


class Question(Generic[T]):
    """Asks in a daemon thread, which no end of the process waits for; again after each outage, until `close`."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._asked_at = time.monotonic()
        self._error: GanServiceError | None = None
        self.answer: T | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="question to the store", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether the store has answered, or never will."""
        return not self._thread.is_alive()

    @property
    def trouble(self) -> str:
        """Why there is no answer, or nothing."""
        if self._error and not isinstance(self._error, ArtifactMissing):
            return str(self._error)
        is_late = not self.is_over and not self._error and time.monotonic() - self._asked_at > SILENCE_TOLD_S
        return "the store has not answered yet" if is_late else ""

    def wait(self, limit_s: float) -> None:
        """Wait for the end, but no longer."""
        self._thread.join(limit_s)

    def close(self) -> None:
        """Have it asked no more; who waits for the answer waits no longer than for what was asked last."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self.answer = self._ask()
                self._error = None
                return
            # Also of what is missing: what something newer replaces is so for a moment.
            except (StoreOutage, ArtifactMissing) as error:
                self._error = error
                self._closed.wait(OUTAGE_PAUSE_S)
            except GanServiceError as error:
                self._error = error
                return
