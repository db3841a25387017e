"""Domains: all that differs between a training on pictures and one on points in the plane."""

from typing import Any, Protocol

from torch import Tensor

from ganservice.recipe import Mixture, Pictures
from ganservice.spec import TrainSpec
from workers.gan.data.examples import Examples
from workers.gan.diversity import COUNT, Diversity
from workers.gan.plane import POINTS_TO_DRAW, coverage, plane_png
from workers.gan.randomness import class_labels, fixed_latents
from workers.gan.resolution import shrink
from workers.gan.sample_grid import sample_grid
from workers.gan.trainer import Trainer


class Domain(Protocol):
    """The kind of examples that a training generates: what a report tells of them, how they are shown.

    It draws from the same inputs every time.
    """

    def measure(self, trainer: Trainer) -> dict[str, Any]:
        """Fields that a report has in this domain alone."""

    def grid(self, trainer: Trainer) -> bytes:
        """A sample grid, PNG."""


class PictureDomain:
    """Pictures are counted in epochs and compared with one another; a grid shows them side by side."""

    def __init__(self, spec: TrainSpec, examples: Examples, held_out: Examples | None) -> None:
        self._count = len(examples.images)
        self._diversity = Diversity(examples.images)
        self._compared = _compared_inputs(spec, examples, held_out)
        self._grid = sample_grid(spec, examples, held_out)

    def measure(self, trainer: Trainer) -> dict[str, Any]:
        """How diverse the samples are, and how often the training set was seen."""
        diversity = self._diversity.of(trainer.glimpse(*self._compared))
        return {"epochs": trainer.images_seen / self._count, "diversity": diversity}

    def grid(self, trainer: Trainer) -> bytes:
        """Rows and columns of pictures, as the spec wants them."""
        return self._grid.png(trainer.sample(*self._grid.inputs))


def _compared_inputs(spec: TrainSpec, examples: Examples, held_out: Examples | None) -> tuple[Tensor, ...]:
    """Inputs of G for the pictures that are compared with one another."""
    if task := spec.recipe.super_resolution:
        real = (held_out or examples).images.first(COUNT).float() / 127.5 - 1
        return (shrink(real, task.factor),)
    latents = fixed_latents(spec.seed, COUNT, spec.recipe.latent_size)
    labels = (class_labels(examples.class_counts, COUNT, spec.seed),) if spec.recipe.conditioning else ()
    return (latents, *labels)


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


def build_domain(spec: TrainSpec, examples: Examples, held_out: Examples | None = None) -> Domain:
    """The domain of what a training learns; `examples` is its training set, `held_out` some that it never learns."""
    match spec.recipe.data:
        case Pictures():
            return PictureDomain(spec, examples, held_out)
        case Mixture() as mixture:
            return PlaneDomain(spec, mixture, examples)
