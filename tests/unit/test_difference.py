"""What two trainings differ in: the first path, the first report, the largest difference."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganservice.job import Progress
from ganservice.quantities import OF_MACHINE
from ganservice.spec import TrainSpec
from workers.commands.difference import Remains, difference, leaves
from workers.commands.twins import moments

STATE: dict[str, Any] = {
    "generator": {"layers.0.weight": torch.tensor([[1.0, 2.0], [3.0, float("nan")]])},
    "adam": {"state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.zeros(2, dtype=torch.bfloat16)}}},
    "betas": [(0.5, 0.9)],
    "steps": 12,
    "precision": "bf16",
}
ROW = Progress(
    images=160, step=10, loss_g=0.7, loss_d=1.3, score_real=0.4, score_fake=-0.4, grad_norm_g=1.0, grad_norm_d=2.0,
    images_per_s=100.0, step_s=0.6, stall_s=0.1, used_cpus=1.5, memory_bytes=10**9, gpu_memory_bytes=10**8,
    gpu_busy=0.8,
)  # fmt: skip
ROWS = [ROW, ROW.model_copy(update={"images": 320})]


def remains(state: Any = STATE, rows: list[Progress] = ROWS) -> Remains:
    return Remains(leaves(state, "trainer"), rows)


def changed(path: str, value: Any) -> Remains:
    whole = remains()
    assert path in whole.values
    return Remains(whole.values | {path: value}, ROWS)


def test_every_value_has_a_path() -> None:
    assert list(remains().values) == [
        "trainer.generator.layers.0.weight", "trainer.adam.state.0.step", "trainer.adam.state.0.exp_avg",
        "trainer.betas.0.0", "trainer.betas.0.1", "trainer.steps", "trainer.precision",
    ]  # fmt: skip
    assert remains().tensors == 3


def test_the_same_bits_are_no_difference() -> None:
    assert difference(remains(), remains()) is None


@pytest.mark.parametrize(
    ("path", "value", "largest"),
    [
        ("trainer.generator.layers.0.weight", torch.tensor([[1.0, 2.5], [3.0, float("nan")]]), float("inf")),
        ("trainer.adam.state.0.step", torch.tensor(9.0), 2.0),
        ("trainer.adam.state.0.exp_avg", -torch.zeros(2, dtype=torch.bfloat16), 0.0),
        ("trainer.adam.state.0.exp_avg", torch.zeros(2), 0.0),
        ("trainer.adam.state.0.exp_avg", torch.zeros(3, dtype=torch.bfloat16), float("inf")),
        ("trainer.steps", 13, 1.0),
        ("trainer.precision", "fp32", float("inf")),
    ],
    ids=["weight", "step", "sign of zero", "type", "shape", "number", "text"],
)
def test_one_value_that_differs_is_named(path: str, value: Any, largest: float) -> None:
    found = difference(remains(), changed(path, value))
    assert found
    assert (found.path, found.images, found.largest) == (path, None, largest)


def test_a_value_that_only_one_has_is_named() -> None:
    found = difference(remains(), remains({name: value for name, value in STATE.items() if name != "steps"}))
    assert found
    assert (found.path, found.largest) == ("trainer.steps", float("inf"))


def test_the_first_report_that_differs_is_named_with_its_fields() -> None:
    other = ROWS[1].model_copy(update={"loss_g": 0.95, "loss_d": 1.2})
    found = difference(remains(), remains(rows=[ROW, other]))
    assert found
    assert (found.path, found.images, found.fields) == (None, 320, ("loss_g", "loss_d"))
    assert found.largest == pytest.approx(0.25)
    missing = difference(remains(), remains(rows=ROWS[:1]))
    assert missing
    assert missing.images == 320


def test_times_and_machines_do_not_count() -> None:
    assert {"images_per_s", "step_s", "stall_s", "used_cpus", "memory_bytes"} < OF_MACHINE
    other = [row.model_copy(update=dict.fromkeys(OF_MACHINE, 0)) for row in ROWS]
    assert difference(remains(), remains(rows=other)) is None


@pytest.mark.parametrize(("tolerance", "is_tolerated"), [(0.0, False), (1e-3, False), (0.011, True)])
def test_what_is_tolerated_is_a_share(tolerance: float, is_tolerated: bool) -> None:
    one, other = (remains({"weight": torch.tensor([0.0, 500.0]) * factor}) for factor in (1.0, 1.01))
    found = difference(one, other, tolerance)
    assert found
    assert found.is_tolerated == is_tolerated
    assert found.largest == pytest.approx(5.0)


@given(count=st.integers(1, 12), seed=st.integers(0, 99), every=st.integers(8, 200))
def test_moments_lie_on_both_sides_of_the_first_checkpoint(spec: TrainSpec, count: int, seed: int, every: int) -> None:
    asked = spec.model_copy(
        update={"images": 100, "checkpoints": spec.checkpoints.model_copy(update={"every_images": every})}
    )
    found = moments(asked, count, seed)
    assert found == sorted(found) == moments(asked, count, seed)
    assert len(found) == count
    assert all(0 <= images < asked.total_images for images in found)
    first = min(every, asked.total_images)
    assert sum(images < first for images in found) >= (count > 1) * max(1, count // 3)
