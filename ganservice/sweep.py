"""SweepSpec: one training in many settings, each with several seeds. What its jobs are is a pure function of it."""

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, field_validator, model_validator

from ganservice.errors import SpecInvalid
from ganservice.judging import Judging
from ganservice.mistakes import brief
from ganservice.model import Images, Model, Seed
from ganservice.spec import MAX_SPEC_BYTES, Evaluate, TrainSpec, is_plain
from ganservice.spec_file import checked_networks, parse_spec, put_value

# Of one sweep. Each job is looked at every few seconds, for as long as the sweep lasts.
MAX_FACTORS, MAX_VALUES, MAX_JOBS = 8, 100, 1_000
# What is no setting: who a job is, how long it trains, and what pins its code.
FIXED = ("kind", "name", "tags", "note", "seed", "images", "start", "recipe.code")
# Draws in a row that bring nothing new, after which a choice among few values is taken to be exhausted.
VAIN_DRAWS = 1_000

Setting = Mapping[str, Any]
FactorKey = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}(\.[a-z0-9_]{1,40}){0,5}$")]


class Listed(Model):
    """A factor with a few values."""

    kind: Literal["listed"] = "listed"
    key: FactorKey
    values: Annotated[tuple[Any, ...], Field(min_length=1, max_length=MAX_VALUES)]

    @field_validator("values")
    @classmethod
    def _values_are_plain(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not all(is_plain(value) for value in values):
            raise ValueError("expected numbers, texts and lists of them")
        if len({json.dumps(value) for value in values}) < len(values):
            raise ValueError("found a value twice")
        return values

    def draw(self, chance: random.Random) -> Any:
        """One of the values, each as likely."""
        return self.values[int(chance.random() * len(self.values))]


class Range(Model):
    """A factor that is drawn between two numbers, both included; from whole numbers, whole ones."""

    kind: Literal["range"] = "range"
    key: FactorKey
    low: Annotated[int, Field(ge=-(2**53), le=2**53)] | Annotated[float, Field(ge=-1e30, le=1e30)]
    high: Annotated[int, Field(ge=-(2**53), le=2**53)] | Annotated[float, Field(ge=-1e30, le=1e30)]
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _has_a_width(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"found {self.low},{self.high}, expected the smaller number first")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"found {self.low},{self.high}, expected numbers above 0: their logarithm is drawn")
        return self

    def draw(self, chance: random.Random) -> int | float:
        """A number between both, each as likely, or its logarithm; whole, or of three digits as one would write it."""
        share = chance.random()
        is_whole = isinstance(self.low, int) and isinstance(self.high, int)
        if is_whole and self.scale == "linear":
            value: float = self.low + math.floor(share * (self.high - self.low + 1))
        elif self.scale == "log":
            # No quotient of both: it may be beyond all numbers.
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        rounded = round(value) if is_whole else float(f"{value:.3g}")
        return min(max(rounded, self.low), self.high)


class Budget(Model):
    """What a sweep may take, of images or of GPU time; nothing is begun that would go beyond it."""

    images: Images | None = None
    gpu_hours: Annotated[float, Field(gt=0, le=1e9)] | None = None


