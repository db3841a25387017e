"""What a training will take, by those like it."""

from typing import Any

import pytest

from ganservice.estimate import estimate
from ganservice.job import Checkpoint, Job, Progress, State
from ganservice.recipe import NonSaturating
from ganservice.spec import Resources, TrainSpec


def ran(spec: TrainSpec, images_per_s: float | None, **changes: Any) -> Job:
    """A training that has ended with this speed, or without a report."""
    progress = None
    if images_per_s is not None:
        progress = Progress(
            images=8, step=1, loss_g=0.7, loss_d=1.4, score_real=0.0, score_fake=0.0, grad_norm_g=1.0, grad_norm_d=1.0,
            images_per_s=images_per_s, step_s=0.1,
        )  # fmt: skip
    stands: dict[str, Any] = {"priority": 50, "submitted_at": 0.0, "order": 1, "state": State.SUCCEEDED}
    return Job(id="tiny-1", spec=spec, progress=progress, **stands | changes)


def with_recipe(spec: TrainSpec, **changes: Any) -> TrainSpec:
    return spec.model_copy(update={"recipe": spec.recipe.model_copy(update=changes)})


def test_it_takes_its_images_at_the_median_speed_of_the_same_recipe(spec: TrainSpec) -> None:
    asked = spec.model_copy(update={"images": 7_200, "resources": Resources(workers=2)})
    like = spec.model_copy(update={"resources": Resources(workers=2)})
    checkpoint = Checkpoint(key="c", images=8, bytes=1_000)
    found = estimate(asked, [ran(like, 1.0), ran(like, 4.0, checkpoint=checkpoint), ran(like, 2.0), ran(like, None)])
    assert found
    assert (found.images_per_s, found.seconds, found.jobs) == (2.0, 3_600.0, 3)
    assert (found.cpu_hours, found.gpu_hours, found.checkpoint_bytes) == (2.0, 0.0, 1_000)
    assert found.alike == "the same recipe, on as many CPUs and GPUs"


def test_the_same_networks_are_as_quick_whatever_else_differs(spec: TrainSpec) -> None:
    other = with_recipe(spec, latent_size=spec.recipe.latent_size * 2)
    found = estimate(spec, [ran(other, 10.0)])
    assert found
    assert found.alike == "the same networks, loss, batch and size of picture, on as many CPUs and GPUs"
    both = estimate(spec, [ran(other, 10.0), ran(spec, 20.0)])
    assert both
    assert (both.images_per_s, both.jobs) == (20.0, 1), "the very recipe says more"


def test_a_newer_version_of_the_data_set_changes_no_speed(spec: TrainSpec) -> None:
    pictures = spec.recipe.pictures
    assert pictures
    pinned = with_recipe(spec, data=pictures.model_copy(update={"digest": "0" * 64}))
    found = estimate(spec, [ran(pinned, 5.0)])
    assert found
    assert found.alike.startswith("the same recipe")


@pytest.mark.parametrize(
    "other",
    [
        lambda spec: with_recipe(spec, batch_size=16),
        lambda spec: with_recipe(spec, d_steps=2),
        lambda spec: with_recipe(spec, loss=NonSaturating(r1=1.0)),
        lambda spec: spec.model_copy(update={"resources": Resources(cpus_per_worker=2)}),
        lambda spec: spec.model_copy(update={"resources": Resources(gpus_per_worker=1)}),
    ],
)
def test_nothing_is_said_by_what_is_unlike(spec: TrainSpec, other: Any) -> None:
    assert estimate(spec, [ran(other(spec), 5.0)]) is None
    assert estimate(spec, []) is None


def test_what_goes_on_from_another_job_takes_its_own_images_alone(spec: TrainSpec) -> None:
    half = spec.model_copy(update={"images": 64})
    start = {"job_id": "a-1", "images": 32, "checkpoint": "starts/c.pt", "sha256": "0" * 64}
    going_on = TrainSpec.model_validate_json(half.model_copy(update={"start": None}).model_dump_json())
    going_on = TrainSpec.model_validate(going_on.model_dump() | {"start": start}, strict=False)
    found = estimate(going_on, [ran(spec, 1.0)])
    assert found
    assert found.seconds == 32.0
