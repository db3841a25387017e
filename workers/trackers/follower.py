"""Follower: what a training reports, from outside, into a tracker. Whatever it is asked for twice, it sends once."""

import logging
import re
import time
from collections.abc import Iterator
from typing import Any

from ganservice.artifacts import ArtifactStore
from ganservice.errors import ArtifactMissing, DataInvalid, DigestMismatch
from ganservice.evaluation import Evaluation
from ganservice.job import Health, Job, Progress
from ganservice.job_keys import attempt_of
from ganservice.quantities import QUANTITIES
from ganservice.queue import JobQueue
from ganservice.reports import images_that_count, known_reports, stored_reports
from ganservice.spec import TrainSpec
from workers.trackers import Tracker

log = logging.getLogger(__name__)

SAMPLES = "samples"
HEALTH = "health"
# As every measure is called, and trackers take it; another hand could have written anything.
MEASURE = re.compile(r"[a-z0-9_]{1,100}")
# Between two looks into the store; the queue is asked each time.
STORE_EVERY_S = 10.0


class Follower:
    """A training, and the tracker that shows it."""

    def __init__(self, queue: JobQueue, store: ArtifactStore, job_id: str, spec: TrainSpec, tracker: Tracker) -> None:
        self._queue = queue
        self._store = store
        self._job_id = job_id
        self._first_images = spec.first_images
        self._report_images = spec.images_per_report
        self._tracker = tracker
        self._sent = tracker.sent()
        self._stored: list[Progress] = []
        self._looked_at: float | None = None

    def look(self) -> bool:
        """Send what is new. Returns whether the job is finished, and its evaluations too.

        Raises:
            Outage: queue, store or tracker does not do what it was asked; the next look goes on where this one ended.
            JobNotFound: the job was forgotten.
        """
        # Asked first: what is written before the end is there by then.
        job = self._queue.get(self._job_id)
        is_over = job.state.is_final and not self._queue.evaluations_under_way(self._job_id)
        self._rewind(job)
        now = time.monotonic()
        looks_into_store = is_over or self._looked_at is None or now - self._looked_at >= STORE_EVERY_S
        if looks_into_store:
            self._stored = stored_reports(self._store, self._job_id, log.warning)
        # For good: once the next attempt comes so far, what was abandoned would look like its own.
        most = images_that_count(job)
        self._stored = [report for report in self._stored if report.images <= most]
        for report in self._in_order(job, is_over):
            self._send(report.images, numbers_of(report))
        for evaluation in self._queue.evaluations(self._job_id):
            self._send(evaluation.images, measures_of(evaluation))
        if looks_into_store:
            self._send_grids(job)
            self._looked_at = now
        self._tracker.flush()
        return is_over

    def _rewind(self, job: Job) -> None:
        if news := job.rollbacks[self._tracker.rollbacks :]:
            images = min(rollback.images for rollback in news)
            self._stored, self._looked_at = [], None
            self._tracker.rewind(len(job.rollbacks), images)
            self._sent = {point for point in self._sent if point[1] <= images}

    def _in_order(self, job: Job, is_over: bool) -> Iterator[Progress]:
        """Yield the reports, but not yet one before which others are missing that the store will hold: trackers draw
        points in the order in which they come."""
        last = max((images for name, images in self._sent if name == HEALTH), default=self._first_images)
        for report in known_reports(self._stored, job):
            if report is job.progress and report.images - last > self._report_images and not is_over:
                return
            yield report
            last = max(last, report.images)

    def _send(self, images: int, numbers: dict[str, float]) -> None:
        news = {name: value for name, value in numbers.items() if (name, images) not in self._sent}
        if news:
            self._tracker.send_numbers(images, news)
            self._sent.update((name, images) for name in news)

    def _send_grids(self, job: Job) -> None:
        for images, key in self._store.sample_grids(self._job_id):
            attempt = attempt_of(key)
            is_abandoned = any(attempt <= back.attempt and images > back.images for back in job.rollbacks)
            if is_abandoned or (SAMPLES, images) in self._sent:
                continue
            try:
                self._tracker.send_picture(SAMPLES, images, self._store.picture(key))
            except (ArtifactMissing, DataInvalid, DigestMismatch) as error:
                log.warning("the grid of %s after %d images is left out: %s", self._job_id, images, error)
            self._sent.add((SAMPLES, images))


def numbers_of(report: Progress) -> dict[str, float]:
    """The numbers of a report by the names of their metrics, less what was not measured; health from 0, which is ok, to
    3, which is diverged."""
    numbers: dict[str, Any] = {
        quantity.metric.removeprefix("job_") + (f"/{curve.label}" if curve.label else ""): getattr(report, curve.field)
        for quantity in QUANTITIES
        for curve in quantity.curves
    }
    measured = {name: float(value) for name, value in numbers.items() if value is not None}
    return measured | {HEALTH: float(list(Health).index(report.health))}


def measures_of(evaluation: Evaluation) -> dict[str, float]:
    """The numbers of an evaluation, those of one protocol under one name, for only they compare."""
    under = f"quality/{evaluation.protocol.digest}"
    return {
        f"{under}/{name}": value
        for name, value in evaluation.measures.items()
        if value is not None and MEASURE.fullmatch(name)
    }
