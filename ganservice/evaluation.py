"""Evaluation: what the pictures of a generator were found to be worth, and the protocol under which.

Numbers of two protocols say nothing about each other: the digest of the protocol travels with every number.
"""

import hashlib
import math
from collections import Counter
from typing import Any

from pydantic import Field

from ganservice.model import Model
from ganservice.recipe import Precision

# Raised with every change of the code by which the same generator would get other numbers.
VERSION = 3


class Protocol(Model):
    """Everything that decides a number, but for the generator."""

    version: int = VERSION
    data_digest: str
    only: tuple[str, ...] | None
    split: str  # whose pictures the generated ones are held against
    real: int  # how many these are
    network: str
    network_digest: str
    # What the classifier was trained in, which changes its weights; None of networks from elsewhere. All else is fp32.
    network_precision: Precision | None = None
    resize: str  # what the network does to a picture first
    quantisation: str = "uint8"
    samples: int  # how many pictures are generated
    seed: int  # of their latents
    truncation: float | None  # latents are drawn anew beyond this, if anything
    neighbours: int
    block: int  # of the kernel distance

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that stand for the whole protocol."""
        # Protocols from before precision was written down keep their digests.
        left_out = {"network_precision"} if self.network_precision is None else set()
        return hashlib.sha256(self.model_dump_json(exclude=left_out).encode()).hexdigest()[:12]

    def differences(self, other: "Protocol") -> dict[str, tuple[Any, Any]]:
        """The keys in which two protocols differ, with both values."""
        mine, theirs = self.model_dump(), other.model_dump()
        return {key: (mine[key], theirs[key]) for key in mine if mine[key] != theirs[key]}


class Evaluation(Model):
    """What was measured of one checkpoint of a training."""

    job_id: str  # the training
    images: int  # that the generator has seen
    attempt: int = 0  # that wrote the checkpoint; 0 of weights that were sent
    checkpoint: str  # its key
    protocol: Protocol
    # By name, such as classifier_frechet_distance; None of what came out as no number.
    measures: dict[str, float | None]
    # Standard errors, by the same names, where there are any.
    errors: dict[str, float]
    # Share of pictures asked for of each class that the network finds to be of it.
    class_accuracies: dict[str, float | None] = Field(default_factory=dict)
    seconds: float
    at: float  # Unix time, s
    by: str  # the evaluation job
    pictures: dict[str, str] = Field(default_factory=dict)  # keys of PNGs, by what they show
    generator: str | None = None  # key of the folder from which this very generator can be fetched

    @property
    def quality(self) -> float:
        """The number by which the best checkpoint is chosen; lower is better."""
        distance = self.measures.get(self.chooses)
        return float("inf") if distance is None else distance

    @property
    def chooses(self) -> str:
        """The name of that number."""
        return "fid" if self.protocol.network == "inception_v3" else f"{self.protocol.network}_frechet_distance"

    @property
    def has_quality(self) -> bool:
        """Whether it was measured."""
        return math.isfinite(self.quality)

    def with_older(self, other: "Evaluation") -> "Evaluation":
        """This one, with what only `other`, of the same checkpoint and protocol, has measured."""
        return self.model_copy(
            update={name: getattr(other, name) | getattr(self, name) for name in ("measures", "errors", "pictures")}
            | {"class_accuracies": self.class_accuracies or other.class_accuracies}
        )

    def replaces(self, other: "Evaluation") -> bool:
        """Whether it takes the other's place: one training keeps one evaluation for so many images and a protocol."""
        return (self.images, self.protocol) == (other.images, other.protocol)

    def told(self, name: str) -> str:
        """A measure with its standard error, where there is one."""
        value, error = self.measures.get(name), self.errors.get(name)
        if value is None:
            return ""
        return f"{value:.4g}" if error is None else f"{value:.4g} +- {error:.2g}"


def best_of(evaluations: list[Evaluation]) -> Evaluation | None:
    """The best under the protocol that most of them share, of two such the later one: no others compare."""
    evaluations = [evaluation for evaluation in evaluations if evaluation.has_quality]
    if not evaluations:
        return None
    counts = Counter(evaluation.protocol.digest for evaluation in evaluations)
    usual = max(evaluations, key=lambda evaluation: (counts[evaluation.protocol.digest], evaluation.at))
    alike = [found for found in evaluations if found.protocol == usual.protocol]
    return min(alike, key=lambda evaluation: (evaluation.quality, -evaluation.images))


def quality_front(evaluations: list[Evaluation]) -> set[int]:
    """Images of the checkpoints that were the best so far when the training had seen so many images."""
    best = best_of(evaluations)
    front, reached = set(), float("inf")
    for evaluation in sorted(evaluations, key=lambda evaluation: evaluation.images):
        if best and evaluation.protocol == best.protocol and evaluation.quality < reached:
            reached = evaluation.quality
            front.add(evaluation.images)
    return front
