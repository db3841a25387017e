"""A GAN of 5x5 convolutions with average pooling in D, nearest-neighbour upsampling in G and dense heads.

At 128 px RGB with the default widths and latents of 100, G has 9,917,891 parameters and D 38,454,529.
"""

from itertools import pairwise

from torch import nn

from ganservice.recipe import AvgPoolDiscriminator, AvgPoolGenerator
from workers.gan.networks.context import NetworkContext
from workers.gan.networks.initial import initialise
from workers.gan.networks.shapes import ToLogit

SLOPE = 0.2
KERNEL = 5
# Keras' BatchNorm with a momentum of 0.8 there, which is the share 0.2 of the newest batch here.
EPS = 1e-3
MOMENTUM = 0.2


def build_generator(network: AvgPoolGenerator, context: NetworkContext) -> nn.Module:
    """Dense layers to a small feature map, then a convolution and an upsampling by two for each width."""
    shape = context.shape
    layers: list[nn.Module] = []
    for before, after in pairwise([context.latent_size, *network.dense]):
        layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE, inplace=True)]
    height, width = (side // 2 ** len(network.widths) for side in shape[1:])
    units = network.seed_channels * height * width
    layers += [
        nn.Linear(network.dense[-1], units),
        nn.Unflatten(1, (units, 1, 1)),
        nn.BatchNorm2d(units, EPS, MOMENTUM),
    ]
    layers += [nn.Flatten(), nn.Unflatten(1, (network.seed_channels, height, width))]
    layers.append(nn.BatchNorm2d(network.seed_channels, EPS, MOMENTUM))
    for index, (before, after) in enumerate(pairwise([network.seed_channels, *network.widths])):
        layers += [_convolution(before, after), nn.BatchNorm2d(after, EPS, MOMENTUM), nn.LeakyReLU(SLOPE, inplace=True)]
        if index == 0:  # the text has a second BatchNorm here, and here only
            layers.append(nn.BatchNorm2d(after, EPS, MOMENTUM))
        layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
    layers += [_convolution(network.widths[-1], shape[0]), nn.Tanh()]
    return initialise(nn.Sequential(*layers), network.initial_weights, SLOPE)


def build_discriminator(network: AvgPoolDiscriminator, context: NetworkContext) -> nn.Module:
    """A convolution, BatchNorm, LeakyReLU and average pooling for each width, then dense layers to one logit."""
    shape = context.shape
    layers: list[nn.Module] = []
    for before, after in pairwise([shape[0], *network.widths]):
        layers += [_convolution(before, after), nn.BatchNorm2d(after, EPS, MOMENTUM)]
        layers += [nn.LeakyReLU(SLOPE, inplace=True), nn.AvgPool2d(2)]
    height, width = (side // 2 ** len(network.widths) for side in shape[1:])
    layers.append(nn.Flatten())
    for before, after in pairwise([network.widths[-1] * height * width, *network.dense]):
        layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE, inplace=True)]
    layers += [nn.Linear(network.dense[-1], 1), ToLogit()]
    return initialise(nn.Sequential(*layers), network.initial_weights, SLOPE)


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, KERNEL, padding=KERNEL // 2)
