"""What one network takes of another's weights, and what is said of the rest."""

from typing import Any

import pytest
import torch
from torch import nn

from ganservice.errors import DataInvalid
from ganservice.recipe import Recipe
from ganservice.spec_file import parse_spec
from workers.gan.checkpoint import encode_checkpoint
from workers.gan.data.examples import Examples
from workers.gan.networks import build_discriminator, build_generator
from workers.gan.sizes import foretell_transfer
from workers.gan.trainer import Trainer
from workers.gan.transfer import MOST_LINES, compare, fitting

R3GAN: dict[str, Any] = {
    "data": {"dataset": "digits", "image_size": 32, "channels": 1},
    "generator": {"kind": "r3gan", "width": 16, "max_width": 16, "blocks": 1},
    "discriminator": {"kind": "r3gan", "width": 16, "max_width": 16, "blocks": 1},
    "loss": {"kind": "relativistic"},
    "latent_size": 5,
}


def state(**changes: Any) -> dict[str, Any]:
    recipe = Recipe.model_validate(R3GAN | changes)
    return {"g": build_generator(recipe).state_dict(), "d": build_discriminator(recipe).state_dict()}


def networks(**changes: Any) -> tuple[nn.Module, nn.Module]:
    recipe = Recipe.model_validate(R3GAN | changes)
    return build_generator(recipe), build_discriminator(recipe)


def test_the_same_networks_fit_wholly() -> None:
    transfer = compare(*networks(), state())
    assert transfer.shares == (1.0, 1.0)
    assert [line.partition(":")[0] for line in transfer.lines] == ["generator", "discriminator"]
    assert all(line.endswith("100.0% of its numbers") for line in transfer.lines)


def test_larger_pictures_take_all_but_the_new_levels() -> None:
    larger = R3GAN["data"] | {"image_size": 64}
    transfer = compare(*networks(data=larger), state())
    assert all(0.6 < share < 1 for share in transfer.shares)
    assert "generator.body.8.narrow.weight: [16, 32, 1, 1] here, none there; begins at random" in transfer.lines


def test_classes_that_are_new_begin_at_random() -> None:
    labels = {"kind": "built_in", "classes": 3}
    transfer = compare(*networks(conditioning=labels), state(conditioning=labels | {"classes": 4}))
    assert [line for line in transfer.lines if "random" in line] == [
        "generator.labels.weight: [3, 5] here, [4, 5] there; begins at random",
        "discriminator.labels.weight: [3, 16] here, [4, 16] there; begins at random",
    ]


def test_lines_are_bounded() -> None:
    many = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(MOST_LINES + 7)))
    few = {"0.weight": torch.zeros(2, 2)}
    lines = compare(many, many, {"g": few, "d": few}).lines
    assert len(lines) == 2 * (MOST_LINES + 2)
    assert "generator: 6 more begin at random" in lines


def test_what_is_no_tensor_fits_nothing() -> None:
    assert fitting({"a": torch.zeros(2)}, {"a": "x"}) == {}
    assert fitting({"a": torch.zeros(2)}, {"a": [0.0, 0.0]}) == {}
    with pytest.raises(DataInvalid, match="nothing of the job gone on from fits"):
        compare(*networks(), {"g": {}, "d": {}})


def test_what_is_foretold_of_a_checkpoint_is_what_a_trainer_takes() -> None:
    images = torch.zeros(16, 1, 32, 32, dtype=torch.uint8)
    trained = Trainer(Recipe.model_validate(R3GAN | {"batch_size": 8}), Examples(images), 0, torch.device("cpu"))
    list(trained.train(8, 8))
    checkpoint = encode_checkpoint(trained.state_dict(), [])
    wider = R3GAN | {"latent_size": 7, "batch_size": 8}
    spec = parse_spec({"name": "wider", "images": 64, "recipe": wider}, "spec")
    taker = Trainer(spec.recipe, Examples(images), 0, torch.device("cpu"))
    assert foretell_transfer(spec, checkpoint) == taker.take_fitting_weights(trained.state_dict()).lines
