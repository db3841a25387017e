"""Generators and discriminators, built from their recipes."""

from typing import assert_never

import torch
from torch import nn

from ganservice.recipe import (
    AffineGenerator,
    AvgPoolDiscriminator,
    AvgPoolGenerator,
    DcganDiscriminator,
    DcganGenerator,
    DenseDcganDiscriminator,
    DenseDcganGenerator,
    MlpDiscriminator,
    MlpGenerator,
    Recipe,
)
from workers.gan.networks.avgpool import build_avgpool_discriminator, build_avgpool_generator
from workers.gan.networks.batch_norm import batch_norm_for
from workers.gan.networks.dcgan import build_dcgan_discriminator, build_dcgan_generator
from workers.gan.networks.dense_dcgan import build_dense_dcgan_discriminator, build_dense_dcgan_generator
from workers.gan.networks.labelled import LabelledDiscriminator, LabelledGenerator
from workers.gan.networks.mlp import build_mlp_discriminator, build_mlp_generator
from workers.gan.networks.shapes import Packed
from workers.gan.randomness import Draws, derive_seed
from workers.gan.worker_group import WorkerGroup

ALONE = WorkerGroup()


def build_generator(recipe: Recipe, group: WorkerGroup = ALONE) -> nn.Module:
    """Latents float [B, latent_size], and labels int64 [B] if the recipe has conditioning, to what it makes.

    That is images float [B, channels, size, size] in [-1, 1], or points float [B, 2].
    """
    if recipe.conditioning is None:
        return _generator(recipe, recipe.latent_size, group)
    inputs = recipe.conditioning.latent_features + recipe.conditioning.label_features
    return LabelledGenerator(_generator(recipe, inputs, group), recipe.conditioning, recipe.latent_size)


def build_discriminator(recipe: Recipe, draws: Draws, group: WorkerGroup = ALONE) -> nn.Module:
    """What a generator makes, and its labels, to logits float [B / pack]; dropout asks `draws`."""
    channels, *size = recipe.data.shape
    labelled = recipe.conditioning is not None
    body = _discriminator(recipe, ((channels + labelled) * recipe.pack, *size), draws, group)
    if recipe.pack > 1:
        body = Packed(body, recipe.pack)
    return LabelledDiscriminator(body, recipe.conditioning, recipe.data.shape) if recipe.conditioning else body


def _generator(recipe: Recipe, inputs: int, group: WorkerGroup) -> nn.Module:
    norm, shape = batch_norm_for(recipe.batch_norm, group), recipe.data.shape
    match recipe.generator:
        case MlpGenerator() as network:
            return build_mlp_generator(network, inputs, shape)
        case DcganGenerator() as network:
            return build_dcgan_generator(network, inputs, shape, norm)
        case DenseDcganGenerator() as network:
            return build_dense_dcgan_generator(network, inputs, shape, norm)
        case AvgPoolGenerator() as network:
            return build_avgpool_generator(network, inputs, shape, norm)
        case AffineGenerator():
            return nn.Linear(inputs, shape[0])
    assert_never(recipe.generator)


def _discriminator(recipe: Recipe, shape: tuple[int, ...], draws: Draws, group: WorkerGroup) -> nn.Module:
    norm = batch_norm_for(recipe.batch_norm, group)
    match recipe.discriminator:
        case MlpDiscriminator() as network:
            return build_mlp_discriminator(network, shape, draws)
        case DcganDiscriminator() as network:
            return build_dcgan_discriminator(network, shape, norm)
        case DenseDcganDiscriminator() as network:
            return build_dense_dcgan_discriminator(network, shape, draws)
        case AvgPoolDiscriminator() as network:
            return build_avgpool_discriminator(network, shape, norm)
    assert_never(recipe.discriminator)


def build_networks(recipe: Recipe, seed: int, draws: Draws, group: WorkerGroup = ALONE) -> tuple[nn.Module, nn.Module]:
    """G and D with the initial weights that `seed` gives; the process' own random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return build_generator(recipe, group), build_discriminator(recipe, draws, group)


def move(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to `device`, and return it; channels-last, convolutions are a few percent faster everywhere."""
    # torch's own types leave memory_format out of Module.to.
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def count_parameters(network: nn.Module) -> int:
    """Number of trained scalars."""
    return sum(parameter.numel() for parameter in network.parameters())
