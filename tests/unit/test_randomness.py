import traceback

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ganservice.recipe import Recipe
from workers.gan.randomness import Draws, Order, class_labels, derive_seed, fixed_inputs, fixed_latents, seed_torch
from workers.gan.worker_group import WorkerGroup

CPU = torch.device("cpu")
SEEDS = st.integers(0, 2**63)


@given(seed=SEEDS, count=st.integers(1, 40), batches=st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_each_epoch_holds_each_image_once_whatever_the_batches(seed: int, count: int, batches: list[int]) -> None:
    order, seen = Order(seed, count), list[int]()
    for rows in batches:
        chosen = order.indices(len(seen), rows)
        assert chosen.shape == (rows,)
        seen += chosen.tolist()
    for start in range(0, len(seen) - count + 1, count):
        assert sorted(seen[start : start + count]) == list(range(count))
    rest = seen[len(seen) - len(seen) % count :]
    assert len(set(rest)) == len(rest)


@given(seed=SEEDS, count=st.integers(1, 40), start=st.integers(0, 200), rows=st.integers(1, 60))
def test_the_order_is_the_same_wherever_one_starts_to_read_it(seed: int, count: int, start: int, rows: int) -> None:
    from_the_first = Order(seed, count).indices(0, start + rows)
    assert torch.equal(Order(seed, count).indices(start, rows), from_the_first[start:])


def test_the_order_of_a_seed_never_changes() -> None:
    assert Order(0, 10).indices(0, 10).tolist() == [2, 1, 6, 3, 7, 0, 4, 9, 8, 5]


def test_each_epoch_and_each_seed_has_its_own_order() -> None:
    orders = [Order(seed, 1000).indices(epoch * 1000, 1000) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order.tolist()) for order in orders}) == 4


def one_step(images: int, rows: int, group: WorkerGroup) -> tuple[Tensor, ...]:
    draws = Draws(7, CPU, group)
    draws.begin_step(images)
    own = rows // group.world_size
    return draws.normal(rows, 3), draws.uniform((own,)), draws.uniform((own, 2, 2)), draws.normal(rows, 1)


@given(images=st.integers(0, 2**40), quarter=st.integers(1, 5), world_size=st.sampled_from([2, 4]))
def test_the_draws_of_all_workers_together_are_those_of_one(images: int, quarter: int, world_size: int) -> None:
    rows = 4 * quarter
    parts = [one_step(images, rows, WorkerGroup(rank, world_size)) for rank in range(world_size)]
    for alone, *together in zip(one_step(images, rows, WorkerGroup()), *parts, strict=True):
        assert torch.equal(torch.cat(together), alone)


def test_a_step_draws_the_same_whatever_was_drawn_before_it() -> None:
    draws = Draws(7, CPU, WorkerGroup())
    draws.begin_step(0)
    draws.normal(5, 5)
    draws.begin_step(64)
    assert torch.equal(draws.normal(8, 3), one_step(64, 8, WorkerGroup())[0])
    assert not torch.equal(draws.normal(8, 3), one_step(0, 8, WorkerGroup())[0])


def test_uniform_numbers_are_at_least_0_and_below_1() -> None:
    draws = Draws(7, CPU, WorkerGroup())
    numbers = draws.uniform((100_000,))
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() < 1


def test_the_fixed_latents_never_change() -> None:
    latents = fixed_latents(0, 64, 100)
    assert latents[0, :3].tolist() == pytest.approx([-1.3757, -0.0128, -1.2909], abs=1e-4)
    assert latents[63, -3:].tolist() == pytest.approx([-1.1386, 0.1404, 1.1331], abs=1e-4)
    assert torch.equal(latents, fixed_latents(0, 64, 100))
    assert latents.mean().item() == pytest.approx(0, abs=0.05)
    assert latents.std().item() == pytest.approx(1, abs=0.05)


@given(
    counts=st.lists(st.integers(0, 10_000), min_size=1, max_size=30).filter(any),
    count=st.integers(1, 5_000),
    seed=SEEDS,
    is_share=st.booleans(),
)
def test_labels_come_in_the_shares_of_the_data_and_never_of_an_absent_class(
    counts: list[int], count: int, seed: int, is_share: bool
) -> None:
    of_data = torch.tensor(counts)
    labels = class_labels(of_data.double() / sum(counts) if is_share else of_data, count, seed)
    assert labels.dtype == torch.int64
    assert labels.shape == (count,)
    drawn = torch.bincount(labels, minlength=len(counts))
    assert not drawn[of_data == 0].any()
    assert ((drawn - of_data * count / sum(counts)).abs() < 1).all()
    assert torch.equal(labels, class_labels(of_data, count, seed)) or is_share


