"""Time a checkpoint takes from the training thread, over the time of one step."""

import time
from pathlib import Path

import torch

from ganservice.recipe import Pictures
from ganservice.spec_file import load_spec
from tests.benchmarks.ratios import compare
from workers.gan.checkpoint import snapshot
from workers.gan.data.examples import Examples
from workers.gan.trainer import Trainer

CONFIG = Path(__file__).parents[2] / "configs" / "fashion-dcgan.yaml"


def main() -> None:
    torch.set_num_threads(2)
    recipe = load_spec(CONFIG).recipe
    assert isinstance(recipe.data, Pictures)
    images = torch.randint(0, 256, (1_000, *recipe.data.shape), dtype=torch.uint8)
    trainer = Trainer(recipe, Examples(images), 0, torch.device("cpu"))

    def stall_s() -> float:
        started = time.perf_counter()
        snapshot(trainer.state_dict())
        return time.perf_counter() - started

    def step_s() -> float:
        total = trainer.images_seen + 10 * recipe.batch_size
        (progress,) = trainer.train(total, total)
        return progress.step_s

    compare("snapshot / step", stall_s, step_s)
