"""How the trainer's speed grows: from one worker to four, of one thread each, and from 28 px to 256 px.

Workers share this machine's cores: with two cores twice the speed is all there is. A worker of two threads, beside
which two of one thread stand too, is what one machine offers instead. Pixels per second stay the same where a picture
takes as long as it is large.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
import torch.distributed as dist

from ganservice.recipe import Recipe
from ganservice.spec_file import load_spec, parse_spec
from tests.benchmarks import CONFIGS
from tests.benchmarks.sides import Budget, Child, Row, Side, child, take_turns
from tests.benchmarks.training import CPU, go_on, pictures
from workers.dispatch.allocator import ALLOCATOR
from workers.gan.data.examples import Examples
from workers.gan.trainer import Trainer
from workers.gan.worker_group import WorkerGroup

# By name the recipe, the steps of a measurement, the numbers of workers and further keys.
GANGS: dict[str, tuple[str, int, tuple[int, ...], tuple[str, ...]]] = {
    "DCGAN 28 px": ("fashion-dcgan", 4, (2, 4), ()),
    "DCGAN 64 px": ("celeba64-dcgan", 1, (2,), ("recipe.batch_size=64",)),
    "R3GAN 28 px": ("stacked-fashion-r3gan", 2, (2,), ()),
}
TINY = {
    "DCGAN 28 px": (
        "fashion-dcgan",
        1,
        (2,),
        ("recipe.batch_size=4", "recipe.generator.widths=[8, 4, 4]", "recipe.discriminator.widths=[4, 4, 8]"),
    )
}
SIZES = (64, 128, 256)


def rows(budget: Budget) -> Iterator[Row]:
    gangs, sizes = (TINY, SIZES[:1]) if budget.is_tiny else (GANGS, SIZES)
    share = budget.share(2 * sum(len(workers) for _, _, workers, _ in gangs.values()))
    for name, (config, steps, workers, changes) in gangs.items():
        recipe = load_spec(CONFIGS / f"{config}.yaml", ("recipe.precision=fp32", *changes)).recipe
        with ExitStack() as ends:
            alone = [ends.enter_context(_gang(1, recipe, steps, threads)) for threads in (1, 2)]
            for count in workers:
                with _gang(count, recipe, steps) as gang:
                    yield from take_turns(f"{name}, batch {recipe.batch_size}, images/s", gang, alone, share)
    with ExitStack() as ends:
        sides = [ends.enter_context(_of_size(size, budget.is_tiny)) for size in (28, *sizes)]
        for side in sides[1:]:
            yield from take_turns("ResNet, pixels/s", side, sides[:1], budget.share(2 * len(sizes)))


@contextmanager
def _gang(count: int, recipe: Recipe, steps: int, threads: int = 1) -> Iterator[Side]:
    """Workers in processes of their own, that measure together; the first one's figure counts."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        environment = ALLOCATOR | {"GLOO_SOCKET_IFNAME": "lo"}
        workers = [
            Child("training_growth:worker", rank, count, folder, recipe, steps, threads, environment=environment)
            for rank in range(count)
        ]
        for each in workers:
            ends.callback(each.end)

        def images_per_s() -> float:
            for each in workers:
                each.ask()
            figures = [each.answer() for each in workers]
            return figures[0]

        name = f"{count} workers" if count > 1 else "1 worker"
        yield Side(name if threads == 1 else f"{name} of {threads} threads", images_per_s)


def worker(rank: int, count: int, folder: str, recipe: Recipe, steps: int, threads: int) -> Callable[[], float]:
    """One of a gang, which meets the others by a file; returns what gives the gang's images/s."""
    torch.set_num_threads(threads)
    group = WorkerGroup(rank, count)
    if count > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    trainer = Trainer(recipe, Examples(pictures(recipe)), 0, CPU, group)
    return lambda: go_on(trainer, steps * recipe.images_per_step).images_per_s


def _of_size(size: int, is_tiny: bool) -> AbstractContextManager[Side]:
    return child(f"{size} px", "training_growth:pixels_per_s", size, is_tiny, **ALLOCATOR)


def pixels_per_s(size: int, is_tiny: bool) -> Callable[[], float]:
    """Of a ResNet, one step or two at a time."""
    images_per_s = worker(0, 1, "", resnet(size, is_tiny), steps=1 if is_tiny else 2, threads=2)
    return lambda: images_per_s() * size**2


def resnet(size: int, is_tiny: bool) -> Recipe:
    """One of few channels, for so large pictures."""
    spec = {
        "name": "growth",
        "images": 1_000_000,
        "recipe": {
            "data": {"dataset": "random", "image_size": size, "channels": 3},
            "latent_size": 16,
            "generator": {"kind": "resnet", "width": 2 if is_tiny else 16},
            "discriminator": {"kind": "resnet", "width": 2 if is_tiny else 16},
            "loss": {"kind": "hinge"},
            "batch_size": 4 if is_tiny else 8,
            "precision": "fp32",
        },
    }
    return parse_spec(spec, "tests/benchmarks/training_growth.py").recipe
