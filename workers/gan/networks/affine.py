"""The generator of one linear layer, for points in the plane."""

from torch import nn

from ganservice.recipe import AffineGenerator
from workers.gan.networks.context import NetworkContext


def build_generator(network: AffineGenerator, context: NetworkContext) -> nn.Module:
    """G(z) = A z + b."""
    del network
    return nn.Linear(context.latent_size, context.shape[0])
