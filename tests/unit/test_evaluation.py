"""Measures of quality against independent implementations, and against what is known in closed form."""

import contextlib
import io
import math
from collections.abc import Callable

import numpy as np
import prdc
import pytest
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import poly_mmd

from workers.gan.evaluation.classes import accuracies, class_score, modes
from workers.gan.evaluation.copying import birthdays, copying
from workers.gan.evaluation.frechet import frechet_distance, statistics
from workers.gan.evaluation.kernel import kernel_distance
from workers.gan.evaluation.neighbours import Move, manifolds, nearest, nearest_distances


def gaussian(count: int, size: int, seed: int, scale: float = 1.0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=draws) / size**0.5
    drawn: Tensor = scale * torch.randn(count, size, generator=draws) @ mixing + 0.1
    return drawn


# The Frechet distance


@pytest.mark.parametrize(
    ("count", "other_count"),
    [(500, 400), (500, 20), (30, 20)],
    ids=["full rank", "one of low rank", "both of low rank"],
)
def test_the_frechet_distance_is_that_of_the_reference(count: int, other_count: int) -> None:
    one, other = gaussian(count, 48, 1), gaussian(other_count, 48, 2, 1.5)
    own = frechet_distance(statistics(one.split(33)), statistics(other.split(7)))
    moments = [(features.double().mean(dim=0), torch.cov(features.double().T)) for features in (one, other)]
    theirs = _compute_fid(*moments[0], *moments[1]).item()
    assert own == pytest.approx(theirs, rel=1e-6 if other_count < 48 else 1e-11)


def test_the_frechet_distance_of_known_gaussians() -> None:
    # Independent numbers with deviations a and b: |m|^2 + sum (a - b)^2.
    draws = torch.randn(400_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one = draws * torch.tensor([1.0, 2.0])
    other = draws.flip(0) * torch.tensor([3.0, 1.0]) + torch.tensor([0.0, 4.0])
    assert frechet_distance(statistics([one]), statistics([other])) == pytest.approx(16 + 4 + 1, rel=5e-3)


def test_equal_features_have_no_distance_even_of_low_rank() -> None:
    flat = gaussian(200, 8, 3)
    flat[:, 4:] = 0
    for features in (gaussian(200, 8, 3), gaussian(5, 8, 3), flat):
        assert frechet_distance(statistics([features]), statistics([features])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 64, 500])
def test_statistics_are_the_same_however_the_features_come(size: int) -> None:
    features = gaussian(500, 8, 4) + 1_000  # far from 0, where sums of squares would lose everything
    found = statistics(features.split(size))
    torch.testing.assert_close(found.factor @ found.factor.T, torch.cov(features.double().T), rtol=1e-9, atol=1e-9)
    assert found.count == 500


def test_one_feature_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least two"):
        statistics([torch.zeros(1, 4)])


# The kernel distance


def test_the_kernel_distance_is_the_mean_of_the_references_over_blocks() -> None:
    real, generated = gaussian(320, 16, 1), gaussian(350, 16, 2, 1.2)
    theirs = torch.stack(
        [
            poly_mmd(real[i : i + 100].double(), generated[i : i + 100].double(), degree=3, gamma=None, coef=1.0)
            for i in (0, 100, 200)
        ]
    )
    own, error = kernel_distance(real, generated, block=100)
    assert own == pytest.approx(theirs.mean().item(), rel=1e-11)
    assert error == pytest.approx(theirs.std().item() / 3**0.5, rel=1e-11)


def test_the_kernel_distance_of_two_halves_is_0_within_its_error() -> None:
    features = gaussian(4_000, 16, 5)
    own, error = kernel_distance(features[:2_000], features[2_000:], block=200)
    assert abs(own) < 4 * error


def test_a_single_block_has_no_error() -> None:
    assert math.isnan(kernel_distance(gaussian(50, 4, 1), gaussian(60, 4, 2))[1])


# Neighbours


def test_manifolds_are_those_of_the_reference() -> None:
    real, generated = gaussian(1_300, 12, 1), gaussian(1_100, 12, 1, 0.9)[:1_050] + 0.05
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = prdc.compute_prdc(real.double().numpy(), generated.double().numpy(), nearest_k=5)
    assert vars(manifolds(real, generated)) == pytest.approx(theirs, rel=1e-12)


