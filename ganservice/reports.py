"""Reports of a training from its first image on: those that the store holds, and the newest, which the queue knows."""

import math
from collections.abc import Callable
from typing import Any

from ganservice.artifacts import ArtifactStore
from ganservice.errors import ArtifactMissing, DigestMismatch, NotConfigured
from ganservice.job import Job, Progress, State

Tell = Callable[[str], None]


class Table(list[dict[str, Any]]):
    """Rows of one table, each a dict with the same keys, as pandas and other libraries of tables take them."""

    @property
    def columns(self) -> list[str]:
        """The keys of each row; of a table without rows none."""
        return list(self[0]) if self else []

    def column(self, key: str) -> list[Any]:
        """The values under one key, from the first row to the last. Raises KeyError."""
        return [row[key] for row in self]

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame, where images seen are the index.

        Raises:
            NotConfigured: pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415 # no dependency of this project
        except ModuleNotFoundError as error:
            raise NotConfigured("this takes pandas, which is not installed: pip install pandas") from error
        return pd.DataFrame(list(self)).set_index("images") if self else pd.DataFrame()


def stored_reports(store: ArtifactStore, job_id: str, tell: Tell) -> list[Progress]:
    """The reports of a job that the store holds, in the order of their images; `tell` hears what cannot be read."""
    reports, unreadable = [], 0
    try:
        lines = _stored_lines(store, job_id)
    except (ArtifactMissing, DigestMismatch) as error:
        tell(f"{error}; left out")
        return []
    for line in lines:
        try:
            reports.append(Progress.model_validate_json(line))
        except ValueError:
            unreadable += 1
    if unreadable:
        tell(f"{unreadable} of {len(lines)} lines of the metrics of {job_id} cannot be read; left out")
    return reports


def _stored_lines(store: ArtifactStore, job_id: str) -> list[bytes]:
    try:
        return store.metrics(job_id).splitlines()
    except ArtifactMissing:  # newer ones have taken their place since they were found
        return store.metrics(job_id).splitlines()


def known_reports(stored: list[Progress], job: Job) -> list[Progress]:
    """What the store holds of a job, and the newest report, without what a rollback has abandoned."""
    known = list(stored)
    if job.progress and (not known or job.progress.images > known[-1].images):
        known.append(job.progress)
    most = images_that_count(job)
    return [report for report in known if report.images <= most]


def report_table(reports: list[Progress]) -> Table:
    """A row for each report, with all that reports tell; None of what was not measured."""
    return Table(report.model_dump(mode="json") for report in reports)


def images_that_count(job: Job) -> float:
    """The images beyond which all that is known was abandoned: the queue keeps the last report until the next comes."""
    if not job.rollbacks:
        return math.inf
    last = job.rollbacks[-1]
    if job.attempt <= last.attempt:
        return last.images
    if job.state is State.RUNNING:
        return max(last.images, job.images if job.pulse and job.pulse.images is not None else 0)
    return math.inf
