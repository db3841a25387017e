"""Generators and discriminators, built from their recipes."""

import importlib
from dataclasses import replace
from importlib.metadata import entry_points
from types import ModuleType

import torch
from torch import nn

from ganservice.errors import DataInvalid
from ganservice.recipe import LabelPlane, Network, Recipe
from ganservice.recipe.networks import GROUP, KINDS, OWN
from workers.gan.networks.batch_norm import synchronise
from workers.gan.networks.context import NetworkContext
from workers.gan.networks.labelled import LabelledDiscriminator, LabelledGenerator
from workers.gan.networks.shapes import Packed
from workers.gan.randomness import Draws, derive_seed
from workers.gan.worker_group import WorkerGroup

ALONE = WorkerGroup()


def build_generator(recipe: Recipe, draws: Draws | None = None, group: WorkerGroup = ALONE) -> nn.Module:
    """Latents float [B, latent_size], and labels int64 [B] if the recipe has conditioning, to what it makes.

    That is images float [B, channels, height, width] in [-1, 1], or points float [B, 2]. With `super_resolution` it is
    given small pictures float [B, channels, h, w] in [-1, 1] instead. Only one that trains needs `draws`.
    """
    context, labels = _context(recipe, draws, group), recipe.conditioning
    if isinstance(labels, LabelPlane):
        inputs = labels.latent_features + labels.label_features
        body = _build(recipe.generator, "generator", replace(context, latent_size=inputs))
        generator: nn.Module = LabelledGenerator(body, labels, recipe.latent_size)
    else:
        generator = _build(recipe.generator, "generator", context)
    return _over_gang(generator, recipe, group)


def build_discriminator(recipe: Recipe, draws: Draws | None = None, group: WorkerGroup = ALONE) -> nn.Module:
    """What a generator makes, and its labels, to logits float [B / pack]; dropout asks `draws`."""
    context, labels = _context(recipe, draws, group), recipe.conditioning
    channels, *size = recipe.data.shape
    plane = isinstance(labels, LabelPlane)
    body = _build(
        recipe.discriminator, "discriminator", replace(context, shape=((channels + plane) * recipe.pack, *size))
    )
    if recipe.pack > 1:
        body = Packed(body, recipe.pack)
    discriminator = LabelledDiscriminator(body, labels, recipe.data.shape) if isinstance(labels, LabelPlane) else body
    return _over_gang(discriminator, recipe, group)


def _over_gang(network: nn.Module, recipe: Recipe, group: WorkerGroup) -> nn.Module:
    return synchronise(network, group) if group.world_size > 1 and recipe.batch_norm == "synchronised" else network


def _context(recipe: Recipe, draws: Draws | None, group: WorkerGroup) -> NetworkContext:
    labels, task = recipe.conditioning, recipe.super_resolution
    return NetworkContext(
        shape=recipe.data.shape,
        latent_size=recipe.latent_size,
        classes=labels.classes if labels and not isinstance(labels, LabelPlane) else None,
        draws=draws or Draws(0, torch.device("cpu"), group),
        factor=task.factor if task else None,
        code=recipe.code,
    )


def _build(network: Network, role: str, context: NetworkContext) -> nn.Module:
    built: nn.Module = getattr(_builder(network), f"build_{role}")(network, context)
    return built


def _builder(network: Network) -> ModuleType:
    if network.kind not in KINDS:
        raise DataInvalid(
            f"networks of kind {network.kind} are not known here: install on every worker the package that brings them"
        )
    return importlib.import_module(KINDS[network.kind].builder)


def is_ours(network: Network) -> bool:
    """Whether a network is one of this project, and not of a package or of a user's own."""
    return network.kind != OWN and network.kind in KINDS and KINDS[network.kind].builder.startswith("workers.")


def package_versions(recipe: Recipe) -> dict[str, str]:
    """The version of each package that brings a network of the recipe, by its name."""
    kinds = {recipe.generator.kind, recipe.discriminator.kind}
    entries = [entry for entry in entry_points(group=GROUP) if entry.name in kinds and entry.dist]
    return {entry.dist.name: entry.dist.version for entry in entries if entry.dist}


def build_networks(recipe: Recipe, seed: int, draws: Draws, group: WorkerGroup = ALONE) -> tuple[nn.Module, nn.Module]:
    """G and D with the initial weights that `seed` gives; the process' own random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return build_generator(recipe, draws, group), build_discriminator(recipe, draws, group)


def move(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to `device`, and return it; channels-last, convolutions are a few percent faster everywhere."""
    # torch's own types leave memory_format out of Module.to.
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def count_parameters(network: nn.Module) -> int:
    """Number of trained scalars."""
    return sum(parameter.numel() for parameter in network.parameters())
