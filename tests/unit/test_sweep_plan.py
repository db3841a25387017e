"""What a sweep does next, whatever happens to its jobs and whenever whoever advances it dies."""

import random
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganservice.job import State
from ganservice.spec import Evaluate, TrainSpec
from ganservice.sweep import SweepSpec, places
from ganservice.sweep_plan import Child, Finding, Moves, next_moves
from ganservice.sweep_table import effects_of, rows_of
from tests.conftest import smallest_spec

IMAGES, STEP = 6_400, 8


def base() -> TrainSpec:
    return smallest_spec().model_copy(update={"evaluate": Evaluate(), "images": IMAGES})


def sweep(settings: int, **keys: Any) -> SweepSpec:
    factor = {"kind": "listed", "key": "recipe.d_steps", "values": list(range(1, settings + 1))}
    return SweepSpec.model_validate({"base": base(), "factors": [factor]} | keys)


@dataclass
class World:
    """A queue in memory, in which jobs come to what their setting and seed make of them."""

    spec: SweepSpec
    chance: random.Random
    fails: float = 0.0
    children: dict[str, Child] = field(default_factory=dict)

    def quality(self, child: Child, images: int) -> float:
        """The lower the setting, the better, at every length; seeds differ by less."""
        return 100 * child.place.setting + child.place.seed / 10 + 10 * (1 - images / IMAGES)

    def carry_out(self, dies_after: int) -> bool:
        """One look, which ends after so many of its steps. Returns whether the sweep is over."""
        moves = next_moves(self.spec, tuple(self.children.values()))
        if moves.end:
            assert moves == Moves(end=moves.end)
            return True
        steps: list[Any] = [*moves.promote, *moves.stop, *moves.submit]
        for step in steps[:dies_after]:
            if not isinstance(step, tuple):
                assert str(step) not in self.children, "a job is submitted once"
                self.children[str(step)] = Child(
                    place=step, job_id=f"job-{step.setting}-{step.seed}", state=State.QUEUED, step_images=STEP,
                    until_images=self.spec.rungs[0],
                )  # fmt: skip
            elif isinstance(step[1], int):
                assert self.children[str(step[0].place)].halted
                self._change(step[0], halted=False, until_images=step[1])
            else:
                self._change(step[0], state=State.CANCELLED, halted=False)
        return False

    def go_on(self) -> None:
        """Some of the jobs come further."""
        for child in list(self.children.values()):
            if child.is_over or child.halted or self.chance.random() < 0.3:
                continue
            images = -(-child.until_images // STEP) * STEP
            if self.chance.random() < self.fails:
                self._change(child, state=State.FAILED, has_begun=True, trained_images=images // 2)
                continue
            found = Finding(images=images, quality=self.quality(child, images))
            is_done = child.until_images >= IMAGES
            self._change(
                child, has_begun=True, images=images, trained_images=images, findings=(*child.findings, found),
                state=State.SUCCEEDED if is_done else State.QUEUED, halted=not is_done,
            )  # fmt: skip

    def _change(self, child: Child, **changes: Any) -> None:
        now = self.children[str(child.place)]
        self.children[str(child.place)] = now.model_copy(update=changes)

    def play(self) -> None:
        for _ in range(500):
            if self.carry_out(self.chance.randint(0, 5)):
                return
            self.go_on()
        raise AssertionError("the sweep does not end")

    @property
    def used(self) -> int:
        return sum(child.trained_images for child in self.children.values())


CHANCES = st.integers(0, 2**32).map(random.Random)


@given(settings=st.integers(1, 9), seeds=st.integers(1, 3), fails=st.sampled_from([0.0, 0.3]), chance=CHANCES)
def test_a_full_sweep_submits_every_job_once_and_ends(
    settings: int, seeds: int, fails: float, chance: random.Random
) -> None:
    world = World(sweep(settings, seeds=seeds), chance, fails)
    world.play()
    assert len(world.children) == settings * seeds
    assert all(child.is_over for child in world.children.values())


@given(settings=st.integers(2, 12), seeds=st.integers(1, 3), halving=st.integers(2, 4), chance=CHANCES)
def test_halving_lets_the_best_go_on_and_no_others(
    settings: int, seeds: int, halving: int, chance: random.Random
) -> None:
    halving = min(halving, settings)
    world = World(sweep(settings, seeds=seeds, halving=halving), chance)
    world.play()
    rungs = world.spec.rungs
    assert rungs[-1] == IMAGES
    for rung, (images, next_images) in enumerate(pairwise(rungs)):
        ahead = {child.place.setting for child in world.children.values() if child.until_images >= next_images}
        assert ahead == set(range(world.spec.survivors(rung))), f"from {images} images on"
    succeeded = [child for child in world.children.values() if child.state is State.SUCCEEDED]
    assert {child.place.setting for child in succeeded} == set(range(world.spec.survivors(len(rungs) - 2)))
    best = rows_of(world.spec, tuple(world.children.values()))[0]
    assert (best.place, best.until_images) == (0, IMAGES)
    # All rungs take about as much, and together less than the whole grid.
    assert world.used <= len(rungs) * settings * seeds * (rungs[0] + STEP)


@given(
    settings=st.integers(2, 9), seeds=st.integers(1, 3), halving=st.sampled_from([None, 2]),
    budget=st.integers(100, 8 * IMAGES), fails=st.sampled_from([0.0, 0.3]), chance=CHANCES,
)  # fmt: skip
def test_no_more_images_are_let_train_than_the_budget_has(
    settings: int, seeds: int, halving: int | None, budget: int, fails: float, chance: random.Random
) -> None:
    budget = max(budget, sweep(settings, halving=halving).rungs[0])
    world = World(sweep(settings, seeds=seeds, halving=halving, budget={"images": budget}), chance, fails)
    world.play()
    assert world.used <= budget + len(world.children) * STEP, "but for the last step of each job"
    if fails == 0 and halving is None:
        assert len(world.children) == min(settings * seeds, budget // IMAGES)


def test_a_setting_of_which_a_seed_came_to_nothing_does_not_go_on_before_others() -> None:
    spec = sweep(2, seeds=2, halving=2)
    world = World(spec, random.Random(0))
    world.carry_out(10)
    world.go_on()
    while any(not child.halted for child in world.children.values()):
        world.go_on()
    world.children["0/1"] = world.children["0/1"].model_copy(
        update={"state": State.FAILED, "halted": False, "findings": ()}
    )
    moves = next_moves(spec, tuple(world.children.values()))
    assert [child.place.setting for child, _ in moves.promote] == [1, 1]
    assert [(str(child.place), why) for child, why in moves.stop] == [
        ("0/0", "not among the best 1 of 2 settings at 3,200 images")
    ]


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_a_job_that_cannot_go_on_takes_the_place_of_no_other(state: State) -> None:
    spec = sweep(4, halving=2)
    world = World(spec, random.Random(0))
    world.carry_out(10)
    while not all(child.halted for child in world.children.values()):
        world.go_on()
    assert world.children["0/0"].findings
    world.children["0/0"] = world.children["0/0"].model_copy(update={"state": state, "halted": False})
    moves = next_moves(spec, tuple(world.children.values()))
    assert [child.place.setting for child, _ in moves.promote] == [1, 2]
    assert [child.place.setting for child, _ in moves.stop] == [3]


def test_who_has_gone_on_stays_ahead_whatever_is_found_later() -> None:
    spec = sweep(2, halving=2)
    world = World(spec, random.Random(0))
    world.carry_out(10)
    while not all(child.halted for child in world.children.values()):
        world.go_on()
    world.carry_out(1)
    assert world.children["0/0"].until_images == IMAGES
    world.children["1/0"] = world.children["1/0"].model_copy(update={"findings": (Finding(images=3_200, quality=0.0),)})
    moves = next_moves(spec, tuple(world.children.values()))
    assert not moves.promote
    assert [str(child.place) for child, _ in moves.stop] == ["1/0"]


def test_nothing_goes_on_before_all_were_judged() -> None:
    spec = sweep(2, halving=2)
    world = World(spec, random.Random(0))
    world.carry_out(10)
    while not all(child.halted for child in world.children.values()):
        world.go_on()
    world.children["1/0"] = world.children["1/0"].model_copy(update={"under_way": 1})
    moves = next_moves(spec, tuple(world.children.values()))
    assert moves == Moves()


def test_a_cancelled_sweep_is_over_once_all_its_jobs_are() -> None:
    spec = sweep(3)
    world = World(spec, random.Random(0))
    world.carry_out(2)
    moves = next_moves(spec, tuple(world.children.values()), is_cancelled=True)
    assert moves == Moves(stop=moves.stop)
    assert len(moves.stop) == 2
    over = [child.model_copy(update={"state": State.CANCELLED}) for child in world.children.values()]
    assert next_moves(spec, over, is_cancelled=True).end is State.CANCELLED


def test_gpu_time_that_is_used_up_stops_what_has_not_begun() -> None:
    resources = base().resources.model_copy(update={"gpus_per_worker": 1})
    spec = sweep(3, base=base().model_copy(update={"resources": resources}), budget={"gpu_hours": 1.0})
    world = World(spec, random.Random(0))
    world.carry_out(2)
    world.children["0/0"] = world.children["0/0"].model_copy(
        update={"state": State.RUNNING, "has_begun": True, "gpu_s": 3_600.0}
    )
    moves = next_moves(spec, tuple(world.children.values()))
    assert [str(child.place) for child, _ in moves.stop] == ["1/0"]
    assert not moves.submit


def test_a_sweep_of_which_nothing_was_found_has_failed() -> None:
    spec = sweep(1)
    gone = Child.model_validate({"place": {"setting": 0, "seed": 0}, "job_id": "gone"})
    assert next_moves(spec, [gone]).end is State.FAILED


def test_the_table_has_means_spreads_and_effects() -> None:
    grid = [
        {"kind": "listed", "key": "recipe.d_steps", "values": [1, 2]},
        {"kind": "listed", "key": "recipe.batch_size", "values": [8, 16]},
    ]
    spec = SweepSpec.model_validate({"base": base(), "factors": grid, "seeds": 2})
    found = {(0, 0): 10.0, (0, 1): 14.0, (1, 0): 20.0, (1, 1): 22.0, (2, 0): 5.0, (3, 0): 30.0, (3, 1): None}
    children = [
        Child.model_validate(
            {
                "place": {"setting": setting, "seed": seed}, "job_id": f"job-{setting}-{seed}", "state": "succeeded",
                "until_images": IMAGES, "trained_images": IMAGES,
                "findings": [] if quality is None else [{"images": IMAGES, "quality": quality}],
            },
            strict=False,
        )
        for (setting, seed), quality in found.items()
    ]  # fmt: skip
    rows = rows_of(spec, children)
    assert [(row.place, row.mean, row.spread and round(row.spread, 3)) for row in rows] == [
        (2, 5.0, None), (0, 12.0, 2.828), (1, 21.0, 1.414), (3, 30.0, None),
    ]  # fmt: skip
    assert rows[0].trained_images == IMAGES
    first, second = effects_of(spec, children)
    assert (first.key, round(first.difference, 9)) == ("recipe.batch_size", 17.0)
    assert [(level.text, level.settings, level.mean) for level in first.levels] == [("8", 2, 8.5), ("16", 2, 25.5)]
    assert (second.key, round(second.difference, 9)) == ("recipe.d_steps", 1.0)


def test_one_that_is_damaged_and_has_halted_is_ended_before_anybody_goes_on() -> None:
    spec = sweep(2, halving=2)
    halted = [
        Child(
            place=place, job_id=f"job-{place.setting}", state=State.QUEUED, halted=True, has_begun=True,
            until_images=spec.rungs[0], unreadable=place.setting == 0,
            findings=(Finding(images=spec.rungs[0], quality=1.0 + place.setting),),
        )
        for place in places(spec)
    ]  # fmt: skip
    moves = next_moves(spec, halted)
    assert moves == Moves(stop=[(halted[0], "what is kept of it is damaged")])
    ended = [halted[0].model_copy(update={"state": State.CANCELLED, "halted": False}), halted[1]]
    assert next_moves(spec, ended).promote == [(halted[1], IMAGES)]
