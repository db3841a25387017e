"""GANs of linear layers, for any image size and for points in the plane."""

import math

from torch import nn

from ganservice.recipe import MlpDiscriminator, MlpGenerator
from workers.gan.networks.context import NetworkContext
from workers.gan.networks.dropout import Dropout
from workers.gan.networks.shapes import ToLogit

SLOPE = 0.2


def build_generator(network: MlpGenerator, context: NetworkContext) -> nn.Module:
    """Linear layers with LeakyReLU between; pictures end with tanh, points have no bounds."""
    layers: list[nn.Module] = []
    before = context.latent_size
    for width in network.widths:
        layers += [nn.Linear(before, width), nn.LeakyReLU(SLOPE, inplace=True)]
        before = width
    layers.append(nn.Linear(before, math.prod(context.shape)))
    if len(context.shape) > 1:
        layers += [nn.Tanh(), nn.Unflatten(1, context.shape)]
    return nn.Sequential(*layers)


def build_discriminator(network: MlpDiscriminator, context: NetworkContext) -> nn.Module:
    """Linear layers with LeakyReLU and dropout between and one logit at the end."""
    layers: list[nn.Module] = [nn.Flatten()]
    before = math.prod(context.shape)
    for width in network.widths:
        layers += [
            nn.Linear(before, width),
            nn.LeakyReLU(SLOPE, inplace=True),
            Dropout(network.dropout, context.draws),
        ]
        before = width
    layers += [nn.Linear(before, 1), ToLogit()]
    return nn.Sequential(*layers)
