"""What is said against a training that succeeded."""

from typing import Any

import pytest

from ganservice.evaluation import Evaluation
from ganservice.job import Health, Job, Progress, State
from ganservice.reservation import ReservationKind, reservation
from ganservice.spec import TrainSpec
from tests.integration.jobs import evaluation


def job(spec: TrainSpec, health: Health = Health.OK, state: State = State.SUCCEEDED) -> Job:
    usual: dict[str, Any] = {"step": 8, "loss_g": 0.7, "loss_d": 1.4, "score_real": 0.2, "score_fake": -0.2}
    progress = Progress(
        images=64, grad_norm_g=1.0, grad_norm_d=1.0, images_per_s=100.0, step_s=0.08, health=health, **usual
    )
    return Job(id="tiny-1", spec=spec, state=state, priority=50, submitted_at=0.0, order=1, progress=progress)


def evaluations(*distances: float) -> list[Evaluation]:
    return [evaluation("tiny-1", 64 * place, distance) for place, distance in enumerate(distances, start=1)]


@pytest.mark.parametrize(
    ("health", "distances", "kind"),
    [
        (Health.OK, (), None),
        (Health.OK, (30.0, 20.0, 25.0), None),
        (Health.COLLAPSED, (), ReservationKind.COLLAPSED),
        (Health.DIVERGED, (30.0, 90.0), ReservationKind.DIVERGING),
        (Health.OK, (200.0, 90.0, 400.0), ReservationKind.FAR_FROM_BEST),
        (Health.SUSPECT, (200.0, 90.0, 400.0), ReservationKind.FAR_FROM_BEST),
        (Health.SUSPECT, (30.0,), ReservationKind.SUSPECT),
    ],
)
def test_the_worst_that_is_to_be_said_is_said(
    spec: TrainSpec, health: Health, distances: tuple[float, ...], kind: ReservationKind | None
) -> None:
    found = reservation(job(spec, health), evaluations(*distances))
    assert (found and found.kind) == kind


def test_a_reservation_says_what_was_measured(spec: TrainSpec) -> None:
    found = reservation(job(spec), evaluations(200.0, 90.0, 400.0))
    assert str(found) == "far from its best: classifier_frechet_distance 400 at 192 images, 90 at 128"


@pytest.mark.parametrize("state", [state for state in State if state is not State.SUCCEEDED])
def test_only_a_success_has_reservations(spec: TrainSpec, state: State) -> None:
    assert reservation(job(spec, Health.COLLAPSED, state), evaluations(10.0, 90.0)) is None
