"""Measures of quality against independent implementations, and against what is known in closed form."""

import contextlib
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import prdc
import pytest
import scipy.linalg
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import poly_mmd

from workers.gan.evaluation.blocks import BLOCK, ON_CPU, Blocks
from workers.gan.evaluation.cells import k_means
from workers.gan.evaluation.classes import accuracies, class_score, modes
from workers.gan.evaluation.copying import Birthdays, Copying, birthdays, copying
from workers.gan.evaluation.frechet import frechet_distance, statistics
from workers.gan.evaluation.kernel import kernel_distance
from workers.gan.evaluation.neighbours import (
    NEIGHBOURS,
    Kind,
    Manifolds,
    manifolds,
    nearest,
    nearest_distances,
    nearest_unlike_distances,
)


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


@pytest.mark.parametrize(("count", "other_count"), [(300, 250), (40, 30), (40, 300)])
@pytest.mark.parametrize("rank", [3, 64])
def test_the_frechet_distance_is_exact_whatever_the_rank(count: int, other_count: int, rank: int) -> None:
    """A general root is not: of a low rank that of scipy, and of torchmetrics, is wrong by 1e-6 or more."""
    one, other = (gaussian(each, 64, seed) for each, seed in ((count, 1), (other_count, 2)))
    one[:, rank:] = other[:, rank:] = 0
    own = frechet_distance(statistics([one]), statistics([other]))
    moments = [(np.asarray(x.double().mean(dim=0)), np.cov(x.double().numpy().T)) for x in (one, other)]
    (mean, covariance), (other_mean, other_covariance) = moments
    # That the general root takes, and its rank is full.
    within = slice(rank) if min(count, other_count) > rank else None
    if within:
        root = scipy.linalg.sqrtm((covariance @ other_covariance)[within, within]).real
        theirs = np.square(mean - other_mean).sum() + np.trace(covariance + other_covariance) - 2 * np.trace(root)
        assert own == pytest.approx(theirs, rel=1e-9)
    # By the singular values of the features themselves: N x M of them, and no covariance.
    scaled = [(x.double() - x.double().mean(dim=0)) / (len(x) - 1) ** 0.5 for x in (one, other)]
    root_trace = torch.linalg.svdvals(scaled[0] @ scaled[1].T).sum()
    shift = (one.double().mean(dim=0) - other.double().mean(dim=0)).square().sum()
    expected = shift + sum(x.square().sum() for x in scaled) - 2 * root_trace
    assert own == pytest.approx(expected.item(), rel=1e-9)


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


def manifolds_of(real: Tensor, generated: Tensor, blocks: Blocks = ON_CPU) -> Manifolds:
    return manifolds(Kind.of(real, blocks), Kind.of(generated, blocks), blocks)


def birthdays_of(generated: Tensor, real: Tensor, blocks: Blocks = ON_CPU) -> Birthdays:
    """The test of as many of either."""
    count = min(len(generated), len(real))
    return birthdays(Kind.of(generated[:count], blocks), Kind.of(real[:count], blocks), blocks)