def test_of_more_classes_than_pictures_not_the_first_are_drawn_every_time() -> None:
    drawn = [set(class_labels(torch.ones(1_000), 64, seed).tolist()) for seed in range(3)]
    assert [len(classes) for classes in drawn] == [64, 64, 64]
    assert len(set.union(*drawn)) > 150
    # Whole shares are whole, however they are rounded.
    assert torch.bincount(class_labels(torch.full((10,), 0.1), 10_000, 0)).tolist() == [1_000] * 10


def test_the_labels_of_a_seed_never_change_and_are_in_no_order() -> None:
    assert class_labels(torch.tensor([5, 0, 3, 2]), 10, 0).tolist() == [2, 0, 3, 0, 0, 2, 0, 0, 2, 3]
    assert class_labels(torch.tensor([5, 0, 3, 2]), 10, 1).tolist() != [2, 0, 3, 0, 0, 2, 0, 0, 2, 3]


def test_drawing_leaves_the_random_state_of_the_process_alone() -> None:
    before = torch.get_rng_state()
    fixed_latents(0, 2, 2)
    class_labels(torch.ones(3), 5, 0)
    Order(0, 10).indices(0, 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_networks_draw_elsewhere_is_that_of_the_step_and_another_in_each_worker() -> None:
    def drawn(images: int, rank: int) -> Tensor:
        torch.rand(3)
        Draws(7, CPU, WorkerGroup(rank, 2)).begin_step(images)
        return torch.rand(4)

    assert torch.equal(drawn(64, 0), drawn(64, 0))
    assert len({tuple(drawn(images, rank).tolist()) for images in (0, 64) for rank in (0, 1)}) == 4


@given(seed=st.integers(0, 2**63 - 1))
def test_torch_is_seeded_as_by_its_own_function(seed: int) -> None:
    torch.manual_seed(seed)
    expected = torch.get_rng_state()
    torch.rand(1)
    seed_torch(seed)
    assert torch.equal(torch.get_rng_state(), expected)


def test_a_step_begins_without_a_stack_to_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traceback, "format_stack", lambda: pytest.fail("it costs as much as a small step"))
    Draws(7, CPU, WorkerGroup()).begin_step(0)


@given(seed=SEEDS, purpose=st.text(), position=st.integers(0, 2**63))
def test_a_derived_seed_is_one_that_torch_takes(seed: int, purpose: str, position: int) -> None:
    assert 0 <= derive_seed(seed, purpose, position) < 2**63


def test_seeds_of_different_purposes_are_different() -> None:
    seeds = {derive_seed(seed, purpose, at) for seed in range(9) for purpose in ("step", "order") for at in range(9)}
    assert len(seeds) == 9 * 2 * 9
    assert derive_seed(0, "weights") == 6579489009559179723


@pytest.mark.parametrize(("count", "shown"), [(3, 3), (100, 100), (250, 100)])
def test_a_grid_has_a_row_for_each_class_as_long_as_they_can_be_looked_at(count: int, shown: int) -> None:
    recipe = Recipe.model_validate(
        {
            "data": {"dataset": "many", "image_size": 28, "channels": 1}, "conditioning": {"classes": 300},
            "generator": {"kind": "mlp"}, "discriminator": {"kind": "mlp"},
        }
    )  # fmt: skip
    classes = torch.arange(300)[-count:]
    latents, labels = fixed_inputs(recipe, seed=0, rows=8, columns=4, classes=classes)
    rows = labels.reshape(shown, 4)
    assert len(latents) == 4 * shown
    assert torch.equal(rows, rows[:, :1].expand(-1, 4))
    assert rows[0, 0] == classes[0]
    assert set(rows[:, 0].diff().tolist()) <= {1, 2, 3}
    assert rows[-1, 0] >= classes[-1] - 2


@given(seed=SEEDS, truncation=st.floats(0.01, 5))
def test_numbers_of_latents_beyond_a_truncation_are_drawn_anew_and_no_others(seed: int, truncation: float) -> None:
    whole, truncated = fixed_latents(seed, 50, 7), fixed_latents(seed, 50, 7, truncation)
    beyond = whole.abs() > truncation
    assert torch.equal(whole[~beyond], truncated[~beyond])
    assert (truncated[beyond].abs() <= torch.tensor(truncation)).all()
    # Drawn, not cut: none lies at the border, where cut ones would.
    assert len(truncated[beyond].unique()) == beyond.sum()
    assert torch.equal(truncated, fixed_latents(seed, 50, 7, truncation))
