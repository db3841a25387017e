"""The time to a Frechet distance, s: ours to reach what the plain loop reaches with the networks of fashion-dcgan.

The plain loop trains for an eighth of the part's seconds with each of three seeds, each a round; the rest is for ours
and for judging, whose time counts for nobody. At 4,800 seconds that is what the loop reaches in ten minutes. Pictures
are those of Fashion-MNIST, features those of a classifier that has learned them. 5,000 samples are judged, of G itself
for the loop and of its average for ours, as each would be used; ours each thirtieth of the loop's time. Ours learns the
same networks in fp32 as the loop does and, where that pays, in bf16 too; at a higher rate, which G's average bears; and
by fashion-quick as it is shipped, whose networks are others.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from ganservice.recipe import Pictures, Recipe
from ganservice.settings import Settings
from ganservice.spec_file import load_spec
from tests.benchmarks import CONFIGS
from tests.benchmarks.peers.plain_loop import loop, networks
from tests.benchmarks.sides import Budget, Row, seconds
from tests.benchmarks.training import CPU, go_on, use_cores
from workers.gan.data.catalogue import CATALOGUE
from workers.gan.data.examples import Examples
from workers.gan.data.sources import obtain
from workers.gan.evaluation.classifier import build_classifier, train_classifier
from workers.gan.evaluation.frechet import frechet_distance, statistics
from workers.gan.precision import bf16_pays
from workers.gan.trainer import Trainer

SEEDS = 3
SHARE = 1 / 8
CLASSES = 10
BATCH = 100
AT_ONCE = 10  # steps between two looks at the clock
LOOKS = 60  # at ours, of which each may cost it so much of its time
# Ours gives up after so many times the loop's time.
PATIENCE = 2
OURS, QUICK, LOOP = "ours", "fashion-quick", "plain loop"
FASTER = 4  # 2 and 4 times both rates reach the same distance sooner; that of the loop is the lesson's
Distance = Callable[[Callable[[Tensor], Tensor]], float]


def rows(budget: Budget) -> Iterator[Row]:
    use_cores()
    small = ("recipe.batch_size=8", "recipe.generator.widths=[8, 4, 4]", "recipe.discriminator.widths=[4, 4, 8]")
    changes = ("recipe.precision=fp32", *(small if budget.is_tiny else ()))
    recipe = load_spec(CONFIGS / "fashion-dcgan.yaml", changes).recipe
    quick = load_spec(CONFIGS / f"{QUICK}.yaml", small if budget.is_tiny else ()).recipe
    recipes = {**our_recipes(recipe), QUICK: quick}
    examples = drawn(64) if budget.is_tiny else fashion()
    distance = judge(recipe, examples, budget)
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in recipes}
    troubles = dict.fromkeys(recipes, "")
    for seed in range(budget.size(SEEDS, 1)):
        loop_s = budget.seconds * SHARE
        target = plain_distance(recipe, examples, seed, loop_s, distance)
        for name, ours in recipes.items():
            our_s = time_to(target, ours, examples, seed, PATIENCE * loop_s, distance)
            if our_s is None:
                troubles[name] = f"seed {seed}: not {target:.3g} within {PATIENCE * loop_s:,.0f} s"
            else:
                figures[name].append((our_s, loop_s))
    for name, pairs in figures.items():
        yield Row(f"to the loop's Frechet distance, {target:.3g}, s", name, LOOP, pairs, troubles[name])


def our_recipes(recipe: Recipe) -> dict[str, Recipe]:
    """What ours learns by: what the loop does; the same in bf16 where that pays; and then faster."""
    recipes = {OURS: recipe}
    if bf16_pays(CPU):
        recipes[f"{OURS} in bf16"] = recipe = recipe.model_copy(update={"precision": "bf16"})
    rates = {
        each: getattr(recipe, each).model_copy(update={"lr": FASTER * getattr(recipe, each).lr})
        for each in ("optimiser_g", "optimiser_d")
    }
    recipes[f"{OURS}, {FASTER} times the rate"] = recipe.model_copy(update=rates)
    return recipes


def plain_distance(recipe: Recipe, examples: Examples, seed: int, loop_s: float, distance: Distance) -> float:
    """The distance of the plain loop's G after so many seconds."""
    torch.manual_seed(seed)
    g, d = networks(recipe)
    data = TensorDataset(all_of(examples).float() / 127.5 - 1)
    some = RandomSampler(data, num_samples=AT_ONCE * recipe.batch_size)
    train = loop(recipe, DataLoader(data, recipe.batch_size, sampler=some), (g, d))
    spent_s = 0.0
    while spent_s < loop_s:
        spent_s += seconds(train)
    # BatchNorm as it is in training, whose averages a tutorial does not look after.
    return distance(g)


def time_to(
    target: float, recipe: Recipe, examples: Examples, seed: int, longest_s: float, distance: Distance
) -> float | None:
    """How long the trainer takes to a distance, s; None where it does not come so far in time."""
    trainer = Trainer(recipe, examples, seed, CPU)
    spent_s, looked_s = 0.0, 0.0
    while spent_s < longest_s:
        spent_s += seconds(lambda: go_on(trainer, AT_ONCE * recipe.images_per_step))
        if spent_s - looked_s >= longest_s / LOOKS:
            looked_s = spent_s
            if distance(sampler(trainer, recipe)) <= target:
                return spent_s
    return None


def sampler(trainer: Trainer, recipe: Recipe) -> Callable[[Tensor], Tensor]:
    """What makes pictures of latents: of every class equally many, where it is asked for classes."""
    if not recipe.conditioning:
        return trainer.sample
    return lambda latents: trainer.sample(latents, torch.arange(len(latents)) % CLASSES)


def judge(recipe: Recipe, examples: Examples, budget: Budget) -> Distance:
    """What gives the distance of so many samples to the data, by a classifier's features."""
    assert examples.labels is not None
    samples, latent_size = budget.size(5_000, 64), recipe.latent_size
    assert isinstance(recipe.data, Pictures)
    network = build_classifier(recipe.data.channels, recipe.data.image_size, CLASSES)
    train_classifier(network, examples.images, examples.labels, steps=1 if budget.is_tiny else None)

    @torch.no_grad()
    def features(pictures: Tensor) -> Tensor:
        found: Tensor = network(pictures)[0]
        return found

    known = statistics(map(features, examples.images.blocks(BATCH)))

    @torch.no_grad()
    def distance(generate: Callable[[Tensor], Tensor]) -> float:
        latents = torch.randn(samples, latent_size, generator=torch.Generator().manual_seed(0))
        made = (generate(part) for part in latents.split(BATCH))
        return frechet_distance(
            known, statistics(features(pictures.add(1).mul(127.5).round().byte()) for pictures in made)
        )

    return distance


def all_of(examples: Examples) -> Tensor:
    """Its images, uint8 [N, C, H, W]."""
    return examples.images.first(len(examples.images))


def drawn(count: int) -> Examples:
    """Random pictures of random classes."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=draws)
    return Examples(images, torch.randint(CLASSES, (count,), generator=draws))


def fashion() -> Examples:
    """The training set of Fashion-MNIST, from the cache or from where it is published. Raises DataMissing."""
    entry, settings = CATALOGUE["fashion-mnist"], Settings()
    folder = obtain(entry, settings.cache_dir, None, settings.data_mirrors.split(), lambda _: None)
    split = entry.read(folder).splits["train"]
    return Examples(torch.from_numpy(split.images), torch.from_numpy(np.asarray(split.labels, dtype=np.int64)))
