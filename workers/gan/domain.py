"""Domains: all that differs between a training on pictures and one on points in the plane."""

from typing import Any, Protocol

from ganservice.recipe import Mixture, Pictures
from ganservice.spec import TrainSpec
from workers.gan.data.examples import Examples
from workers.gan.diversity import COUNT, Diversity
from workers.gan.grid import grid_png
from workers.gan.plane import POINTS_TO_DRAW, coverage, plane_png
from workers.gan.randomness import class_labels, fixed_inputs, fixed_latents
from workers.gan.trainer import Trainer


class Domain(Protocol):
    """The kind of examples that a training generates: what a report tells of them, how they are shown.

    It draws from the same latents every time.
    """

    def measure(self, trainer: Trainer) -> dict[str, Any]:
        """Fields that a report has in this domain alone."""

    def grid(self, trainer: Trainer) -> bytes:
        """A sample grid, PNG."""


class PictureDomain:
    """Pictures are counted in epochs and compared with one another; a grid shows them side by side."""

    def __init__(self, spec: TrainSpec, examples: Examples) -> None:
        recipe = spec.recipe
        self._count = len(examples.images)
        self._diversity = Diversity(examples.images)
        labels = (class_labels(examples.class_counts, COUNT, spec.seed),) if recipe.conditioning else ()
        self._compared = (fixed_latents(spec.seed, COUNT, recipe.latent_size), *labels)
        self._columns = spec.samples.columns
        self._shown = fixed_inputs(recipe, spec.seed, spec.samples.rows, self._columns, examples.present_classes)

    def measure(self, trainer: Trainer) -> dict[str, Any]:
        """How diverse the samples are, and how often the training set was seen."""
        diversity = self._diversity.of(trainer.glimpse(*self._compared))
        return {"epochs": trainer.images_seen / self._count, "diversity": diversity}

    def grid(self, trainer: Trainer) -> bytes:
        """Rows and columns of pictures, as the spec wants them."""
        return grid_png(trainer.sample(*self._shown).numpy(), self._columns)


class PlaneDomain:
    """The domain of points, each of a known mode; a grid shows them, and D over the plane."""

    def __init__(self, spec: TrainSpec, mixture: Mixture, examples: Examples) -> None:
        self._mixture = mixture
        self._real = examples.images.first(POINTS_TO_DRAW)
        self._latents = fixed_latents(spec.seed, POINTS_TO_DRAW, spec.recipe.latent_size)

    def measure(self, trainer: Trainer) -> dict[str, Any]:
        """How many modes have a good sample, and what share of the samples is good."""
        modes, good_share = coverage(self._mixture, trainer.sample(self._latents))
        return {"modes": modes, "good_share": good_share, "diversity": modes / self._mixture.modes}

    def grid(self, trainer: Trainer) -> bytes:
        """The plane."""
        return plane_png(self._mixture, trainer, self._real, self._latents)


def build_domain(spec: TrainSpec, examples: Examples) -> Domain:
    """The domain of what a training learns; `examples` is its training set."""
    match spec.recipe.data:
        case Pictures():
            return PictureDomain(spec, examples)
        case Mixture() as mixture:
            return PlaneDomain(spec, mixture, examples)
