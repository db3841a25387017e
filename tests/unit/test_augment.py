import pytest
import torch
from torch import Tensor

from workers.gan.augment import build_augment
from workers.gan.randomness import Draws
from workers.gan.worker_group import WorkerGroup

ALL = ("colour", "translation", "cutout")


def changed(images: Tensor, *asked: str, seed: int = 0) -> Tensor:
    draws = Draws(seed, torch.device("cpu"), WorkerGroup())
    draws.begin_step(0)
    return build_augment(asked, draws)(images)


@pytest.mark.parametrize("asked", [*((name,) for name in ALL), ALL, ()])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(16, 16), (16, 24), (40, 8)])
def test_shapes_stay_chance_comes_from_the_draws_and_gradients_flow(
    asked: tuple[str, ...], channels: int, size: tuple[int, int]
) -> None:
    images = torch.rand(5, channels, *size, requires_grad=True)
    found = changed(images, *asked)
    assert found.shape == images.shape
    assert torch.equal(found, changed(images, *asked))
    assert torch.equal(found, changed(images, *asked, seed=1)) == (asked == ())
    found.sum().backward()
    assert images.grad is not None
    assert images.grad.any()


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
    places = changed(images, "translation").flatten(1).argmax(dim=1)
    assert {divmod(int(place), 24) for place in places} == {(8 + y, 12 + x) for y in range(-2, 3) for x in range(-3, 4)}
    cut = changed(torch.ones(500, 1, 16, 24), "cutout") == 0
    assert cut.any(dim=3).sum(dim=2).max() == 8
    assert cut.any(dim=2).sum(dim=2).max() == 12


def test_alpha_is_no_colour() -> None:
    images = torch.rand(50, 4, 8, 8)
    found = changed(images, "colour")
    assert torch.equal(found[:, 3], images[:, 3])
    assert torch.equal(found[:, :3], changed(images[:, :3], "colour"))
    assert not torch.equal(found[:, :3], images[:, :3])


def test_colour_changes_no_shape_in_the_picture() -> None:
    images = torch.linspace(-1, 1, 16)[None, None, None].expand(50, 3, 16, 16)
    found = changed(images, "colour")
    assert (found[..., 1:] >= found[..., :-1]).all()
    assert found.mean(dim=(1, 2, 3)).abs().max() <= 0.5
