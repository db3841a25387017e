"""The health watch: what the reports of a training, one after the other, say of its health. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ganservice.evaluation import Evaluation, last_and_best
from ganservice.job import Health, Progress
from ganservice.recipe import Loss, NonSaturating
from ganservice.spec import HealthWatch

USUAL_LOSS = NonSaturating()
# Kind, health, message, and whether a report has it.
Fault = tuple[str, Health, str, Callable[[Progress], bool]]


@dataclass(frozen=True)
class Finding:
    """A fault of a training, since the report after `since_images` images."""

    kind: str
    health: Health
    message: str
    since_images: int


def examine(
    history: Sequence[Progress],
    watch: HealthWatch,
    total_images: int,
    loss: Loss = USUAL_LOSS,
    evaluations: Sequence[Evaluation] = (),
) -> list[Finding]:
    """Return the faults of a training by `loss`, from all its reports so far.

    A fault must last for `span_reports` of them.
    """
    span = history[-watch.span_reports :]
    if len(span) < watch.span_reports:
        return []
    since = span[0].images
    findings = [
        Finding(kind, health, message, since)
        for kind, health, message, holds in (*_victories(watch, loss), *_faults_of_gradients(watch))
        if all(holds(report) for report in span)
    ]
    if _is_collapsed(history, span, watch, total_images):
        message = f"samples are {span[-1].diversity:.2f} as diverse as the data, under {watch.min_diversity:g}"
        findings.append(Finding("collapse", Health.COLLAPSED, message, since))
    return findings + _worse(evaluations, watch)


def worst(findings: Sequence[Finding]) -> Health:
    """The health of a training with these findings."""
    return max((finding.health for finding in findings), key=list(Health).index, default=Health.OK)


class Remedy(StrEnum):
    """The ways to act on findings."""

    NONE = "none"
    STOP = "stop"
    ROLL_BACK = "roll back"


def remedy(findings: Sequence[Finding], watch: HealthWatch, rollbacks: int) -> Remedy:
    """Choose what a spec wants done about findings, after so many rollbacks of the job."""
    if not findings or watch.action == "warn":
        return Remedy.NONE
    return Remedy.STOP if watch.action == "stop" or rollbacks >= watch.max_rollbacks else Remedy.ROLL_BACK


def _victories(watch: HealthWatch, loss: Loss) -> list[Fault]:
    """The faults in which one network has won: by what D says where that is a probability, else by what it is right
    about."""
    fake, real = loss.probabilities

    def realness(probability: float | None) -> float:
        """Between what D says of generated pictures, 0, and of real ones, 1, once it tells them all apart."""
        return math.nan if probability is None else (probability - fake) / (real - fake)

    high, low = watch.certainty, 1 - watch.certainty
    above, below = fake + high * (real - fake), fake + low * (real - fake)
    most, least = watch.max_accuracy, 1 - watch.max_accuracy
    by_probability: list[Fault] = [
        (
            "d_has_won",
            Health.SUSPECT,
            f"D tells real from generated: D(x) over {above:.3g}, D(G(z)) under {below:.2g}; G learns little from it",
            lambda report: realness(report.d_real) > high and realness(report.d_fake) < low,
        ),
        (
            "g_has_won",
            Health.SUSPECT,
            f"D takes generated for real and real for generated: D(G(z)) over {above:.3g}, D(x) under {below:.2g}",
            lambda report: realness(report.d_fake) > high and realness(report.d_real) < low,
        ),
    ]
    by_accuracy: list[Fault] = [
        (
            "d_has_won",
            Health.SUSPECT,
            f"D tells real from generated: it is right about over {most:.4g} of both; G learns little from it",
            lambda report: report.d_real is None and min(_accuracies(report)) > most,
        ),
        (
            "g_has_won",
            Health.SUSPECT,
            f"D takes generated for real and real for generated: it is right about under {least:.2g} of both",
            lambda report: report.d_real is None and max(_accuracies(report)) < least,
        ),
    ]
    return [*by_probability, *(by_accuracy if loss.needs_doubt else ())]


def _accuracies(report: Progress) -> tuple[float, float]:
    """The shares of real and of generated pictures that D is right about; a half where nobody counted."""
    of_real, of_generated = report.d_accuracy_real, report.d_accuracy_generated
    return (0.5, 0.5) if of_real is None or of_generated is None else (of_real, of_generated)


def _faults_of_gradients(watch: HealthWatch) -> list[Fault]:
    return [
        (
            "gradients_vanish",
            Health.SUSPECT,
            f"the gradient of G is under {watch.min_gradient_norm:g}",
            lambda report: report.grad_norm_g < watch.min_gradient_norm,
        ),
        (
            "gradients_explode",
            Health.DIVERGED,
            f"a gradient has a norm over {watch.max_gradient_norm:g}",
            lambda report: max(report.grad_norm_g, report.grad_norm_d) > watch.max_gradient_norm,
        ),
    ]


def _is_collapsed(history: Sequence[Progress], span: Sequence[Progress], watch: HealthWatch, total_images: int) -> bool:
    """Whether samples are alike, and it is not just that they have not parted yet."""
    if not all(report.diversity is not None and report.diversity < watch.min_diversity for report in span):
        return False
    was_diverse = any((report.diversity or 0) > 2 * watch.min_diversity for report in history)
    return was_diverse or span[0].images > watch.grace_share * total_images


def _worse(evaluations: Sequence[Evaluation], watch: HealthWatch) -> list[Finding]:
    """Whether the newest evaluation is much worse than the best before it."""
    pair = last_and_best(evaluations)
    if pair is None or pair[0].quality <= watch.max_quality_ratio * pair[1].quality:
        return []
    newest, best = pair
    message = (
        f"quality {newest.quality:.4g} at {newest.images} images is worse than {watch.max_quality_ratio:g} times "
        f"the best, {best.quality:.4g} at {best.images} images"
    )
    return [Finding("quality", Health.SUSPECT, message, newest.images)]
