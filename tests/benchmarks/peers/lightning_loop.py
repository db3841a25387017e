"""A GAN as Lightning's documentation trains one: manual optimisation, two optimisers that are toggled, logged losses.

Checkpoints, loggers and the progress bar, which cost it time, are off.
"""

import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.nn.functional import binary_cross_entropy_with_logits

from ganservice.recipe import Recipe
from tests.benchmarks.peers.plain_loop import loader, networks
from tests.benchmarks.training import use_cores


class Gan(LightningModule):  # type: ignore[misc] # Lightning is not installed where types are checked
    """Both networks, and one step of each."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.latent_size = recipe.latent_size
        self.generator, self.discriminator = networks(recipe)

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        parts = (self.generator, self.discriminator)
        return [torch.optim.Adam(part.parameters(), 2e-4, (0.5, 0.999)) for part in parts], []

    def training_step(self, batch: tuple[torch.Tensor]) -> None:
        (real,) = batch
        adam_g, adam_d = self.optimizers()
        latents = torch.randn(len(real), self.latent_size).type_as(real)

        self.toggle_optimizer(adam_g)
        loss_g = self._loss(self.generator(latents), 1.0)
        self.log("loss_g", loss_g)
        self._optimise(adam_g, loss_g)

        self.toggle_optimizer(adam_d)
        loss_d = (self._loss(real, 1.0) + self._loss(self.generator(latents).detach(), 0.0)) / 2
        self.log("loss_d", loss_d)
        self._optimise(adam_d, loss_d)

    def _loss(self, images: torch.Tensor, label: float) -> torch.Tensor:
        logits = self.discriminator(images)
        return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    def _optimise(self, adam: Any, loss: torch.Tensor) -> None:
        self.manual_backward(loss)
        adam.step()
        adam.zero_grad()
        self.untoggle_optimizer(adam)


class Stopwatch(Callback):  # type: ignore[misc] # as above
    """The time from the first step's begin to the last one's end."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ended = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        self.began = self.began or time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.ended = time.perf_counter()


def build(recipe: Recipe, steps: int) -> Callable[[], float]:
    """Return what takes so many steps and gives their images/s."""
    use_cores()
    warnings.simplefilter("ignore")  # of few loader workers, which are slower here
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    gan, batches = Gan(recipe), loader(recipe, steps)

    def images_per_s() -> float:
        watch = Stopwatch()
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(accelerator="cpu", max_epochs=1, callbacks=[watch], enable_model_summary=False, **quiet)
        trainer.fit(gan, batches)
        assert watch.began is not None
        return steps * recipe.batch_size / (watch.ended - watch.began)

    return images_per_s
