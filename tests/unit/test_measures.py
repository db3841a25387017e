"""A whole evaluation of a generator whose worth is known."""

import logging
from dataclasses import replace
from typing import Any, get_args

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from ganservice.errors import DataInvalid
from ganservice.evaluation import QUALITY_NUMBER
from ganservice.judging import Judging, Measure
from ganservice.recipe import Recipe
from workers.gan.data.examples import Examples
from workers.gan.evaluation.blocks import Blocks
from workers.gan.evaluation.comparison import Comparison, RealFeatures
from workers.gan.evaluation.features import FeatureNetwork
from workers.gan.evaluation.generated import SampledPictures
from workers.gan.evaluation.measures import Measurements, Need, computations, compute_measures
from workers.gan.evaluation.parts import Part
from workers.gan.grid import to_pixels

ALL: tuple[Measure, ...] = get_args(Measure)
CHEAP = Judging().measures
EVEN, RARE = torch.ones(2), torch.tensor([0.95, 0.05])
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
        return features, self.head(features)

    def head(self, features: Tensor) -> Tensor:
        brightness = features.mean(dim=1) - 128
        return torch.stack([-brightness, brightness], dim=1)


class Honest(nn.Module):
    """Dark pictures of class 0 and bright ones of class 1, around which the latents scatter."""

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return (labels[:, None] - 0.5 + 0.1 * latents).view(-1, 1, 4, 4)


class Collapsed(nn.Module):
    """One dark picture, whatever is asked."""

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        del labels
        return torch.full((len(latents), 1, 4, 4), -0.5)


class Unconditional(nn.Module):
    """Dark and bright pictures by turns."""

    def forward(self, latents: Tensor) -> Tensor:
        return Honest().forward(latents, torch.arange(len(latents)) % 2)


def comparison(
    generator: nn.Module,
    network: str = "classifier",
    samples: int = 600,
    conditional: bool = True,
    shares: Tensor = EVEN,
) -> Comparison:
    """Pictures of a generator beside those of the honest one, of which 700 are learned and 300 held out."""
    recipe = Recipe.model_validate(RECIPE)
    eye = FeatureNetwork(network, "digest", "none", Eye())
    data = SampledPictures(Honest(), recipe, Judging(samples=1_000, seed=7), shares)
    pictures, labels = torch.cat(list(data.batches())), data.labels
    assert labels is not None
    learned, others = (
        Examples(pictures[rows], labels[rows], ("dark", "bright")) for rows in (slice(0, 700), slice(700, None))
    )
    training, held_out = (RealFeatures.of(eye, examples) for examples in (learned, others))
    own_recipe = recipe if conditional else recipe.model_copy(update={"conditioning": None})
    generated = SampledPictures(generator, own_recipe, Judging(samples=samples), learned.class_counts)
    return Comparison(eye, generated, training, training, held_out, others, learned, learned.labels)


def judge(generator: nn.Module) -> Measurements:
    return compute_measures(comparison(generator), CHEAP)


def judge_one(generator: nn.Module, measure: Measure) -> Measurements:
    return compute_measures(comparison(generator), (measure,))


def test_an_honest_generator_is_as_good_as_the_data() -> None:
    found = judge(Honest())
    assert found.numbers["classifier_modes"] == 2
    assert found.numbers["classifier_gan_test_accuracy"] == 1
    assert found.by_class["gan_test_accuracy"] == [1, 1]
    usual = found.numbers["classifier_frechet_distance"] or 0
    assert all((distance or 9e9) < 4 * usual for distance in found.by_class["class_distance"])
    # 600 pictures cannot have the shares of 700 to the last digit.
    assert found.numbers["classifier_class_divergence"] == pytest.approx(0, abs=1e-5)
    assert min(found.numbers[f"classifier_{name}"] or 0 for name in ("precision", "recall", "coverage")) > 0.8
    assert found.numbers["classifier_duplicate_pairs"] == 0
    assert abs(found.numbers["classifier_copying_score"] or 9) < 4


