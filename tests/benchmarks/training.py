"""Images/s of the trainer, in the environment of a worker, beside loops that users write or take instead.

All train the same networks with the same batches of random pictures, in fp32, and in bf16 where that pays. Ours draws,
averages (EMA) and measures as for any job; the plain loop and Lightning's do nothing besides training.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from ganservice.job import Progress
from ganservice.recipe import Pictures, Precision, Recipe
from ganservice.spec_file import load_spec
from tests.benchmarks import CONFIGS
from tests.benchmarks.sides import Budget, Row, child, take_turns
from workers.dispatch.allocator import ALLOCATOR
from workers.gan.data.examples import Examples
from workers.gan.precision import bf16_pays
from workers.gan.trainer import Trainer

CPU = torch.device("cpu")
PLAIN, LIGHTNING, STYLEGAN = "plain loop", "Lightning", "StyleGAN-like loop"
LOOPS = {
    PLAIN: "peers.plain_loop:build",
    LIGHTNING: "peers.lightning_loop:build",
    STYLEGAN: "peers.stylegan_loop:build",
}


@dataclass(frozen=True)
class Case:
    """A recipe, who else trains its networks, and how many steps a measurement takes."""

    name: str
    config: str
    steps: int
    others: tuple[str, ...]
    changes: tuple[str, ...] = ()
    precision: Precision = "fp32"


LAZY_R1 = "recipe.loss={kind: non_saturating, r1: 1.0, penalty_every_steps: 16}"
# It mixes pictures, whose gradients are penalised one by one.
NO_BATCH_NORM = "recipe.discriminator.batch_norm=false"
CASES = (
    Case("DCGAN 28 px, batch 64", "fashion-dcgan", 8, (PLAIN, LIGHTNING)),
    Case("DCGAN 28 px, batch 64, in bf16", "fashion-dcgan", 8, (PLAIN,), precision="bf16"),
    Case("DCGAN 28 px, R1 each 16th step", "fashion-dcgan", 16, (STYLEGAN,), (LAZY_R1, NO_BATCH_NORM)),
    Case("MLP 28 px, batch 128", "fashion-mlp", 20, (PLAIN, LIGHTNING)),
    Case("DCGAN 64 px, batch 64", "celeba64-dcgan", 2, (PLAIN,), ("recipe.batch_size=64",)),
)
SMALL = ("recipe.batch_size=8", "recipe.generator.widths=[8]", "recipe.discriminator={kind: mlp, widths: [8]}")
TINY = (Case("MLP 28 px, batch 8", "fashion-mlp", 1, tuple(LOOPS), (*SMALL, LAZY_R1)),)


def rows(budget: Budget) -> Iterator[Row]:
    cases = TINY if budget.is_tiny else CASES
    for case in cases:
        if case.precision == "bf16" and not bf16_pays(CPU):
            yield Row(f"{case.name}, images/s", "ours", PLAIN, trouble="left out, for bf16 pays on no core here")
            continue
        recipe = load_spec(CONFIGS / f"{case.config}.yaml", case.changes).recipe
        recipe = recipe.model_copy(update={"precision": case.precision})
        with ExitStack() as ends:
            mine = ends.enter_context(child("ours", "training:ours", recipe, case.steps, **ALLOCATOR))
            others = [ends.enter_context(child(name, LOOPS[name], recipe, case.steps)) for name in case.others]
            yield from take_turns(f"{case.name}, images/s", mine, others, budget.share(len(cases)))


def ours(recipe: Recipe, steps: int) -> Callable[[], float]:
    """The trainer, that goes on by so many steps at a time; returns what gives its images/s."""
    use_cores()
    trainer = Trainer(recipe, Examples(pictures(recipe)), 0, CPU)
    return lambda: go_on(trainer, steps * recipe.images_per_step).images_per_s


def go_on(trainer: Trainer, images: int) -> Progress:
    """Train on so many more images, with one report."""
    total = trainer.images_seen + images
    (progress,) = trainer.train(total, report_every_images=10 * total)
    return progress


def pictures(recipe: Recipe, count: int = 10_000) -> torch.Tensor:
    """Random ones as the recipe has them, uint8 [N, C, H, W]."""
    assert isinstance(recipe.data, Pictures)
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *recipe.data.shape), dtype=torch.uint8, generator=draws)


def use_cores() -> None:
    """Two threads, as the recipes ask for."""
    torch.set_num_threads(2)
