"""Pictures made small and enlarged: by which formulas, by which network, in training and of any size."""

import io
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

from ganservice.judging import Judging
from ganservice.recipe import EdsrGenerator, Recipe
from ganservice.spec import TrainSpec
from ganservice.spec_file import parse_spec
from workers.gan.data.examples import Examples
from workers.gan.domain import build_domain
from workers.gan.evaluation.generated import EnlargedPictures
from workers.gan.evaluation.reconstruction import psnr
from workers.gan.networks import build_generator
from workers.gan.real_batches import RealBatches
from workers.gan.resolution import Bicubic, enlarge, shrink
from workers.gan.sample_grid import sample_grid
from workers.gan.trainer import Trainer

CPU = torch.device("cpu")
SIZE = 16
RECIPE: dict[str, Any] = {
    "data": {"dataset": "stripes", "image_size": SIZE, "channels": 1},
    "super_resolution": {"factor": 2, "reconstruction": 1e6},
    "generator": {"kind": "edsr", "width": 8, "blocks": 1},
    "discriminator": {"kind": "mlp", "widths": [8]},
    "optimiser_g": {"lr": 2e-3},
    "ema": {"half_life_images": 200},
    "batch_size": 16,
    "precision": "fp32",
}
DATA: dict[str, Any] = RECIPE["data"]


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate(RECIPE | changes)


def spec_of(**changes: Any) -> TrainSpec:
    return parse_spec({"name": "tiny", "images": 64, "recipe": RECIPE} | changes, source="a test")


def stripes(count: int, seed: int = 0) -> Tensor:
    """Black and white stripes of 3 px, slanted, uint8 [count, 1, 16, 16]."""
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    slants, starts = draws.integers(-2, 3, count), draws.integers(0, 6, count)
    pictures = [((x + slant * y + start) % 6 < 3) * 255 for slant, start in zip(slants, starts, strict=True)]
    return torch.from_numpy(np.stack(pictures).astype(np.uint8))[:, None]


# Formulas


@pytest.mark.parametrize("factor", [2, 4])
def test_a_small_pixel_is_the_mean_of_the_large_ones_that_it_stands_for(factor: int) -> None:
    large = torch.rand(3, 2, 8, 12)
    small = large.view(3, 2, 8 // factor, factor, 12 // factor, factor).mean(dim=(3, 5))
    torch.testing.assert_close(shrink(large, factor), small)


@pytest.mark.parametrize("factor", [2, 4])
def test_bicubic_interpolation_is_that_of_pillow(factor: int) -> None:
    small = torch.rand(7, 9)
    expected = Image.fromarray(small.numpy()).resize((9 * factor, 7 * factor), Image.Resampling.BICUBIC)
    torch.testing.assert_close(enlarge(small[None, None], factor)[0, 0], torch.from_numpy(np.array(expected)))


# The network


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_untrained_network_is_bicubic_interpolation_of_pictures_of_any_size(factor: int, channels: int) -> None:
    asked = recipe(data=DATA | {"channels": channels}, super_resolution={"factor": factor})
    generator = build_generator(asked).eval()
    small = torch.rand(2, channels, 5, 11) * 2 - 1
    torch.testing.assert_close(generator(small), Bicubic(factor)(small))


def test_pixel_shuffle_begins_without_a_chessboard() -> None:
    generator = build_generator(recipe(super_resolution={"factor": 2}))
    maps = cast(nn.Module, generator.upsample)(torch.rand(1, 8, 5, 6))
    torch.testing.assert_close(maps[..., ::2, ::2], maps[..., 1::2, 1::2])


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("blocks", [1, 3])
def test_no_pixel_changes_what_is_made_beyond_the_reach_of_the_network(factor: int, blocks: int) -> None:
    asked = recipe(super_resolution={"factor": factor}, generator={"kind": "edsr", "width": 4, "blocks": blocks})
    assert isinstance(asked.generator, EdsrGenerator)
    generator, reach = build_generator(asked).eval(), asked.generator.reach
    nn.init.normal_(cast(nn.Conv2d, generator.to_picture).weight)
    for parameter in generator.parameters():  # no ReLU may hide a path: without one below 0 all let it through
        parameter.data.abs_()
    small = torch.zeros(1, 1, 1, 80)
    other = small.clone()
    other[..., 40] = 1
    with torch.no_grad():
        changed = (generator.train()(small) != generator(other)).any(dim=2).flatten()
    reached = torch.div(changed.nonzero().flatten(), factor, rounding_mode="floor")
    furthest = int((reached - 40).abs().max())
    assert reach - 2 <= furthest <= reach


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"generator": {"kind": "mlp"}}, "generator.kind: found mlp, which makes pictures of latents"),
        ({"super_resolution": None}, "super_resolution: is missing, for a generator of kind edsr enlarges pictures"),
        ({"data": DATA | {"image_size": "16x18"}, "super_resolution": {"factor": 4}}, "found 4, which does not divide"),
        ({"conditioning": {"classes": 2}}, "conditioning: is for generators that are asked for a class"),
        ({"latent_size": 8}, "latent_size: found 8, expected 0, for with super_resolution there are no latents"),
        ({"super_resolution": None, "generator": {"kind": "mlp"}, "latent_size": 0}, "found 0, expected 1 or more"),
        ({"super_resolution": {"factor": 3}}, "Input should be 2 or 4"),
        ({"data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.1}}, "is for pictures; found data.kind"),
    ],
)
def test_a_recipe_that_cannot_enlarge_pictures_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        recipe(**changes)