def test_a_collapsed_generator_is_found_out_by_every_measure() -> None:
    honest, found = judge(Honest()).numbers, judge(Collapsed())
    assert (found.numbers["classifier_frechet_distance"] or 0) > 20 * (honest["classifier_frechet_distance"] or 9e9)
    assert (found.numbers["classifier_kernel_distance"] or 0) > 20 * abs(honest["classifier_kernel_distance"] or 9e9)
    assert found.numbers["classifier_modes"] == 1
    assert found.numbers["classifier_support"] == pytest.approx(1)
    assert (found.numbers["classifier_recall"] or 0) < 0.05
    assert (found.numbers["classifier_coverage"] or 0) < 0.3
    assert found.by_class["gan_test_accuracy"] == [1, 0]
    of_dark, of_bright = found.by_class["class_distance"]
    assert (of_bright or 0) > 20 * (of_dark or 9e9)


def test_gan_train_asks_a_classifier_of_generated_pictures_about_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.gan.evaluation.classifier.LEAST_STEPS", 15)
    honest = judge_one(Honest(), "gan_train").numbers
    assert list(honest) == ["classifier_gan_train_accuracy", "classifier_gan_train_real_accuracy"]
    assert min(accuracy or 0 for accuracy in honest.values()) > 0.95
    # One and the same picture of either class teaches nothing; what real ones teach stays what it was.
    collapsed = judge_one(Collapsed(), "gan_train").numbers
    assert (collapsed["classifier_gan_train_accuracy"] or 9) < 0.6
    assert collapsed["classifier_gan_train_real_accuracy"] == honest["classifier_gan_train_real_accuracy"]


def test_only_what_is_asked_for_is_measured_and_a_directive_ends_it() -> None:
    pictures = comparison(Honest(), "other", samples=100)
    numbers = compute_measures(pictures, ("classes", "frechet")).numbers
    assert list(numbers) == ["other_score", "other_class_distance", "other_frechet_distance"]

    def leave(*_: object) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        compute_measures(replace(pictures, proceed=leave), ("classes", "frechet"))


def test_of_too_few_real_pictures_there_are_no_manifolds() -> None:
    every = comparison(Honest(), "pixels", 100)
    few = replace(every, real=replace(every.real, features=every.real.features[:2]))
    with pytest.raises(DataInvalid, match=r"manifolds: 2 real pictures, expected more than 5; choose measures without"):
        compute_measures(few, ("manifolds",))


def test_measures_by_inception_have_the_names_of_the_field() -> None:
    found = compute_measures(comparison(Honest(), "inception_v3", 100), ("frechet", "kernel", "classes", "manifolds"))
    assert list(found.numbers)[:3] == ["fid", "kid", "inception_score"]
    assert list(found.numbers)[3:5] == ["inception_v3_class_distance", "inception_v3_precision"]


def test_measures_that_look_at_the_same_distances_share_them() -> None:
    measures: tuple[Measure, ...] = ("copying", "birthdays", "manifolds")
    moves: list[None] = []
    pictures = replace(comparison(Honest()), blocks=Blocks(move=lambda: moves.append(None), size=100))
    alone = [compute_measures(replace(pictures), (measure,)).numbers for measure in measures]
    moves.clear()
    together = compute_measures(replace(pictures, measures=measures), measures).numbers
    assert together == alone[0] | alone[1] | alone[2]
    # 600 samples and as many real pictures among themselves; 700 real ones and the samples; 300 held out and the 700.
    assert len(moves) == 21 + 21 + 7 * 6 + 3 * 7


# Classes that are not equally frequent


def test_a_perfect_generator_of_uneven_classes_is_as_good_as_the_data() -> None:
    """Asked for all classes equally often, as before protocol 4, it has over a hundred times the distance."""
    found = judge_rare(Honest())
    assert found.numbers["classifier_class_divergence"] == pytest.approx(0, abs=1e-3)
    even = SampledPictures(Honest(), Recipe.model_validate(RECIPE), Judging(samples=600), EVEN)
    asked_evenly = replace(comparison(Honest(), shares=RARE), generated=even)
    balanced = compute_measures(asked_evenly, ("frechet", "classes")).numbers
    assert (balanced["classifier_frechet_distance"] or 0) > 100 * (found.numbers["classifier_frechet_distance"] or 9e9)
    assert (balanced["classifier_class_divergence"] or 0) > 0.3


