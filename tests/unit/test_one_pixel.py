"""Products of matrices do in training what the convolutions do that they stand for."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workers.gan.networks import move
from workers.gan.networks.one_pixel import FromPixel, ToPixel

CPU = torch.device("cpu")
LAYERS = {
    "from": (lambda: FromPixel(5, 6, (3, 4)), (7, 5, 1, 1)),
    "to": (lambda: ToPixel(5, 2, (3, 4), bias=True), (7, 5, 3, 4)),
    "to, without a bias": (lambda: ToPixel(5, 1, (3, 3), bias=False), (7, 5, 3, 3)),
}


def penalised(layer: nn.Module, maps: Tensor) -> list[Tensor]:
    """What a layer makes of maps, and the gradients of a penalty on its gradient by them."""
    points = maps.clone().requires_grad_(True)
    values = layer(points)
    (gradient,) = torch.autograd.grad(values.square().sum(), points, create_graph=True)
    return [values, *torch.autograd.grad((values.sum() + gradient.square().sum()), [points, *layer.parameters()])]


@pytest.mark.parametrize("is_channels_last", [True, False])
@pytest.mark.parametrize(("build", "shape"), LAYERS.values(), ids=LAYERS)
def test_a_layer_finds_in_training_what_its_convolution_finds(
    build: Any, shape: tuple[int, ...], is_channels_last: bool
) -> None:
    torch.manual_seed(0)
    layer, maps = build(), torch.randn(shape)
    if is_channels_last:
        layer, maps = move(layer, CPU), maps.contiguous(memory_format=torch.channels_last)
    found, expected = penalised(layer.train(), maps), penalised(layer.eval(), maps)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_map_made_of_a_pixel_lies_as_the_next_convolution_wants_it() -> None:
    layer = move(FromPixel(5, 6, (3, 3)), CPU).train()
    assert layer(torch.randn(7, 5, 1, 1)).is_contiguous(memory_format=torch.channels_last)
