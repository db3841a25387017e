"""Generators whose worth is known, judged by the whole of an evaluation on real pictures: Fashion-MNIST."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from ganservice.artifacts import ArtifactStore
from ganservice.recipe import Pictures, Recipe
from ganservice.settings import Settings
from ganservice.spec import HealthWatch, Judging, Measure
from workers.attempt.stored_data import pictures
from workers.gan.data.examples import Examples
from workers.gan.data.rows import Rows
from workers.gan.diversity import COUNT, Diversity
from workers.gan.evaluation.classifier import train_classifier
from workers.gan.evaluation.comparison import Comparison, GeneratedPictures, RealFeatures
from workers.gan.evaluation.features import FeatureNetwork, classifier, classifier_safetensors
from workers.gan.evaluation.measures import compute_measures
from workers.gan.grid import to_floats

CLASSES = 10
LEARNED = 10_000  # pictures that the generators are said to have learned
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
class Verdict:
    """What an evaluation says of a generator, without the name of the network; and the watch."""

    measures: dict[str, float]
    errors: dict[str, float]
    diversity: float


@pytest.fixture(scope="module")
def judge(fashion_settings: Settings) -> Callable[[str], Verdict]:
    """Judges a generator by its name, by a classifier that learned all real pictures."""
    store = ArtifactStore(fashion_settings)
    data = Pictures(dataset="fashion-mnist", image_size=28, channels=1)
    train, test = (pictures(fashion_settings, store, data, split) for split in ("train", "test"))
    network = _classifier(train)
    learned = train.images.first(LEARNED)
    order = torch.randperm(len(test.images), generator=torch.Generator().manual_seed(0))
    half, other_half = (test.images.take(rows) for rows in order.chunk(2))
    labels = train.labels[:LEARNED] if train.labels is not None else None
    training = RealFeatures.of(network, Examples(learned, labels, train.classes))
    held_out = RealFeatures.of(network, Examples(half))
    generators = {
        "unseen": Repeating(other_half),
        "ten": Repeating(learned[::1_000]),
        "copier": Repeating(learned),
        "noise": Noise(),
    }
    measures: tuple[Measure, ...] = ("frechet", "kernel", "classes", "manifolds", "copying", "birthdays")

    @cache
    def verdict(name: str) -> Verdict:
        generated = GeneratedPictures(generators[name], RECIPE, Judging(samples=SAMPLES))
        comparison = Comparison(network, generated, training, training, held_out, Examples(half))
        measurements = compute_measures(comparison, measures)
        plain = {_plain(name): value for name, value in measurements.numbers.items() if value is not None}
        errors = {_plain(name): error for name, error in measurements.errors.items()}
        samples = floats(generated[torch.arange(COUNT)])
        return Verdict(plain, errors, Diversity(Rows.of(learned)).of(samples))

    return verdict


def _plain(name: str) -> str:
    return name.removeprefix("classifier_")


def _classifier(train: Examples) -> FeatureNetwork:
    assert train.labels is not None
    network = train_classifier(train.images, train.labels, CLASSES, steps=400)
    return classifier(classifier_safetensors(network, 0.0, "fp32"), 1, 28, CLASSES)


def test_unseen_real_pictures_are_as_good_as_the_data(judge: Callable[[str], Verdict]) -> None:
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


def test_ten_pictures_again_and_again(judge: Callable[[str], Verdict]) -> None:
    found = judge("ten").measures
    assert judge("ten").diversity < HealthWatch().min_diversity / 4
    assert found["near_copies"] == 1
    assert found["copying_score"] < -30
    assert found["support"] == pytest.approx(10, rel=0.05)
    assert found["recall"] < 0.01
    assert found["coverage"] < 0.1
    assert found["frechet_distance"] > 20


def test_a_copy_of_the_training_pictures_is_perfect_but_for_the_copying(judge: Callable[[str], Verdict]) -> None:
    found = judge("copier").measures
    assert found["frechet_distance"] < 0.5
    assert min(found[name] for name in ("precision", "recall", "coverage")) > 0.9
    assert found["near_copies"] == 1
    assert found["copying_score"] < -30


def test_noise(judge: Callable[[str], Verdict]) -> None:
    found = judge("noise").measures
    assert found["frechet_distance"] > 50
    # Its size is a matter of the features' own scale; by that of unseen real pictures it is far away.
    assert found["kernel_distance"] > 100 * judge("unseen").errors["kernel_distance"]
    assert found["score"] < 1.5
    assert found["recall"] == 0
    assert found["coverage"] < 0.02
    assert found["copying_score"] > 30
    assert found["near_copies"] == 0