def test_of_a_class_that_is_not_learned_nothing_is_asked() -> None:
    labels: list[Tensor] = []

    class Watching(Honest):
        def forward(self, latents: Tensor, classes: Tensor) -> Tensor:
            labels.append(classes)
            return super().forward(latents, classes)

    pictures = comparison(Honest(), shares=torch.tensor([0.0, 1.0]))
    generated = SampledPictures(Watching(), Recipe.model_validate(RECIPE), Judging(samples=300), torch.tensor([0, 9]))
    found = compute_measures(replace(pictures, generated=generated), ("frechet", "classes"))
    assert set(torch.cat(labels).tolist()) == {1}
    assert found.by_class["gan_test_accuracy"] == [None, 1]
    assert found.by_class["class_distance"][0] is None
    assert found.numbers["classifier_class_distance"] == found.by_class["class_distance"][1]


def test_each_class_is_judged_by_as_many_pictures_however_rare_it_is() -> None:
    pictures = comparison(Honest(), shares=RARE)
    labels = pictures.generated.labels
    assert labels is not None
    own = pictures.features[labels == 1]
    assert 20 < len(own) < 40
    each = pictures.of_class(1).features
    assert len(pictures.of_class(0).features) == len(each) == pictures.class_part == 300
    # What was drawn in the shares of the data is used; only what lacks is drawn besides, from other latents.
    assert torch.equal(each[: len(own)], own)
    assert len(torch.unique(each, dim=0)) == 300


def test_where_classes_are_even_no_picture_is_drawn_twice() -> None:
    parts: list[Part] = []
    generated = SampledPictures(Honest(), Recipe.model_validate(RECIPE), Judging(samples=600), EVEN)
    pictures = replace(comparison(Honest()), generated=generated, proceed=lambda part, _: parts.append(part))
    assert [len(pictures.of_class(label).features) for label in (0, 1)] == [300, 300]
    assert set(parts) == {Part.GENERATED}


def test_a_class_of_fewer_pictures_than_a_covariance_takes_has_no_distance() -> None:
    pictures = comparison(Honest(), samples=100)
    labels = torch.zeros(700, dtype=torch.int64)
    labels[0] = 1
    found = compute_measures(replace(pictures, real_labels=labels), ("classes",))
    assert found.by_class["class_distance"][1] is None
    assert found.numbers["classifier_class_distance"] == found.by_class["class_distance"][0]


def test_pictures_are_rounded_as_those_that_are_shown() -> None:
    class Ramp(nn.Module):
        def forward(self, latents: Tensor) -> Tensor:
            return latents[:, :16].view(-1, 1, 4, 4)

    recipe = Recipe.model_validate(RECIPE | {"conditioning": None, "latent_size": 16})
    generated = SampledPictures(Ramp(), recipe, Judging(samples=5_000))
    halves = (torch.arange(-4, 516) / 255 - 1).repeat_interleave(16)  # whole pixels and halves between them
    generated.latents[:520] = halves.view(520, 16)
    shown = to_pixels(generated.latents.view(-1, 1, 4, 4).numpy())
    assert torch.equal(torch.cat(list(generated.batches())), torch.from_numpy(shown))


def judge_rare(generator: nn.Module) -> Measurements:
    return compute_measures(comparison(generator, shares=RARE), ("frechet", "classes"))


# The registry


def numbers_of(measure: Measure) -> list[str]:
    return [number for each in computations(measure) for number in each.numbers]


def test_the_numbers_are_those_of_the_evaluations_that_are_stored() -> None:
    assert {measure: numbers_of(measure) for measure in ALL} == {
        "frechet": [QUALITY_NUMBER],  # which a training must measure: it chooses its best checkpoint
        "kernel": ["kernel_distance"],
        "classes": ["score", "modes", "class_divergence", "gan_test_accuracy", "class_distance"],
        "manifolds": ["precision", "recall", "density", "coverage"],
        "copying": ["near_copies", "copying_score"],
        "birthdays": ["duplicate_pairs", "support"],
        "gan_train": ["gan_train_accuracy", "gan_train_real_accuracy"],
        "reconstruction": ["psnr", "ssim", "psnr_of_bicubic", "ssim_of_bicubic", "frechet_distance_of_bicubic"],
    }


@pytest.mark.parametrize("measure", [each for each in CHEAP if each != "reconstruction"])
def test_a_measure_gives_the_numbers_it_is_registered_with(measure: Measure) -> None:
    assert list(judge_one(Honest(), measure).numbers) == [f"classifier_{number}" for number in numbers_of(measure)]


# What no generator of latents has.
ENLARGEMENT = set(numbers_of("reconstruction"))