def test_latents_are_as_long_as_ever_where_nothing_is_enlarged() -> None:
    assert recipe().latent_size == 0
    assert recipe(super_resolution=None, generator={"kind": "mlp"}).latent_size == 100


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"samples": {"columns": 6}}, "samples.columns: found 6, expected a multiple of 4"),
        ({"evaluate": {}}, "evaluate.judging.split: found train, expected test"),
        ({"evaluate": {"judging": {"split": "test", "truncation": 0.5}}}, "truncation: found 0.5, but"),
    ],
)
def test_a_training_that_would_not_be_shown_or_judged_so_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Exception, match=says):
        spec_of(**changes)


# Training


def test_what_bicubic_interpolation_cannot_know_is_learned() -> None:
    trainer = Trainer(recipe(), Examples(stripes(200)), 0, CPU)
    list(trainer.train(4_000, 4_000))
    held_out = Examples(stripes(50, seed=1)).images
    made = EnlargedPictures(trainer.sampling_generator, held_out, 2, Judging())
    found, bicubic = (
        torch.cat([psnr(pictures, real) for pictures, real in zip(each.batches(), made.real.blocks(100), strict=True)])
        for each in (made, made.bicubic())
    )
    assert found.mean() > bicubic.mean() + 3


def test_pictures_are_held_for_statistics_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand large ones were, of a generator that has none."""
    held = []
    monkeypatch.setattr(RealBatches, "first_images", lambda self, count: held.append((self, count)))
    list(Trainer(recipe(), Examples(stripes(20)), 0, CPU).train(32, 16))
    assert held == []


def test_g_minimises_the_adversarial_loss_and_the_difference_from_the_real_pictures() -> None:
    losses = []
    for weight in (1.0, 3.0):
        asked = recipe(super_resolution={"factor": 2, "reconstruction": weight})
        trainer = Trainer(asked, Examples(stripes(32)), 0, CPU)
        real, labels = trainer.next_batch()
        with torch.no_grad():
            difference = (trainer.generator(shrink(real, 2)) - real).abs().mean()
        losses.append(trainer.generator_step(real, labels)[0])
    torch.testing.assert_close(losses[1] - losses[0], 2 * difference)


# What is shown


def test_a_grid_shows_each_held_out_picture_small_interpolated_generated_and_real() -> None:
    spec = spec_of(samples={"rows": 2, "columns": 8})
    held_out = stripes(9, seed=1)
    grid = sample_grid(spec, Examples(stripes(20)), Examples(held_out))
    (small,) = grid.inputs
    assert small.shape == (4, 1, 8, 8)
    with Image.open(io.BytesIO(grid.png(torch.full((4, 1, SIZE, SIZE), 0.0)))) as picture:
        pixels = np.asarray(picture)
    cells = [pixels[2:18, 2 + 18 * column : 18 + 18 * column] for column in range(8)]
    assert np.array_equal(cells[3], held_out[0, 0])
    assert np.array_equal(cells[7], held_out[1, 0])
    assert (cells[2] == 128).all()
    assert np.array_equal(cells[0][::2, ::2], cells[0][1::2, 1::2])
    expected = np.clip(np.rint((enlarge(small[:1], 2)[0, 0].numpy() + 1) * 127.5), 0, 255)
    assert np.array_equal(cells[1], expected)


@pytest.mark.parametrize("held_out", [None, Examples(stripes(80, seed=1))], ids=["none", "some"])
def test_a_report_compares_enlarged_pictures_that_were_not_learned_where_there_are_such(
    held_out: Examples | None,
) -> None:
    spec, learned = spec_of(), Examples(stripes(100))
    trainer, shown = Trainer(spec.recipe, learned, 0, CPU), list[Tensor]()
    domain = build_domain(spec, learned, held_out)
    trainer.sampling_generator.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    assert domain.measure(trainer)["diversity"] > 0
    real = (held_out or learned).images.first(64).float() / 127.5 - 1
    torch.testing.assert_close(shown, [shrink(real, 2)])
