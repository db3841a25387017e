"""The measures of quality: `computations` lists what each computes, the names of its numbers, and what it needs."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar, assert_never

import torch
from torch import Tensor

from ganservice.errors import DataInvalid
from ganservice.evaluation import RECONSTRUCTION_NUMBERS, full_name
from ganservice.judging import Measure
from ganservice.recipe import image_size_of
from workers.gan.data.rows import Rows
from workers.gan.data.stacked import is_stacked
from workers.gan.evaluation.blocks import BLOCK
from workers.gan.evaluation.cells import LEARNED, count_cells, k_means
from workers.gan.evaluation.classes import accuracies, class_score, modes
from workers.gan.evaluation.classifier import accuracy, build_classifier, train_classifier, training_steps
from workers.gan.evaluation.comparison import Comparison
from workers.gan.evaluation.copying import birthdays, copying
from workers.gan.evaluation.features import BATCH
from workers.gan.evaluation.frechet import frechet_distance, statistics
from workers.gan.evaluation.generated import EnlargedPictures
from workers.gan.evaluation.kernel import kernel_distance
from workers.gan.evaluation.neighbours import NEIGHBOURS, nearest, nearest_distances
from workers.gan.evaluation.parts import Part
from workers.gan.evaluation.reconstruction import psnr, ssim
from workers.gan.precision import MEASURING

log = logging.getLogger(__name__)

T = TypeVar("T")


class Need(StrEnum):
    """What some computations need and not every evaluation has."""

    LOGITS = "a network of classes"
    DATA_CLASSES = "a network that knows the classes of the data"
    CLASSES = "a generator of classes"
    HELD_OUT = "a test split"
    REAL_LABELS = "real pictures with labels"
    ENLARGEMENT = "a generator that enlarges pictures"

    def is_met(self, comparison: Comparison) -> bool:
        """Return whether an evaluation has it."""
        match self:
            case Need.LOGITS:
                return comparison.network.has_logits
            case Need.DATA_CLASSES:
                return comparison.network.knows_data_classes and len(comparison.real.class_shares) > 0
            case Need.CLASSES:
                return comparison.generated.labels is not None
            case Need.HELD_OUT:
                return comparison.held_out is not None
            case Need.REAL_LABELS:
                real = comparison.training_pictures.labels, comparison.test_pictures.labels, comparison.real_labels
                return all(labels is not None for labels in real)
            case Need.ENLARGEMENT:
                return isinstance(comparison.generated, EnlargedPictures)
        assert_never(self)


@dataclass(frozen=True)
class Estimate:
    """A number, with its standard error or its parts by class [K] where there are any; None of what has no part."""

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
                Computation(_class_score, ("score",), (Need.LOGITS,)),
                Computation(_modes, ("modes", "class_divergence"), (Need.DATA_CLASSES,)),
                Computation(_gan_test, ("gan_test_accuracy",), (Need.DATA_CLASSES, Need.CLASSES)),
                Computation(_class_distance, ("class_distance",), (Need.CLASSES, Need.REAL_LABELS)),
            )
        case "manifolds":
            return (Computation(_manifolds, ("precision", "recall", "density", "coverage")),)
        case "copying":
            return (Computation(_copying, ("near_copies", "copying_score"), (Need.HELD_OUT,)),)
        case "birthdays":
            return (Computation(_birthdays, ("duplicate_pairs", "support")),)
        case "gan_train":
            numbers = ("gan_train_accuracy", "gan_train_real_accuracy")
            return (Computation(_gan_train, numbers, (Need.CLASSES, Need.REAL_LABELS)),)
        case "reconstruction":
            return (
                Computation(_reconstruction, RECONSTRUCTION_NUMBERS, (Need.ENLARGEMENT,)),
                Computation(_bicubic_distance, ("frechet_distance_of_bicubic",), (Need.ENLARGEMENT,)),
            )
    assert_never(measure)


@dataclass
class Measurements:
    """The numbers of one evaluation by full name, None of what is not finite; standard errors by the same names."""

    numbers: dict[str, float | None] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    by_class: dict[str, Sequence[float | None]] = field(default_factory=dict)  # by the number's own name

    def add(self, number: str, network: str, estimate: Estimate) -> None:
        """Enter a number that a network has found."""
        name = full_name(number, network)
        self.numbers[name] = estimate.value if math.isfinite(estimate.value) else None
        if estimate.error is not None and math.isfinite(estimate.error):
            self.errors[name] = estimate.error
        if estimate.by_class:
            self.by_class[number] = [
                each if each is not None and math.isfinite(each) else None for each in estimate.by_class
            ]


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
            measurements.add(number, comparison.network.name, estimate)
    return measurements


def _frechet(comparison: Comparison) -> Numbers:
    generated = statistics(torch.split(comparison.features, BLOCK))
    return (frechet_distance(generated, comparison.real.statistics),)


def _kernel(comparison: Comparison) -> Numbers:
    return (Estimate(*kernel_distance(comparison.real_subset, comparison.features, blocks=comparison.blocks)),)


def _class_score(comparison: Comparison) -> Numbers:
    return (class_score(comparison.logits),)


def _modes(comparison: Comparison) -> Numbers:
    classes = modes(comparison.logits.argmax(dim=1), comparison.real.class_shares)
    return classes.count, classes.divergence


def _gan_test(comparison: Comparison) -> Numbers:
    right = comparison.logits.argmax(dim=1) == _present(comparison.generated.labels)
    classes = len(comparison.real.class_shares)
    judged = (comparison.of_class(label) for label in range(classes))
    predicted, labels = (
        torch.cat(values) for values in zip(*((each.logits.argmax(dim=1), each.labels) for each in judged), strict=True)
    )
    by_class = accuracies(predicted, labels, classes)
    return (Estimate(right.double().mean().item(), by_class=by_class),)


def _class_distance(comparison: Comparison) -> Numbers:
    """The mean over classes of the Frechet distance from real pictures of the same class, and that of each.

    Miyato & Koyama (2018), "cGANs with Projection Discriminator", have it as intra FID.
    """
    labels, distances = _present(comparison.real_labels), []
    for label in range(len(comparison.training_pictures.classes)):
        comparison.blocks.move()
        sets = (comparison.of_class(label).features, comparison.real.features[labels == label])
        of_both = [statistics(torch.split(features, BLOCK)) for features in sets if len(features) > 1]
        distances.append(frechet_distance(*of_both) if len(of_both) == 2 else None)
    known = [distance for distance in distances if distance is not None]
    return (Estimate(sum(known) / len(known) if known else math.nan, by_class=distances),)


def _manifolds(comparison: Comparison) -> Numbers:
    if (count := len(comparison.real_subset)) <= NEIGHBOURS:
        raise DataInvalid(
            f"manifolds: {count} real pictures, expected more than {NEIGHBOURS}; choose measures without it"
        )
    shares = comparison.manifolds
    return shares.precision, shares.recall, shares.density, shares.coverage


def _copying(comparison: Comparison) -> Numbers:
    held_out = _present(comparison.held_out).subset(len(comparison.features))
    usual = nearest_distances(held_out, comparison.learned.features, comparison.blocks)
    copies = copying(comparison.training_distances, usual, *_cells(comparison, held_out))
    return Estimate(copies.near_copies, copies.error), Estimate(copies.score, copies.score_error)


def _cells(comparison: Comparison, held_out: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cell of each generated and of each held-out picture: its class where the network knows the data's."""
    features, blocks = comparison.features, comparison.blocks
    classes, held_out_classes = (comparison.network.data_classes(each) for each in (features, held_out))
    if classes is not None and held_out_classes is not None:
        return classes, held_out_classes
    count = count_cells(min(len(features), len(held_out)))
    middles = k_means(comparison.learned.subset(LEARNED), count, blocks)
    return nearest(features, middles, blocks), nearest(held_out, middles, blocks)


