"""ReportLog: reports as lines of a job's log, so few that the log stays small and keeps all else too."""

import math
import time
from collections.abc import Callable

from ganservice.job import Progress
from ganservice.quantities import texts

# At least so long, and so large a share of the training, lies between two lines: 1,000 of a training at most.
LEAST_GAP_S = 30.0
LEAST_SHARE = 0.001


class ReportLog:
    """Writes a line for a report of a training now and then: its first, its last, and between them at a pause."""

    def __init__(
        self, total_images: int, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total_images = total_images
        self._write = write
        self._clock = clock
        self._at, self._images = -math.inf, -math.inf  # of the last line

    def add(self, report: Progress) -> None:
        """Take note of a report."""
        is_due = (
            self._clock() - self._at >= LEAST_GAP_S and report.images - self._images >= LEAST_SHARE * self._total_images
        )
        if is_due or report.images >= self._total_images:
            self._at, self._images = self._clock(), report.images
            parts = (
                f"{report.images:,} images",
                *texts("watch", report).values(),
                f"{report.images_per_s:,.0f} images/s",
            )
            self._write("  ".join(parts))
