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
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_stay_chance_comes_from_the_draws_and_gradients_flow(asked: tuple[str, ...], channels: int) -> None:
    images = torch.rand(5, channels, 16, 16, requires_grad=True)
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


def test_colour_changes_no_shape_in_the_picture() -> None:
    images = torch.linspace(-1, 1, 16)[None, None, None].expand(50, 3, 16, 16)
    found = changed(images, "colour")
    assert (found[..., 1:] >= found[..., :-1]).all()
    assert found.mean(dim=(1, 2, 3)).abs().max() <= 0.5
