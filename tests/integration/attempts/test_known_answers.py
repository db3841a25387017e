"""Generators whose worth is known, judged by the whole of an evaluation on real pictures: Fashion-MNIST."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ganservice.artifacts import ArtifactStore
from ganservice.judging import Judging, Measure
from ganservice.recipe import LabelPlane, Pictures, Recipe
from ganservice.settings import Settings
from ganservice.spec import HealthWatch
from workers.attempt.stored_data import pictures
from workers.gan.data.examples import Examples
from workers.gan.data.rows import Rows
from workers.gan.diversity import COUNT, Diversity
from workers.gan.evaluation.classifier import build_classifier, train_classifier
from workers.gan.evaluation.comparison import Comparison, RealFeatures
from workers.gan.evaluation.features import FeatureNetwork, classifier, classifier_safetensors
from workers.gan.evaluation.generated import SampledPictures
from workers.gan.evaluation.measures import compute_measures
from workers.gan.grid import to_floats

CLASSES = 10
LEARNED = 10_000  # pictures that the generators are said to have learned
SAMPLES = 2_000
FEW = (1, 5, 7)  # trousers, sandals and sneakers, which are more alike than other garments
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
    learned_examples = Examples(learned, _labels(train)[:LEARNED], train.classes)
    training = RealFeatures.of(network, learned_examples)
    held_out = RealFeatures.of(network, Examples(half))
    generators = {
        "unseen": Repeating(other_half),
        "ten": Repeating(learned[::1_000]),
        "copier": Repeating(learned),
        "tenth": Repeating(torch.cat([learned[: len(other_half) // 9], other_half])),
        "three": Repeating(other_half[torch.isin(_labels(test)[order[len(order) // 2 :]], torch.tensor(FEW))]),
        "noise": Noise(),
    }
    measures: tuple[Measure, ...] = ("frechet", "kernel", "classes", "manifolds", "copying", "birthdays")

    @cache
    def verdict(name: str) -> Verdict:
        generated = SampledPictures(generators[name], RECIPE, Judging(samples=SAMPLES))
        comparison = Comparison(
            network, generated, training, training, held_out, Examples(half), learned_examples, learned_examples.labels
        )
        measurements = compute_measures(comparison, measures)
        plain = {_plain(name): value for name, value in measurements.numbers.items() if value is not None}
        errors = {_plain(name): error for name, error in measurements.errors.items()}
        samples = floats(generated[torch.arange(COUNT)])
        return Verdict(plain, errors, Diversity(Rows.of(learned)).of(samples))

    return verdict


def _labels(examples: Examples) -> Tensor:
    assert examples.labels is not None
    return examples.labels


def _plain(name: str) -> str:
    return name.removeprefix("classifier_")


def _classifier(train: Examples) -> FeatureNetwork:
    network = train_classifier(build_classifier(1, 28, CLASSES), train.images, _labels(train), steps=400)
    return classifier(classifier_safetensors(network, 0.0, "fp32"), 1, 28, CLASSES)


def test_unseen_real_pictures_are_as_good_as_the_data(judge: Callable[[str], Verdict]) -> None:
    found = judge("unseen").measures
    assert found["frechet_distance"] < 0.5
    assert abs(found["kernel_distance"]) < 4 * judge("unseen").errors["kernel_distance"]
    assert found["modes"] == 10
    assert found["class_divergence"] == pytest.approx(0, abs=0.02)
    assert min(found[name] for name in ("precision", "recall", "density", "coverage")) > 0.9
    assert abs(found["copying_score"]) < 4 * judge("unseen").errors["copying_score"]
    assert abs(found["near_copies"] - 0.01) < 4 * judge("unseen").errors["near_copies"]
    assert found["support"] > 1_000
    assert judge("unseen").diversity == pytest.approx(1, abs=0.2)


def test_ten_pictures_again_and_again(judge: Callable[[str], Verdict]) -> None:
    found, errors = judge("ten").measures, judge("ten").errors
    assert judge("ten").diversity < HealthWatch().min_diversity / 4
    assert found["near_copies"] == 1
    assert found["copying_score"] < -30 * errors["copying_score"]
    assert found["support"] == pytest.approx(10, rel=0.05)
    assert found["recall"] < 0.01
    assert found["coverage"] < 0.1
    assert found["frechet_distance"] > 20


def test_a_copy_of_the_training_pictures_is_perfect_but_for_the_copying(judge: Callable[[str], Verdict]) -> None:
    found, errors = judge("copier").measures, judge("copier").errors
    assert found["frechet_distance"] < 0.5
    assert min(found[name] for name in ("precision", "recall", "coverage")) > 0.9
    assert found["near_copies"] == 1
    assert found["copying_score"] < -30 * errors["copying_score"]


def test_unseen_pictures_of_three_classes_do_not_look_like_copies(judge: Callable[[str], Verdict]) -> None:
    found, errors = judge("three").measures, judge("three").errors
    assert found["modes"] < 10
    assert abs(found["copying_score"]) < 4 * errors["copying_score"]
    assert abs(found["near_copies"] - 0.01) < 4 * errors["near_copies"]


def test_one_copy_in_ten_is_found(judge: Callable[[str], Verdict]) -> None:
    found, errors = judge("tenth").measures, judge("tenth").errors
    assert found["near_copies"] == pytest.approx(0.109, abs=4 * errors["near_copies"])
    assert found["copying_score"] < -4 * errors["copying_score"]


class Pooled(nn.Module):
    """Features are pixels of 4 x 4; a network that no training makes better or worse."""

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        features = functional.avg_pool2d(pictures.float() / 63.75, 4).flatten(1)
        return features, features[:, :CLASSES]


class Recalling(nn.Module):
    """Draws a picture uint8 [N, C, H, W] of the class asked for, by labels int64 [N]: as good as the data."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self._of_class = [floats(images[labels == label]) for label in range(CLASSES)]

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        rows = (latents[:, 0].abs() * 1e6).long()
        chosen = zip(labels.tolist(), rows.tolist(), strict=True)
        return torch.stack([of[row % len(of)] for label, row in chosen for of in (self._of_class[label],)])


