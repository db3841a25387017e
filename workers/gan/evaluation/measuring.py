"""Measuring: all that one evaluation finds, from a generator, a feature network and the real pictures' features."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import safetensors.torch
import torch
from torch import Tensor, nn

from ganservice.recipe import Recipe
from ganservice.spec import Judging
from workers.gan.evaluation.classes import accuracies, class_score, modes
from workers.gan.evaluation.copying import birthdays, copying
from workers.gan.evaluation.features import BATCH, FeatureNetwork
from workers.gan.evaluation.frechet import Statistics, frechet_distance, statistics
from workers.gan.evaluation.kernel import kernel_distance
from workers.gan.evaluation.neighbours import manifolds
from workers.gan.grid import to_pixels
from workers.gan.randomness import derive_seed, fixed_latents


@dataclass(frozen=True, eq=False)
class RealFeatures:
    """Real pictures as a network sees them: features float32 [N, D], their statistics, the share of each class [K]."""

    features: Tensor
    statistics: Statistics
    class_shares: Tensor

    def to_bytes(self) -> bytes:
        """As safetensors."""
        tensors = {
            "features": self.features,
            "mean": self.statistics.mean,
            "factor": self.statistics.factor.contiguous(),
            "class_shares": self.class_shares,
        }
        return safetensors.torch.save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> "RealFeatures":
        """What `to_bytes` gave."""
        tensors = safetensors.torch.load(data)
        moments = Statistics(len(tensors["features"]), tensors["mean"], tensors["factor"])
        return cls(tensors["features"], moments, tensors["class_shares"])

    def some(self, count: int) -> Tensor:
        """`count` features, the same every time; all where there are no more."""
        order = torch.randperm(len(self.features), generator=torch.Generator().manual_seed(derive_seed(0, "some")))
        return self.features[order[:count]]


def see_real(network: FeatureNetwork, pictures: Tensor, labels: Tensor | None, classes: int) -> RealFeatures:
    """Features of all `pictures` uint8 [N, C, H, W]; with `labels` int64 [N] also the share of each class."""
    features = torch.cat([features for features, _ in network.see([pictures])])
    counts = torch.bincount(labels, minlength=classes).double() if labels is not None else torch.zeros(0).double()
    return RealFeatures(features, statistics(torch.split(features, BATCH)), counts / counts.sum().clamp_min(1))


@dataclass
class Findings:
    """What was measured, by name; standard errors by the same names."""

    measures: dict[str, float | None] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    class_accuracies: list[float | None] = field(default_factory=list)
    # Features of the generated pictures [N, D], of which `picture` gives one, uint8 [C, H, W].
    features: Tensor = field(default_factory=lambda: torch.zeros(0, 0))

    def add(self, name: str, value: float, error: float | None = None) -> None:
        """Under a name; what is no finite number is told as None."""
        self.measures[name] = value if math.isfinite(value) else None
        if error is not None and math.isfinite(error):
            self.errors[name] = error


class Generated:
    """The pictures that an evaluation judges, made again whenever they are asked for: they are never held at once."""

    def __init__(self, generator: nn.Module, recipe: Recipe, judging: Judging) -> None:
        self._generator = generator
        self.latents = _truncated(fixed_latents(judging.seed, judging.samples, recipe.latent_size), judging)
        classes = recipe.conditioning.classes if recipe.conditioning else 0
        self.labels = torch.arange(judging.samples) % classes if classes else None

    def batches(self) -> Iterator[Tensor]:
        """Pictures uint8 [B, C, H, W], as a viewer would see them."""
        for rows in torch.split(torch.arange(len(self.latents)), BATCH):
            yield self[rows]

    @torch.no_grad()
    def __getitem__(self, rows: Tensor) -> Tensor:
        inputs = (self.latents[rows], *(() if self.labels is None else (self.labels[rows],)))
        return torch.from_numpy(to_pixels(self._generator(*inputs).numpy()))


def _truncated(latents: Tensor, judging: Judging) -> Tensor:
    """Numbers beyond the truncation are drawn anew until they are within (Brock et al. 2019, "BigGAN").

    At once, by the inverse of the distribution: drawing again and again would never end for a narrow one.
    """
    if judging.truncation is None:
        return latents
    draws = torch.Generator().manual_seed(derive_seed(judging.seed, "truncation"))
    share_below = torch.special.ndtr(torch.tensor(-judging.truncation, dtype=torch.float64))
    shares = share_below + (1 - 2 * share_below) * torch.rand(latents.shape, generator=draws, dtype=torch.float64)
    return torch.where(latents.abs() > judging.truncation, torch.special.ndtri(shares).to(latents.dtype), latents)


def measure(
    generated: Generated,
    network: FeatureNetwork,
    judging: Judging,
    real: RealFeatures,
    training: RealFeatures,
    held_out: RealFeatures | None,
    proceed: Callable[[], None],
) -> Findings:
    """Everything that `judging` asks for.

    `real` are the pictures to be like, `training` those that the generator learned, `held_out` others of their kind.
    `proceed` is called between measures; whatever it raises ends them.
    """
    names = Names(network)
    found = Findings()
    seen = list(network.see(generated.batches()))
    found.features, logits = torch.cat([features for features, _ in seen]), torch.cat([logit for _, logit in seen])
    for wanted in judging.measures:
        proceed()
        match wanted:
            case "frechet":
                own = statistics(torch.split(found.features, BATCH))
                found.add(names.frechet, frechet_distance(own, real.statistics))
            case "kernel":
                found.add(names.kernel, *kernel_distance(real.some(judging.samples), found.features))
            case "classes":
                _measure_classes(found, names, logits, generated.labels, real)
            case "manifolds":
                for name, value in vars(manifolds(real.some(judging.samples), found.features)).items():
                    found.add(names.of(name), value)
            case "copying" if held_out is not None:
                copied = copying(found.features, training.features, held_out.some(judging.samples))
                found.add(names.of("copying_score"), copied.score)
                found.add(names.of("near_copies"), copied.near_copies)
            case "birthdays":
                born = birthdays(found.features, training.some(judging.samples))
                found.add(names.of("duplicate_pairs"), born.pairs)
                found.add(names.of("support"), born.support)
    return found


@dataclass(frozen=True)
class Names:
    """What measures are called: after their network; only Inception's, as the field computes them, have its names."""

    network: FeatureNetwork

    @property
    def _is_inception(self) -> bool:
        return self.network.name == "inception_v3"

    @property
    def frechet(self) -> str:
        """The Frechet distance."""
        return "fid" if self._is_inception else self.of("frechet_distance")

    @property
    def kernel(self) -> str:
        """The kernel distance."""
        return "kid" if self._is_inception else self.of("kernel_distance")

    @property
    def score(self) -> str:
        """The class score."""
        return "inception_score" if self._is_inception else self.of("score")

    def of(self, measure: str) -> str:
        """Any other measure."""
        return f"{self.network.name}_{measure}"


def _measure_classes(found: Findings, names: Names, logits: Tensor, asked: Tensor | None, real: RealFeatures) -> None:
    found.add(names.score, class_score(logits))
    classes = len(real.class_shares)
    # Only the classifier knows the data's own classes.
    if names.network.name != "classifier" or not classes:
        return
    predicted = logits.argmax(dim=1)
    modes_found = modes(predicted, real.class_shares)
    found.add(names.of("modes"), modes_found.count)
    found.add(names.of("class_divergence"), modes_found.divergence)
    if asked is not None:
        found.class_accuracies = accuracies(predicted, asked, classes)
        found.add(names.of("gan_test_accuracy"), (predicted == asked).double().mean().item())
