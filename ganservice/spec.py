"""JobSpec: what a user asks for. A Recipe, a length, resources, cadences and a retry limit."""

from itertools import takewhile
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, StringConstraints, model_validator

from ganservice.model import Model
from ganservice.recipe import Recipe

PRIORITIES = {"low": 25, "normal": 50, "high": 75}


class Resources(Model):
    """What one gang occupies: a number of workers and what each of them needs."""

    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: NonNegativeInt = 0

    @property
    def cpus(self) -> int:
        """CPUs of the whole gang."""
        return self.workers * self.cpus_per_worker

    @property
    def gpus(self) -> int:
        """GPUs of the whole gang."""
        return self.workers * self.gpus_per_worker


class Checkpoints(Model):
    """How often to checkpoint and which checkpoints to keep: the newest, and one per `keep_every_images`."""

    every_images: PositiveInt = 50_000
    keep_last: PositiveInt = 2
    keep_every_images: PositiveInt | None = None


class Samples(Model):
    """How often to draw a SampleGrid, and its shape; with conditioning there is one row for each class instead."""

    every_images: PositiveInt = 50_000
    rows: Annotated[int, Field(ge=1, le=32)] = 8
    columns: Annotated[int, Field(ge=1, le=32)] = 8


class Start(Model):
    """Where a training goes on from: a checkpoint of another job, filled in by `submit --from`."""

    job_id: str
    images: NonNegativeInt
    # A copy that no retention policy deletes.
    checkpoint: str
    sha256: str
    # Only the weights of the networks: optimisers and counters begin anew.
    weights_only: bool = False
    # By dotted key, what it was in that job and what it is in this one.
    changes: dict[str, tuple[Any, Any]] = Field(default_factory=dict)
    # Where that job went on from.
    before: "Start | None" = None

    @property
    def lineage(self) -> "list[Start]":
        """This start and those before it, newest first."""
        return [self, *(self.before.lineage if self.before else [])]

    @property
    def joins(self) -> list[int]:
        """Where, in images seen, the training that starts here took over from another; oldest first."""
        counted = takewhile(lambda start: not start.weights_only, self.lineage)
        return [start.images for start in counted][::-1]


class TrainSpec(Model):
    """A training job."""

    kind: Literal["train"] = "train"
    # The name becomes part of the job's id and of its keys in the store.
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")]
    recipe: Recipe
    # Length of the training, counted from the beginning of its lineage; rounded up to whole steps.
    images: Annotated[int, Field(ge=1, le=10**12)]
    seed: NonNegativeInt = 0
    resources: Resources = Resources()
    priority: Literal["low", "normal", "high"] | Annotated[int, Field(ge=0, le=100)] = "normal"
    # Attempts in a row that may fail without a new checkpoint before the job is given up.
    max_attempts: PositiveInt = 3
    report_every_images: PositiveInt = 2_000
    checkpoints: Checkpoints = Checkpoints()
    samples: Samples = Samples()
    start: Start | None = None

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole job."""
        return -(-self.images // self.recipe.images_per_step)

    @property
    def total_images(self) -> int:
        """Images seen when the job is done: `images` rounded up to whole steps."""
        return self.steps * self.recipe.images_per_step

    @property
    def priority_number(self) -> int:
        """The priority as a number, 0 to 100; higher goes first."""
        return self.priority if isinstance(self.priority, int) else PRIORITIES[self.priority]

    @model_validator(mode="after")
    def _batch_splits_evenly(self) -> Self:
        batch, workers = self.recipe.batch_size, self.resources.workers
        if batch % (workers * self.recipe.pack):
            packs = f" in packs of {self.recipe.pack}" if self.recipe.pack > 1 else ""
            raise ValueError(
                f"recipe.batch_size: found {batch}, which does not split evenly over "
                f"resources.workers = {workers}{packs}; choose a multiple of {workers * self.recipe.pack}"
            )
        if batch // workers < 2:
            raise ValueError(
                f"recipe.batch_size: found {batch}, expected at least 2 images for each of "
                f"{workers} workers (BatchNorm needs two)"
            )
        return self


# What the queue carries. Another kind of job joins as a union discriminated by `kind`.
JobSpec = TrainSpec
