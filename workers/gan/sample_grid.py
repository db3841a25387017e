"""SampleGrid: what a generator makes of the same inputs every time, as one picture."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ganservice.recipe import SuperResolution
from ganservice.spec import ENLARGEMENT_COLUMNS, TrainSpec
from workers.gan.data.examples import Examples
from workers.gan.grid import grid_png
from workers.gan.randomness import fixed_inputs
from workers.gan.resolution import enlarge, shrink


class SampleGrid(Protocol):
    """A grid of the samples that a generator makes of `inputs`."""

    inputs: tuple[Tensor, ...]

    def png(self, samples: Tensor) -> bytes:
        """The grid of samples float [B, C, H, W] in [-1, 1], PNG."""


class LatentGrid:
    """Samples alone: of fixed latents, a row for each class where classes are asked for."""

    def __init__(self, spec: TrainSpec, learned: Examples) -> None:
        self._columns = spec.samples.columns
        self.inputs = fixed_inputs(spec.recipe, spec.seed, spec.samples.rows, self._columns, learned.present_classes)

    def png(self, samples: Tensor) -> bytes:
        """Rows and columns of samples, as the spec wants them."""
        return grid_png(samples.numpy(), self._columns)


class EnlargementGrid:
    """Four columns for each picture: small (each pixel a square), by bicubic interpolation, by the generator, real."""

    def __init__(self, spec: TrainSpec, task: SuperResolution, pictures: Examples) -> None:
        """The first of `pictures`, so many as there is room for."""
        self._columns, self._factor = spec.samples.columns, task.factor
        count = spec.samples.rows * self._columns // ENLARGEMENT_COLUMNS
        self._real = pictures.images.first(count).float() / 127.5 - 1
        self.inputs: tuple[Tensor, ...] = (shrink(self._real, task.factor),)

    def png(self, samples: Tensor) -> bytes:
        """Rows and columns of pictures, each four times."""
        (small,) = self.inputs
        squares = interpolate(small, scale_factor=self._factor, mode="nearest")
        four = torch.stack([squares, enlarge(small, self._factor), samples, self._real], dim=1)
        return grid_png(four.flatten(0, 1).numpy(), self._columns)


def sample_grid(spec: TrainSpec, learned: Examples, held_out: Examples | None) -> SampleGrid:
    """The grid of a training on pictures: those to enlarge were not learned, where there are such."""
    if task := spec.recipe.super_resolution:
        return EnlargementGrid(spec, task, held_out or learned)
    return LatentGrid(spec, learned)