def kernel_distance_of(real: Tensor, generated: Tensor, blocks: Blocks) -> tuple[float, float]:
    return kernel_distance(real, generated, blocks.size // 2, blocks)


def test_manifolds_are_those_of_the_reference() -> None:
    real, generated = gaussian(1_300, 12, 1), gaussian(1_100, 12, 1, 0.9)[:1_050] + 0.05
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = prdc.compute_prdc(real.double().numpy(), generated.double().numpy(), nearest_k=5)
    assert vars(manifolds_of(real, generated)) == pytest.approx(theirs, rel=1e-12)


def test_the_nearest_of_many() -> None:
    among = gaussian(2_500, 6, 7)
    of = among[[3, 1_700, 2_400]] + 1e-3
    assert nearest(of, among).tolist() == [3, 1_700, 2_400]
    assert Kind.of(among).distances.min() > 1e-3
    torch.testing.assert_close(
        nearest_distances(of, among), torch.full((3,), 1e-3 * 6**0.5).double(), rtol=1e-3, atol=0
    )


# Features that float32 tells apart badly, of three blocks.


def far_away(draws: torch.Generator) -> Tensor:
    return torch.randn(500, 16, generator=draws) + 1e4


def clustered(draws: torch.Generator) -> Tensor:
    """A hundred tight clusters: the neighbours are nearer than what float32 can tell."""
    return 100 * torch.randn(100, 16, generator=draws).repeat(5, 1) + 1e-3 * torch.randn(500, 16, generator=draws)


def repeated(draws: torch.Generator) -> Tensor:
    return torch.randn(40, 16, generator=draws)[torch.randint(40, (500,), generator=draws)]


def on_a_lattice(draws: torch.Generator) -> Tensor:
    """Most distances are those of many others."""
    return torch.randint(0, 3, (500, 16), generator=draws).float()


def one_picture(draws: torch.Generator) -> Tensor:
    return torch.randn(16, generator=draws).expand(500, -1)


def tiny(draws: torch.Generator) -> Tensor:
    return 1e-25 * torch.randn(500, 16, generator=draws)


def huge(draws: torch.Generator) -> Tensor:
    return 1e25 * torch.randn(500, 16, generator=draws)


def with_an_outlier(draws: torch.Generator) -> Tensor:
    features = torch.randn(500, 16, generator=draws)
    features[7] *= 1e6
    return features


HARD = (far_away, clustered, repeated, on_a_lattice, one_picture, tiny, huge, with_an_outlier)


def all_distances(one: Tensor, other: Tensor) -> Tensor:
    return (one.double()[:, None] - other.double()).square().sum(dim=2).sqrt()


SMALL = Blocks(size=200)


@pytest.mark.parametrize("draw", HARD)
@pytest.mark.parametrize("few", [0, 50, 10**9], ids=["one by one", "either way", "whole blocks"])
def test_no_neighbour_depends_on_float32(
    draw: Callable[[torch.Generator], Tensor], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.gan.evaluation.blocks.FEW", few)
    draws = torch.Generator().manual_seed(0)
    real, generated = draw(draws), draw(draws)[:450]
    generated = torch.cat([real[:30], generated[30:]])
    apart, others = all_distances(generated, real), all_distances(real, real).fill_diagonal_(torch.inf)
    # Of whole blocks the squares are exact to a share of the squared norms.
    near = {"rtol": 1e-9, "atol": 1e-7 * real.double().norm(dim=1).max().item()}
    kind = Kind.of(real, SMALL)
    torch.testing.assert_close(kind.distances, others.topk(NEIGHBOURS, largest=False).values, **near)
    torch.testing.assert_close(nearest_distances(generated, real, SMALL), apart.amin(dim=1), **near)
    which = nearest(generated, real, SMALL)[:, None]
    torch.testing.assert_close(apart.gather(1, which)[:, 0], apart.amin(dim=1), **near)
    unlike = others.masked_fill(others == 0, torch.inf).amin(dim=1)
    torch.testing.assert_close(nearest_unlike_distances(kind, SMALL), unlike, **near)


@pytest.mark.parametrize("draw", HARD)
def test_float32_is_wrong_by_no_more_than_it_may(draw: Callable[[torch.Generator], Tensor]) -> None:
    draws = torch.Generator().manual_seed(1)
    real, generated = draw(draws), draw(draws)
    apart = all_distances(real, generated)
    [block] = ON_CPU.between(real, generated)
    for place, (dim, side) in [(1, (1, real)), (5, (1, real)), (5, (0, generated))]:
        kth = apart.kthvalue(place, dim=dim).values
        assert (block.bounds(place, dim) > kth).all()
        # Two of the errors that are allowed beyond it.
        allowed = 4.1 * (16 + 16) * 2.0**-24 * (side - torch.cat([real, generated]).mean(dim=0)).double().norm() ** 2
        assert (block.bounds(place, dim).square() - kth.square()).max() < allowed + 1e-5 * kth.square().max()


@pytest.mark.parametrize(
    "compute",
    [
        manifolds_of,
        nearest,
        nearest_distances,
        birthdays_of,
        lambda x, _, blocks: k_means(x, 2, blocks),
        kernel_distance_of,
    ],
    ids=["manifolds", "nearest", "distances", "birthdays", "cells", "kernel"],
)
def test_what_takes_long_tells_of_each_block(compute: Callable[[Tensor, Tensor, Blocks], object]) -> None:
    moves: list[None] = []
    features = gaussian(BLOCK + 1_000, 4, 1)
    compute(features, features, Blocks(move=lambda: moves.append(None)))
    assert len(moves) >= 3


class Largest(TorchDispatchMode):
    """Remembers how many bytes the largest tensor takes that anything has made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's
        self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        made = function(*arguments, **(named or {}))
        for each in made if isinstance(made, tuple | list) else [made]:
            if isinstance(each, Tensor):
                self.bytes = max(self.bytes, each.untyped_storage().nbytes())
        return made


@pytest.mark.parametrize("compute", [manifolds_of, nearest, nearest_distances, birthdays_of, kernel_distance_of])
@pytest.mark.parametrize("different", [9, 2_000], ids=["nine again and again", "all different"])
def test_no_more_than_a_block_is_held_at_once_however_many_features_there_are(
    compute: Callable[[Tensor, Tensor, Blocks], object], different: int
) -> None:
    features = gaussian(different, 2, 1).repeat(-(-2_000 // different), 1)[:2_000]
    with Largest() as largest:
        compute(features, features + 0.1, SMALL)
    # Which of the rows and which of the columns, of each pair in a block; all distances would take 50 times as much.
    assert largest.bytes <= SMALL.size**2 * 2 * 8


def test_equal_features_have_no_distance_between_them_whatever_their_size() -> None:
    features = gaussian(BLOCK + 500, 300, 8) + 1_000
    twice = Kind.of(torch.cat([features, features[:200]]))
    assert (twice.distances[:, 0] == 0).nonzero().squeeze(1).tolist() == [
        *range(200),
        *range(BLOCK + 500, BLOCK + 700),
    ]
    unlike = nearest_unlike_distances(twice)
    assert unlike.min() > 1
    torch.testing.assert_close(unlike[: BLOCK + 500], Kind.of(features).distances[:, 0])


def test_what_a_network_makes_of_one_picture_twice_is_the_same_but_for_rounding() -> None:
    """The last digits of features depend on what else is in their batch."""
    features = gaussian(300, 64, 8) + 5
    again = features * (1 + 2.0**-22 * (torch.arange(64) % 2))
    assert Kind.of(torch.cat([features, again])).distances[:, 0].unique().tolist() == [0]


@pytest.mark.parametrize("few", [0, 10**9], ids=["one by one", "whole blocks"])
def test_what_lies_on_the_border_of_a_ball_is_not_in_it(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whole numbers distances are exact, and many are equal."""
    monkeypatch.setattr("workers.gan.evaluation.blocks.FEW", few)
    draws = torch.Generator().manual_seed(0)
    real, generated = on_a_lattice(draws), on_a_lattice(draws)[:450]
    radii, radii_generated = (
        all_distances(x, x).topk(NEIGHBOURS + 1, largest=False).values[:, -1] for x in (real, generated)
    )
    apart = all_distances(real, generated)
    is_in_ball = apart < radii[:, None]
    found = manifolds_of(real, generated, SMALL)
    assert found.precision == is_in_ball.any(dim=0).double().mean()
    assert found.coverage == is_in_ball.any(dim=1).double().mean()
    assert found.density == pytest.approx(is_in_ball.sum().item() / len(generated) / NEIGHBOURS, rel=1e-12)
    assert found.recall == (apart < radii_generated).any(dim=1).double().mean()


def test_too_few_features_have_no_neighbours() -> None:
    with pytest.raises(ValueError, match="5th neighbour among 5"):
        manifolds_of(torch.zeros(5, 2), torch.zeros(9, 2))
    assert Kind.of(torch.zeros(3, 2)).distances.tolist() == [[0, 0, *[torch.inf] * 3]] * 3


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
    found = birthdays_of(pictures[:support][chosen], pictures[1_000:])
    assert found.support == pytest.approx(support, rel=0.1)


@pytest.mark.parametrize("twins", [0, 1, 10, 750], ids=["no twins", "one pair", "ten pairs", "all of them twins"])
def test_pictures_that_are_there_twice_do_not_break_the_birthday_test(pictures: Tensor, twins: int) -> None:
    draws = torch.Generator().manual_seed(2)
    repeated = pictures[:100][torch.randint(100, (1_500,), generator=draws)]
    generated = repeated + 1e-3 * torch.randn(repeated.shape, generator=draws)
    real = pictures[1_000:2_500].clone()
    real[:twins] = real[750 : 750 + twins]
    assert birthdays_of(generated, real).support == pytest.approx(100, rel=0.1)


def test_without_a_pair_the_birthday_test_gives_a_bound(pictures: Tensor) -> None:
    found = birthdays_of(pictures[:1_500], pictures[1_500:])
    assert (found.pairs, found.support) == (0, 1_500 * 1_499 / 2)


def test_every_measure_takes_what_networks_give() -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)).to(torch.bfloat16)
    assert manifolds_of(features, features).precision == 1
    assert frechet_distance(statistics([features]), statistics([features])) == pytest.approx(0, abs=1e-9)
