"""Estimates: what a training will take, at the speed that trainings like it have had."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ganservice.job import Job, State
from ganservice.job_list import JobList, Wanted
from ganservice.spec import TrainSpec

# The newest trainings that are looked at.
LOOKED_AT = 200
STATES = frozenset(State) - {State.QUEUED}


@dataclass(frozen=True)
class Estimate:
    """What a training will take."""

    images_per_s: float  # the median of those that were looked at
    seconds: float
    cpu_hours: float
    gpu_hours: float
    jobs: int  # that were looked at
    alike: str  # what these have in common with it
    checkpoint_bytes: int | None  # of the newest of them that wrote one


def find_alike(jobs: JobList) -> list[Job]:
    """The newest trainings that have run, by which others are judged."""
    return jobs.find(Wanted(kind="train", states=STATES), LOOKED_AT).jobs


def estimate(spec: TrainSpec, known: Iterable[Job]) -> Estimate | None:
    """What a training will take, by those of the same recipe, else of the same networks, that ran on as much.

    `known` are trainings, the newest first. None where none of them is like it.
    """
    on_as_much = [
        job for job in known if job.training and job.training.resources == spec.resources and speed_of(job) is not None
    ]
    for alike, traits in (("recipe", _recipe), ("networks, loss, batch and size of picture", _networks)):
        wanted = traits(spec)
        found = [job for job in on_as_much if job.training and traits(job.training) == wanted]
        if found:
            return _of(spec, found, f"the same {alike}, on as many CPUs and GPUs")
    return None


def speed_of(job: Job) -> float | None:
    """How fast a training is or was, in images/s; None where it has not reported."""
    speed = job.images_per_s or (job.progress.images_per_s if job.progress else None)
    return speed if speed and speed > 0 else None


def _of(spec: TrainSpec, jobs: Sequence[Job], alike: str) -> Estimate:
    speed = statistics.median(filter(None, map(speed_of, jobs)))
    seconds = (spec.total_images - spec.first_images) / speed
    return Estimate(
        images_per_s=speed,
        seconds=seconds,
        cpu_hours=seconds * spec.resources.cpus / 3600,
        gpu_hours=seconds * spec.resources.gpus / 3600,
        jobs=len(jobs),
        alike=alike,
        checkpoint_bytes=next((job.checkpoint.bytes for job in jobs if job.checkpoint), None),
    )


def _recipe(spec: TrainSpec) -> Any:
    """All of a recipe but which version of its data set it learns."""
    recipe = spec.recipe.model_dump()
    recipe["data"].pop("digest", None)
    return recipe


def _networks(spec: TrainSpec) -> Any:
    """What of a recipe costs time."""
    recipe = spec.recipe
    return (
        *(recipe.generator, recipe.discriminator, recipe.batch_size, recipe.data.shape, recipe.precision),
        # What each step computes of them: penalties, steps of D, changes of pictures, their size before.
        *(recipe.loss, recipe.d_steps, recipe.pack, recipe.augment, recipe.super_resolution),
    )
