from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ganservice.job import TRANSITIONS, Checkpoint, Job, Progress, Rollback, State
from ganservice.spec import TrainSpec

NUMBERS: dict[str, Any] = {
    "images": 64,
    "step": 8,
    "loss_g": 0.7,
    "loss_d": 1.4,
    "score_real": 0.0,
    "score_fake": 0.0,
    "d_real": 0.5,
    "d_fake": 0.5,
    "grad_norm_g": 1.0,
    "grad_norm_d": 1.0,
    "images_per_s": 100.0,
    "step_s": 0.08,
}


def make_job(spec: TrainSpec, checkpoint_images: int | None = None, resumed_images: int = 0) -> Job:
    checkpoint = None
    if checkpoint_images is not None:
        checkpoint = Checkpoint(key="k", images=checkpoint_images, bytes=1, seconds=0.1)
    return Job(
        id="tiny-1",
        spec=spec,
        state=State.RUNNING,
        priority=50,
        submitted_at=0.0,
        order=1,
        checkpoint=checkpoint,
        resumed_images=resumed_images,
    )


@pytest.mark.parametrize("state", State)
def test_a_final_state_is_left_only_for_the_queue(state: State) -> None:
    assert state.is_final == (TRANSITIONS[state] <= {State.QUEUED})


def test_every_state_has_its_transitions_and_none_leads_to_itself() -> None:
    assert set(TRANSITIONS) == set(State)
    assert not [state for state, following in TRANSITIONS.items() if state in following]


def test_every_state_can_be_reached_from_the_queue() -> None:
    reached, fresh = set(), {State.QUEUED}
    while fresh:
        reached |= fresh
        fresh = {after for state in fresh for after in TRANSITIONS[state]} - reached
    assert reached == set(State)


def test_success_is_forever() -> None:
    assert not TRANSITIONS[State.SUCCEEDED]


def test_only_a_running_job_can_succeed_or_fail() -> None:
    for result in (State.SUCCEEDED, State.FAILED):
        assert [state for state in State if result in TRANSITIONS[state]] == [State.RUNNING]


def test_a_job_without_a_report_has_seen_no_images(spec: TrainSpec) -> None:
    job = make_job(spec)
    assert job.images == 0
    assert job.model_copy(update={"progress": Progress(**NUMBERS)}).images == 64
    assert job.name == "tiny"


@pytest.mark.parametrize(
    ("checkpoint", "resumed", "progressed"), [(None, 0, False), (8, 8, False), (16, 8, True), (8, 0, True)]
)
def test_progress_is_a_checkpoint_beyond_the_one_resumed_from(
    spec: TrainSpec, checkpoint: int | None, resumed: int, progressed: bool
) -> None:
    assert make_job(spec, checkpoint, resumed).made_progress == progressed


@given(name=st.sampled_from(["loss_g", "grad_norm_d"]), value=st.floats(allow_nan=False, allow_infinity=False))
def test_progress_survives_the_wire(name: str, value: float) -> None:
    progress = Progress(**NUMBERS | {name: value})
    assert Progress.model_validate_json(progress.model_dump_json()) == progress


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_progress_that_json_cannot_carry_is_refused_where_it_is_made(value: float) -> None:
    with pytest.raises(ValidationError):
        Progress(**NUMBERS | {"grad_norm_g": value})


def test_a_rollback_to_the_beginning_has_no_checkpoint() -> None:
    back = Rollback(attempt=1, images=0, checkpoint="", from_images=640, lr_share=0.5, why="all <alike>")
    assert Rollback.model_validate_json(back.model_dump_json()) == back
