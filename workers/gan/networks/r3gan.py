"""The networks of R3GAN (Huang et al. 2024), section 4 and appendix: "config E", with plain operators.

Without normalisation everything hangs on the initial weights: the last convolution of each block begins at 0, the
others with a variance that falls with the number of blocks (Zhang et al. 2019, "Fixup").
"""

import math
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from ganservice.recipe.networks.r3gan import R3ganDiscriminator, R3ganGenerator
from ganservice.recipe.pyramid import levels_of
from workers.gan.networks.context import NetworkContext
from workers.gan.networks.resampling import Downsample, Upsample

SLOPE = 0.2
# What keeps the variance of numbers as they pass a LeakyReLU (He et al. 2015).
GAIN = math.sqrt(2 / (1 + SLOPE**2))
LAYERS = 3  # of a block

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.Embedding)


def build_generator(network: R3ganGenerator, context: NetworkContext) -> nn.Module:
    """The generator for the pictures of a context."""
    return _Generator(network, context)


def build_discriminator(network: R3ganDiscriminator, context: NetworkContext) -> nn.Module:
    """The discriminator for the pictures of a context."""
    return _Discriminator(network, context)


class _Generator(nn.Module):
    def __init__(self, network: R3ganGenerator, context: NetworkContext) -> None:
        super().__init__()
        widths = network.widths(context.shape[1:])[::-1]
        inputs = context.latent_size
        self.labels = None
        if context.classes is not None:
            self.labels = _normal(nn.Embedding(context.classes, inputs), 1 / math.sqrt(context.classes))
            inputs *= 2
        self.basis = nn.Parameter(torch.randn(widths[0], *_seed(context.shape)))
        self.weigh = _fan_in(nn.Linear(inputs, widths[0], bias=False))
        layers: list[nn.Module] = _blocks(network, widths[0], len(widths))
        for before, after in pairwise(widths):
            layers += [*_joint(before, after), Upsample(), *_blocks(network, after, len(widths))]
        self.body = nn.Sequential(*layers)
        self.to_picture = _convolution(widths[-1], context.shape[0], kernel=1)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.labels is not None and labels is not None:
            latents = torch.cat([latents, self.labels(labels)], dim=1)
        maps = self.basis * self.weigh(latents)[:, :, None, None]
        images: Tensor = self.to_picture(self.body(maps))
        return images if self.training else images.clamp(-1, 1)


class _Discriminator(nn.Module):
    def __init__(self, network: R3ganDiscriminator, context: NetworkContext) -> None:
        super().__init__()
        widths = network.widths(context.shape[1:])
        self.from_picture = _convolution(context.shape[0], widths[0], kernel=1)
        layers: list[nn.Module] = _blocks(network, widths[0], len(widths))
        for before, after in pairwise(widths):
            layers += [Downsample(), *_joint(before, after), *_blocks(network, after, len(widths))]
        self.body = nn.Sequential(*layers)
        last = widths[-1]
        self.basis = _fan_in(nn.Conv2d(last, last, _seed(context.shape), groups=last, bias=False))
        self.labels = None
        if context.classes is not None:
            self.labels = _normal(nn.Embedding(context.classes, last), 1 / math.sqrt(last * context.classes))
        self.weigh = _fan_in(nn.Linear(last, 1 if context.classes is None else last, bias=False))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features: Tensor = self.weigh(self.basis(self.body(self.from_picture(images))).flatten(1))
        if self.labels is not None and labels is not None:
            logits: Tensor = (features * self.labels(labels)).sum(dim=1)
            return logits
        return features.flatten()


class _Block(nn.Module):
    """1x1 up to more channels, 3x3 in groups, 1x1 back, beside the identity."""

    def __init__(self, network: R3ganGenerator | R3ganDiscriminator, width: int, levels: int) -> None:
        super().__init__()
        inside = width * network.expansion
        gain = GAIN * (levels * network.blocks) ** (-1 / (2 * LAYERS - 2))
        self.widen = _convolution(width, inside, kernel=1, gain=gain)
        self.bias_1 = nn.Parameter(torch.zeros(inside, 1, 1))
        self.mix = _convolution(inside, inside, kernel=3, gain=gain, groups=inside // network.group_width)
        self.bias_2 = nn.Parameter(torch.zeros(inside, 1, 1))
        self.narrow = _convolution(inside, width, kernel=1, gain=0.0)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        inside = leaky_relu(self.widen(maps) + self.bias_1, SLOPE)
        inside = leaky_relu(self.mix(inside) + self.bias_2, SLOPE)
        narrowed: Tensor = self.narrow(inside)
        return maps + narrowed


def _blocks(network: R3ganGenerator | R3ganDiscriminator, width: int, levels: int) -> list[nn.Module]:
    return [_Block(network, width, levels) for _ in range(network.blocks)]


def _joint(before: int, after: int) -> list[nn.Module]:
    """What changes the number of channels, where it changes."""
    return [] if before == after else [_convolution(before, after, kernel=1)]


def _convolution(before: int, after: int, kernel: int, gain: float = 1.0, groups: int = 1) -> nn.Conv2d:
    return _fan_in(nn.Conv2d(before, after, kernel, padding=kernel // 2, groups=groups, bias=False), gain)


def _fan_in(layer: Layer, gain: float = 1.0) -> Layer:
    """Weights N(0, gain^2 / inputs)."""
    return _normal(layer, gain / math.sqrt(layer.weight[0].numel()))


def _normal(layer: Layer, std: float) -> Layer:
    nn.init.normal_(layer.weight, 0.0, std)
    return layer


def _seed(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the smallest map."""
    levels = levels_of(shape[1:])
    return shape[1] >> levels, shape[2] >> levels
