"""Measures of quality against independent implementations, and against what is known in closed form."""

import contextlib
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import prdc
import pytest
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import poly_mmd

from workers.gan.evaluation.blocks import BLOCK, Blocks
from workers.gan.evaluation.cells import k_means
from workers.gan.evaluation.classes import accuracies, class_score, modes
from workers.gan.evaluation.copying import Copying, birthdays, copying
from workers.gan.evaluation.frechet import frechet_distance, statistics
from workers.gan.evaluation.kernel import kernel_distance
from workers.gan.evaluation.neighbours import manifolds, nearest, nearest_distances, nearest_unlike_distances


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
        lambda x, blocks: manifolds(x, x, blocks=blocks),
        lambda x, blocks: nearest(x, x, blocks),
        lambda x, blocks: nearest_distances(x, x, blocks=blocks),
        lambda x, blocks: birthdays(x, x, blocks),
        lambda x, blocks: k_means(x, 2, blocks),
        lambda x, blocks: kernel_distance(x, x, blocks=blocks),
    ],
    ids=["manifolds", "nearest", "distances", "birthdays", "cells", "kernel"],
)
def test_what_takes_long_tells_of_each_block(compute: Callable[[Tensor, Blocks], object]) -> None:
    moves: list[None] = []
    compute(gaussian(BLOCK + 1_000, 4, 1), Blocks(move=lambda: moves.append(None)))
    assert len(moves) >= 3


class Watched(Tensor):
    """Features that remember the longest side of what was made of them in float64."""

    most = 0

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        made = super().__torch_function__(function, types, arguments, named or {})  # type: ignore[no-untyped-call] # torch's
        if isinstance(made, Tensor) and made.dtype == torch.float64 and made.ndim == 2:
            Watched.most = max(Watched.most, *made.shape)
        return made


@pytest.mark.parametrize("compute", [manifolds, nearest, nearest_distances, birthdays, kernel_distance])
def test_no_more_than_a_block_is_held_at_once(compute: Callable[[Tensor, Tensor], object]) -> None:
    features = gaussian(BLOCK + 500, 2, 1).as_subclass(Watched)
    Watched.most = 0
    compute(features, features)
    assert 0 < Watched.most <= BLOCK


def test_equal_features_have_no_distance_between_them_whatever_their_size() -> None:
    features = gaussian(BLOCK + 500, 300, 8) + 1_000
    twice = torch.cat([features, features[:200]])
    distances = nearest_distances(twice, twice, alike=True)
    assert (distances == 0).nonzero().squeeze(1).tolist() == [*range(200), *range(BLOCK + 500, BLOCK + 700)]
    unlike = nearest_unlike_distances(twice)
    assert unlike.min() > 1
    torch.testing.assert_close(unlike[: BLOCK + 500], nearest_distances(features, features, alike=True))


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


def copied(generated: Tensor, training: Tensor, held_out: Tensor, middles: Tensor | None = None) -> Copying:
    """The test in the cells around some middles, or in one."""
    near, usual = (nearest_distances(each, training) for each in (generated, held_out))
    one = training[:1] if middles is None else middles
    return copying(near, usual, *(nearest(each, one) for each in (generated, held_out)))


def test_an_honest_generator_is_no_copier(pictures: Tensor) -> None:
    found = copied(pictures[:1_000], pictures[1_000:4_000], pictures[4_000:])
    assert abs(found.score) < 4 * found.score_error
    assert abs(found.near_copies - 0.01) < 4 * found.error


def test_a_generator_that_copies_its_training_pictures_is_found(pictures: Tensor) -> None:
    noisy = pictures[1_000:2_000] + 0.01 * gaussian(1_000, 24, 12)
    found = copied(noisy, pictures[1_000:4_000], pictures[4_000:])
    assert found.score < -30
    assert found.near_copies > 0.99


def test_held_out_pictures_that_were_learned_too_hide_no_copies(pictures: Tensor) -> None:
    training = pictures[1_000:4_000]
    held_out = torch.cat([pictures[4_000:], training[:100]])
    found = copied(torch.cat([pictures[:800], training[-200:]]), training, held_out)
    assert abs(found.near_copies - 0.2) < 4 * found.error + 0.01


def test_noise_lies_far_from_everything(pictures: Tensor) -> None:
    found = copied(pictures[:1_000] + 10, pictures[1_000:4_000], pictures[4_000:])
    assert found.score > 30
    assert found.near_copies == 0


