"""Images/s of the trainer over those of a plain tutorial loop: same networks, same batch, two threads."""

import time
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ganservice.recipe import Pictures, Recipe
from ganservice.spec_file import load_spec
from tests.benchmarks.ratios import compare
from workers.gan.data.examples import Examples
from workers.gan.networks import build_networks
from workers.gan.precision import bf16_pays, choose_precision
from workers.gan.randomness import Draws
from workers.gan.trainer import Trainer
from workers.gan.worker_group import WorkerGroup

STEPS = 30
CONFIG = Path(__file__).parents[2] / "configs" / "fashion-dcgan.yaml"


def plain_loop(recipe: Recipe, images: torch.Tensor) -> float:
    """fp32, DataLoader, sigmoid + BCELoss, .item() at each step."""
    cpu = torch.device("cpu")
    g, d = build_networks(recipe, 0, Draws(0, cpu, WorkerGroup()))
    d = nn.Sequential(d, nn.Sigmoid())
    bce = nn.BCELoss()
    adam_g = torch.optim.Adam(g.parameters(), 2e-4, (0.5, 0.999))
    adam_d = torch.optim.Adam(d.parameters(), 2e-4, (0.5, 0.999))
    batch = recipe.batch_size
    data = TensorDataset(images[: STEPS * batch].float() / 127.5 - 1)
    ones, zeros = torch.ones(batch), torch.zeros(batch)
    started = time.perf_counter()
    for (real,) in DataLoader(data, batch, shuffle=True, drop_last=True):
        fake = g(torch.randn(batch, recipe.latent_size))
        adam_d.zero_grad()
        loss_d = bce(d(real), ones) + bce(d(fake.detach()), zeros)
        loss_d.backward()
        adam_d.step()
        adam_g.zero_grad()
        loss_g = bce(d(fake), ones)
        loss_g.backward()
        adam_g.step()
        loss_d.item(), loss_g.item()
    return STEPS * batch / (time.perf_counter() - started)


def ours(recipe: Recipe, images: torch.Tensor) -> float:
    trainer = Trainer(recipe, Examples(images), 0, torch.device("cpu"))
    total = STEPS * recipe.batch_size
    (progress,) = trainer.train(total, total)
    return progress.images_per_s


def main() -> None:
    torch.set_num_threads(2)
    recipe = load_spec(CONFIG).recipe
    assert isinstance(recipe.data, Pictures)
    images = torch.randint(0, 256, (60_000, *recipe.data.shape), dtype=torch.uint8)
    fitting = choose_precision("auto", bf16_pays(torch.device("cpu"))).precision
    for precision in dict.fromkeys(("fp32", fitting)):
        same = recipe.model_copy(update={"precision": precision})
        compare(
            f"DCGAN {recipe.data.image_size} px, batch {recipe.batch_size}, {precision}",
            partial(ours, same, images),
            partial(plain_loop, same, images),
        )
