"""The pictures that an evaluation judges: of latents, or enlarged ones."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ganservice.judging import Judging
from ganservice.recipe import Recipe
from workers.gan.data.rows import Rows
from workers.gan.evaluation.blocks import CPU
from workers.gan.evaluation.features import BATCH
from workers.gan.randomness import class_labels, derive_seed, fixed_latents
from workers.gan.resolution import Bicubic, shrink


class GeneratedPictures(ABC):
    """The pictures of a generator under evaluation, made anew at each use: they are never held all at once.

    `labels` int64 [N] are the classes that a conditional generator is asked for; None of any other.
    """

    labels: Tensor | None = None

    def __init__(self, generator: nn.Module, device: torch.device) -> None:
        self._generator = generator
        self._device = device  # of the generator

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def _inputs(self, rows: Tensor) -> tuple[Tensor, ...]:
        """What the generator is given for some of them."""

    @abstractmethod
    def supplement(self, labels: Tensor) -> "GeneratedPictures":
        """Return more pictures of the same generator, of these classes."""

    def batches(self) -> Iterator[Tensor]:
        """Yield all pictures, uint8 [B, C, H, W], as a viewer would see them; on the generator's device."""
        for rows in torch.split(torch.arange(len(self)), BATCH):
            yield self[rows]

    @torch.no_grad()
    def __getitem__(self, rows: Tensor) -> Tensor:
        pictures: Tensor = self._generator(*(values.to(self._device) for values in self._inputs(rows)))
        # As `to_pixels` rounds them, on the device: a quarter of the bytes is moved.
        return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class SampledPictures(GeneratedPictures):
    """Pictures of latents float32 [N, Z]."""

    def __init__(
        self,
        generator: nn.Module,
        recipe: Recipe,
        judging: Judging,
        shares: Tensor | None = None,
        device: torch.device = CPU,
    ) -> None:
        """`shares` [K] is how often a conditional generator is asked for each class; `device` is the generator's."""
        super().__init__(generator, device)
        self._judging = judging
        self.latents = fixed_latents(judging.seed, judging.samples, recipe.latent_size, judging.truncation)
        if recipe.conditioning is not None:
            if shares is None:
                raise TypeError("shares: expected those of the classes that a conditional generator is asked for")
            self.labels = class_labels(shares, judging.samples, judging.seed)

    def supplement(self, labels: Tensor) -> "SampledPictures":
        """Return more pictures of the same generator, of these classes, from latents of their own."""
        judging, more = self._judging, copy.copy(self)
        seed = derive_seed(judging.seed, "supplement")
        more.latents = fixed_latents(seed, len(labels), self.latents.shape[1], judging.truncation)
        more.labels = labels
        return more

    def __len__(self) -> int:
        return len(self.latents)

    def _inputs(self, rows: Tensor) -> tuple[Tensor, ...]:
        return (self.latents[rows], *(() if self.labels is None else (self.labels[rows],)))


class EnlargedPictures(GeneratedPictures):
    """Real pictures made small, and enlarged by a generator."""

    def __init__(
        self, generator: nn.Module, real: Rows, factor: int, judging: Judging, device: torch.device = CPU
    ) -> None:
        """`real` uint8 [N, C, H, W]: of more than the judging's samples so many, chosen by its seed."""
        super().__init__(generator, device)
        draws = torch.Generator().manual_seed(derive_seed(judging.seed, "enlarged"))
        self.real = real.select(torch.randperm(len(real), generator=draws)[: judging.samples])
        self.factor = factor

    def bicubic(self) -> "EnlargedPictures":
        """Return the same pictures enlarged by bicubic interpolation."""
        others = copy.copy(self)
        others._generator = Bicubic(self.factor)  # noqa: SLF001 # a copy of its own
        return others

    def supplement(self, labels: Tensor) -> "EnlargedPictures":
        """Raise TypeError: no class can be asked for."""
        raise TypeError(f"pictures that are enlarged have no classes to ask for; found {len(labels)} labels")

    def __len__(self) -> int:
        return len(self.real)

    def _inputs(self, rows: Tensor) -> tuple[Tensor, ...]:
        return (shrink(self.real.take(rows).float() / 127.5 - 1, self.factor),)