def test_a_perfect_generator_of_uneven_classes_is_as_good_as_the_data(fashion_settings: Settings) -> None:
    """Each class has 0.6 times as many pictures as the one before it. Asked for all equally often, the same generator
    has a distance of 12."""
    data = Pictures(dataset="fashion-mnist", image_size=28, channels=1)
    whole = pictures(fashion_settings, ArtifactStore(fashion_settings), data, "train")
    assert whole.labels is not None
    of_class = [(whole.labels == label).nonzero().flatten() for label in range(CLASSES)]
    thinned = torch.cat([rows[: int(3_000 * 0.6**label)] for label, rows in enumerate(of_class)])
    unseen = torch.cat([rows[3_000:] for rows in of_class])
    generator = Recalling(whole.images.take(unseen), whole.labels[unseen])
    learned = Examples(whole.images.select(thinned), whole.labels[thinned], whole.classes)
    recipe = RECIPE.model_copy(update={"conditioning": LabelPlane(classes=CLASSES)})
    network = FeatureNetwork("pooled", "digest", "none", Pooled())
    real = RealFeatures.of(network, learned)

    def distances(shares: Tensor) -> tuple[float, float]:
        generated = SampledPictures(generator, recipe, Judging(samples=SAMPLES), shares)
        comparison = Comparison(network, generated, real, real, None, learned, learned, learned.labels)
        found = compute_measures(comparison, ("frechet", "classes")).numbers
        return found["pooled_frechet_distance"] or 0, found["pooled_class_distance"] or 0

    distance, of_each = distances(learned.class_counts)
    assert 0 < distance < 0.2
    # Of each class as many are judged either way.
    evenly, evenly_of_each = distances(torch.ones(CLASSES))
    assert evenly > 10
    assert evenly_of_each == pytest.approx(of_each, rel=0.1)


def test_noise(judge: Callable[[str], Verdict]) -> None:
    found, errors = judge("noise").measures, judge("noise").errors
    assert found["frechet_distance"] > 50
    # Its size is a matter of the features' own scale; by that of unseen real pictures it is far away.
    assert found["kernel_distance"] > 100 * judge("unseen").errors["kernel_distance"]
    assert found["score"] < 1.5
    assert found["recall"] == 0
    assert found["coverage"] < 0.02
    assert found["copying_score"] > 15 * errors["copying_score"]
    assert found["near_copies"] == 0
