"""Evaluation: the quality measured of a generator's pictures, the protocol it was measured under, and the best of many.

Numbers of two protocols say nothing about each other: the digest of the protocol travels with every number.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from ganservice.model import Count, JobId, Model, Name, Seed, SeenImages, Span, StoreKey, Time
from ganservice.recipe import Precision
from ganservice.recipe.data import MAX_CLASSES, ClassName

# Raised with every change of the code by which the same generator would get other numbers.
VERSION = 4
# The number that chooses the best checkpoint; lower is better.
QUALITY_NUMBER = "frechet_distance"
# Of one evaluation.
MAX_NUMBERS = 1_000
# What the field calls Inception's numbers, and only Inception's.
INCEPTION = "inception_v3"
INCEPTION_NAMES = {"frechet_distance": "fid", "kernel_distance": "kid", "score": "inception_score"}
# What pictures are found to be that were enlarged, and then the same by bicubic interpolation; no network sees them.
RECONSTRUCTION_NUMBERS = ("psnr", "ssim", "psnr_of_bicubic", "ssim_of_bicubic")
# Which way a number of a better generator goes; others say something else than how good it is.
BETTER: dict[str, Literal["higher", "lower"]] = {
    "frechet_distance": "lower",
    "kernel_distance": "lower",
    "score": "higher",
    "modes": "higher",
    "class_divergence": "lower",
    "gan_test_accuracy": "higher",
    "class_distance": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
    "near_copies": "lower",
    "gan_train_accuracy": "higher",
    "psnr": "higher",
    "ssim": "higher",
}


def full_name(number: str, network: str) -> str:
    """Return the name under which a number is published: after its network, as in classifier_frechet_distance.

    Those that no network gives are called as they are.
    """
    if number in RECONSTRUCTION_NUMBERS:
        return number
    if network == INCEPTION and number in INCEPTION_NAMES:
        return INCEPTION_NAMES[number]
    return f"{network}_{number}"


def name_pattern(*numbers: str) -> str:
    """Return a regular expression, as PromQL takes it, of all names of some numbers: fid|.*_frechet_distance."""
    names = [(INCEPTION_NAMES.get(number), full_name(number, network=".*")) for number in numbers]
    return "|".join(name for pair in names for name in pair if name)


def network_name(data_digest: str | None, only: tuple[str, ...] | None, *, stacked: bool = False) -> str:
    """Return the name in the store of the classifier of some pictures, or of the channels of a stacked set."""
    trained = "classifier of strided convolutions"
    return _derived_name(data_digest, only, trained=f"{trained} on each channel" if stacked else trained)


def statistics_name(
    data_digest: str | None, only: tuple[str, ...] | None, split: str, network_digest: str, resize: str
) -> str:
    """Return the name under which the store holds how a network sees one split of some pictures."""
    return _derived_name(data_digest, only, split=split, network=network_digest, resize=resize)


def _derived_name(data_digest: str | None, only: tuple[str, ...] | None, **what: str) -> str:
    parts: dict[str, Any] = {"data": data_digest, "only": only, **what}
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()


class Protocol(Model):
    """Everything that decides a number, but for the generator."""

    version: Count = VERSION
    data_digest: Name
    only: Annotated[tuple[ClassName, ...], Field(max_length=MAX_CLASSES)] | None
    split: Name  # whose pictures the generated ones are held against
    real: Count  # how many these are
    network: Name
    network_digest: Name
    # What the classifier was trained in, which changes its weights; None of networks from elsewhere. All else is fp32.
    network_precision: Precision | None = None
    resize: Name  # what the network does to a picture first
    quantisation: Name = "uint8"
    samples: Count  # how many pictures are generated
    seed: Seed  # of their latents
    truncation: float | None  # latents are drawn anew beyond this, if anything
    neighbours: Count
    block: Count  # of the kernel distance

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that stand for the whole protocol."""
        # Protocols from before precision was written down keep their digests.
        exclude = {"network_precision"} if self.network_precision is None else set()
        return hashlib.sha256(self.model_dump_json(exclude=exclude).encode()).hexdigest()[:12]

    def differences(self, other: "Protocol") -> dict[str, tuple[Any, Any]]:
        """The keys in which two protocols differ, with both values."""
        mine, theirs = self.model_dump(), other.model_dump()
        return {key: (mine[key], theirs[key]) for key in mine if mine[key] != theirs[key]}


# The fields of an evaluation that tell of each class.
BY_CLASS = ("class_accuracies", "class_frechet_distances", "class_pictures")


