"""Cadence: when that which happens every so many images is due, and how often it will be. Pure."""

from typing import Any

from ganservice.spec import TrainSpec


def is_due(every_images: int | None, before: int, images: int) -> bool:
    """Whether a multiple of `every_images` lies beyond `before` images and not beyond `images`."""
    return every_images is not None and images // every_images > before // every_images


def is_due_at(every_images: int | None, before: int, images: int, end_images: int) -> bool:
    """Whether it is due after `images` images of a training: by its cadence, or because the attempt ends there."""
    return images >= end_images or is_due(every_images, before, images)


def plan_training(spec: TrainSpec) -> dict[str, Any]:
    """Length of a training, what it leaves behind before its end, and what would be scheduled."""
    return {
        "steps": spec.steps,
        "images": spec.total_images,
        "checkpoints": _times_before_end(spec, spec.checkpoints.every_images),
        "sample_grids": _times_before_end(spec, spec.samples.every_images),
        "evaluations": _times_before_end(spec, spec.evaluate.every_images if spec.evaluate else None),
        "gang": {
            "workers": spec.resources.workers,
            "cpus": spec.resources.cpus,
            "gpus": spec.resources.gpus,
            "images_per_worker_and_step": spec.recipe.batch_size // spec.resources.workers,
        },
    }


def _times_before_end(spec: TrainSpec, every_images: int | None) -> int:
    """How often a report finds it due before the last step."""
    if every_images is None:
        return 0
    report = spec.images_per_report
    last_report = (spec.total_images - 1) // report * report
    due = last_report // every_images - spec.first_images // every_images
    reports = last_report // report - spec.first_images // report
    return max(0, min(due, reports))
