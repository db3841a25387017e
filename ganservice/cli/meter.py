"""How far a long command is, how fast, and how long it still takes: on stderr, beside what it says."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ganservice.cli.output import clear_line, draws_lines, redraw_line, say, span

# How often a terminal's line is drawn again; how often a line is written to anything else.
TERMINAL_INTERVAL_S = 0.2
LINE_INTERVAL_S = 30.0


class Meter:
    """A line that is drawn again and again at a terminal; elsewhere a line now and then. Gone when the `with` ends.

    Safe to share between threads. `what` is counted: pictures, MB.
    """

    def __init__(self, what: str, now: Callable[[], float] = time.monotonic) -> None:
        self._what, self._now = what, now
        self._draws = draws_lines()
        self._interval_s = TERMINAL_INTERVAL_S if self._draws else LINE_INTERVAL_S
        self._lock = threading.Lock()
        self._first: tuple[float, int] | None = None  # when the first count was told, and what it was
        self._shown_at = now()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._draws:
            clear_line()

    def proceed(self, done: int, total: int) -> None:
        """Take note of how many are done, of so many in all."""
        with self._lock:
            now = self._now()
            self._first = self._first or (now, done)
            if now - self._shown_at < self._interval_s:
                return
            self._shown_at = now
            (redraw_line if self._draws else say)(self._text(done, total, now))

    def say(self, text: str) -> None:
        """A word to the user, above the line."""
        with self._lock:
            if self._draws:
                clear_line()
            say(text)

    def _text(self, done: int, total: int, now: float) -> str:
        words = f"{done:,} of {total:,} {self._what}"
        begun_at, begun_with = self._first or (now, done)
        if done == begun_with or now == begun_at:
            return words
        per_s = (done - begun_with) / (now - begun_at)
        return f"{words}, {per_s:,.0f}/s, {span((total - done) / per_s)} left"