class Evaluation(Model):
    """What was measured of one checkpoint of a training."""

    job_id: JobId  # the training
    images: SeenImages  # that the generator has seen
    attempt: Count = 0  # that wrote the checkpoint; 0 of weights that were sent
    checkpoint: StoreKey  # its key
    protocol: Protocol
    # By full name, such as classifier_frechet_distance; None of what came out as no finite number.
    measures: Annotated[dict[Name, float | None], Field(max_length=MAX_NUMBERS)]
    # Standard errors, by the same names, where there are any.
    errors: Annotated[dict[Name, float], Field(max_length=MAX_NUMBERS)]
    # By class, the share of the pictures generated of it that the network takes for it.
    class_accuracies: Annotated[dict[ClassName, float | None], Field(max_length=MAX_CLASSES)] = Field(
        default_factory=dict
    )
    # By class, the Frechet distance of pictures generated of it from the real ones of it.
    class_frechet_distances: Annotated[dict[ClassName, float | None], Field(max_length=MAX_CLASSES)] = Field(
        default_factory=dict
    )
    # By class, how many generated and how many real pictures speak for these two numbers.
    class_pictures: Annotated[dict[ClassName, tuple[Count, Count]], Field(max_length=MAX_CLASSES)] = Field(
        default_factory=dict
    )
    seconds: Span
    at: Time
    by: Name  # the evaluation job
    advisory: bool = False  # whether it is by a further judge of the training, and so chooses no best checkpoint
    pictures: Annotated[dict[Name, StoreKey], Field(max_length=MAX_NUMBERS)] = Field(
        default_factory=dict
    )  # keys of PNGs, by what they show
    generator: StoreKey | None = None  # key of the folder from which this very generator can be fetched

    @property
    def quality(self) -> float:
        """The number by which the best checkpoint is chosen; lower is better, infinite where it was not measured."""
        distance = self.measures.get(self.quality_name)
        return float("inf") if distance is None else distance

    @property
    def quality_name(self) -> str:
        """The full name of that number."""
        return full_name(QUALITY_NUMBER, self.protocol.network)

    @property
    def has_quality(self) -> bool:
        """Say whether that number was measured."""
        return math.isfinite(self.quality)

    @property
    def better(self) -> dict[str, Literal["higher", "lower"]]:
        """Which way the numbers that were measured go of a better generator, by full name."""
        of_all = {full_name(number, self.protocol.network): way for number, way in BETTER.items()}
        return {name: of_all[name] for name in self.measures if name in of_all}

    @property
    def subject(self) -> tuple[int, str]:
        """The checkpoint that was judged: its images and its key."""
        return self.images, self.checkpoint

    def replaces(self, other: "Evaluation") -> bool:
        """Say whether this evaluation takes the place of `other`, of the same training.

        A training keeps one evaluation for each number of images and protocol.
        """
        return (self.images, self.protocol) == (other.images, other.protocol)

    def with_older(self, others: Iterable["Evaluation"]) -> "Evaluation":
        """Return this evaluation with the numbers that only another of its checkpoint and protocol has."""
        evaluation = self
        for other in others:
            if self.replaces(other) and self.checkpoint == other.checkpoint:
                fields = ("measures", "errors", *BY_CLASS, "pictures")
                update = {field: getattr(other, field) | getattr(evaluation, field) for field in fields}
                evaluation = evaluation.model_copy(update=update)
        return evaluation

    def is_best_among(self, others: Iterable["Evaluation"]) -> bool:
        """Say whether this evaluation, in the place of the one that it replaces, is the best."""
        return best_of([*(other for other in others if not self.replaces(other)), self]) is self

    @property
    def class_texts(self) -> dict[str, tuple[str, str, str]]:
        """For each class, as people read them: the share taken for it, its distance, and how many pictures say so."""
        texts = {}
        for name in dict.fromkeys((*self.class_accuracies, *self.class_frechet_distances)):
            share, distance = self.class_accuracies.get(name), self.class_frechet_distances.get(name)
            generated, real = self.class_pictures.get(name, (0, 0))
            texts[name] = (
                "" if share is None else f"{share:.1%}",
                "" if distance is None else f"{distance:.4g}",
                f"{generated:,} beside {real:,} real" if generated else "",
            )
        return texts

    def text(self, name: str) -> str:
        """Return a number with its standard error, as people read it; nothing where it was not measured."""
        value, error = self.measures.get(name), self.errors.get(name)
        if value is None:
            return ""
        return f"{value:.4g}" if error is None else f"{value:.4g} +- {error:.2g}"


def best_of(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """Return the evaluation of the least distance, and of equal ones that of most images; None where there is none.

    Distances of different protocols do not compare: only those count that are `comparable`.
    """
    return min(comparable(evaluations), key=lambda evaluation: (evaluation.quality, -evaluation.images), default=None)


def comparable(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return those whose distance was measured under the protocol that most of them share; of several such the one used
    last. What is advisory counts where there is nothing else."""
    finite = [evaluation for evaluation in evaluations if evaluation.has_quality]
    choosing = [evaluation for evaluation in finite if not evaluation.advisory] or finite
    if not choosing:
        return []
    counts = Counter(evaluation.protocol.digest for evaluation in choosing)
    usual = max(choosing, key=lambda evaluation: (counts[evaluation.protocol.digest], evaluation.at)).protocol
    return [evaluation for evaluation in finite if evaluation.protocol == usual]


def last_and_best(evaluations: Sequence[Evaluation]) -> tuple[Evaluation, Evaluation] | None:
    """Return the evaluation of most images and the best, of those that compare and choose; None where there is none."""
    alike = comparable([evaluation for evaluation in evaluations if not evaluation.advisory])
    best = best_of(alike)
    return (max(alike, key=lambda evaluation: (evaluation.images, evaluation.at)), best) if best else None


def quality_front(evaluations: Sequence[Evaluation]) -> set[int]:
    """Return the images of each checkpoint that is better than all of fewer images, under the protocol of the best."""
    best = best_of(evaluations)
    front, least = set(), float("inf")
    for evaluation in sorted(evaluations, key=lambda evaluation: evaluation.images):
        if best and evaluation.protocol == best.protocol and evaluation.quality < least:
            least = evaluation.quality
            front.add(evaluation.images)
    return front
