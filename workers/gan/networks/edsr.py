"""EDSR (Lim et al. 2017): residual blocks without normalisation, then pixel shuffle (Shi et al. 2016)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ganservice.recipe import EdsrGenerator
from workers.gan.networks.context import NetworkContext
from workers.gan.resolution import enlarge


def build_generator(network: EdsrGenerator, context: NetworkContext) -> nn.Module:
    """The generator that enlarges the pictures of a context. Raises ValueError of a context without a factor."""
    if context.factor is None:
        raise ValueError("an edsr enlarges pictures: expected the factor in its context")
    return _Edsr(network, context.shape[0], context.factor)


class _Edsr(nn.Module):
    """What the blocks make is added to bicubic interpolation, as which the network begins: its last layer is 0."""

    def __init__(self, network: EdsrGenerator, channels: int, factor: int) -> None:
        super().__init__()
        self._factor = factor
        width = network.width
        self.from_picture = _convolution(channels, width)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(network.blocks)), _convolution(width, width))
        doublings = [
            layer
            for _ in range(int(math.log2(factor)))
            for layer in (_like_neighbours(_convolution(width, 4 * width)), nn.PixelShuffle(2))
        ]
        self.upsample = nn.Sequential(*doublings)
        self.to_picture = _convolution(width, channels)
        for weight in self.to_picture.parameters():
            nn.init.zeros_(weight)

    def forward(self, pictures: Tensor) -> Tensor:
        """Small pictures [B, C, h, w] -> [B, C, f h, f w], clipped to [-1, 1] but in training."""
        maps = self.from_picture(pictures)
        details: Tensor = self.to_picture(self.upsample(maps + self.blocks(maps)))
        images = enlarge(pictures, self._factor) + details
        return images if self.training else images.clamp(-1, 1)


class _Block(nn.Module):
    """Two 3x3 convolutions with a ReLU between them, beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = _convolution(width, width)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        change: Tensor = self.second(relu(self.first(maps)))
        return maps + change


def _like_neighbours(layer: nn.Conv2d) -> nn.Conv2d:
    """Weights by which pixel shuffle begins as nearest-neighbour doubling: else it draws a chessboard.

    Aitken et al. (2017), "Checkerboard artifact free sub-pixel convolution", section 4: "ICNR".
    """
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(weight[::4].repeat_interleave(4, dim=0))
    return layer


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel_size=3, padding=1)
