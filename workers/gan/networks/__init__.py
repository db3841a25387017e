"""Generators and discriminators, built from their recipes."""

import torch
from torch import nn

from ganservice.recipe import DcganDiscriminator, DcganGenerator, MlpDiscriminator, MlpGenerator, Recipe
from workers.gan.networks.batch_norm import batch_norm_for
from workers.gan.networks.dcgan import build_dcgan_discriminator, build_dcgan_generator
from workers.gan.networks.mlp import build_mlp_discriminator, build_mlp_generator
from workers.gan.randomness import Draws, derive_seed
from workers.gan.replicas import Replicas

ALONE = Replicas()


def build_generator(recipe: Recipe, replicas: Replicas = ALONE) -> nn.Module:
    """Latents float [B, latent_size] -> images float [B, channels, size, size] in [-1, 1]."""
    norm = batch_norm_for(recipe.batch_norm, replicas)
    match recipe.generator:
        case MlpGenerator() as network:
            return build_mlp_generator(network, recipe.data, recipe.latent_size)
        case DcganGenerator() as network:
            return build_dcgan_generator(network, recipe.data, recipe.latent_size, norm)


def build_discriminator(recipe: Recipe, draws: Draws, replicas: Replicas = ALONE) -> nn.Module:
    """Images float [B, channels, size, size] in [-1, 1] -> logits float [B]; dropout asks `draws`."""
    norm = batch_norm_for(recipe.batch_norm, replicas)
    match recipe.discriminator:
        case MlpDiscriminator() as network:
            return build_mlp_discriminator(network, recipe.data, draws)
        case DcganDiscriminator() as network:
            return build_dcgan_discriminator(network, recipe.data, norm)


def build_networks(recipe: Recipe, seed: int, draws: Draws, replicas: Replicas = ALONE) -> tuple[nn.Module, nn.Module]:
    """G and D with the initial weights that `seed` gives; the process' own random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return build_generator(recipe, replicas), build_discriminator(recipe, draws, replicas)


def count_parameters(network: nn.Module) -> int:
    """Number of trained scalars."""
    return sum(parameter.numel() for parameter in network.parameters())
