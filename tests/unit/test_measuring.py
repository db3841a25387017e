"""A whole evaluation of a generator whose worth is known."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganservice.recipe import Recipe
from ganservice.spec import Judging, Measure
from workers.gan.evaluation.features import FeatureNetwork
from workers.gan.evaluation.measuring import Findings, Generated, RealFeatures, measure, see_real

MEASURES: tuple[Measure, ...] = ("frechet", "kernel", "classes", "manifolds", "copying", "birthdays")
RECIPE: dict[str, Any] = {
    "data": {"dataset": "levels", "image_size": 4, "channels": 1},
    "generator": {"kind": "mlp"},
    "discriminator": {"kind": "mlp"},
    "latent_size": 16,
    "conditioning": {"classes": 2},
}


class Eye(nn.Module):
    """Features are the pixels; the class is whether a picture is bright."""

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        features = pictures.float().flatten(1)
        brightness = features.mean(dim=1) - 128
        return features, torch.stack([-brightness, brightness], dim=1)


class Honest(nn.Module):
    """Dark pictures of class 0 and bright ones of class 1, around which the latents scatter."""

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return (labels[:, None] - 0.5 + 0.1 * latents).view(-1, 1, 4, 4)


class Collapsed(nn.Module):
    """One dark picture, whatever is asked."""

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        del labels
        return torch.full((len(latents), 1, 4, 4), -0.5)


def judge(generator: nn.Module, **asked: Any) -> Findings:
    recipe = Recipe.model_validate(RECIPE)
    judging = Judging(samples=600, measures=MEASURES, **asked)
    network = FeatureNetwork("classifier", "digest", "none", Eye())
    real = Generated(Honest(), recipe, Judging(samples=1_000, seed=7))
    pictures, labels = torch.cat(list(real.batches())), torch.arange(1_000) % 2
    training, held_out = (
        see_real(network, pictures[rows], labels[rows], 2) for rows in (slice(0, 700), slice(700, None))
    )
    return measure(Generated(generator, recipe, judging), network, judging, training, training, held_out, lambda: None)


def test_an_honest_generator_is_as_good_as_the_data() -> None:
    found = judge(Honest())
    assert found.measures["classifier_modes"] == 2
    assert found.measures["classifier_gan_test_accuracy"] == 1
    assert found.class_accuracies == [1, 1]
    assert found.measures["classifier_class_divergence"] == pytest.approx(0, abs=1e-9)
    assert min(found.measures[f"classifier_{name}"] or 0 for name in ("precision", "recall", "coverage")) > 0.8
    assert found.measures["classifier_duplicate_pairs"] == 0
    assert abs(found.measures["classifier_copying_score"] or 9) < 4
    assert found.features.shape == (600, 16)


def test_a_collapsed_generator_is_found_out_by_every_measure() -> None:
    honest, found = judge(Honest()).measures, judge(Collapsed())
    assert (found.measures["classifier_frechet_distance"] or 0) > 20 * (honest["classifier_frechet_distance"] or 9e9)
    assert (found.measures["classifier_kernel_distance"] or 0) > 20 * abs(honest["classifier_kernel_distance"] or 9e9)
    assert found.measures["classifier_modes"] == 1
    assert found.measures["classifier_support"] == pytest.approx(1)
    assert (found.measures["classifier_recall"] or 0) < 0.05
    assert (found.measures["classifier_coverage"] or 0) < 0.3
    assert found.class_accuracies == [1, 0]


def test_only_what_is_asked_for_is_measured_and_a_directive_ends_it() -> None:
    recipe, network = Recipe.model_validate(RECIPE), FeatureNetwork("other", "digest", "none", Eye())
    judging = Judging(samples=100, measures=("classes", "frechet"))
    generated = Generated(Honest(), recipe, judging)
    seen = see_real(network, torch.cat(list(generated.batches())), None, 0)
    found = measure(generated, network, judging, seen, seen, None, lambda: None)
    assert list(found.measures) == ["other_score", "other_frechet_distance"]

    def leave() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        measure(generated, network, judging, seen, seen, None, leave)


def test_measures_by_inception_have_the_names_of_the_field() -> None:
    recipe, network = Recipe.model_validate(RECIPE), FeatureNetwork("inception_v3", "digest", "tensorflow", Eye())
    judging = Judging(samples=100, measures=("frechet", "kernel", "classes", "manifolds"))
    generated = Generated(Honest(), recipe, judging)
    seen = see_real(network, torch.cat(list(generated.batches())), None, 0)
    found = measure(generated, network, judging, seen, seen, None, lambda: None)
    assert list(found.measures)[:4] == ["fid", "kid", "inception_score", "inception_v3_precision"]


def test_what_was_seen_survives_the_store() -> None:
    pictures = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8)
    seen = see_real(FeatureNetwork("eye", "digest", "none", Eye()), pictures, torch.arange(30) % 3, 3)
    again = RealFeatures.from_bytes(seen.to_bytes())
    for mine, theirs in (
        (seen.features, again.features),
        (seen.statistics.mean, again.statistics.mean),
        (seen.statistics.factor, again.statistics.factor),
        (seen.class_shares, again.class_shares),
    ):
        assert torch.equal(mine, theirs)
    assert again.statistics.count == 30
    assert torch.equal(seen.some(7), again.some(7))


def test_truncated_latents_are_drawn_anew_not_cut() -> None:
    recipe = Recipe.model_validate(RECIPE)
    generated = Generated(Honest(), recipe, Judging(samples=500, truncation=0.5))
    latents = generated.latents
    assert latents.abs().max() <= 0.5
    assert (latents.abs() == 0.5).sum() == 0
    again = Generated(Honest(), recipe, Judging(samples=500, truncation=0.5))
    rows = torch.tensor([3, 400])
    assert torch.equal(again[rows], torch.cat(list(generated.batches()))[rows])
