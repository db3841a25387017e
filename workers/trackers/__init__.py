"""Trackers: programs of others that show trainings, each told of a job from outside. Each takes an extra of its own."""

import importlib
from collections.abc import Mapping
from typing import Protocol, cast

from ganservice.addresses import hide_secrets
from ganservice.errors import RequestError
from ganservice.job import Job, State

# By the word before the colon of a target; the modules load when they are asked for.
MODULES = {
    "tensorboard": "workers.trackers.tensorboard",
    "mlflow": "workers.trackers.mlflow",
    "wandb": "workers.trackers.wandb",
}
# All that a tracker shows is known by its name and the images seen.
Point = tuple[str, int]


class Tracker(Protocol):
    """The run of a tracker that shows one job. What it holds, it knows itself, whoever has sent it."""

    rollbacks: int
    """Of the job, that the tracker was told of."""

    def sent(self) -> set[Point]:
        """What it holds already, less what a rollback has abandoned."""

    def send_numbers(self, images: int, numbers: Mapping[str, float]) -> None:
        """Show numbers, by name, after so many images."""

    def send_picture(self, name: str, images: int, png: bytes) -> None:
        """Show a picture, PNG, after so many images. Raises DataInvalid of what cannot be shown."""

    def rewind(self, rollbacks: int, images: int) -> None:
        """Say that the job went back to so many images, and that it has been rolled back so often in all."""

    def flush(self) -> None:
        """Have what was sent shown."""

    def close(self, state: State | None) -> None:
        """End; with the state of a job that is finished."""


def open_tracker(target: str, job: Job) -> Tracker:
    """The run that shows a job in the tracker that `target` names: tensorboard:FOLDER, mlflow:URI or wandb:PROJECT.

    Raises:
        RequestError: there is no such tracker, or it has no such place.
        Outage: the tracker's server does not do what it was asked.
        ModuleNotFoundError: what the tracker takes is not installed.
    """
    word, _, place = target.partition(":")
    if word not in MODULES or not place:
        raise RequestError(f"--to {hide_secrets(target)}: expected tensorboard:FOLDER, mlflow:URI or wandb:PROJECT")
    return cast(Tracker, importlib.import_module(MODULES[word]).open_run(place, job))
