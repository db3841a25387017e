"""A plain tutorial loop: DataLoader, sigmoid and BCELoss, Adam, `.item()` at each step, fp32."""

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ganservice.recipe import Recipe
from tests.benchmarks.training import CPU, pictures, use_cores
from workers.gan.networks import build_networks
from workers.gan.randomness import Draws
from workers.gan.worker_group import WorkerGroup


def networks(recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """G and D as the trainer builds them."""
    return build_networks(recipe, 0, Draws(0, CPU, WorkerGroup()))


def loader(recipe: Recipe, steps: int) -> DataLoader[tuple[torch.Tensor, ...]]:
    """So many batches of pictures in -1 to 1."""
    images = pictures(recipe, steps * recipe.batch_size).float() / 127.5 - 1
    return DataLoader(TensorDataset(images), recipe.batch_size, shuffle=True, drop_last=True)


def build(recipe: Recipe, steps: int) -> Callable[[], float]:
    """Return what takes so many steps and gives their images/s."""
    use_cores()
    train = loop(recipe, loader(recipe, steps))

    def images_per_s() -> float:
        started = time.perf_counter()
        train()
        return steps * recipe.batch_size / (time.perf_counter() - started)

    return images_per_s


def loop(
    recipe: Recipe,
    batches: DataLoader[tuple[torch.Tensor, ...]],
    nets: tuple[nn.Module, nn.Module] | None = None,
    device: torch.device = CPU,
) -> Callable[[], None]:
    """Return what trains once through the batches."""
    g, d = (network.to(device) for network in nets or networks(recipe))
    d = nn.Sequential(d, nn.Sigmoid())
    bce = nn.BCELoss()
    adam_g = torch.optim.Adam(g.parameters(), 2e-4, (0.5, 0.999))
    adam_d = torch.optim.Adam(d.parameters(), 2e-4, (0.5, 0.999))
    ones, zeros = (fill(recipe.batch_size, device=device) for fill in (torch.ones, torch.zeros))

    def train() -> None:
        for (images,) in batches:
            real = images.to(device)
            fake = g(torch.randn(recipe.batch_size, recipe.latent_size, device=device))
            adam_d.zero_grad()
            loss_d = bce(d(real), ones) + bce(d(fake.detach()), zeros)
            loss_d.backward()
            adam_d.step()
            adam_g.zero_grad()
            loss_g = bce(d(fake), ones)
            loss_g.backward()
            adam_g.step()
            loss_d.item(), loss_g.item()

    return train
