"""What each change makes of pictures, and with which probability."""

import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torch.overrides import TorchFunctionMode

from ganservice.recipe import Augment
from ganservice.recipe.augment import ColourChange, DifferentiableChange, GeometricChange
from workers.gan.augment import PIXEL_CHANGES, build_augment
from workers.gan.augment.geometry import GEOMETRIC_CHANGES, resample
from workers.gan.randomness import Draws
from workers.gan.worker_group import WorkerGroup

DIFFERENTIABLE, GEOMETRIC, COLOURS = map(get_args, (DifferentiableChange, GeometricChange, ColourChange))
ALL = (*GEOMETRIC, *COLOURS, *DIFFERENTIABLE)


def changed(images: Tensor, *asked: Any, seed: int = 0, probability: float | Tensor = 1.0) -> Tensor:
    draws = Draws(seed, torch.device("cpu"), WorkerGroup())
    draws.begin_step(0)
    return build_augment(Augment(changes=asked), draws)(images, probability)


def noise(count: int = 64, channels: int = 3, height: int = 16, width: int = 16) -> Tensor:
    shape = (count, channels, height, width)
    return torch.rand(shape, generator=torch.Generator().manual_seed(7)) * 2 - 1


def test_every_change_that_can_be_asked_for_is_there() -> None:
    assert set(GEOMETRIC_CHANGES) == set(GEOMETRIC)
    assert set(PIXEL_CHANGES) == {*COLOURS, *DIFFERENTIABLE}


@pytest.mark.parametrize("asked", [*((name,) for name in ALL), DIFFERENTIABLE, GEOMETRIC, ALL, ()])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(16, 16), (16, 24), (40, 8)])
def test_shapes_stay_chance_comes_from_the_draws_and_gradients_flow(
    asked: tuple[str, ...], channels: int, size: tuple[int, int]
) -> None:
    if size[0] != size[1]:
        asked = tuple(name for name in asked if name != "quarter_turn")
    images = noise(8, channels, *size).requires_grad_()
    found = changed(images, *asked)
    assert found.shape == images.shape
    assert torch.equal(found, changed(images, *asked))
    no_colours = channels == 1 and set(asked) <= {"hue", "saturation"}
    assert torch.allclose(found, changed(images, *asked, seed=1), atol=1e-6) == (asked == () or no_colours)
    found.sum().backward()
    assert images.grad is not None
    assert images.grad.any()


