"""Reservations: what is to be said against a training that has come to its end. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ganservice.evaluation import Evaluation, last_and_best
from ganservice.job import Health, Job, State


class ReservationKind(StrEnum):
    """The kinds of reservations, from the worst on."""

    DIVERGING = "diverging"
    COLLAPSED = "collapsed"
    FAR_FROM_BEST = "far from its best"
    SUSPECT = "suspect"


@dataclass(frozen=True)
class Reservation:
    """What is to be said against a success."""

    kind: ReservationKind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


HEALTH = {
    Health.DIVERGED: Reservation(ReservationKind.DIVERGING, "its gradients had grown beyond all bounds"),
    Health.COLLAPSED: Reservation(ReservationKind.COLLAPSED, "its samples were all alike"),
    Health.SUSPECT: Reservation(
        ReservationKind.SUSPECT, "one network had won, gradients had vanished or quality had fallen"
    ),
}


def reservation(job: Job, evaluations: Sequence[Evaluation]) -> Reservation | None:
    """What is to be said against a training that has succeeded, the worst of it; None of any other job.

    `evaluations` are all that were made of it; see `JobRecords.evaluations`.
    """
    if job.training is None or job.state is not State.SUCCEEDED:
        return None
    return reservation_of(job.health, evaluations, job.training.health.max_quality_ratio)


def reservation_of(health: Health, evaluations: Sequence[Evaluation], max_quality_ratio: float) -> Reservation | None:
    """What is to be said against a generator that a training ended with in such a health, so evaluated."""
    if health in (Health.DIVERGED, Health.COLLAPSED):
        return HEALTH[health]
    pair = last_and_best(evaluations)
    if pair and pair[0].quality > max_quality_ratio * pair[1].quality:
        last, best = pair
        return Reservation(
            ReservationKind.FAR_FROM_BEST,
            f"{last.quality_name} {last.quality:.4g} at {last.images:,} images, {best.quality:.4g} at {best.images:,}",
        )
    return HEALTH.get(health)
