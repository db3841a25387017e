"""Every shipped recipe builds the networks its source pins, and learns."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ganservice.doubts import doubts
from ganservice.recipe import Mixture, Pictures, Recipe
from ganservice.spec import JOB_SPEC
from ganservice.spec_file import dump_spec, load_spec, read_spec
from workers.gan.data.examples import Examples, draw_mixture
from workers.gan.networks import build_networks, count_parameters
from workers.gan.randomness import Draws
from workers.gan.trainer import Trainer
from workers.gan.worker_group import WorkerGroup

CONFIGS = {path.stem: path for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))}
CPU = torch.device("cpu")
PINNED = {
    "mnist-mlp": (579_728, 566_273),
    "mnist-dcgan": (559_232, 658_688),
    "mnist-cdcgan": (1_555_382, 700_196),
    "fashion-dcgan-keras": (2_305_472, 212_865),
    "fashion-dcgan-keras-minimax": (2_305_472, 212_865),
    "rgb128-avgpool": (9_917_891, 38_454_529),
    "celeba64-dcgan": (4_395_904, 2_765_568),
    "celeba64-dcgan-2": (4_395_904, 2_765_568),
    "celeba64-dcgan-3": (4_395_904, 2_765_568),
}


def networks(recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    return build_networks(recipe, 0, Draws(0, CPU, WorkerGroup()))


def norms(name: str) -> list[nn.BatchNorm2d]:
    return [
        module
        for network in networks(load_spec(CONFIGS[name]).recipe)
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_recipe_is_named_after_its_file(name: str) -> None:
    assert load_spec(CONFIGS[name]).name == name


@pytest.mark.parametrize("name", CONFIGS)
def test_a_recipe_leaves_precision_to_the_hardware(name: str) -> None:
    assert load_spec(CONFIGS[name]).recipe.precision == "auto"


@pytest.mark.parametrize("name", PINNED)
def test_the_networks_have_the_parameters_their_source_pins(name: str) -> None:
    with torch.device("meta"):
        generator, discriminator = networks(load_spec(CONFIGS[name]).recipe)
    assert (count_parameters(generator), count_parameters(discriminator)) == PINNED[name]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_recipe_learns(name: str) -> None:
    recipe = load_spec(CONFIGS[name]).recipe
    recipe = recipe.model_copy(update={"batch_size": 4 * recipe.pack})
    if isinstance(recipe.data, Mixture):
        examples = draw_mixture(recipe.data, 0)
    else:
        assert isinstance(recipe.data, Pictures)
        images = torch.randint(0, 256, (40, *recipe.data.shape), dtype=torch.uint8)
        examples = Examples(images, torch.arange(40) % 10)
    trainer = Trainer(recipe, examples, 0, CPU)
    weights = [weight for weight in trainer.generator.parameters() if weight.requires_grad]
    before = [weight.clone() for weight in weights]
    (progress,) = trainer.train(2 * recipe.images_per_step, 2 * recipe.images_per_step)
    assert progress.step == 2
    assert all(not torch.equal(old, new) for old, new in zip(before, weights, strict=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_falling_learning_rate_is_down_where_the_training_ends(name: str) -> None:
    spec = load_spec(CONFIGS[name])
    for adam in (spec.recipe.optimiser_g, spec.recipe.optimiser_d):
        schedule = adam.schedule
        expected = 1.0 if schedule.decay == "none" else schedule.final_share
        assert schedule.share(spec.images) == pytest.approx(expected)


def test_a_recipe_stored_before_there_were_biases_has_none() -> None:
    """Specs are stored with every key: one without `bias` is older. A user who leaves it out means the usual."""
    spec = load_spec(CONFIGS["fashion-r3"])
    assert spec.recipe.model_dump()["discriminator"]["bias"] is True
    stored = spec.model_dump(mode="json")
    del stored["recipe"]["discriminator"]["bias"]
    again = JOB_SPEC.validate_json(json.dumps(stored))
    assert again.recipe.model_dump()["discriminator"]["bias"] is False
    assert not any(name.endswith("bias") for name, _ in networks(again.recipe)[1].named_parameters())
    assert read_spec(dump_spec(again), "spec.yaml") == again
    # What is printed now is read as it is.
    assert read_spec(dump_spec(spec), "spec.yaml") == spec


def test_a_recipe_with_batch_norm_means_the_same_networks_as_before() -> None:
    spec = load_spec(CONFIGS["fashion-dcgan"])
    stored = spec.model_dump(mode="json")
    del stored["recipe"]["discriminator"]["bias"]
    assert JOB_SPEC.validate_json(json.dumps(stored)) == spec


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_in_a_recipe_is_known_not_to_work(name: str) -> None:
    assert doubts(load_spec(CONFIGS[name])) == []


def test_keras_batch_norm_is_translated() -> None:
    assert {(norm.momentum, norm.eps) for norm in norms("fashion-dcgan-keras")} == {(0.01, 1e-3)}
    assert {norm.momentum for norm in norms("rgb128-avgpool")} == {0.2}
    assert {(norm.momentum, norm.eps) for norm in norms("celeba64-dcgan")} == {(0.1, 1e-5)}


def test_glorot_weights_are_uniform_and_as_wide_as_pinned() -> None:
    generator, _ = networks(load_spec(CONFIGS["fashion-dcgan-keras"]).recipe)
    linear = next(module for module in generator.modules() if isinstance(module, nn.Linear))
    bound = (6 / (100 + 12_544)) ** 0.5
    assert linear.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert linear.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)


def test_avgpool_weights_are_normal() -> None:
    _, discriminator = networks(load_spec(CONFIGS["rgb128-avgpool"]).recipe)
    for module in discriminator.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.numel() > 10_000:
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_the_runs_of_the_chain_differ_in_length_and_learning_rates_only() -> None:
    first, second, third = (load_spec(CONFIGS[f"celeba64-dcgan{run}"]) for run in ("", "-2", "-3"))
    assert [run.images for run in (first, second, third)] == [150 * 30_000, 200 * 30_000, 400 * 30_000]
    assert second.recipe == first.recipe
    assert (third.recipe.optimiser_g.lr, third.recipe.optimiser_d.lr) == (2e-4, 5e-5)
    same = {"optimiser_g": first.recipe.optimiser_g, "optimiser_d": first.recipe.optimiser_d}
    assert third.recipe.model_copy(update=same) == first.recipe