def test_the_statistic_counts_as_mann_and_whitney_do() -> None:
    near, usual = torch.arange(25.0) * 1.5, torch.arange(19.0) + 0.25
    own = copying(near, usual, torch.zeros(25).long(), torch.zeros(19).long())
    theirs = mannwhitneyu(near, usual, use_continuity=False, method="asymptotic")
    assert own.score == pytest.approx((theirs.statistic - 237.5) / (25 * 19 * 45 / 12) ** 0.5)
    assert 2 * (1 - 0.5 * (1 + math.erf(abs(own.score) / 2**0.5))) == pytest.approx(theirs.pvalue)
    assert math.isnan(own.near_copies), "nothing is as rare as one in a hundred of 19"


# Four sorts of pictures, from dense to wide.
SPREADS = torch.tensor([0.2, 0.5, 1.0, 2.0])
PLACES = 40 * torch.eye(4, 24)


def sorts(count: int, seed: int, of: tuple[int, ...] = (0, 1, 2, 3)) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    sort = torch.tensor(of)[torch.randint(len(of), (count,), generator=draws)]
    return PLACES[sort] + SPREADS[sort, None] * torch.randn(count, 24, generator=draws)


@pytest.fixture(scope="module")
def known() -> tuple[Tensor, Tensor, Tensor]:
    """Training and held-out pictures, and the middles of their cells."""
    training = sorts(4_000, 1)
    return training, sorts(2_000, 2), k_means(training, 4)


def test_cells_find_the_sorts_of_pictures(known: tuple[Tensor, Tensor, Tensor]) -> None:
    training, _, middles = known
    assert torch.cdist(PLACES.double(), middles).amin(dim=1).max() < 1
    assert torch.equal(k_means(training, 4), middles)
    assert len(k_means(training[:1].expand(9, -1), 4)) == 1, "nine times the same is one cell"


def test_a_generator_of_few_sorts_does_not_look_like_a_copier(known: tuple[Tensor, Tensor, Tensor]) -> None:
    training, held_out, middles = known
    dense = sorts(2_000, 3, of=(0, 1))
    assert copied(dense, training, held_out).score < -15, "in one cell what is dense is taken for copied"
    found = copied(dense, training, held_out, middles)
    assert abs(found.score) < 4 * found.score_error
    assert abs(found.near_copies - 0.01) < 4 * found.error


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("noise", [0.0, 0.3], ids=["others honest", "others noisy"])
def test_the_share_of_exact_copies_is_told_whatever_the_others_are(
    known: tuple[Tensor, Tensor, Tensor], share: float, noise: float
) -> None:
    training, held_out, middles = known
    generated, copies = sorts(2_000, 4), int(share * 2_000)
    generated += noise * torch.randn(generated.shape, generator=torch.Generator().manual_seed(5))
    generated[:copies] = training[:copies]
    found = copied(generated, training, held_out, middles)
    expected = share + (1 - share) * (0.0 if noise else 0.01)
    assert abs(found.near_copies - expected) < 4 * found.error + (0.01 if noise else 0.0)
    assert found.error < 0.012
    if not noise:
        assert abs(found.score) < 4 * found.score_error if share == 0 else found.score < -4 * found.score_error


@pytest.mark.parametrize("support", [10, 300])
def test_the_birthday_test_tells_the_support_of_a_generator_that_repeats_itself(pictures: Tensor, support: int) -> None:
    chosen = torch.randint(support, (2_000,), generator=torch.Generator().manual_seed(1))
    found = birthdays(pictures[:support][chosen], pictures[1_000:])
    assert found.support == pytest.approx(support, rel=0.1)


@pytest.mark.parametrize("twins", [0, 1, 10, 750], ids=["no twins", "one pair", "ten pairs", "all of them twins"])
def test_pictures_that_are_there_twice_do_not_break_the_birthday_test(pictures: Tensor, twins: int) -> None:
    draws = torch.Generator().manual_seed(2)
    repeated = pictures[:100][torch.randint(100, (1_500,), generator=draws)]
    generated = repeated + 1e-3 * torch.randn(repeated.shape, generator=draws)
    real = pictures[1_000:2_500].clone()
    real[:twins] = real[750 : 750 + twins]
    assert birthdays(generated, real).support == pytest.approx(100, rel=0.1)


def test_without_a_pair_the_birthday_test_gives_a_bound(pictures: Tensor) -> None:
    found = birthdays(pictures[:1_500], pictures[1_500:])
    assert (found.pairs, found.support) == (0, 1_500 * 1_499 / 2)


def test_every_measure_takes_what_networks_give() -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)).to(torch.bfloat16)
    assert manifolds(features, features).precision == 1
    assert frechet_distance(statistics([features]), statistics([features])) == pytest.approx(0, abs=1e-9)
