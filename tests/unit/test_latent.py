import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from workers.gan.latent import BOUND, Search, lerp, recover, slerp, success_rates, walk

VECTORS = st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3).map(torch.tensor)


@given(start=VECTORS, end=VECTORS, share=st.floats(0, 1))
def test_slerp_goes_from_end_to_end_and_its_length_between_theirs(start: Tensor, end: Tensor, share: float) -> None:
    found = slerp(start, end, share)
    assert found.isfinite().all()
    torch.testing.assert_close(slerp(start, end, 0.0), start, rtol=0, atol=1e-4)
    torch.testing.assert_close(slerp(start, end, 1.0), end, rtol=0, atol=1e-4)
    if min(start.norm(), end.norm()) > 1e-3:
        expected = (1 - share) * start.norm() + share * end.norm()
        torch.testing.assert_close(found.norm(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("start", "end", "middle"),
    [
        ([1.0, 0.0], [0.0, 1.0], [math.sqrt(0.5), math.sqrt(0.5)]),
        ([2.0, 0.0], [0.0, 4.0], [3 * math.sqrt(0.5), 3 * math.sqrt(0.5)]),
        ([1.0, 0.0], [3.0, 0.0], [2.0, 0.0]),  # parallel: straight on
        ([0.0, 0.0], [0.0, 1.0], [0.0, 0.5]),  # from zero there is no direction
        ([0.0, 0.0], [0.0, 0.0], [0.0, 0.0]),
        ([1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]),  # opposite: by a half circle, not through zero
    ],
)
def test_the_middle_of_a_slerp(start: list[float], end: list[float], middle: list[float]) -> None:
    torch.testing.assert_close(slerp(torch.tensor(start), torch.tensor(end), 0.5), torch.tensor(middle))


def test_one_number_has_no_circle() -> None:
    assert slerp(torch.tensor([1.0]), torch.tensor([-1.0]), 0.5).item() == 0


def test_a_walk_visits_every_point() -> None:
    points = torch.randn(4, 8)
    walked = walk(points, 5, lerp)
    assert walked.shape == (16, 8)
    torch.testing.assert_close(walked[::5], points)


class Bent(nn.Module):
    """A generator whose latents can be read off its pictures."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 16)

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = torch.tanh(self.linear(latents) / 4).view(-1, 1, 4, 4)
        return images


@pytest.fixture
def generator() -> nn.Module:
    return Bent().eval().requires_grad_(False)


@pytest.mark.parametrize(
    "search", [Search(steps=1_500), Search(steps=3_000, lr=20.0, optimiser="descent")], ids=["adam", "descent"]
)
def test_the_latents_of_generated_pictures_are_found(generator: nn.Module, search: Search) -> None:
    true = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    found = recover(generator, generator(true), 4, search)
    assert success_rates(true, found.latents, (1e-1, 1e-5)) == {1e-1: 1.0, 1e-5: 1.0}
    assert found.errors.max() < 1e-6


def test_no_picture_disturbs_the_search_for_another(generator: nn.Module) -> None:
    targets = generator(torch.randn(2, 4))
    search = Search(steps=50, restarts=1)
    first = recover(generator, targets[:1], 4, search)
    both = recover(generator, targets, 4, search)
    torch.testing.assert_close(both.latents[:1], first.latents)


def test_every_step_goes_down_the_gradient_at_that_point_alone(generator: nn.Module) -> None:
    """The recovery loop of text 000 added up the gradients of all its steps."""
    target = generator(torch.randn(1, 4))
    search = Search(steps=4, restarts=1, lr=0.5, optimiser="descent", seed=5)
    latent = torch.randn(1, 4, generator=torch.Generator().manual_seed(5))
    for step in range(4):
        latent = latent.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad((generator(latent) - target).square().mean(), latent)
        latent = latent - 0.5 * (1 + math.cos(math.pi * step / 4)) / 2 * gradient
    assert latent.abs().max() < BOUND  # nothing was clipped
    torch.testing.assert_close(recover(generator, target, 4, search).latents, latent.detach())


def test_what_is_hidden_is_not_searched_for(generator: nn.Module) -> None:
    true = torch.randn(1, 4)
    targets = generator(true)
    known = torch.ones_like(targets)
    known[..., 2:] = 0
    targets[..., 2:] = 7.0  # no picture has this
    found = recover(generator, targets, 4, Search(steps=1_500), known)
    torch.testing.assert_close(generator(found.latents)[..., :2], targets[..., :2], rtol=0, atol=1e-3)
    assert found.errors.item() < 1e-6


def test_latents_stay_within_the_bound_and_off_it(generator: nn.Module) -> None:
    # A target that pulls to infinity.
    found = recover(generator, torch.full((4, 1, 4, 4), 2.0), 4, Search(steps=200))
    assert found.latents.abs().max() <= BOUND


def test_the_generator_is_left_as_it_was(generator: nn.Module) -> None:
    before = {name: weight.clone() for name, weight in generator.state_dict().items()}
    recover(generator, generator(torch.randn(1, 4)), 4, Search(steps=5))
    assert not generator.training
    assert all(torch.equal(before[name], weight) for name, weight in generator.state_dict().items())
    assert all(parameter.grad is None for parameter in generator.parameters())