def _birthdays(comparison: Comparison) -> Numbers:
    meetings = birthdays(*comparison.birthday_kinds, comparison.blocks)
    return meetings.pairs, meetings.support


def _gan_train(comparison: Comparison) -> Numbers:
    """The accuracy on real pictures of another classifier, which learned generated pictures alone; and, as what it can
    be at best, that of one which learned as many real ones in as many steps."""
    real, made = comparison.training_pictures, comparison.generated
    some = comparison.learned.choose(len(made))
    pictures = Rows.of(torch.cat([each.cpu() for each in made.batches()]))
    of_generated = _learned(comparison, 0.0, pictures, _present(made.labels))
    return of_generated, _learned(comparison, 0.5, real.images.select(some), _present(real.labels)[some])


def _reconstruction(comparison: Comparison) -> Numbers:
    """PSNR and SSIM of the enlarged pictures, then those of the same enlarged by bicubic interpolation."""
    enlarged = _enlarged(comparison)
    found: list[Estimate] = []
    for pictures in (enlarged, enlarged.bicubic()):
        pairs = zip(pictures.batches(), pictures.real.blocks(BATCH), strict=True)
        of_each = torch.cat([torch.stack([psnr(made, real), ssim(made, real)]) for made, real in pairs], dim=1)
        errors = of_each.std(dim=1) / math.sqrt(len(pictures))
        found += map(Estimate, of_each.mean(dim=1).tolist(), errors.tolist())
        comparison.blocks.move()
    return found


def _bicubic_distance(comparison: Comparison) -> Numbers:
    """The Frechet distance of the same pictures enlarged by bicubic interpolation."""
    features = comparison.features_of(_enlarged(comparison).bicubic())
    return (frechet_distance(statistics(torch.split(features, BLOCK)), comparison.real.statistics),)


def _enlarged(comparison: Comparison) -> EnlargedPictures:
    if not isinstance(comparison.generated, EnlargedPictures):
        raise TypeError("a computation takes what its needs do not name")
    return comparison.generated


def _learned(comparison: Comparison, share_before: float, pictures: Rows, labels: Tensor) -> float:
    """The accuracy on real pictures of a classifier that learns these."""
    test, stacked = comparison.test_pictures, is_stacked(comparison.test_pictures.classes)
    channels, height, width = pictures.form
    size = image_size_of(width, height)
    student = build_classifier(channels, size, len(test.classes), stacked=stacked).to(comparison.network.device)

    def proceed(share: float) -> None:
        comparison.proceed(Part.STUDENT, share_before + share / 2)

    train_classifier(student, pictures, labels, MEASURING, training_steps(len(comparison.generated)), proceed)
    return accuracy(student, test.images, _present(test.labels))


def _present(value: T | None) -> T:
    """Return a value that the needs of a computation make sure of."""
    if value is None:
        raise TypeError("a computation takes what its needs do not name")
    return value
