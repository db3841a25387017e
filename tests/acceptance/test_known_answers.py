"""Generators whose worth is known, judged by the whole of an evaluation on real pictures: Fashion-MNIST."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from ganservice.artifacts import ArtifactStore
from ganservice.recipe import Pictures, Recipe
from ganservice.spec import HealthWatch, Judging, Measure
from tests.acceptance.conftest import Stack
from workers.attempt.stored_data import pictures
from workers.gan.data.examples import Examples
from workers.gan.diversity import COUNT, Diversity
from workers.gan.evaluation.classifier import train_classifier
from workers.gan.evaluation.features import FeatureNetwork, classifier, classifier_safetensors
from workers.gan.evaluation.measuring import Generated, measure, see_real
from workers.gan.grid import to_floats

CLASSES = 10
LEARNT = 10_000  # pictures that the generators are said to have learned
SAMPLES = 2_000
RECIPE = Recipe.model_validate(
    {
        "data": {"dataset": "fashion-mnist", "image_size": 28, "channels": 1},
        "generator": {"kind": "mlp"},
        "discriminator": {"kind": "mlp"},
    }
)


class Repeating(nn.Module):
    """Draws one of the pictures uint8 [N, C, H, W] for each latent."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self._images = floats(images)

    def forward(self, latents: Tensor) -> Tensor:
        return self._images[(latents[:, 0].abs() * 1e6).long() % len(self._images)]


class Noise(nn.Module):
    """Every pixel by itself."""

    def forward(self, latents: Tensor) -> Tensor:
        draws = torch.Generator().manual_seed(int(latents[0, 0].abs() * 1e6))
        return torch.rand(len(latents), 1, 28, 28, generator=draws) * 2 - 1


def floats(images: Tensor) -> Tensor:
    return torch.from_numpy(to_floats(images.numpy()))


@dataclass(frozen=True)
class Found:
    """What an evaluation says of a generator, without the name of the network; and the watch."""

    measures: dict[str, float]
    errors: dict[str, float]
    diversity: float


@pytest.fixture(scope="module")
def judge(stack: Stack) -> Callable[[str], Found]:
    """Judges a generator by its name, by a classifier that learned all real pictures."""
    store = ArtifactStore(stack.settings)
    data = Pictures(dataset="fashion-mnist", image_size=28, channels=1)
    train, test = (pictures(stack.settings, store, data, split) for split in ("train", "test"))
    network = _classifier(train)
    learnt, order = train.images[:LEARNT], torch.randperm(len(test.images), generator=torch.Generator().manual_seed(0))
    half, other_half = test.images[order[: len(order) // 2]], test.images[order[len(order) // 2 :]]
    training = see_real(network, learnt, train.labels[:LEARNT] if train.labels is not None else None, CLASSES)
    held_out = see_real(network, half, None, 0)
    generators = {
        "unseen": Repeating(other_half),
        "ten": Repeating(learnt[::1_000]),
        "copier": Repeating(learnt),
        "noise": Noise(),
    }
    measures: tuple[Measure, ...] = ("frechet", "kernel", "classes", "manifolds", "copying", "birthdays")
    judging = Judging(samples=SAMPLES, measures=measures)

    @cache
    def found(name: str) -> Found:
        generated = Generated(generators[name], RECIPE, judging)
        told = measure(generated, network, judging, training, training, held_out, lambda: None)
        plain = {key.removeprefix("classifier_"): value for key, value in told.measures.items() if value is not None}
        errors = {key.removeprefix("classifier_"): error for key, error in told.errors.items()}
        samples = floats(generated[torch.arange(COUNT)])
        return Found(plain, errors, Diversity(learnt).of(samples))

    return found


def _classifier(train: Examples) -> FeatureNetwork:
    assert train.labels is not None
    return classifier(
        classifier_safetensors(train_classifier(train.images, train.labels, CLASSES, steps=400), 0.0, "fp32"),
        1,
        28,
        CLASSES,
    )


def test_unseen_real_pictures_are_as_good_as_the_data(judge: Callable[[str], Found]) -> None:
    found = judge("unseen").measures
    assert found["frechet_distance"] < 0.5
    assert abs(found["kernel_distance"]) < 4 * judge("unseen").errors["kernel_distance"]
    assert found["modes"] == 10
    assert found["class_divergence"] == pytest.approx(0, abs=0.02)
    assert min(found[name] for name in ("precision", "recall", "density", "coverage")) > 0.9
    assert abs(found["copying_score"]) < 4
    assert found["near_copies"] < 0.02
    assert found["support"] > 1_000
    assert judge("unseen").diversity == pytest.approx(1, abs=0.2)


def test_ten_pictures_again_and_again(judge: Callable[[str], Found]) -> None:
    found = judge("ten").measures
    assert judge("ten").diversity < HealthWatch().min_diversity / 4
    assert found["near_copies"] == 1
    assert found["copying_score"] < -30
    assert found["support"] == pytest.approx(10, rel=0.05)
    assert found["recall"] < 0.01
    assert found["coverage"] < 0.1
    assert found["frechet_distance"] > 20


def test_a_copy_of_the_training_pictures_is_perfect_but_for_the_copying(judge: Callable[[str], Found]) -> None:
    found = judge("copier").measures
    assert found["frechet_distance"] < 0.5
    assert min(found[name] for name in ("precision", "recall", "coverage")) > 0.9
    assert found["near_copies"] == 1
    assert found["copying_score"] < -30


def test_noise(judge: Callable[[str], Found]) -> None:
    found = judge("noise").measures
    assert found["frechet_distance"] > 50
    # Its size is a matter of the features' own scale; by that of unseen real pictures it is far away.
    assert found["kernel_distance"] > 100 * judge("unseen").errors["kernel_distance"]
    assert found["score"] < 1.5
    assert found["recall"] == 0
    assert found["coverage"] < 0.02
    assert found["copying_score"] > 30
    assert found["near_copies"] == 0