def test_the_nearest_of_many() -> None:
    among = gaussian(2_500, 6, 7)
    of = among[[3, 1_700, 2_400]] + 1e-3
    assert nearest(of, among).tolist() == [3, 1_700, 2_400]
    assert nearest_distances(among, among, alike=True).min() > 1e-3
    torch.testing.assert_close(
        nearest_distances(of, among), torch.full((3,), 1e-3 * 6**0.5).double(), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize(
    "compute",
    [
        lambda x, move: manifolds(x, x, move=move),
        lambda x, move: nearest(x, x, move),
        lambda x, move: copying(x, x, x, move),
        lambda x, move: birthdays(x, x, move),
        lambda x, move: kernel_distance(x, x, move=move),
    ],
    ids=["manifolds", "nearest", "copying", "birthdays", "kernel"],
)
def test_what_takes_long_tells_of_each_thousand_features(compute: Callable[[Tensor, Move], object]) -> None:
    moves: list[None] = []
    compute(gaussian(3_000, 4, 1), lambda: moves.append(None))
    assert len(moves) >= 3


def test_too_few_features_have_no_neighbours() -> None:
    with pytest.raises(ValueError, match="5th neighbour among 5"):
        manifolds(torch.zeros(5, 2), torch.zeros(9, 2))


# Classes


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save:UserWarning", "ignore:std:UserWarning")
def test_the_class_score_is_that_of_the_reference() -> None:
    class Network(torch.nn.Module):
        num_features = 10

        def forward(self, logits: Tensor) -> Tensor:
            return logits

    logits = 3 * torch.randn(500, 10, generator=torch.Generator().manual_seed(0))
    theirs = InceptionScore(feature=Network(), splits=1)
    theirs.update(logits)
    assert class_score(logits) == pytest.approx(theirs.compute()[0].item(), rel=1e-5)


def test_the_class_score_runs_from_1_to_the_number_of_classes() -> None:
    assert class_score(torch.zeros(20, 10)) == pytest.approx(1)
    assert class_score(100 * torch.eye(10)) == pytest.approx(10)


def test_modes_and_their_divergence() -> None:
    found = modes(torch.tensor([0, 0, 1, 1]), torch.full((4,), 0.25))
    assert found.count == 2
    assert found.divergence == pytest.approx(math.log(2))
    assert modes(torch.arange(4), torch.full((4,), 0.25)).divergence == pytest.approx(0)
    assert modes(torch.tensor([1]), torch.tensor([1.0, 0.0])).divergence == math.inf


def test_accuracies_by_the_class_that_was_asked_for() -> None:
    predicted, asked = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1])
    assert accuracies(predicted, asked, 3) == [0.5, 0.5, None]


# Copying


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return gaussian(6_000, 24, 11)


def test_an_honest_generator_is_no_copier(pictures: Tensor) -> None:
    found = copying(pictures[:1_000], pictures[1_000:4_000], pictures[4_000:])
    assert abs(found.score) < 4
    assert found.near_copies < 0.03


def test_a_generator_that_copies_its_training_pictures_is_found(pictures: Tensor) -> None:
    noisy = pictures[1_000:2_000] + 0.01 * gaussian(1_000, 24, 12)
    found = copying(noisy, pictures[1_000:4_000], pictures[4_000:])
    assert found.score < -30
    assert found.near_copies > 0.99


def test_noise_lies_far_from_everything(pictures: Tensor) -> None:
    found = copying(pictures[:1_000] + 10, pictures[1_000:4_000], pictures[4_000:])
    assert found.score > 30
    assert found.near_copies == 0


def test_the_statistic_counts_as_mann_and_whitney_do() -> None:
    near, usual = torch.arange(8.0)[:, None] * 1.5, torch.arange(9.0)[:, None] + 0.25
    origin = torch.zeros(1, 1)
    own = copying(near, origin, usual).score
    theirs = mannwhitneyu(near.squeeze(1), usual.squeeze(1), use_continuity=False, method="asymptotic")
    above = theirs.statistic
    assert own == pytest.approx((above - 36) / (8 * 9 * 18 / 12) ** 0.5)
    assert 2 * (1 - 0.5 * (1 + math.erf(abs(own) / 2**0.5))) == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("support", [10, 300])
def test_the_birthday_test_tells_the_support_of_a_generator_that_repeats_itself(pictures: Tensor, support: int) -> None:
    chosen = torch.randint(support, (2_000,), generator=torch.Generator().manual_seed(1))
    found = birthdays(pictures[:support][chosen], pictures[1_000:])
    assert found.support == pytest.approx(support, rel=0.1)


def test_without_a_pair_the_birthday_test_gives_a_bound(pictures: Tensor) -> None:
    found = birthdays(pictures[:1_500], pictures[1_500:])
    assert (found.pairs, found.support) == (0, 1_500 * 1_499 / 2)


def test_every_measure_takes_what_networks_give() -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)).to(torch.bfloat16)
    assert manifolds(features, features).precision == 1
    assert frechet_distance(statistics([features]), statistics([features])) == pytest.approx(0, abs=1e-9)
