"""What is said at submission of settings that cannot work."""

from typing import Any

import pytest

from ganservice.doubts import doubts
from ganservice.spec import Start, TrainSpec
from ganservice.spec_file import parse_spec

DCGAN = {"kind": "dcgan", "widths": [4, 4, 4]}
EMA = {"half_life_images": 500}
LINEAR = {"decay": "linear", "decay_from_images": 5_000}
WGAN = {"loss": {"kind": "wgan_gp"}}


def spec(changes: dict[str, Any] | None = None, **of_recipe: Any) -> TrainSpec:
    recipe = {
        "data": {"dataset": "digits", "image_size": 28, "channels": 1},
        "generator": {"kind": "mlp"},
        "discriminator": {"kind": "mlp"},
        "ema": EMA,
    }
    return parse_spec({"name": "tiny", "images": 10_000, "recipe": recipe | of_recipe} | (changes or {}), "test")


def smoothed(real: Any, fake: Any = 0.0, kind: str = "non_saturating") -> TrainSpec:
    return spec(loss={"kind": kind, "real_label": real, "fake_label": fake})


def decaying(until: int, **more: Any) -> TrainSpec:
    return spec(optimiser_d={"schedule": LINEAR | {"decay_until_images": until} | more})


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (smoothed(1.2), "recipe.loss.real_label: 1.2 is more than 1 in the mean"),
        (
            spec({"resources": {"workers": 4}}, batch_size=24, discriminator={"kind": "stylegan2"}),
            "recipe.discriminator.group: 4 does not divide the 6 images of a worker",
        ),
        (smoothed(1.2, kind="minimax"), "recipe.loss.real_label: 1.2 is more than 1 in the mean"),
        (smoothed([0.9, 1.2]), "recipe.loss.real_label: [0.9, 1.2] is more than 1 in the mean"),
        (smoothed(0.0, 1.0), "recipe.loss.real_label: 0 is below fake_label, 1"),
        (spec(**WGAN), "recipe.d_steps: 1 with loss.kind wgan_gp and optimiser_d.betas[0] 0.5"),
        (spec(loss={"kind": "relativistic", "r1": 0, "r2": 0}), "recipe.loss.r1: 0, as is r2"),
        (spec(loss={"r1": 0, "penalty_every_steps": 16}), "recipe.loss.penalty_every_steps: 16, but there are no"),
        (
            spec(discriminator=DCGAN | {"batch_norm": True, "spectral_norm": True}),
            "recipe.discriminator.spectral_norm: bounds nothing with batch_norm",
        ),
        (spec(freeze_d=1), "recipe.freeze_d: 1, but the training starts from no other"),
        (spec(augment=["rotation"]), "recipe.augment.probability: 1 of rotation: where nearly every real picture"),
        (
            spec(optimiser_g={"betas": [0.999, 0.5]}),
            "recipe.optimiser_g.betas: [0.999, 0.5]: the first is of the gradient",
        ),
        (
            spec(optimiser_g={"schedule": {"warm_up_images": 20_000}}),
            "recipe.optimiser_g.schedule.warm_up_images: 20,000 of 10,048 images",
        ),
        (
            decaying(9_000),
            "recipe.optimiser_d.schedule.decay_until_images: 9,000: the learning rate is 0 from there on",
        ),
        (
            decaying(90_000, decay_from_images=20_000),
            "recipe.optimiser_d.schedule.decay_from_images: 20,000, but the training ends at 10,048 images",
        ),
        (
            spec(ema={"half_life_images": 10_000}),
            "recipe.ema.half_life_images: 10,000 of 10,048 images: 50% of the average",
        ),
        (
            spec({"health": {"action": "stop"}, "report_every_images": 2_500}),
            "health.span_reports: 5 reports of 2,500 images are more than the 10,048 images",
        ),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_what_cannot_work_is_said_with_its_key(asked: TrainSpec, says: str) -> None:
    [doubt] = doubts(asked)
    assert doubt.startswith(says)


@pytest.mark.parametrize(
    "asked",
    [
        spec(),
        smoothed(0.9),
        smoothed([0.8, 1.2], [0.0, 0.2]),  # the label 1 in the mean
        spec(d_steps=5, **WGAN),
        spec(optimiser_d={"betas": [0.0, 0.9]}, **WGAN),  # as in Karras et al. (2018), "Progressive Growing of GANs"
        spec(loss={"kind": "relativistic", "r1": 0, "r2": 1}),
        spec(
            loss={"kind": "relativistic", "r1": 0, "r2": 0},
            generator=DCGAN,
            discriminator=DCGAN | {"spectral_norm": True},
        ),
        spec(loss={"kind": "relativistic", "r1": 0, "r2": 0}, discriminator={"kind": "resnet"}),
        spec(loss={"r1": 0.1, "penalty_every_steps": 16}),
        spec(discriminator=DCGAN | {"batch_norm": True}),
        spec(augment=["translation", "cutout", "colour"]),
        spec(augment={"changes": ["rotation"], "probability": {"kind": "adaptive"}}),
        decaying(9_000, final_share=0.1),
        decaying(10_000),
        decaying(20_000),
        spec(ema={"half_life_images": 10_000, "warm_up_share": 0.05}),
        spec({"health": {"action": "stop"}}),
    ],
)
def test_what_works_is_not_doubted(asked: TrainSpec) -> None:
    assert doubts(asked) == []


def going_on(**changes: tuple[str, str]) -> TrainSpec:
    keys = {f"recipe.data.{key}": values for key, values in changes.items()}
    start = Start(job_id="tiny-1", images=5_000, checkpoint="starts/c.pt", sha256="0" * 64, changes=keys)
    return spec().model_copy(update={"start": start})


def test_a_training_that_goes_on_with_other_data_of_the_same_name_is_doubted() -> None:
    [doubt] = doubts(going_on(digest=("a" * 64, "b" * 64)))
    assert doubt.startswith(f"recipe.data.digest: tiny-1 learned {'a' * 64}, but the name means {'b' * 64} now")
    assert doubt.endswith(f"--set recipe.data.digest={'a' * 64} keeps to the former")
    assert doubts(going_on(dataset=("pets", "birds"), digest=("a" * 64, "b" * 64))) == []


def test_a_training_that_goes_on_brings_an_average_of_its_own() -> None:
    start = Start(job_id="tiny-1", images=5_000, checkpoint="starts/c.pt", sha256="0" * 64)
    assert doubts(spec(ema={"half_life_images": 10_000}, freeze_d=1).model_copy(update={"start": start})) == []
