"""What the measures of quality compare: generated pictures with real ones, by the features of one network."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import safetensors.torch
import torch
from torch import Tensor, nn

from ganservice.recipe import Recipe
from ganservice.spec import Judging
from workers.gan.data.examples import Examples
from workers.gan.evaluation.derived import read_tensors
from workers.gan.evaluation.features import BATCH, FeatureNetwork
from workers.gan.evaluation.frechet import Statistics, statistics
from workers.gan.evaluation.neighbours import Move
from workers.gan.evaluation.parts import Part, Proceed
from workers.gan.grid import to_pixels
from workers.gan.randomness import derive_seed, fixed_latents


@dataclass(frozen=True, eq=False)
class RealFeatures:
    """Features float32 [N, D] of real pictures, their statistics, and the share of each class [K] (K = 0 of none)."""

    features: Tensor
    statistics: Statistics
    class_shares: Tensor

    @classmethod
    def of(
        cls, network: FeatureNetwork, pictures: Examples, proceed: Callable[[float], None] = lambda _: None
    ) -> "RealFeatures":
        """Compute the features of pictures uint8 [N, C, H, W]. `proceed` is called with the share that is done."""
        parts: list[Tensor] = []
        for part, _ in network.see(pictures.images.blocks(BATCH)):
            parts.append(part)
            proceed(len(parts) * BATCH / (len(pictures.images) + BATCH))
        features = torch.cat(parts)
        counts = torch.zeros(0).double()
        if pictures.labels is not None:
            counts = torch.bincount(pictures.labels, minlength=len(pictures.classes)).double()
        return cls(features, statistics(torch.split(features, BATCH)), counts / counts.sum().clamp_min(1))

    def to_bytes(self) -> bytes:
        """Return them as a safetensors file."""
        tensors = {
            "features": self.features,
            "mean": self.statistics.mean,
            "factor": self.statistics.factor.contiguous(),
            "class_shares": self.class_shares,
        }
        return safetensors.torch.save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes, count: int, width: int) -> "RealFeatures":
        """Restore those of `count` pictures, D = `width`, in a file by `to_bytes`. Raises DataInvalid."""
        tensors = read_tensors(
            data,
            {
                "features": (torch.float32, (count, width)),
                "mean": (torch.float64, (width,)),
                "factor": (torch.float64, (width, None)),
                "class_shares": (torch.float64, (None,)),
            },
        )
        moments = Statistics(len(tensors["features"]), tensors["mean"], tensors["factor"])
        return cls(tensors["features"], moments, tensors["class_shares"])

    def subset(self, count: int) -> Tensor:
        """Return `count` of the features, the same every time; all of them where there are no more."""
        order = torch.randperm(len(self.features), generator=torch.Generator().manual_seed(derive_seed(0, "some")))
        return self.features[order[:count]]


class GeneratedPictures:
    """The pictures of a generator under evaluation, drawn anew at each use: they are never held all at once.

    `latents` float32 [N, Z]. `labels` int64 [N] are the classes that a conditional generator draws, in turn; None of
    any other.
    """

    def __init__(self, generator: nn.Module, recipe: Recipe, judging: Judging) -> None:
        self._generator = generator
        self.latents = _truncate(fixed_latents(judging.seed, judging.samples, recipe.latent_size), judging)
        classes = recipe.conditioning.classes if recipe.conditioning else 0
        self.labels = torch.arange(judging.samples) % classes if classes else None

    def batches(self) -> Iterator[Tensor]:
        """Yield all pictures, uint8 [B, C, H, W], as a viewer would see them."""
        for rows in torch.split(torch.arange(len(self.latents)), BATCH):
            yield self[rows]

    @torch.no_grad()
    def __getitem__(self, rows: Tensor) -> Tensor:
        inputs = (self.latents[rows], *(() if self.labels is None else (self.labels[rows],)))
        return torch.from_numpy(to_pixels(self._generator(*inputs).numpy()))


def _truncate(latents: Tensor, judging: Judging) -> Tensor:
    """Return latents whose numbers beyond the truncation are drawn anew within it (Brock et al. 2019, "BigGAN").

    At once, by the inverse of the distribution: drawing again and again would never end for a narrow one.
    """
    if judging.truncation is None:
        return latents
    draws = torch.Generator().manual_seed(derive_seed(judging.seed, "truncation"))
    share_below = torch.special.ndtr(torch.tensor(-judging.truncation, dtype=torch.float64))
    shares = share_below + (1 - 2 * share_below) * torch.rand(latents.shape, generator=draws, dtype=torch.float64)
    return torch.where(latents.abs() > judging.truncation, torch.special.ndtri(shares).to(latents.dtype), latents)


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that a measure may look at."""

    network: FeatureNetwork
    generated: GeneratedPictures
    real: RealFeatures  # of the split that the generated pictures are held against
    training: RealFeatures  # of the pictures that the generator learned
    held_out: RealFeatures | None  # of pictures of the same source that it did not learn, where there are any
    test_pictures: Examples  # real pictures to test a classifier on: held out ones, where there are any
    # Called at each step of what takes long.
    proceed: Proceed = lambda *_: None
    # Called within steps that take long, when something has come further; whatever it raises ends them.
    move: Move = lambda: None

    @cached_property
    def _outputs(self) -> tuple[Tensor, Tensor]:
        parts: list[tuple[Tensor, Tensor]] = []
        for part in self.network.see(self.generated.batches()):
            self.proceed(Part.GENERATED, len(parts) * BATCH / len(self.generated.latents))
            parts.append(part)
        self.proceed(Part.GENERATED, 1.0)
        return torch.cat([features for features, _ in parts]), torch.cat([logits for _, logits in parts])

    @property
    def features(self) -> Tensor:
        """Features of the generated pictures, float32 [N, D]."""
        return self._outputs[0]

    @property
    def logits(self) -> Tensor:
        """Logits of the generated pictures, float32 [N, K]."""
        return self._outputs[1]

    @property
    def real_subset(self) -> Tensor:
        """Features of as many real pictures as there are generated ones, or of all; float32 [M, D]."""
        return self.real.subset(len(self.features))
