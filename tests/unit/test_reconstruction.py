"""PSNR and SSIM as the field has them, and an evaluation of enlarged pictures."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from ganservice.judging import Judging
from workers.gan.data.examples import Examples
from workers.gan.data.rows import Rows
from workers.gan.evaluation.comparison import Comparison, RealFeatures
from workers.gan.evaluation.features import pixels
from workers.gan.evaluation.generated import EnlargedPictures
from workers.gan.evaluation.measures import compute_measures
from workers.gan.evaluation.reconstruction import psnr, ssim
from workers.gan.resolution import Bicubic

SHAPES = [(5, 1, 28, 28), (4, 3, 16, 20), (3, 4, 11, 11)]


def pair(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draws)
    noise = torch.randint(-40, 41, shape, generator=draws)
    return (real + noise).clamp(0, 255).to(torch.uint8), real


@pytest.mark.parametrize("shape", SHAPES)
def test_psnr_is_that_of_the_field(shape: tuple[int, ...]) -> None:
    made, real = pair(shape)
    expected = [
        peak_signal_noise_ratio(one.double() / 255, other.double() / 255, data_range=1.0)
        for one, other in zip(made, real, strict=True)
    ]
    torch.testing.assert_close(psnr(made, real), torch.stack(expected).double())


@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_is_that_of_the_field(shape: tuple[int, ...]) -> None:
    made, real = pair(shape)
    x, y = (pictures.double() / 255 for pictures in (made, real))
    _, places = structural_similarity_index_measure(
        x, y, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    # As Wang et al. have it: not where the window hangs over the border, which torchmetrics fills by reflection.
    within = places[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
    torch.testing.assert_close(ssim(made, real), within, rtol=0, atol=1e-9)


def test_equal_pictures_are_as_like_as_rounding_can_tell() -> None:
    _, real = pair((2, 1, 16, 16))
    assert psnr(real, real).tolist() == pytest.approx([58.92] * 2, abs=0.01)
    assert ssim(real, real).tolist() == [1, 1]


def test_ssim_says_nothing_of_pictures_smaller_than_its_window() -> None:
    assert ssim(*pair((2, 1, 10, 30))).isnan().all()


class Known(nn.Module):
    """Finds the real picture that was made small, and returns it."""

    def __init__(self, real: Tensor) -> None:
        super().__init__()
        self._real = real.float() / 127.5 - 1

    def forward(self, small: Tensor) -> Tensor:
        known = nn.functional.avg_pool2d(self._real, 2).flatten(1)
        return self._real[torch.cdist(small.flatten(1), known).argmin(dim=1)]


def compared(generator: nn.Module, real: Tensor, samples: int = 100) -> Comparison:
    examples, network = Examples(real), pixels()
    features = RealFeatures.of(network, examples)
    made = EnlargedPictures(generator, examples.images, 2, Judging(samples=samples, split="test"))
    return Comparison(network, made, features, None, features, examples, examples, None)


def pictures() -> Tensor:
    draws = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    waves = [np.sin(x * a + y * b) for a, b in draws.uniform(-1.5, 1.5, (120, 2))]
    return torch.from_numpy(((np.stack(waves) + 1) * 127).astype(np.uint8))[:, None]


def test_who_knows_the_real_pictures_is_told_from_bicubic_interpolation() -> None:
    found = compute_measures(compared(Known(pictures()), pictures()), ("frechet", "reconstruction"))
    numbers = {name: value or math.nan for name, value in found.numbers.items()}
    assert list(numbers) == [
        "pixels_frechet_distance", "psnr", "ssim", "psnr_of_bicubic", "ssim_of_bicubic",
        "pixels_frechet_distance_of_bicubic",
    ]  # fmt: skip
    assert numbers["psnr"] == pytest.approx(58.92, abs=0.01)
    assert numbers["ssim"] == pytest.approx(1)
    assert numbers["psnr_of_bicubic"] < 40
    assert numbers["ssim_of_bicubic"] < 0.99
    assert numbers["pixels_frechet_distance"] < numbers["pixels_frechet_distance_of_bicubic"]
    assert found.errors["psnr_of_bicubic"] > 0


def test_bicubic_interpolation_is_judged_as_itself() -> None:
    numbers = compute_measures(compared(Bicubic(2), pictures()), ("frechet", "reconstruction")).numbers
    for name in ("psnr", "ssim", "pixels_frechet_distance"):
        assert numbers[name] == numbers[f"{name}_of_bicubic"]


def test_of_many_pictures_as_many_are_enlarged_as_are_asked_for_and_the_same_ones_every_time() -> None:
    chosen = [EnlargedPictures(Bicubic(2), Rows.of(pictures()), 2, Judging(samples=100)) for _ in range(2)]
    assert len(chosen[0]) == 100
    assert torch.equal(chosen[0].real.first(100), chosen[1].real.first(100))
    assert not torch.equal(chosen[0].real.first(100), pictures()[:100])
    assert len(EnlargedPictures(Bicubic(2), Rows.of(pictures()), 2, Judging(samples=1_000))) == 120


def test_a_generator_of_latents_has_no_psnr(caplog: pytest.LogCaptureFixture) -> None:
    comparison = compared(Bicubic(2), pictures())
    object.__setattr__(comparison, "generated", object())
    caplog.set_level("INFO")
    assert compute_measures(comparison, ("reconstruction",)).numbers == {}
    assert "left out psnr and ssim" in caplog.text
    assert "which needs a generator that enlarges pictures" in caplog.text
