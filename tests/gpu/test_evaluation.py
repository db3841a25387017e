"""Evaluations on a GPU give the numbers of a CPU. For machines that have one: `.venv/bin/pytest tests/gpu`."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ganservice.judging import Judging
from ganservice.recipe import Recipe
from workers.gan.data.examples import Examples
from workers.gan.data.rows import Rows
from workers.gan.evaluation.blocks import Blocks
from workers.gan.evaluation.classifier import accuracy, build_classifier, train_classifier
from workers.gan.evaluation.comparison import Comparison, RealFeatures
from workers.gan.evaluation.features import (
    FeatureNetwork,
    classifier,
    classifier_safetensors,
    efficientnet_lite0,
)
from workers.gan.evaluation.generated import SampledPictures
from workers.gan.evaluation.measures import Measurements, compute_measures
from workers.gan.networks import build_generator
from workers.gan.precision import whole_fp32

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CLASSES = ("left", "right")
RECIPE: dict[str, Any] = {
    "data": {"dataset": "halves", "image_size": 16, "channels": 1},
    "latent_size": 8,
    "generator": {"kind": "mlp", "widths": [32]},
    "discriminator": {"kind": "mlp"},
    "conditioning": {"classes": 2},
}


def halves(count: int, seed: int) -> Examples:
    """Noisy pictures that are bright on the left or, less often, on the right."""
    draws = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, generator=draws) < 0.2).long()
    images = torch.randint(0, 128, (count, 1, 16, 16), dtype=torch.uint8, generator=draws)
    images[labels == 0, :, :, :8] += 100
    images[labels == 1, :, :, 8:] += 100
    return Examples(images, labels, CLASSES)


def labels_of(examples: Examples) -> Tensor:
    assert examples.labels is not None
    return examples.labels


@pytest.fixture(scope="module")
def network() -> FeatureNetwork:
    """A classifier that has learned the halves, on the CPU."""
    learned = halves(2_000, 0)
    trained = train_classifier(build_classifier(1, 16, 2), learned.images, labels_of(learned), steps=30)
    return classifier(classifier_safetensors(trained, 1.0, "fp32"), 1, 16, 2)


def judge(network: FeatureNetwork, device: torch.device) -> Measurements:
    """Judge a generator that was never trained, by everything but birthdays."""
    recipe, learned, others = Recipe.model_validate(RECIPE), halves(600, 0), halves(200, 1)
    torch.manual_seed(0)
    generator = build_generator(recipe).eval().to(device)
    with whole_fp32():
        seen = network.on(device)
        generated = SampledPictures(generator, recipe, Judging(samples=200), learned.class_counts, device)
        training, held_out = RealFeatures.of(seen, learned), RealFeatures.of(seen, others)
        comparison = Comparison(
            seen, generated, training, training, held_out, others, learned, labels_of(learned), blocks=Blocks(device)
        )
        return compute_measures(comparison, ("frechet", "kernel", "classes", "manifolds", "copying"))


@pytest.mark.parametrize("name", ["classifier", "efficientnet_lite0"])
def test_a_gpu_measures_what_a_cpu_does(network: FeatureNetwork, name: str) -> None:
    eye = network if name == "classifier" else efficientnet_lite0()
    on_cpu, on_gpu = judge(eye, CPU), judge(eye, GPU)
    assert on_gpu.numbers == pytest.approx(on_cpu.numbers, rel=0.01, abs=0.01)
    assert on_gpu.by_class["class_distance"] == pytest.approx(on_cpu.by_class["class_distance"], rel=0.01)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_classifier_learns_on_a_gpu_and_serves_elsewhere(stacked: bool) -> None:
    learned, others = halves(2_000, 0), halves(500, 1)
    channels, classes = (3, 8) if stacked else (1, 2)
    images, tests = (each.images.first(2_000).expand(-1, channels, -1, -1) for each in (learned, others))
    weight = 7 if stacked else 1  # the same half three times: 1 + 2 + 4
    trained = build_classifier(channels, 16, classes, stacked=stacked).to(GPU)
    train_classifier(trained, Rows.of(images), weight * labels_of(learned), "bf16", steps=30)
    assert accuracy(trained, Rows.of(tests), weight * labels_of(others)) > 0.95
    stored = classifier(classifier_safetensors(trained, 1.0, "bf16"), channels, 16, classes, stacked=stacked)
    [(features, _), *_] = stored.see([tests])
    [(on_gpu, _), *_] = stored.on(GPU).see([tests])
    assert features.device == on_gpu.device == CPU
    torch.testing.assert_close(features, on_gpu, rtol=1e-2, atol=1e-2)
