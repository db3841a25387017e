"""Directions of latent space along which pictures change most."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from ganservice.recipe import Recipe
from workers.gan.directions import find_directions
from workers.gan.networks import build_generator
from workers.gan.networks.stylegan2 import StyleGenerator

SIZE = 6
GENERATORS: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "widths": [32]},
    "dcgan": {"kind": "dcgan", "widths": [8, 4, 4]},
    "dense_dcgan": {"kind": "dense_dcgan", "widths": [8, 4, 4]},
    "avgpool": {"kind": "avgpool", "widths": [4], "dense": [16], "seed_channels": 4},
}
PAPERS: dict[str, dict[str, Any]] = {
    "resnet": {"kind": "resnet", "width": 4},
    "r3gan": {"kind": "r3gan", "width": 8},
    "stylegan2": {"kind": "stylegan2", "width": 4, "w_size": 8},
}


def generator_of(kind: str, *, has_classes: bool) -> nn.Module:
    """A generator of latents of SIZE, with statistics of BatchNorm as a training leaves them."""
    labels = {"classes": 3} | ({} if kind in PAPERS else {"latent_features": 16})
    recipe = Recipe.model_validate(
        {
            "data": {"dataset": "digits", "image_size": 28, "channels": 1},
            "discriminator": {"kind": kind} if kind in PAPERS else {"kind": "mlp"},
            "latent_size": SIZE,
            "conditioning": labels if has_classes else None,
            "generator": (GENERATORS | PAPERS)[kind],
        }
    )
    generator = build_generator(recipe)
    batch = (torch.arange(64) % 3,) if has_classes else ()
    with torch.no_grad():
        for _ in range(20):
            generator(3 * torch.randn(64, SIZE), *batch)
    return generator.eval().requires_grad_(False)


def one_layer(matrix: torch.Tensor) -> nn.Module:
    layer = nn.Linear(SIZE, len(matrix))
    with torch.no_grad():
        layer.weight.copy_(matrix)
    return nn.Sequential(layer, nn.LeakyReLU(0.2, inplace=True), nn.Linear(len(matrix), 4), nn.Tanh()).eval()


@given(scales=st.lists(st.floats(0.1, 10), min_size=SIZE, max_size=SIZE, unique=True), seed=st.integers(0, 100))
def test_they_are_the_singular_vectors_of_the_first_layer_the_largest_first(scales: list[float], seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=draws))
    left, _ = torch.linalg.qr(torch.randn(9, SIZE, generator=draws))
    matrix = left @ torch.diag(torch.tensor(scales)) @ turn
    found = find_directions(one_layer(matrix), SIZE, (), 3)
    squares = torch.tensor(scales).square()
    assert torch.allclose(found.effects, (squares / squares.sum()).sort(descending=True).values[:3], atol=1e-4)
    # How far each moves what the activation gets is its scale: of vectors whose scales are near, any mixture is right.
    moved = (matrix @ found.vectors.T).norm(dim=0)
    assert torch.allclose(moved, torch.tensor(sorted(scales, reverse=True)[:3]), rtol=1e-2)


@pytest.mark.parametrize("has_classes", [False, True])
@pytest.mark.parametrize("kind", GENERATORS)
def test_no_other_directions_change_more_of_what_the_first_activation_gets(kind: str, *, has_classes: bool) -> None:
    generator = generator_of(kind, has_classes=has_classes)
    label = (torch.tensor([1]),) if has_classes else ()
    found = find_directions(generator, SIZE, label, 4)
    gram = found.vectors @ found.vectors.T
    assert torch.allclose(gram, torch.eye(4), atol=1e-5)
    assert found.effects.tolist() == sorted(found.effects.tolist(), reverse=True)
    assert 0 < found.effects.sum() <= 1 + 1e-6
    activation = next(module for module in generator.modules() if isinstance(module, nn.LeakyReLU))
    given_to = list[torch.Tensor]()
    hook = activation.register_forward_pre_hook(lambda _, args: given_to.append(args[0].clone()))
    others = torch.nn.functional.normalize(torch.randn(50, SIZE))
    steps = torch.cat([torch.zeros(1, SIZE), found.vectors[:1], others])
    generator(steps, *(each.expand(len(steps)) for each in label))
    hook.remove()
    changes = (given_to[0][1:] - given_to[0][0]).flatten(1).norm(dim=1)
    assert (changes[1:] <= changes[0] * (1 + 1e-4)).all()


class Functional(nn.Module):
    """The same layer, with an activation that is no module."""

    def __init__(self, layer: nn.Module, activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.activation = activation

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        norms: torch.Tensor = self.activation(self.layer(latents)).norm(dim=1, keepdim=True)
        return norms


@pytest.mark.parametrize("activation", [torch.relu, functional.leaky_relu, torch.Tensor.tanh_, functional.silu])
def test_an_activation_counts_in_whatever_way_it_is_called(activation: Callable[..., torch.Tensor]) -> None:
    layers = one_layer(torch.randn(9, SIZE))
    expected = find_directions(layers, SIZE, (), 3)
    found = find_directions(Functional(next(layers.children()), activation).eval(), SIZE, (), 3)
    torch.testing.assert_close(found.vectors, expected.vectors)
    torch.testing.assert_close(found.effects, expected.effects)


@pytest.mark.parametrize("has_classes", [False, True])
@pytest.mark.parametrize("kind", ["resnet", "r3gan", "stylegan2"])
def test_networks_of_papers_have_directions_of_their_first_layer(kind: str, *, has_classes: bool) -> None:
    generator = generator_of(kind, has_classes=has_classes)
    found = find_directions(generator, SIZE, (torch.tensor([1]),) if has_classes else (), 4)
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(4), atol=1e-5, rtol=0)
    assert found.effects.tolist() == sorted(found.effects.tolist(), reverse=True)
    assert 0 < found.effects.sum() < 1


def test_which_class_it_is_and_how_often_one_asks_changes_nothing() -> None:
    generator = generator_of("dcgan", has_classes=True)
    by_class = [find_directions(generator, SIZE, (torch.tensor([label]),), 3) for label in (0, 1, 1)]
    for other in by_class[1:]:
        assert torch.allclose(by_class[0].vectors, other.vectors, atol=1e-3)
    assert generator(torch.zeros(1, SIZE), torch.tensor([0])).shape == (1, 1, 28, 28)  # whole again


def test_they_are_of_the_class_where_batch_norm_scales_by_class() -> None:
    generator = generator_of("resnet", has_classes=True)
    for scale in (module for module in generator.modules() if isinstance(module, nn.Embedding)):
        nn.init.normal_(scale.weight)
    one, other = (find_directions(generator, SIZE, (torch.tensor([label]),), 3) for label in (0, 1))
    assert not torch.allclose(one.vectors, other.vectors, atol=0.1)


def test_of_a_style_generator_the_first_one_changes_pictures_most() -> None:
    """They were those of its mapping's first layer, which is only the way to w."""
    torch.manual_seed(0)
    recipe = Recipe.model_validate(
        {
            "data": {"dataset": "digits", "image_size": 16, "channels": 3},
            "generator": {"kind": "stylegan2", "width": 8, "max_width": 16, "w_size": 32, "noise": False},
            "discriminator": {"kind": "stylegan2"},
            "latent_size": SIZE,
        }
    )
    generator = build_generator(recipe).eval().requires_grad_(False)
    assert isinstance(generator, StyleGenerator)
    with torch.no_grad():
        # As training leaves them: of a few directions much comes of w, of most little.
        for name, weight in generator.named_parameters():
            if name.endswith("affine.weight"):
                weight.mul_(torch.linspace(3, 0.1, 32) ** 2)
    found = find_directions(generator, SIZE, (), 8)
    assert found.vectors.shape == (8, 32)
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(8), atol=1e-5, rtol=0)
    styles = generator.mapping(torch.randn(50, SIZE))
    before = generator.draw(styles)

    def change(direction: torch.Tensor) -> float:
        return (generator.draw(styles + 0.5 * direction) - before).square().mean().item()

    others = [change(each) for each in functional.normalize(torch.randn(20, 32))]
    assert change(found.vectors[0]) > 2 * max(others)


def test_there_are_no_more_than_the_first_layer_has_outputs() -> None:
    found = find_directions(one_layer(torch.randn(2, SIZE)), SIZE, (), 8)
    assert found.vectors.shape == (2, SIZE)
    nothing = find_directions(one_layer(torch.zeros(3, SIZE)), SIZE, (), 8)
    assert nothing.effects.tolist() == [0, 0, 0]
