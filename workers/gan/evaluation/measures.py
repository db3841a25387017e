"""The measures of quality: `computations` lists what each computes, the names of its numbers, and what it needs."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TypeVar, assert_never

import torch

from ganservice.evaluation import full_name
from ganservice.spec import Measure
from workers.gan.data.rows import Rows
from workers.gan.evaluation.classes import accuracies, class_score, modes
from workers.gan.evaluation.classifier import accuracy, train_classifier
from workers.gan.evaluation.comparison import Comparison
from workers.gan.evaluation.copying import birthdays, copying
from workers.gan.evaluation.features import BATCH
from workers.gan.evaluation.frechet import frechet_distance, statistics
from workers.gan.evaluation.kernel import kernel_distance
from workers.gan.evaluation.neighbours import manifolds
from workers.gan.evaluation.parts import Part
from workers.gan.precision import MEASURING

log = logging.getLogger(__name__)

T = TypeVar("T")


class Need(StrEnum):
    """What some computations need and not every evaluation has."""

    DATA_CLASSES = "a network that knows the classes of the data"
    CLASSES = "a generator of classes"
    HELD_OUT = "a test split"
    REAL_LABELS = "real pictures with labels"

    def is_met(self, comparison: Comparison) -> bool:
        """Return whether an evaluation has it."""
        match self:
            case Need.DATA_CLASSES:
                return comparison.network.knows_data_classes and len(comparison.real.class_shares) > 0
            case Need.CLASSES:
                return comparison.generated.labels is not None
            case Need.HELD_OUT:
                return comparison.held_out is not None
            case Need.REAL_LABELS:
                return comparison.test_pictures.labels is not None
        assert_never(self)


@dataclass(frozen=True)
class Estimate:
    """A number, with its standard error or its parts by class [K] where there are any."""

    value: float
    error: float | None = None
    by_class: Sequence[float | None] = ()


Numbers = Sequence[float | Estimate]


@dataclass(frozen=True)
class Computation:
    """A function that computes a measure, or a part of one with needs of its own; `numbers` names what it returns."""

    function: Callable[[Comparison], Numbers]
    numbers: tuple[str, ...]
    needs: tuple[Need, ...] = ()


def computations(measure: Measure) -> tuple[Computation, ...]:  # noqa: PLR0911 # an arm for each measure
    """Return all that a measure computes."""
    match measure:
        case "frechet":
            return (Computation(_frechet, ("frechet_distance",)),)
        case "kernel":
            return (Computation(_kernel, ("kernel_distance",)),)
        case "classes":
            return (
                Computation(_class_score, ("score",)),
                Computation(_modes, ("modes", "class_divergence"), (Need.DATA_CLASSES,)),
                Computation(_gan_test, ("gan_test_accuracy",), (Need.DATA_CLASSES, Need.CLASSES)),
            )
        case "manifolds":
            return (Computation(_manifolds, ("precision", "recall", "density", "coverage")),)
        case "copying":
            return (Computation(_copying, ("copying_score", "near_copies"), (Need.HELD_OUT,)),)
        case "birthdays":
            return (Computation(_birthdays, ("duplicate_pairs", "support")),)
        case "gan_train":
            return (Computation(_gan_train, ("gan_train_accuracy",), (Need.CLASSES, Need.REAL_LABELS)),)
    assert_never(measure)


@dataclass
class Measurements:
    """The numbers of one evaluation by full name, None of what is not finite; standard errors by the same names."""

    numbers: dict[str, float | None] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    class_accuracies: Sequence[float | None] = ()

    def add(self, name: str, estimate: Estimate) -> None:
        """Enter a number under its full name."""
        self.numbers[name] = estimate.value if math.isfinite(estimate.value) else None
        if estimate.error is not None and math.isfinite(estimate.error):
            self.errors[name] = estimate.error
        self.class_accuracies = estimate.by_class or self.class_accuracies


def compute_measures(comparison: Comparison, measures: Sequence[Measure]) -> Measurements:
    """Compute measures, in their order; what lacks something it needs is left out, with a line in the log.

    `comparison.proceed` is called before each computation; whatever it raises ends them.
    """
    measurements = Measurements()
    wanted = [each for measure in measures for each in computations(measure)]
    for place, computation in enumerate(wanted):
        comparison.proceed(Part.MEASURES, place / len(wanted))
        if lacking := [need for need in computation.needs if not need.is_met(comparison)]:
            log.info("left out %s, which needs %s", " and ".join(computation.numbers), " and ".join(lacking))
            continue
        for number, value in zip(computation.numbers, computation.function(comparison), strict=True):
            estimate = value if isinstance(value, Estimate) else Estimate(value)
            measurements.add(full_name(number, comparison.network.name), estimate)
    return measurements


def _frechet(comparison: Comparison) -> Numbers:
    generated = statistics(torch.split(comparison.features, BATCH))
    return (frechet_distance(generated, comparison.real.statistics),)


def _kernel(comparison: Comparison) -> Numbers:
    return (Estimate(*kernel_distance(comparison.real_subset, comparison.features, move=comparison.move)),)


def _class_score(comparison: Comparison) -> Numbers:
    return (class_score(comparison.logits),)


def _modes(comparison: Comparison) -> Numbers:
    classes = modes(comparison.logits.argmax(dim=1), comparison.real.class_shares)
    return classes.count, classes.divergence


def _gan_test(comparison: Comparison) -> Numbers:
    predicted, labels = comparison.logits.argmax(dim=1), _present(comparison.generated.labels)
    by_class = accuracies(predicted, labels, len(comparison.real.class_shares))
    return (Estimate((predicted == labels).double().mean().item(), by_class=by_class),)


def _manifolds(comparison: Comparison) -> Numbers:
    shares = manifolds(comparison.real_subset, comparison.features, move=comparison.move)
    return shares.precision, shares.recall, shares.density, shares.coverage


def _copying(comparison: Comparison) -> Numbers:
    held_out = _present(comparison.held_out).subset(len(comparison.features))
    copies = copying(comparison.features, comparison.training.features, held_out, comparison.move)
    return copies.score, copies.near_copies


def _birthdays(comparison: Comparison) -> Numbers:
    real = comparison.training.subset(len(comparison.features))
    meetings = birthdays(comparison.features, real, comparison.move)
    return meetings.pairs, meetings.support


def _gan_train(comparison: Comparison) -> Numbers:
    """The accuracy on real pictures of another classifier, which learned generated pictures alone."""
    test, labels = comparison.test_pictures, _present(comparison.generated.labels)
    pictures = Rows.of(torch.cat(list(comparison.generated.batches())))
    proceed = partial(comparison.proceed, Part.STUDENT)
    student = train_classifier(pictures, labels, len(test.classes), MEASURING, proceed=proceed)
    return (accuracy(student, test.images, _present(test.labels)),)


def _present(value: T | None) -> T:
    """Return a value that the needs of a computation make sure of."""
    if value is None:
        raise TypeError("a computation takes what its needs do not name")
    return value
