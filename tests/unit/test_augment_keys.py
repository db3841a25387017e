"""What a recipe may say of augmentation."""

from typing import Any

import pytest
import torch

from ganservice.errors import SpecInvalid
from ganservice.recipe import AdaptiveProbability, Augment, ProbabilityRamp, Recipe
from ganservice.spec_file import parse_spec
from workers.gan.losses import build_loss
from workers.gan.networks import ALONE
from workers.gan.randomness import Draws

RECIPE: dict[str, Any] = {
    "data": {"dataset": "digits", "image_size": 28, "channels": 1},
    "generator": {"kind": "mlp"},
    "discriminator": {"kind": "mlp"},
}
ADAPTIVE = {"changes": ["flip"], "probability": {"kind": "adaptive"}}


def recipe(**changes: Any) -> Recipe:
    return parse_spec({"name": "tiny", "images": 1_000, "recipe": RECIPE | changes}, "spec").recipe


def test_a_list_is_of_changes_that_every_picture_undergoes() -> None:
    asked = recipe(augment=["cutout", "colour"]).augment
    assert asked == Augment(changes=("cutout", "colour"), probability=1.0)
    assert asked == recipe(augment=asked.model_dump(mode="json")).augment
    assert (recipe().augment, recipe(augment=[]).augment) == (Augment(), Augment())


def test_a_probability_is_a_number_a_ramp_or_led() -> None:
    fixed = recipe(augment={"changes": ["flip"], "probability": 0.3}).augment
    assert (fixed.probability_at(0), fixed.may_change) == (0.3, False)
    ramp = {"kind": "ramp", "start": 0, "end": 0.3, "until_images": 1_000, "shape": "linear"}
    rising = recipe(augment={"changes": ["flip"], "probability": ramp}).augment
    assert isinstance(rising.probability, ProbabilityRamp)
    assert [rising.probability_at(images) for images in (0, 500, 2_000)] == pytest.approx([0, 0.15, 0.3])
    assert rising.may_change
    led = recipe(augment=ADAPTIVE).augment
    assert led.probability == AdaptiveProbability(kind="adaptive", target=0.6, speed_images=500_000)
    assert led.may_change


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"augment": ["flap"]}, 'augment.changes.0: found "flap", expected'),
        (
            {"augment": ["flip", "flip"]},
            'augment.changes: found ["flip", "flip"], expected each once; "flip" is there twice',
        ),
        ({"augment": "flip"}, 'augment: found "flip", expected'),
        ({"augment": {"changes": ["flip"], "probability": 1.5}}, "augment.probability: found 1.5, expected"),
        ({"augment": {"changes": ["flip"], "probability": {"kind": "led"}}}, "augment.probability.kind: found 'led'"),
        (
            {"augment": {"changes": ["flip"], "probability": {"kind": "adaptive", "targt": 0.5}}},
            "unknown key recipe.augment.probability.targt; did you mean recipe.augment.probability.target?",
        ),
        ({"augment": {"probability": 0.5}}, "augment.changes: found none, expected some, such as [flip, "),
        ({"augment": ["saturation"]}, "augment.changes: found saturation, but pictures with data.channels: 1 have no"),
        (
            {"augment": ["quarter_turn"], "data": RECIPE["data"] | {"image_size": "28x36"}},
            "augment.changes: found quarter_turn, which is of square pictures, but data.image_size is oblong",
        ),
        (
            {
                "augment": ["flip"],
                "data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.1},
            },
            "augment.changes: are of pictures; found data.kind: mixture",
        ),
        *(
            (
                {"augment": ADAPTIVE, "loss": {"kind": kind}},
                f"but with loss.kind {kind} only differences of its logits count; choose a number or kind: ramp",
            )
            for kind in ("wgan_gp", "relativistic")
        ),
    ],
)
def test_what_cannot_be_is_told_in_one_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        recipe(**changes)
    [line] = str(caught.value).splitlines()
    assert told in line


@pytest.mark.parametrize("kind", ["non_saturating", "minimax", "lsgan", "hinge", "wgan_gp", "relativistic"])
def test_what_has_a_middle_is_known_without_torch(kind: str) -> None:
    options = recipe(loss={"kind": kind}).loss
    built = build_loss(options, Draws(0, torch.device("cpu"), ALONE))
    assert options.has_middle == (built.undecided is not None)