class SweepSpec(Model):
    """All that a sweep is asked to do."""

    base: TrainSpec
    factors: Annotated[
        tuple[Annotated[Listed | Range, Discriminator("kind")], ...], Field(min_length=1, max_length=MAX_FACTORS)
    ]
    trials: Annotated[int, Field(ge=1, le=MAX_JOBS)] | None = None  # settings that are drawn; None of a grid
    draw_seed: Seed = 0
    seeds: Annotated[int, Field(ge=1, le=MAX_JOBS)] = 1
    halving: Annotated[int, Field(ge=2, le=100)] | None = None  # of so many settings one goes on from each rung
    budget: Budget = Budget()

    @property
    def judging(self) -> Judging:
        """How all its jobs are judged, by which they compare."""
        return (self.base.evaluate or Evaluate()).judging

    @property
    def rungs(self) -> tuple[int, ...]:
        """The images that jobs are let train to, one after the other; without halving their whole length.

        With n settings and one of `halving` going on each time, fewer than that are left for the whole length, and each
        rung takes about as many images as the next (Jamieson and Talwalkar 2016, algorithm 1).
        """
        base, settings = self.base, len(self.settings())
        if self.halving is None:
            return (base.images,)
        count, left = 1, settings
        while left >= self.halving:
            count, left = count + 1, left // self.halving
        length = base.images - base.first_images
        return tuple(base.first_images + -(-length // self.halving ** (count - 1 - rung)) for rung in range(count))

    def survivors(self, rung: int) -> int:
        """How many settings go on from a rung, of those that began."""
        share: int = (self.halving or 1) ** (rung + 1)
        return max(1, len(self.settings()) // share)

    def settings(self) -> list[Setting]:
        """All settings, in an order that never changes: those of the grid, or those that are drawn."""
        if self.trials is None:
            keys = [factor.key for factor in self.factors]
            values = itertools.product(*(_listed(factor) for factor in self.factors))
            return [dict(zip(keys, each, strict=True)) for each in values]
        return list(itertools.islice(self._draws(), self.trials))

    def _draws(self) -> Iterator[Setting]:
        """Yield settings, none of them twice."""
        chance, seen, vain = random.Random(self.draw_seed), set[str](), 0
        while vain < VAIN_DRAWS:
            setting = {factor.key: factor.draw(chance) for factor in self.factors}
            text = json.dumps(setting)
            vain = vain + 1 if text in seen else 0
            if not vain:
                seen.add(text)
                yield setting

    def job(self, setting: Setting, seed: int) -> TrainSpec:
        """The spec of the job of a setting with the seed of this number.

        Raises:
            SpecInvalid: the setting has none, or what is found of it would not compare with the others.
        """
        tree, source = (
            self.base.model_dump(mode="json", exclude_unset=True),
            brief(f"{self.base.name} with {words(setting)}"),
        )
        for key, value in setting.items():
            put_value(tree, key, value, source)
        spec = parse_spec(tree | {"seed": self.base.seed + seed}, source)
        base = _judged(self.base)
        for key, value in _judged(spec).items():
            if value != base[key]:
                raise SpecInvalid(
                    f"{source}: {key} is another than the spec's, by which all jobs of a sweep are judged: the numbers "
                    "would not compare; expected other factors"
                )
        return spec

    def check(self) -> None:
        """Raise SpecInvalid where any of its jobs cannot be."""
        for setting in self.settings():
            checked_networks(self.job(setting, self.seeds - 1), brief(f"{self.base.name} with {words(setting)}"))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        keys = [factor.key for factor in self.factors]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"{key}: found twice, expected each key once")
            if any(key == fixed or key.startswith(f"{fixed}.") for fixed in FIXED):
                raise ValueError(f"{key}: is the same in all jobs of a sweep; expected another key")
        if self.base.evaluate is None:
            raise ValueError("evaluate: is missing in the spec; a sweep compares what evaluations of its jobs find")
        if self.trials is None and any(isinstance(factor, Range) for factor in self.factors):
            raise ValueError("trials: is missing; a range is drawn from so many times")
        jobs = self.seeds * (self.trials or math.prod(len(_listed(factor)) for factor in self.factors))
        if jobs > MAX_JOBS:
            raise ValueError(f"found {jobs:,} jobs, expected at most {MAX_JOBS:,}; take fewer values or seeds")
        if self.base.seed + self.seeds > 2**63 - 1:
            raise ValueError("seed: is too large to be counted up")
        if self.halving and len(self.settings()) < self.halving:
            raise ValueError(
                f"halving: found {self.halving}, expected at most the number of settings, {len(self.settings())}"
            )
        return self

    @model_validator(mode="after")
    def _can_begin(self) -> Self:
        if self.budget.gpu_hours and not self.base.resources.gpus:
            raise ValueError("budget: found GPU-hours, but its jobs hold no GPU; expected images")
        least = self.rungs[0] - self.base.first_images
        if self.budget.images is not None and self.budget.images < least:
            raise ValueError(f"budget: found {self.budget.images:,} images, but the first job alone takes {least:,}")
        return self


class Place(Model):
    """One job's place in its sweep: which setting, and which seed."""

    setting: Annotated[int, Field(ge=0, lt=MAX_JOBS)]
    seed: Annotated[int, Field(ge=0, lt=MAX_JOBS)]

    def __str__(self) -> str:
        return f"{self.setting}/{self.seed}"


def places(spec: SweepSpec) -> list[Place]:
    """All places, in the order in which they are filled: each setting has one seed before any has two."""
    settings = range(len(spec.settings()))
    return [Place(setting=setting, seed=seed) for seed in range(spec.seeds) for setting in settings]


def _judged(spec: TrainSpec) -> Mapping[str, Any]:
    """All that a training says of how it is judged, by key: jobs that agree in it are judged under one protocol."""
    return {
        "evaluate": spec.evaluate,
        "recipe.data": spec.recipe.data.model_dump(exclude={"flip"}),  # that is how pictures are learned, not which
        "recipe.super_resolution": spec.recipe.super_resolution,
    }


def words(setting: Setting) -> str:
    """A setting, as people read it."""
    return ", ".join(f"{short(key)} {value}" for key, value in setting.items())


def short(key: str) -> str:
    """A key without what nearly all of them begin with."""
    return key.removeprefix("recipe.")


def _listed(factor: Listed | Range) -> Sequence[Any]:
    return factor.values if isinstance(factor, Listed) else ()


def sweep_text(spec: SweepSpec) -> str:
    """A sweep as the queue keeps it, without what nobody wrote: a setting may be of another kind of loss, which has not
    the same keys.

    Raises:
        SpecInvalid: it is too large.
    """
    text = spec.model_dump_json(exclude_unset=True)
    if (size := len(text.encode())) > MAX_SPEC_BYTES:
        raise SpecInvalid(f"the sweep is {size:,} bytes; expected at most {MAX_SPEC_BYTES:,}")
    return text
