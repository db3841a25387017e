"""Sweeps: what their settings are, and what is refused before anything is written."""

import json
from collections import Counter
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from ganservice.errors import SpecInvalid
from ganservice.job import State
from ganservice.spec import Evaluate, Resources, TrainSpec
from ganservice.sweep import MAX_JOBS, Place, Range, SweepSpec, places, sweep_text
from ganservice.sweep_plan import Child, Finding
from ganservice.sweeps import MAX_CHILDREN_BYTES, children_text

LR = {"key": "recipe.optimiser_g.lr", "values": [1e-4, 2e-4]}
STEPS = {"key": "recipe.d_steps", "values": [1, 2]}


@pytest.fixture(scope="session")
def base(spec: TrainSpec) -> TrainSpec:
    return spec.model_copy(update={"evaluate": Evaluate(), "images": 6400, "seed": 7})


def sweep(base: TrainSpec, *factors: dict[str, Any], **keys: Any) -> SweepSpec:
    listed = [{"kind": "listed"} | factor for factor in factors or (LR, STEPS)]
    return SweepSpec.model_validate({"base": base, "factors": listed} | keys)


def test_a_grid_has_every_combination_in_one_order(base: TrainSpec) -> None:
    spec = sweep(base, seeds=2)
    assert [tuple(setting.values()) for setting in spec.settings()] == [(1e-4, 1), (1e-4, 2), (2e-4, 1), (2e-4, 2)]
    assert list(map(str, places(spec))) == ["0/0", "1/0", "2/0", "3/0", "0/1", "1/1", "2/1", "3/1"]
    job = spec.job(spec.settings()[1], 1)
    assert (job.recipe.optimiser_g.lr, job.recipe.d_steps, job.seed, job.name) == (1e-4, 2, 8, "tiny")
    assert job.recipe.optimiser_d == base.recipe.optimiser_d


def test_draws_are_those_of_their_seed_and_lie_within_their_ranges(base: TrainSpec) -> None:
    factors = (
        {"kind": "range", "key": "recipe.optimiser_g.lr", "low": 1e-5, "high": 1e-2, "scale": "log"},
        {"kind": "range", "key": "recipe.optimiser_d.lr", "low": 0.5, "high": 0.75},
        {"kind": "range", "key": "recipe.batch_size", "low": 8, "high": 64},
        {"key": "recipe.d_steps", "values": [1, 2, 5]},
    )
    spec = sweep(base, *factors, trials=200)
    settings = spec.settings()
    assert len(settings) == 200
    assert settings == sweep(base, *factors, trials=200).settings()
    assert settings[:50] == sweep(base, *factors, trials=50).settings(), "more trials change none of the first"
    assert settings != sweep(base, *factors, trials=200, draw_seed=1).settings()
    rates = [setting["recipe.optimiser_g.lr"] for setting in settings]
    assert all(1e-5 <= rate <= 1e-2 for rate in rates)
    thirds = [sum(low <= rate < 10 * low for rate in rates) for low in (1e-5, 1e-4, 1e-3)]
    assert all(40 <= third <= 95 for third in thirds), "each power of ten is as likely"
    assert all(0.5 <= setting["recipe.optimiser_d.lr"] <= 0.75 for setting in settings)
    sizes = {setting["recipe.batch_size"] for setting in settings}
    assert all(isinstance(size, int) for size in sizes)
    assert min(sizes) < 16
    assert max(sizes) > 56
    assert {setting["recipe.d_steps"] for setting in settings} == {1, 2, 5}


def test_each_whole_number_of_a_range_is_as_likely() -> None:
    chance, steps = Random(0), Range(key="recipe.d_steps", low=1, high=3)
    counts = Counter(steps.draw(chance) for _ in range(3_000))
    assert sorted(counts) == [1, 2, 3]
    assert all(900 <= count <= 1_100 for count in counts.values())


def test_a_choice_is_drawn_no_oftener_than_there_are_values(base: TrainSpec) -> None:
    drawn = sweep(base, LR, STEPS, trials=50).settings()
    assert sorted(map(str, drawn)) == sorted(map(str, sweep(base).settings()))


def test_a_setting_may_be_of_another_kind_that_has_other_keys(base: TrainSpec) -> None:
    spec = sweep(base, {"key": "recipe.loss.kind", "values": ["non_saturating", "hinge"]})
    again = SweepSpec.model_validate_json(sweep_text(spec))
    assert [again.job(setting, 0).recipe.loss.kind for setting in again.settings()] == ["non_saturating", "hinge"]


