"""A DCGAN that begins and ends with a dense layer, as Keras lessons build it.

At 28 px with the default widths and latents of 100, G has 2,305,472 parameters and D 212,865.
"""

from torch import nn

from ganservice.recipe import DenseDcganDiscriminator, DenseDcganGenerator
from workers.gan.networks.context import NetworkContext
from workers.gan.networks.dropout import Dropout
from workers.gan.networks.initial import initialise
from workers.gan.networks.shapes import ToLogit

SLOPE = 0.3
KERNEL = 5
# Keras' BatchNorm: a momentum of 0.99 there is the share 0.01 of the newest batch here.
EPS = 1e-3
MOMENTUM = 0.01


def build_generator(network: DenseDcganGenerator, context: NetworkContext) -> nn.Module:
    """Dense to a quarter of the size, then transposed convolutions of stride 1, 2 and 2; no biases."""
    shape = context.shape
    first, second, third = network.widths
    height, width = (side // 4 for side in shape[1:])
    units = first * height * width
    return initialise(
        nn.Sequential(
            nn.Linear(context.latent_size, units, bias=False),
            nn.Unflatten(1, (units, 1, 1)),
            nn.BatchNorm2d(units, EPS, MOMENTUM),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Flatten(),
            nn.Unflatten(1, (first, height, width)),
            nn.ConvTranspose2d(first, second, KERNEL, stride=1, padding=2, bias=False),
            nn.BatchNorm2d(second, EPS, MOMENTUM),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.ConvTranspose2d(second, third, KERNEL, stride=2, padding=2, output_padding=1, bias=False),
            nn.BatchNorm2d(third, EPS, MOMENTUM),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.ConvTranspose2d(third, shape[0], KERNEL, stride=2, padding=2, output_padding=1, bias=False),
            nn.Tanh(),
        ),
        network.initial_weights,
        SLOPE,
    )


def build_discriminator(network: DenseDcganDiscriminator, context: NetworkContext) -> nn.Module:
    """Two convolutions of stride 2 with LeakyReLU and dropout, then a dense layer."""
    shape = context.shape
    first, second = network.widths
    height, width = (side // 4 for side in shape[1:])
    return initialise(
        nn.Sequential(
            nn.Conv2d(shape[0], first, KERNEL, stride=2, padding=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            Dropout(network.dropout, context.draws),
            nn.Conv2d(first, second, KERNEL, stride=2, padding=2),
            nn.LeakyReLU(SLOPE, inplace=True),
            Dropout(network.dropout, context.draws),
            nn.Flatten(),
            nn.Linear(second * height * width, 1),
            ToLogit(),
        ),
        network.initial_weights,
        SLOPE,
    )
