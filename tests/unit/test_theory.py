"""Goodfellow et al. (2014), section 4.1, met by the trainer on problems whose answer is known in closed form."""

import math

import pytest
import torch
from torch import nn

from ganservice.job import OPTIMAL_VALUE
from ganservice.recipe import Mixture, Recipe
from workers.gan.data.examples import draw_mixture
from workers.gan.losses import value
from workers.gan.plane import affine_log_density, coverage, mixture_log_density, optimal_discriminator, plane_png
from workers.gan.trainer import Trainer

ONE_GAUSSIAN = Mixture(kind="mixture", layout="grid", modes=1, std=1.0, points=50_000)
RING = Mixture(kind="mixture", layout="ring", modes=8, std=0.02)


def trained_d(shift: float) -> Trainer:
    """D at its best against a G that stands still at N((shift, 0), 1), for data from N(0, 1)."""
    recipe = Recipe.model_validate(
        {
            "data": ONE_GAUSSIAN,
            "latent_size": 2,
            "generator": {"kind": "affine"},
            "discriminator": {"kind": "mlp", "widths": (32, 32), "dropout": 0.0},
            "optimiser_g": {"lr": 1e-30},
            "optimiser_d": {"lr": 3e-3, "schedule": {"decay": "cosine", "decay_until_images": 600_000}},
            "batch_size": 1_000,
            "d_steps": 10,
        }
    )
    trainer = Trainer(recipe, draw_mixture(ONE_GAUSSIAN, 0), 0, torch.device("cpu"))
    for network in (trainer.generator, trainer.sampling_generator):
        assert isinstance(network, nn.Linear)
        with torch.no_grad():
            network.weight.copy_(torch.eye(2))
            network.bias.copy_(torch.tensor([shift, 0.0]))
    return trainer


def test_d_learns_the_ratio_of_the_densities() -> None:
    trainer = trained_d(shift=1.5)
    *_, last = trainer.train(600_000, 100_000)
    points = torch.cat([draw_mixture(ONE_GAUSSIAN, 0).images.first(5_000), trainer.sample(torch.randn(5_000, 2))])
    assert isinstance(trainer.sampling_generator, nn.Linear)
    known = optimal_discriminator(
        mixture_log_density(ONE_GAUSSIAN, points), affine_log_density(trainer.sampling_generator, points)
    )
    found = trainer.discriminate(points).sigmoid()
    # Over where either density has its mass.
    assert (found - known).abs().mean().item() < 0.02
    # Of two Gaussians 1.5 apart, by numerical integration: V(G, D*) = 2 JSD - log 4.
    divergence = jensen_shannon(1.5)
    assert last.jensen_shannon == pytest.approx(divergence, abs=0.01)
    assert last.value == pytest.approx(2 * divergence + OPTIMAL_VALUE, abs=0.02)


def test_the_value_is_minus_log_4_where_generator_and_data_agree() -> None:
    *_, last = trained_d(shift=0.0).train(200_000, 50_000)
    assert last.value == pytest.approx(-math.log(4), abs=0.005)
    assert last.jensen_shannon == pytest.approx(0, abs=0.003)
    assert last.d_real == pytest.approx(0.5, abs=0.01)
    assert last.d_fake == pytest.approx(0.5, abs=0.01)


def jensen_shannon(distance: float) -> float:
    """Of two standard normals so far apart, in nats; along the line between them, for the rest integrates out."""
    x = torch.linspace(-12, 12 + distance, 200_001, dtype=torch.float64)
    p, q = (torch.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi) for mean in (0.0, distance))
    middle = (p + q) / 2
    terms = [torch.where(density > 0, density * torch.log(density / middle), 0.0) for density in (p, q)]
    return sum(torch.trapezoid(term.nan_to_num(), x).item() for term in terms) / 2


def test_the_value_of_a_d_that_knows_nothing_is_minus_log_4() -> None:
    assert value(torch.zeros(4), torch.zeros(4)).item() == pytest.approx(OPTIMAL_VALUE)


def test_a_mixture_is_drawn_as_it_says() -> None:
    points = draw_mixture(RING, 1).images.first(1_000_000)
    assert points.shape == (100_000, 2)
    modes, good = coverage(RING, points)
    # Of a Gaussian in the plane, 1 - exp(-9 / 2) lies within three standard deviations.
    assert modes == 8
    assert good == pytest.approx(1 - math.exp(-4.5), abs=0.001)
    assert torch.equal(draw_mixture(RING, 1).images.first(100_000), points)
    assert not torch.equal(draw_mixture(RING, 2).images.first(100_000), points)


def test_the_density_of_a_mixture_integrates_to_one() -> None:
    wide = RING.model_copy(update={"std": 0.3})
    line = torch.linspace(-5, 5, 501, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(-1, 2)
    total = mixture_log_density(wide, points).exp().sum().item() * (10 / 500) ** 2
    assert total == pytest.approx(1, abs=1e-6)


def test_samples_far_from_every_mode_cover_none() -> None:
    assert coverage(RING, torch.zeros(10, 2)) == (0, 0.0)
    centre = torch.tensor(RING.centres[3])[None]
    assert coverage(RING, torch.cat([centre, torch.zeros(3, 2)])) == (1, 0.25)


def test_the_plane_is_drawn_beside_what_is_known() -> None:
    trainer = trained_d(shift=1.0)
    known = plane_png(ONE_GAUSSIAN, trainer, torch.randn(100, 2), torch.randn(100, 2))
    assert known.startswith(b"\x89PNG")


def test_a_d_that_looks_at_packs_is_drawn_too() -> None:
    recipe = Recipe.model_validate(
        {
            "data": RING.model_dump(),
            "generator": {"kind": "mlp", "widths": (8,)},
            "discriminator": {"kind": "mlp", "widths": (8,), "dropout": 0.0},
            "loss": {"kind": "hinge"},
            "latent_size": 2,
            "batch_size": 8,
            "pack": 2,
        }
    )
    trainer = Trainer(recipe, draw_mixture(RING, 0), seed=0, device=torch.device("cpu"))
    assert trainer.labels is None
    assert trainer.discriminate(torch.randn(6, 2)).shape == (6,)
    assert plane_png(RING, trainer, torch.randn(100, 2), torch.randn(100, 2)).startswith(b"\x89PNG")


def test_the_best_d_lies_between_its_labels() -> None:
    data, generated = torch.tensor([0.2, 0.5, 0.9]), torch.tensor([0.4, 0.5, 0.1])
    best = (0.9 * data + 0.1 * generated) / (data + generated)
    torch.testing.assert_close(optimal_discriminator(data.log(), generated.log(), (0.1, 0.9)), best)
    torch.testing.assert_close(optimal_discriminator(data.log(), generated.log()), data / (data + generated))