@pytest.mark.parametrize(
    ("settings", "halving", "shares", "survivors"),
    [
        (4, 4, [4, 1], [1]),
        (4, 2, [4, 2, 1], [2, 1]),
        (9, 3, [9, 3, 1], [3, 1]),
        (10, 3, [9, 3, 1], [3, 1]),
        (7, 2, [4, 2, 1], [3, 1]),
    ],
)
def test_halving_has_as_many_rungs_as_leave_one(
    base: TrainSpec, settings: int, halving: int, shares: list[int], survivors: list[int]
) -> None:
    spec = sweep(base, {"key": "recipe.d_steps", "values": list(range(1, settings + 1))}, halving=halving)
    assert spec.rungs == tuple(-(-base.images // share) for share in shares)
    assert [spec.survivors(rung) for rung in range(len(shares) - 1)] == survivors


@pytest.mark.parametrize(
    ("factors", "keys", "says"),
    [
        ([{"key": "seed", "values": [1, 2]}], {}, "seed: is the same in all jobs of a sweep; expected another key"),
        ([{"key": "a b", "values": [1]}], {}, "String should match pattern"),
        ([{"key": "recipe." + "x" * 300, "values": [1]}], {}, "String should match pattern"),
        ([{"key": "recipe.d_steps", "values": []}], {}, "at least 1 item"),
        ([{"key": "recipe.d_steps", "values": [1, 1]}], {}, "found a value twice"),
        ([{"key": "recipe.d_steps", "values": [{"a": 1}]}], {}, "expected numbers, texts and lists of them"),
        ([STEPS, STEPS], {}, "recipe.d_steps: found twice"),
        ([LR, STEPS], {"seeds": 251}, "found 1,004 jobs, expected at most 1,000"),
        ([LR], {"halving": 3}, "halving: found 3, expected at most the number of settings, 2"),
        ([LR], {"budget": {"gpu_hours": 1.0}}, "found GPU-hours, but its jobs hold no GPU"),
        ([LR], {"budget": {"images": 6_399}}, "found 6,399 images, but the first job alone takes 6,400"),
        ([LR], {"budget": {"images": 3_199}, "halving": 2}, "the first job alone takes 3,200"),
        ([{"kind": "range", "key": "recipe.d_steps", "low": 1, "high": 2}], {}, "trials: is missing"),
        ([{"kind": "range", "key": "recipe.d_steps", "low": 2, "high": 1}], {"trials": 1}, "the smaller number first"),
        (
            [{"kind": "range", "key": "recipe.d_steps", "low": 0, "high": 1, "scale": "log"}],
            {"trials": 1},
            "numbers above 0",
        ),
    ],
)
def test_what_can_be_no_sweep_is_refused(
    base: TrainSpec, factors: list[dict[str, Any]], keys: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError) as error:
        sweep(base, *factors, **keys)
    assert says in str(error.value)


def test_a_sweep_compares_by_evaluations(spec: TrainSpec) -> None:
    with pytest.raises(ValidationError, match="evaluate: is missing in the spec"):
        sweep(spec)


def test_no_job_of_a_sweep_is_wrong(base: TrainSpec) -> None:
    with pytest.raises(SpecInvalid, match=r"^tiny with d_stepps 2: unknown key recipe.d_stepps; did you mean"):
        sweep(base, {"key": "recipe.d_stepps", "values": [2]}).check()
    two = base.model_copy(update={"resources": Resources(workers=2)})
    uneven = sweep(two, {"key": "recipe.batch_size", "values": [8, 7]})
    with pytest.raises(SpecInvalid, match=r"recipe\.batch_size: found 7"):
        uneven.check()
    sweep(base).check()


@pytest.mark.parametrize(
    ("key", "value", "differs"),
    [
        ("recipe.data.only", ["1", "2"], "recipe.data"),
        ("recipe.data.image_size", 16, "recipe.data"),
        ("recipe.data.channels", 3, "recipe.data"),
        ("recipe.data.dataset", "others", "recipe.data"),
        ("recipe.data.digest", "0" * 64, "recipe.data"),
        ("evaluate.judging.samples", 1_000, "evaluate"),
    ],
)
def test_all_jobs_of_a_sweep_are_judged_alike(base: TrainSpec, key: str, value: Any, differs: str) -> None:
    with pytest.raises(SpecInvalid, match=f": {differs} is another than the spec's, by which all jobs"):
        sweep(base, {"key": key, "values": [value]}).check()


def test_what_changes_only_how_pictures_are_learned_may_be_tried(base: TrainSpec) -> None:
    sweep(base, {"key": "recipe.data.flip", "values": [False, True]}).check()


def test_a_range_may_be_as_wide_as_numbers_are() -> None:
    wide = Range(key="recipe.r1_gamma", low=5e-324, high=1e30, scale="log")
    drawn = [wide.draw(Random(seed)) for seed in range(100)]
    assert all(wide.low <= each <= wide.high for each in drawn)
    assert len(set(drawn)) > 90
    whole = Range(key="recipe.d_steps", low=1, high=2**53, scale="log")
    assert all(1 <= whole.draw(Random(seed)) <= 2**53 for seed in range(100))
    both = Range(key="recipe.d_steps", low=-(2**53), high=2**53)
    assert all(-(2**53) <= both.draw(Random(seed)) <= 2**53 for seed in range(100))


def test_as_many_jobs_as_may_be_are_checked_in_time(base: TrainSpec) -> None:
    many = sweep(base, {"kind": "range", "key": "recipe.optimiser_g.lr", "low": 1e-5, "high": 1.0}, trials=MAX_JOBS)
    assert len(many.settings()) == MAX_JOBS
    many.check()


@pytest.mark.parametrize("jobs", [1, MAX_JOBS])
def test_however_much_was_found_a_sweep_can_be_read_again(jobs: int) -> None:
    count = 100_000 // jobs
    qualities = [1.0 + at / 3 for at in range(count)]
    qualities[count // 2 + 1] = 0.5
    findings = tuple(Finding(images=10**12 + at, quality=quality) for at, quality in enumerate(qualities))
    children = [
        Child(place=Place(setting=setting, seed=0), job_id="a" * 64, state=State.CANCELLED, findings=findings)
        for setting in range(jobs)
    ]
    text = children_text(children)
    assert len(text) <= MAX_CHILDREN_BYTES
    kept = [[each["quality"] for each in child["findings"]] for child in json.loads(text)]
    assert all(min(found) == 0.5 and found[0] == qualities[0] and len(found) > count // 5 for found in kept)
    few = [child.model_copy(update={"findings": findings[:10]}) for child in children]
    assert all(len(child["findings"]) == 10 for child in json.loads(children_text(few)))