@pytest.mark.parametrize("need", Need)
def test_what_needs_something_is_left_out_without_it_and_the_log_says_so(
    need: Need, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = comparison(Honest(), samples=100)
    match need:
        case Need.LOGITS:
            pictures = replace(pictures, network=replace(pictures.network, has_logits=False))
        case Need.DATA_CLASSES:
            pictures = replace(pictures, network=replace(pictures.network, name="other"))
        case Need.CLASSES:
            pictures = comparison(Unconditional(), samples=100, conditional=False)
        case Need.HELD_OUT:
            pictures = replace(pictures, held_out=None)
        case Need.REAL_LABELS:
            pictures = replace(pictures, test_pictures=replace(pictures.test_pictures, labels=None))
    expected = {
        Need.LOGITS: {"score"},
        Need.DATA_CLASSES: {"modes", "class_divergence", "gan_test_accuracy"},
        Need.CLASSES: {"gan_test_accuracy", "class_distance", "gan_train_accuracy", "gan_train_real_accuracy"},
        Need.HELD_OUT: {"copying_score", "near_copies"},
        Need.REAL_LABELS: {"class_distance", "gan_train_accuracy", "gan_train_real_accuracy"},
        Need.ENLARGEMENT: ENLARGEMENT,
    }[need]
    # GAN-train takes seconds, but where it is left out.
    measures = ALL if "gan_train_accuracy" in expected else CHEAP
    with caplog.at_level(logging.INFO):
        numbers = compute_measures(pictures, measures).numbers
    every = {number for measure in measures for number in numbers_of(measure)}
    assert every - {name.split("_", 1)[1] for name in numbers} == expected | ENLARGEMENT
    assert all(any(need in line and number in line for line in caplog.messages) for number in expected)


def test_features_survive_the_store() -> None:
    pictures = torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8)
    examples = Examples(pictures, torch.arange(30) % 3, ("a", "b", "c"))
    features = RealFeatures.of(FeatureNetwork("eye", "digest", "none", Eye()), examples)
    again = RealFeatures.from_bytes(features.to_bytes(), *features.features.shape)
    for mine, theirs in (
        (features.features, again.features),
        (features.statistics.mean, again.statistics.mean),
        (features.statistics.factor, again.statistics.factor),
        (features.class_shares, again.class_shares),
    ):
        assert torch.equal(mine, theirs)
    assert again.statistics.count == 30
    assert torch.equal(features.subset(7), again.subset(7))


def test_pictures_of_truncated_latents_are_the_same_each_time() -> None:
    recipe = Recipe.model_validate(RECIPE)
    generated = SampledPictures(Honest(), recipe, Judging(samples=500, truncation=0.5), EVEN)
    assert generated.latents.abs().max() <= 0.5
    again = SampledPictures(Honest(), recipe, Judging(samples=500, truncation=0.5), EVEN)
    rows = torch.tensor([3, 400])
    assert torch.equal(again[rows], torch.cat(list(generated.batches()))[rows])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features": torch.zeros(30, 15)}, "features: is not torch.float32 of the expected sizes"),
        ({"features": torch.zeros(31, 16)}, "features: is not"),
        ({"features": torch.full((30, 16), torch.nan)}, "features: holds numbers that are not finite"),
        ({"mean": torch.zeros(16)}, "mean: is not torch.float64"),
        ({"factor": torch.zeros(1, 16).double()}, "factor: is not"),
        ({"class_shares": torch.full((3,), torch.inf).double()}, "class_shares: holds"),
        ({"more": torch.zeros(1)}, "holds other tensors than class_shares, factor, features, mean"),
    ],
)
def test_features_in_the_store_that_cannot_be_of_these_pictures_are_refused(
    changes: dict[str, Tensor], says: str
) -> None:
    examples = Examples(torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8), torch.arange(30) % 3, ("a", "b", "c"))
    data = RealFeatures.of(FeatureNetwork("eye", "digest", "none", Eye()), examples).to_bytes()
    whole = safetensors.torch.load(data)
    with pytest.raises(DataInvalid, match=says):
        RealFeatures.from_bytes(safetensors.torch.save(whole | changes), 30, 16)
    for damaged in (b"", data[:100], b"\xff" * 100):
        with pytest.raises(DataInvalid, match="holds no tensors that can be read"):
            RealFeatures.from_bytes(damaged, 30, 16)
