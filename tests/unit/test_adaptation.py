"""The probability that is led by how sure D is of real pictures."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganservice.recipe import AdaptiveProbability
from workers.gan.augment.adaptation import EVERY_STEPS, Adaptation, led
from workers.gan.worker_group import WorkerGroup

CPU = torch.device("cpu")
shares = st.floats(0, 1)


def adaptation(target: float = 0.6, speed_images: int = 1_000) -> Adaptation:
    return Adaptation(
        AdaptiveProbability(kind="adaptive", target=target, speed_images=speed_images), CPU, WorkerGroup()
    )


def observe(adapted: Adaptation, right: int, logits: int = 10, steps: int = 1) -> float:
    for _ in range(steps):
        adapted.observe(torch.tensor(right / logits), logits, logits)
    return adapted.probability.item()


@given(value=shares, excess=st.floats(-1e6, 1e6), step=st.floats(0, 10))
def test_a_probability_stays_one_and_goes_where_the_excess_points(value: float, excess: float, step: float) -> None:
    now = led(torch.tensor(value, dtype=torch.float64), torch.tensor(excess, dtype=torch.float64), step).item()
    assert 0 <= now <= 1
    assert abs(now - value) <= step + 1e-12
    assert (now - value) * excess >= 0
    if excess == 0:
        assert now == value


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(1, 7)), max_size=12))
def test_a_resume_anywhere_changes_nothing(course: list[tuple[int, int]]) -> None:
    whole, current = adaptation(), adaptation()
    for right, steps in course:
        for _ in range(steps):
            observe(whole, right)
            observe(current, right)
        resumed = adaptation()
        resumed.load_state_dict(current.state_dict())
        current = resumed
        assert current.state_dict() == whole.state_dict()


@given(st.lists(st.integers(0, 10), min_size=EVERY_STEPS, max_size=40))
def test_it_changes_every_few_steps_by_what_d_thinks_of_the_pictures_between(rights: list[int]) -> None:
    adapted, expected = adaptation(target=0.5, speed_images=400), 0.0
    for index, right in enumerate(rights, start=1):
        found = observe(adapted, right)
        if index % EVERY_STEPS == 0:
            mean_sign = sum(2 * each / 10 - 1 for each in rights[index - EVERY_STEPS : index]) / EVERY_STEPS
            direction = (mean_sign > 0.5 + 1e-9) - (mean_sign < 0.5 - 1e-9)
            expected = min(1.0, max(0.0, expected + direction * 10 * EVERY_STEPS / 400))
        assert found == pytest.approx(expected)


def test_from_0_to_1_it_takes_as_many_images_as_asked_for() -> None:
    adapted = adaptation(speed_images=1_000)
    assert observe(adapted, 10, steps=96) == pytest.approx(0.96)
    assert observe(adapted, 10, steps=4) == pytest.approx(1)
    assert observe(adapted, 10, steps=4) == 1
    assert observe(adapted, 0, steps=4) == pytest.approx(0.96)


def test_at_its_target_it_stays_where_it_is() -> None:
    adapted = adaptation(target=0.6)
    observe(adapted, 10, steps=8)
    assert observe(adapted, 8, steps=40) == pytest.approx(0.08)


@pytest.mark.parametrize(
    "damage",
    [
        {"probability": torch.tensor(1.5)}, {"probability": torch.tensor(float("nan"))}, {"steps": EVERY_STEPS},
        {"steps": -1}, {"logits": "x"}, {"signs": torch.tensor(1e9)}, {"signs": torch.tensor(float("nan"))},
    ],
)  # fmt: skip
def test_a_state_that_is_none_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="found"):
        adaptation().load_state_dict(adaptation().state_dict() | damage)
