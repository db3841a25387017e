"""The health watch: what the reports of a training, one after the other, say of its health. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ganservice.evaluation import Evaluation, last_and_best
from ganservice.job import Health, Progress
from ganservice.spec import HealthWatch


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
    probabilities: tuple[float, float] = (0.0, 1.0),
    evaluations: Sequence[Evaluation] = (),
) -> list[Finding]:
    """Return the faults of a training, from all its reports so far; a fault must last for `span_reports` of them.

    `probabilities` are those that D gives to generated and to real pictures once it tells them all apart.
    """
    span = history[-watch.span_reports :]
    if len(span) < watch.span_reports:
        return []
    since = span[0].images
    findings = [
        Finding(kind, health, message, since)
        for kind, health, message, holds in _faults(watch, probabilities)
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


def _faults(
    watch: HealthWatch, probabilities: tuple[float, float]
) -> list[tuple[str, Health, str, Callable[[Progress], bool]]]:
    fake, real = probabilities

    def realness(probability: float | None) -> float:
        """Between what D says of generated pictures, 0, and of real ones, 1, once it tells them all apart."""
        return math.nan if probability is None else (probability - fake) / (real - fake)

    high, low = watch.certainty, 1 - watch.certainty
    above, below = fake + high * (real - fake), fake + low * (real - fake)
    return [
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
