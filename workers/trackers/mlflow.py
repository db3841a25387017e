"""MLflow: a run for each job, in one experiment of a tracking server."""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ganservice.addresses import hide_secrets
from ganservice.errors import Outage, OutageKind, RequestError
from ganservice.job import Job, State
from ganservice.mistakes import one_line
from ganservice.model import cut
from ganservice.spec_file import dump_spec
from workers.trackers import Point
from workers.trackers.pictures import decoded

# It would tell its makers of each use; whoever wants that says so.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow  # after the variable, which it reads at once
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException

EXPERIMENT = "ganservice"
JOB_TAG, TAGS_TAG, ROLLBACK_TAG = "ganservice.job", "ganservice.tags", "ganservice.rollback"
STATUS = {State.SUCCEEDED: "FINISHED", State.FAILED: "FAILED", State.CANCELLED: "KILLED"}
# A database in a file. What is no number MLflow keeps in the folder where it happens to run, unless it is told another.
SQLITE = re.compile(r"sqlite:///(?P<file>[^?]+).*")
# Of what MLflow takes at once.
MAX_BATCH, MAX_PARAM_CHARS = 90, 500
# How MLflow calls the files of pictures that it shows by step.
PICTURE = re.compile(r"images/(?P<name>.+?)[%+]step[%+](?P<images>\d+)[%+]timestamp[%+](?P<at_ms>\d+)[%+].*\.png")


class MlflowRun:
    """A run. What it holds is asked of the server."""

    def __init__(self, uri: str, job: Job) -> None:
        self._uri = uri
        with self._told():
            self._client = mlflow.MlflowClient(tracking_uri=uri)
            run = self._find(job.id) or self._create(job)
            self._id = str(run.info.run_id)
            self._keys = list(run.data.metrics)
            self._client.update_run(self._id, status="RUNNING")
        # How often the job was rolled back; and of the last time, to how many images, and when that was told.
        self.rollbacks, self._back_to, self._told_ms = map(int, run.data.tags.get(ROLLBACK_TAG, "0 0 0").split())

    def sent(self) -> set[Point]:
        """As `Tracker`."""
        with self._told():
            points = {
                (key, point.step)
                for key in self._keys
                for point in self._client.get_metric_history(self._id, key)
                if self._counts(point.step, point.timestamp)
            }
            pictures = [PICTURE.fullmatch(file.path) for file in self._client.list_artifacts(self._id, "images")]
        return points | {
            (found["name"], int(found["images"]))
            for found in filter(None, pictures)
            if self._counts(int(found["images"]), int(found["at_ms"]))
        }

    def send_numbers(self, images: int, numbers: Mapping[str, float]) -> None:
        """As `Tracker`."""
        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, value, now_ms, images) for name, value in numbers.items()]
        with self._told():
            self._client.log_batch(self._id, metrics=metrics)

    def send_picture(self, name: str, images: int, png: bytes) -> None:
        """As `Tracker`."""
        picture = decoded(png)
        with self._told():
            self._client.log_image(self._id, picture, key=name, step=images)

    def rewind(self, rollbacks: int, images: int) -> None:
        """As `Tracker`. MLflow forgets nothing: the abandoned points stay beside those that come in their place."""
        self.rollbacks, self._back_to, self._told_ms = rollbacks, images, int(time.time() * 1000)
        with self._told():
            self._client.set_tag(self._id, ROLLBACK_TAG, f"{rollbacks} {images} {self._told_ms}")

    def flush(self) -> None:
        """As `Tracker`: what was sent is there."""

    def close(self, state: State | None) -> None:
        """As `Tracker`."""
        if state in STATUS:
            with self._told():
                self._client.set_terminated(self._id, STATUS[state])

    def _counts(self, images: int, at_ms: int) -> bool:
        return images <= self._back_to or at_ms > self._told_ms

    def _find(self, job_id: str) -> Run | None:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return None
        runs = self._client.search_runs([experiment.experiment_id], f"tags.`{JOB_TAG}` = '{job_id}'")
        return runs[0] if runs else None

    def _create(self, job: Job) -> Run:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        experiment_id = experiment.experiment_id if experiment else self._create_experiment()
        tags = {JOB_TAG: job.id, "mlflow.user": job.user or "", "mlflow.note.content": job.spec.note}
        tags[TAGS_TAG] = ",".join(job.spec.tags)
        run = self._client.create_run(experiment_id, run_name=job.id, tags=tags)
        self._client.log_text(run.info.run_id, dump_spec(job.spec), "spec.yaml")
        params = [
            Param(key, cut(str(value), MAX_PARAM_CHARS))
            for key, value in _leaves(job.spec.model_dump(exclude={"start"}))
        ]
        for first in range(0, len(params), MAX_BATCH):
            self._client.log_batch(run.info.run_id, params=params[first : first + MAX_BATCH])
        return run

    def _create_experiment(self) -> str:
        database = SQLITE.fullmatch(self._uri)
        beside = (Path(database["file"]).absolute().parent / "mlruns" / EXPERIMENT).as_uri() if database else None
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=beside))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Have what MLflow has against the block told in one line."""
        try:
            yield
        except MlflowException as error:
            text = one_line(cut(f"MLflow at {hide_secrets(self._uri)}: {error}", 500))
            raise Outage(text, OutageKind.FAILING) from error


def open_run(place: str, job: Job) -> MlflowRun:
    """The run of a job at a tracking URI.

    Raises:
        RequestError: it is a folder, which MLflow writes no more.
        Outage: MLflow does not do what it was asked.
    """
    if urlsplit(place).scheme in ("", "file") and place != "databricks":
        raise RequestError(
            f"--to mlflow:{hide_secrets(place)}: MLflow keeps runs in no folder any more; expected a server, "
            "http://HOST:5000, or a file of its own: mlflow:sqlite:///m.db"
        )
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowRun(place, job)


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a tree by their dotted keys."""
    for name, value in tree.items():
        key = f"{path}{name}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value
