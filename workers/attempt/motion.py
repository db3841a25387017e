"""Motion: when an attempt last came further, and how often it reports. Safe to share between threads."""

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

# The usual time between two reports is the median of so many.
GAPS = 9
# What comes sooner after a report is no other report: an evaluation tells of every batch.
LEAST_GAP_S = 1.0


@dataclass(frozen=True)
class Ages:
    """How long ago the last report and the last sign of motion were, in s, and how long it usually is between reports;
    None before there are two."""

    report_s: float
    usual_s: float | None
    still_s: float


class Motion:
    """What an attempt tells of its coming further, by a steady clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reported_at = self._moved_at = clock()
        self._gaps: deque[float] = deque(maxlen=GAPS)
        self._is_first = True  # the report to come, after which the first gap begins

    def begin(self) -> None:
        """Another activity begins, of which nothing is usual yet."""
        with self._lock:
            self._reported_at = self._moved_at = self._clock()
            self._gaps.clear()
            self._is_first = True

    def move(self) -> None:
        """Something has come further."""
        with self._lock:
            self._moved_at = self._clock()

    def report(self) -> None:
        """A report is there."""
        with self._lock:
            self._moved_at = now = self._clock()
            gap_s = now - self._reported_at
            if gap_s < LEAST_GAP_S and not self._is_first:
                return
            if not self._is_first:
                self._gaps.append(gap_s)
            self._reported_at, self._is_first = now, False

    def ages(self) -> Ages:
        """How it stands now."""
        with self._lock:
            now = self._clock()
            usual_s = statistics.median(self._gaps) if self._gaps else None
            return Ages(now - self._reported_at, usual_s, now - self._moved_at)
