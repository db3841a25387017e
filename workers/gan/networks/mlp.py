"""GANs of linear layers, for any image size."""

from torch import Tensor, nn

from ganservice.recipe import Data, MlpDiscriminator, MlpGenerator
from workers.gan.networks.dropout import Dropout
from workers.gan.randomness import Draws

SLOPE = 0.2


class _Logit(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        """[B, 1] -> [B]."""
        return values.squeeze(1)


def build_mlp_generator(network: MlpGenerator, data: Data, latent_size: int) -> nn.Module:
    """Linear layers with LeakyReLU between and tanh at the end."""
    layers: list[nn.Module] = []
    before = latent_size
    for width in network.widths:
        layers += [nn.Linear(before, width), nn.LeakyReLU(SLOPE, inplace=True)]
        before = width
    shape = (data.channels, data.image_size, data.image_size)
    layers += [nn.Linear(before, _pixels(data)), nn.Tanh(), nn.Unflatten(1, shape)]
    return nn.Sequential(*layers)


def build_mlp_discriminator(network: MlpDiscriminator, data: Data, draws: Draws) -> nn.Module:
    """Linear layers with LeakyReLU and dropout between and one logit at the end."""
    layers: list[nn.Module] = [nn.Flatten()]
    before = _pixels(data)
    for width in network.widths:
        layers += [
            nn.Linear(before, width),
            nn.LeakyReLU(SLOPE, inplace=True),
            Dropout(network.dropout, draws),
        ]
        before = width
    layers += [nn.Linear(before, 1), _Logit()]
    return nn.Sequential(*layers)


def _pixels(data: Data) -> int:
    return data.channels * data.image_size**2
