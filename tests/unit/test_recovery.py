import math

import pytest
import torch
from torch import Tensor, nn

from workers.gan.recovery import BOUND, Search, recover, success_rates


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


both = pytest.mark.parametrize("search", [Search(), Search(steps=1_500, optimiser="adam")], ids=["curvature", "adam"])


@pytest.mark.parametrize(
    "search",
    [Search(), Search(steps=1_500, optimiser="adam"), Search(steps=3_000, lr=20.0, optimiser="descent")],
    ids=["levenberg-marquardt", "adam", "descent"],
)
def test_the_latents_of_generated_pictures_are_found(generator: nn.Module, search: Search) -> None:
    true = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    found = recover(generator, generator(true), (), 4, search)
    assert success_rates(true, found.latents, (1e-1, 1e-5)) == {1e-1: 1.0, 1e-5: 1.0}
    assert found.errors.max() < 1e-6


@both
def test_no_picture_disturbs_the_search_for_another(generator: nn.Module, search: Search) -> None:
    targets = generator(torch.randn(40, 4))
    first = recover(generator, targets[:1], (), 4, search)
    all_of_them = recover(generator, targets, (), 4, search)
    torch.testing.assert_close(all_of_them.latents[:1], first.latents)


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
    torch.testing.assert_close(recover(generator, target, (), 4, search).latents, latent.detach())


@both
def test_what_is_hidden_is_not_searched_for(generator: nn.Module, search: Search) -> None:
    true = torch.randn(1, 4)
    targets = generator(true)
    known = torch.ones_like(targets)
    known[..., 2:] = 0
    targets[..., 2:] = 7.0  # no picture has this
    found = recover(generator, targets, (), 4, search, known)
    torch.testing.assert_close(generator(found.latents)[..., :2], targets[..., :2], rtol=0, atol=1e-3)
    assert found.errors.item() < 1e-6


@both
def test_latents_stay_within_the_bound(generator: nn.Module, search: Search) -> None:
    # A target that pulls to infinity.
    found = recover(generator, torch.full((4, 1, 4, 4), 2.0), (), 4, search)
    assert found.latents.abs().max() <= BOUND


@both
def test_the_generator_is_left_as_it_was(generator: nn.Module, search: Search) -> None:
    before = {name: weight.clone() for name, weight in generator.state_dict().items()}
    recover(generator, generator(torch.randn(1, 4)), (), 4, search)
    assert not generator.training
    assert all(torch.equal(before[name], weight) for name, weight in generator.state_dict().items())
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_a_picture_is_searched_for_with_its_own_label() -> None:
    class Labelled(Bent):
        def forward(self, latents: Tensor, *labels: Tensor) -> Tensor:
            return super().forward(latents) * (1 - 2 * labels[0].view(-1, 1, 1, 1))

    generator = Labelled().eval().requires_grad_(False)
    true, labels = torch.randn(3, 4), torch.tensor([0, 1, 0])
    found = recover(generator, generator(true, labels), (labels,), 4, Search())
    torch.testing.assert_close(found.latents, true, rtol=0, atol=1e-4)


def test_where_nothing_changes_the_picture_a_search_rests() -> None:
    class Flat(nn.Module):
        def forward(self, latents: Tensor) -> Tensor:
            return 0 * latents.view(-1, 1, 2, 2)

    found = recover(Flat(), torch.ones(1, 1, 2, 2), (), 4, Search(seed=2))
    assert found.errors.item() == 1
    assert found.latents.isfinite().all()