class _Told(TorchFunctionMode):
    """Says which of torch's functions are called."""

    def __init__(self) -> None:
        super().__init__()
        self.called = set[Any]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        self.called.add(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_copied_from_the_host_for_which_a_gpu_would_be_waited_for(name: str) -> None:
    with _Told() as told:
        changed(noise(4), name)
    assert told.called
    assert not told.called & {torch.tensor, torch.as_tensor, torch.from_numpy}


# With which probability


@pytest.mark.parametrize("name", [*((name,) for name in ALL), ALL])
@pytest.mark.parametrize("nothing", [0.0, torch.zeros((), dtype=torch.float64)], ids=["fixed", "led"])
def test_with_a_probability_of_0_pictures_are_what_they_were(name: tuple[str, ...], nothing: float | Tensor) -> None:
    images = noise(channels=4)
    assert torch.equal(changed(images, *name, probability=nothing), images)


# Of the changes that are made: flips and quarter turns are drawn among some that leave a picture as it is.
SHARES = {
    "flip": 1 / 2,
    "luma_flip": 1 / 2,
    "quarter_turn": 3 / 4,
    "integer_translation": 24 / 25,
    "translation": 24 / 25,
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("probability", [0.3, torch.tensor(0.3, dtype=torch.float64)], ids=["fixed", "led"])
def test_each_picture_draws_whether_it_is_changed(name: str, probability: float | Tensor) -> None:
    images = noise(2_000, height=16, width=16)
    is_changed = (changed(images, name, probability=probability) != images).flatten(1).any(dim=1)
    assert is_changed.float().mean().item() == pytest.approx(0.3 * SHARES.get(name, 1.0), abs=0.04)


def test_pictures_draw_each_change_by_itself() -> None:
    """A change of all or of none would leave D a way to tell changed pictures, and G one to make them."""
    images = torch.full((4_000, 3, 8, 8), 0.5)
    found = changed(images, "brightness", "cutout", probability=0.5)
    is_cut = (found == 0).flatten(1).any(dim=1)
    is_brighter = (found.amax(dim=(1, 2, 3)) != 0.5) | (found.amin(dim=(1, 2, 3)) < 0)
    both = [(is_cut == cut) & (is_brighter == brighter) for cut in (False, True) for brighter in (False, True)]
    assert [share.float().mean().item() for share in both] == pytest.approx([0.25] * 4, abs=0.03)


def test_what_was_begun_without_a_probability_goes_on_with_the_same_draws() -> None:
    draws = Draws(0, torch.device("cpu"), WorkerGroup())
    draws.begin_step(0)
    build_augment(Augment(changes=("colour",)), draws)(noise(5), 1.0)
    after = draws.uniform((2,))
    draws.begin_step(0)
    draws.uniform((5, 3))
    assert torch.equal(after, draws.uniform((2,)))


@pytest.mark.parametrize("probability", [0.1, 0.4, 0.7])
def test_quarter_turns_below_certainty_leak_nothing(probability: float) -> None:
    """The orientation that pictures have stays the most frequent one, so that no other G makes D's pictures (Karras et
    al. 2020, "StyleGAN2-ADA", section 2.2)."""
    images = torch.zeros(4_000, 1, 8, 8)
    images[:, :, 0, 2:6] = 1
    found = changed(images, "quarter_turn", probability=probability)[:, 0]
    sides = torch.stack([found[:, 0].sum(1), found[:, :, -1].sum(1), found[:, -1].sum(1), found[:, :, 0].sum(1)])
    shares = (sides == 4).float().mean(dim=1).tolist()
    other = probability / 4
    assert shares == pytest.approx([1 - 3 * other, other, other, other], abs=0.03)


# Penalties


@pytest.mark.parametrize("asked", [*((name,) for name in ALL), ALL])
def test_a_penalty_of_gradients_has_gradients_of_its_own(asked: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    images, weights = noise(3, 3, 6, 6).double().requires_grad_(), torch.randn(3 * 36, dtype=torch.float64)

    def penalty(weights: Tensor) -> Tensor:
        logits = (changed(images, *asked, probability=0.9).flatten(1) @ weights).tanh()
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return gradient.square().sum()

    weights.requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        (found,) = torch.autograd.grad(penalty(weights), weights)
        direction = torch.randn_like(weights)
        step = 1e-5
        with torch.no_grad():
            ends = [weights + sign * step * direction for sign in (1, -1)]
        up, down = (penalty(end.requires_grad_()).detach() for end in ends)
    assert (found @ direction).item() == pytest.approx(((up - down) / (2 * step)).item(), rel=1e-5)


# Where things are


def test_flips_quarter_turns_and_whole_pixels_are_exact() -> None:
    images = noise(200, 3, 9, 9)
    turned = changed(images, "flip", "quarter_turn")
    every = [images.rot90(turns, (2, 3)) for turns in range(4)]
    every += [image.flip(3) for image in every]
    ways = torch.stack([(turned == image).flatten(1).all(dim=1) for image in every])
    assert ways.any(dim=0).all()
    assert ways.any(dim=1).all()
    moved = changed(images, "integer_translation")
    padded = torch.nn.functional.pad(images, [1] * 4, mode="reflect")
    ways = torch.stack(
        [(moved == padded[:, :, y : y + 9, x : x + 9]).flatten(1).all(dim=1) for y in range(3) for x in range(3)]
    )
    assert ways.any(dim=0).all()
    assert ways.any(dim=1).all()


@pytest.mark.parametrize("name", GEOMETRIC)
def test_pictures_keep_to_their_range_wherever_things_go(name: str) -> None:
    images = noise(500, 1)
    found = changed(images, name)
    assert found.min() >= images.min() - 1e-6
    assert found.max() <= images.max() + 1e-6
    grey = torch.full((100, 1, 16, 16), 0.3)
    torch.testing.assert_close(changed(grey, name), grey)


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mass, and mean places [B, 2] from the middle, of what is in pictures [B, 1, S, S]."""
    places = torch.arange(images.shape[2]) - (images.shape[2] - 1) / 2
    mass = images.sum(dim=(1, 2, 3))
    across, down = ((images.sum(dim=axis)[:, 0] * places).sum(1) / mass for axis in (2, 3))
    return mass, torch.stack([across, down], dim=1)


def test_things_are_scaled_rotated_and_moved_by_what_was_drawn() -> None:
    size, count = 48, 600
    grid = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")) - (size - 1) / 2
    blob = (-(grid[0] ** 2 + (grid[1] - 6) ** 2) / 8).exp().expand(count, 1, size, size)
    mass, _ = moments(blob)
    larger, after = moments(changed(blob, "scale"))
    # Of a far smaller picture one sees what is mirrored, too.
    factors = after[:, 0] / 6
    usual = (factors - 1).abs() < 0.25
    torch.testing.assert_close((larger / mass)[usual], factors[usual] ** 2, rtol=0.02, atol=0)
    assert factors[usual].log2().std().item() == pytest.approx(0.17, abs=0.02)
    same, after = moments(changed(blob, "rotation"))
    torch.testing.assert_close(same, mass, rtol=0.01, atol=0)
    torch.testing.assert_close(after.norm(dim=1), torch.full((count,), 6.0), rtol=0.01, atol=0)
    assert torch.atan2(after[:, 1], after[:, 0]).std().item() == pytest.approx(math.pi / math.sqrt(3), rel=0.08)
    same, after = moments(changed(blob, "stretch"))
    torch.testing.assert_close(same[usual], mass[usual], rtol=0.02, atol=0)
    _, after = moments(changed(blob, "fractional_translation"))
    assert (after[:, 1] / size).std().item() == pytest.approx(1 / 8, rel=0.15)


def test_beyond_its_edges_a_picture_is_mirrored() -> None:
    images = noise(1, 2, 4, 5)
    right = torch.eye(3, dtype=torch.float64)[None].clone()
    right[:, 0, 2] = 3.5
    found = resample(images, right)
    expected = (images[..., [3, 4, 3, 2, 1]] + images[..., [4, 3, 2, 1, 0]]) / 2
    torch.testing.assert_close(found, expected)


def test_places_between_pixels_have_what_grid_sample_finds_there() -> None:
    images, sides = noise(2, 3, 8, 10), torch.tensor([10, 8])
    maps = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    maps[:, :2] += torch.tensor([[0.3, -0.4, 5.3], [0.2, -0.1, -2.6]])
    down, across = (torch.arange(side) - (side - 1) / 2 for side in (8, 10))
    pixels = torch.stack([across.expand(8, 10), down[:, None].expand(8, 10), torch.ones(8, 10)], dim=2).double()
    places = (pixels @ maps[:, None, :2].mT / ((sides - 1) / 2)).float()
    expected = grid_sample(images, places, padding_mode="reflection", align_corners=True)
    torch.testing.assert_close(resample(images, maps), expected, rtol=0, atol=1e-5)


def test_a_cutout_is_a_square_of_at_most_half_the_size() -> None:
    found = changed(torch.ones(200, 1, 16, 16), "cutout")
    cut = (found == 0).sum(dim=(1, 2, 3))
    assert cut.max() == 64
    assert cut.min() >= 16  # centred in a corner, a quarter of it is left
    assert ((found == 0) | (found == 1)).all()


def test_a_translation_moves_by_up_to_an_eighth_both_ways() -> None:
    images = torch.zeros(500, 1, 16, 16)
    images[:, :, 8, 8] = 1
    found = changed(images, "translation")
    places = found.flatten(1).argmax(dim=1)
    assert {divmod(int(place), 16) for place in places} == {(8 + y, 8 + x) for y in range(-2, 3) for x in range(-2, 3)}


def test_of_an_oblong_each_side_is_moved_and_cut_by_its_own_length() -> None:
    images = torch.zeros(500, 1, 16, 24)
    images[:, :, 8, 12] = 1
    for name in ("translation", "integer_translation"):
        places = changed(images, name).flatten(1).argmax(dim=1)
        assert {divmod(int(place), 24) for place in places} == {
            (8 + y, 12 + x) for y in range(-2, 3) for x in range(-3, 4)
        }
    cut = changed(torch.ones(500, 1, 16, 24), "cutout") == 0
    assert cut.any(dim=3).sum(dim=2).max() == 8
    assert cut.any(dim=2).sum(dim=2).max() == 12


# Colours


@pytest.mark.parametrize("name", ["colour", *COLOURS])
def test_alpha_is_no_colour(name: str) -> None:
    images = noise(50, 4, 8, 8)
    found = changed(images, name)
    assert torch.equal(found[:, 3], images[:, 3])
    assert torch.equal(found[:, :3], changed(images[:, :3], name))
    assert not torch.equal(found[:, :3], images[:, :3])


def test_colour_changes_no_shape_in_the_picture() -> None:
    images = torch.linspace(-1, 1, 16)[None, None, None].expand(50, 3, 16, 16)
    found = changed(images, "colour")
    assert (found[..., 1:] >= found[..., :-1]).all()
    assert found.mean(dim=(1, 2, 3)).abs().max() <= 0.5


def test_hue_and_saturation_leave_luma_and_a_luma_flip_leaves_them() -> None:
    images = noise()
    luma = images.mean(dim=1)
    hue = changed(images, "hue")
    torch.testing.assert_close(hue.mean(dim=1), luma)
    torch.testing.assert_close(hue.square().sum(dim=1), images.square().sum(dim=1))
    torch.testing.assert_close(changed(images, "saturation").mean(dim=1), luma, rtol=1e-4, atol=1e-5)
    flipped = changed(images, "luma_flip")
    torch.testing.assert_close(flipped - flipped.mean(dim=1, keepdim=True), images - luma[:, None])
    torch.testing.assert_close(flipped.mean(dim=1).abs(), luma.abs())
    grey = noise(channels=1)
    assert set((changed(grey, "luma_flip") / grey).round().unique().tolist()) == {-1, 1}


def test_a_third_of_a_turn_of_hue_exchanges_the_channels() -> None:
    images, step = noise(4_000, 3, 1, 1), 2 * math.pi / 3
    found = changed(images, "hue")
    colours = torch.stack([images, images.roll(1, dims=1), images.roll(2, dims=1)]).flatten(2)
    nearest = (colours - found.flatten(1)).norm(dim=2) / (images - images.mean(dim=1, keepdim=True)).flatten(1).norm(
        dim=1
    )
    # The chord of half of a third of a turn is as far as any hue is from all of the three.
    assert nearest.amin(dim=0).max() <= 2 * math.sin(step / 4) + 1e-4
    assert (nearest < 0.05).any(dim=1).all()
