"""What the measures of quality compare: generated pictures with real ones, by the features of one network."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import safetensors.torch
import torch
from torch import Tensor

from ganservice.judging import Measure
from workers.gan.data.examples import Examples
from workers.gan.evaluation.blocks import BLOCK, ON_CPU, Blocks
from workers.gan.evaluation.derived import read_tensors
from workers.gan.evaluation.features import BATCH, FeatureNetwork, gather
from workers.gan.evaluation.frechet import Statistics, statistics
from workers.gan.evaluation.generated import GeneratedPictures
from workers.gan.evaluation.neighbours import Kind, Manifolds, Meeting, nearest_distances
from workers.gan.evaluation.parts import Part, Proceed
from workers.gan.randomness import derive_seed


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
        total = len(pictures.images)

        def look() -> Iterator[tuple[Tensor]]:
            for place, (part, _) in enumerate(network.see(pictures.images.blocks(BATCH)), start=1):
                yield (part,)
                proceed(place * BATCH / (total + BATCH))

        (features,) = gather(look(), total)
        counts = pictures.class_counts.double()
        return cls(features, statistics(torch.split(features, BLOCK)), counts / counts.sum().clamp_min(1))

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
        return self.features[self.choose(count)]

    def choose(self, count: int) -> Tensor:
        """Return which pictures these `count` are of, int64."""
        order = torch.randperm(len(self.features), generator=torch.Generator().manual_seed(derive_seed(0, "some")))
        return order[:count]


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a network makes of generated pictures: features float32 [N, D], logits float32 [N, K]; and the classes that
    were asked for, int64 [N], or [0] of a generator without."""

    features: Tensor
    logits: Tensor
    labels: Tensor

    def of(self, rows: Tensor) -> "Outputs":
        """Return those of some pictures."""
        return Outputs(self.features[rows], self.logits[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that a measure may look at."""

    network: FeatureNetwork
    generated: GeneratedPictures
    real: RealFeatures  # of the split that the generated pictures are held against
    training: RealFeatures | None  # of the pictures that the generator learned, where these are looked at
    held_out: RealFeatures | None  # of pictures of the same source that it did not learn, where there are any
    test_pictures: Examples  # real pictures to test a classifier on: held out ones, where there are any
    training_pictures: Examples  # that the generator learned
    real_labels: Tensor | None  # of the pictures of `real`
    # Called at each step of what takes long.
    proceed: Proceed = lambda *_: None
    # How features are compared with each other.
    blocks: Blocks = ON_CPU
    # What is measured: measures that look at the same distances share them.
    measures: Collection[Measure] = ()

    @cached_property
    def _outputs(self) -> Outputs:
        return self._look(self.generated, Part.GENERATED)

    def _look(self, pictures: GeneratedPictures, part: Part) -> Outputs:
        total = len(pictures)

        def look() -> Iterator[tuple[Tensor, Tensor]]:
            for place, each in enumerate(self.network.see(pictures.batches())):
                self.proceed(part, place * BATCH / total)
                yield each

        features, logits = gather(look(), total)
        self.proceed(part, 1.0)
        labels = torch.zeros(0, dtype=torch.int64) if pictures.labels is None else pictures.labels
        return Outputs(features, logits, labels)

    def features_of(self, pictures: GeneratedPictures) -> Tensor:
        """Features of other pictures, float32 [N, D]."""
        (features,) = gather(((part,) for part, _ in self.network.see(pictures.batches())), len(pictures))
        return features

    @property
    def features(self) -> Tensor:
        """Features of the generated pictures, float32 [N, D]."""
        return self._outputs.features

    @property
    def logits(self) -> Tensor:
        """Logits of the generated pictures, float32 [N, K]."""
        return self._outputs.logits

    @property
    def class_part(self) -> int:
        """How many generated pictures each class is judged by that was learned: its part of all."""
        return len(self.generated) // max(1, len(self.training_pictures.present_classes))

    def of_class(self, label: int) -> Outputs:
        """Outputs of the pictures by which one class is judged, as many of each.

        In the shares of the data rare classes would have too few to say anything: of these more are drawn.
        """
        of_both = [each.of(each.labels == label) for each in (self._outputs, self._supplement)]
        features, logits, labels = (
            torch.cat(values)[: self.class_part]
            for values in zip(*((each.features, each.logits, each.labels) for each in of_both), strict=True)
        )
        return Outputs(features, logits, labels)

    @cached_property
    def _supplement(self) -> Outputs:
        lacking = lacking_labels(self._outputs.labels, self.training_pictures.present_classes)
        if not len(lacking):
            return self._outputs.of(lacking)
        return self._look(self.generated.supplement(lacking), Part.SUPPLEMENT)

    @cached_property
    def real_subset(self) -> Tensor:
        """Features of as many real pictures as there are generated ones, or of all; float32 [M, D]."""
        return self.real.subset(len(self.features))

    @cached_property
    def real_kind(self) -> Kind:
        """The subset of the real pictures, with their neighbours."""
        return Kind.of(self.real_subset, self.blocks)

    @cached_property
    def generated_kind(self) -> Kind:
        """The generated pictures, with their neighbours."""
        return Kind.of(self.features, self.blocks)

    @cached_property
    def _meeting(self) -> Meeting:
        """What the generated pictures are to all real ones, of which only those of the subset have a ball."""
        radii = torch.zeros(len(self.real.features), dtype=torch.float64)
        radii[self.real.choose(len(self.features))] = self.real_kind.radii
        return Meeting.of(self.real.features, radii, self.generated_kind, self.blocks)

    @property
    def manifolds(self) -> Manifolds:
        """How the generated pictures lie beside the subset of the real ones."""
        return self._meeting.manifolds(self.real.choose(len(self.features)))

    @property
    def birthday_kinds(self) -> tuple[Kind, Kind]:
        """As many generated pictures as pictures that the generator learned, with their neighbours."""
        count = min(len(self.features), len(self.learned.features))
        generated = self.generated_kind if count == len(self.features) else Kind.of(self.features[:count], self.blocks)
        if self.real is self.training:
            return generated, self.real_kind
        return generated, Kind.of(self.learned.subset(count), self.blocks)

    @property
    def learned(self) -> RealFeatures:
        """Features of the pictures that the generator learned, which somebody has seen to it are looked at."""
        if self.training is None:
            raise TypeError("a comparison with training pictures that were not looked at")
        return self.training

    @cached_property
    def training_distances(self) -> Tensor:
        """The distance of each generated picture to the nearest training picture, float64 [N]."""
        if self.real is self.training and "manifolds" in self.measures:
            return self._meeting.nearest
        return nearest_distances(self.features, self.learned.features, self.blocks)


def lacking_labels(labels: Tensor, classes: Tensor) -> Tensor:
    """Return the labels of the pictures that must be drawn besides, lest a class have fewer than its part of all."""
    counts = torch.bincount(labels, minlength=int(classes.max()) + 1)[classes]
    return classes.repeat_interleave((len(labels) // len(classes) - counts).clamp_min(0))
