"""DCGAN (Radford, Metz & Chintala 2016) at 28, 32 and 64 px, grey or RGB.

At 28 px with widths 256-128-64 these are the networks of the MNIST DCGAN lesson this project started from:
G 559,232 and D 658,688 parameters; at 64 px with latents of 200, G 4,395,904 and D 2,765,568.
"""

from torch import Tensor, nn

from ganservice.recipe import Data, DcganDiscriminator, DcganGenerator
from workers.gan.networks.batch_norm import MakeBatchNorm

# Kernel, stride and padding of each transposed convolution of G, from 1x1 up to the image. D goes down from the
# image by halves (kernel 4, stride 2, padding 1) and ends with a convolution of G's first kernel.
GENERATOR_STAGES = {
    28: [(3, 1, 0), (3, 2, 0), (2, 2, 0), (2, 2, 0)],
    32: [(4, 1, 0), (4, 2, 1), (4, 2, 1), (4, 2, 1)],
    64: [(4, 1, 0), (4, 2, 1), (4, 2, 1), (4, 2, 1), (4, 2, 1)],
}
SLOPE = 0.2
WEIGHT_STD = 0.02


class _Seed(nn.Module):
    def forward(self, latents: Tensor) -> Tensor:
        """Latents [B, N] -> [B, N, 1, 1]."""
        return latents[:, :, None, None]


class _Logit(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, 1, 1] -> [B]."""
        return images.flatten()


def build_dcgan_generator(network: DcganGenerator, data: Data, latent_size: int, norm: MakeBatchNorm) -> nn.Module:
    """Transposed convolutions, BatchNorm and LeakyReLU between, tanh at the end; no biases."""
    layers: list[nn.Module] = [_Seed()]
    channels = [latent_size, *network.widths, data.channels]
    stages = GENERATOR_STAGES[data.image_size]
    for index, (kernel, stride, padding) in enumerate(stages):
        before, after = channels[index], channels[index + 1]
        layers.append(nn.ConvTranspose2d(before, after, kernel, stride, padding, bias=False))
        if index < len(stages) - 1:
            layers += [norm(after), nn.LeakyReLU(SLOPE, inplace=True)]
    layers.append(nn.Tanh())
    return _initialised(nn.Sequential(*layers))


def build_dcgan_discriminator(network: DcganDiscriminator, data: Data, norm: MakeBatchNorm) -> nn.Module:
    """Strided convolutions and LeakyReLU, BatchNorm (if asked for) on all but the first; no biases."""
    layers: list[nn.Module] = []
    before: int = data.channels
    for index, after in enumerate(network.widths):
        layers.append(nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1, bias=False))
        if network.batch_norm and index > 0:
            layers.append(norm(after))
        layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        before = after
    last_kernel = GENERATOR_STAGES[data.image_size][0][0]
    layers += [nn.Conv2d(before, 1, last_kernel, bias=False), _Logit()]
    return _initialised(nn.Sequential(*layers))


def _initialised(network: nn.Module) -> nn.Module:
    """Weights N(0, 0.02), those of BatchNorm N(1, 0.02), its biases 0 (DCGAN, section 4)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, WEIGHT_STD)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, WEIGHT_STD)
            nn.init.zeros_(module.bias)
    return network
