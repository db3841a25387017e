"""DCGAN (Radford, Metz & Chintala 2016) at 28, 32 and 64 px on the shorter side, of any channels.

At 28 px with widths 256-128-64 these are the networks of the MNIST DCGAN lesson this project started from:
G 559,232 and D, without biases, 658,688 parameters; at 64 px with latents of 200, G 4,395,904 and D 2,765,568.
"""

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ganservice.recipe import DcganDiscriminator, DcganGenerator
from workers.gan.networks.context import NetworkContext
from workers.gan.networks.initial import initialise
from workers.gan.networks.one_pixel import FromPixel, ToPixel
from workers.gan.networks.shapes import ToLogit, ToSeed

# Kernel, stride and padding of each transposed convolution of G, from 1x1 up to the image. D goes down from the
# image by halves (kernel 4, stride 2, padding 1) and ends with a convolution of G's first kernel.
GENERATOR_STAGES = {
    28: [(3, 1, 0), (3, 2, 0), (2, 2, 0), (2, 2, 0)],
    32: [(4, 1, 0), (4, 2, 1), (4, 2, 1), (4, 2, 1)],
    64: [(4, 1, 0), (4, 2, 1), (4, 2, 1), (4, 2, 1), (4, 2, 1)],
}
# With kernels of 2 px and a stride of 2 each cell of the 7x7 map draws a patch of 4x4 px that shares nothing with the
# patches beside it; with kernels of 4 px neighbours draw every pixel together.
OVERLAPPING_STAGES = GENERATOR_STAGES | {28: [(3, 1, 0), (3, 2, 0), (4, 2, 1), (4, 2, 1)]}
SLOPE = 0.2


def build_generator(network: DcganGenerator, context: NetworkContext) -> nn.Module:
    """Transposed convolutions, BatchNorm and LeakyReLU between, tanh at the end; no biases."""
    shape = context.shape
    layers: list[nn.Module] = [ToSeed()]
    channels = [context.latent_size, *network.widths, shape[0]]
    stages = (OVERLAPPING_STAGES if network.overlap else GENERATOR_STAGES)[min(shape[1:])]
    for index, (side, stride, padding) in enumerate(stages):
        before, after = channels[index], channels[index + 1]
        if index == 0:
            layers.append(FromPixel(before, after, _seed(shape)))
        else:
            layers.append(nn.ConvTranspose2d(before, after, side, stride, padding, bias=False))
        if index < len(stages) - 1:
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(network.slope, inplace=True)]
    layers.append(nn.Tanh())
    return initialise(nn.Sequential(*layers), network.initial_weights, network.slope)


def build_discriminator(network: DcganDiscriminator, context: NetworkContext) -> nn.Module:
    """Strided convolutions and LeakyReLU, BatchNorm (if asked for) on all but the first."""
    layers: list[nn.Module] = []
    before = context.shape[0]
    for index, after in enumerate(network.widths):
        has_norm = network.batch_norm and index > 0
        bias = network.bias and not has_norm  # BatchNorm brings one of its own
        layers.append(nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1, bias=bias))
        if has_norm:
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        before = after
    layers += [ToPixel(before, 1, _seed(context.shape), bias=network.bias), ToLogit()]
    discriminator = initialise(nn.Sequential(*layers), network.initial_weights, SLOPE)
    if network.spectral_norm:
        for module in discriminator.modules():
            if isinstance(module, nn.Conv2d):
                spectral_norm(module)
    return discriminator


def _seed(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the smallest feature map of images [C, H, W], which each further layer doubles."""
    shorter = min(shape[1:])
    (least, _, _), *doublings = GENERATOR_STAGES[shorter]
    height, width = (least + (side - shorter) // 2 ** len(doublings) for side in shape[1:])
    return height, width
