"""The documents of sweeps."""

from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field

from ganservice.documents.base import Document, Section
from ganservice.job import State
from ganservice.sweep_list import SweepHeading
from ganservice.sweep_plan import Child
from ganservice.sweep_table import Effect, Row, effects_of, rows_of
from ganservice.sweeps import Sweep


class SweepJobSection(Section):
    """A job of a sweep."""

    id: str = Field(description="Its id.")
    seed: int = Field(description="Its seed.")
    state: State | None = Field(description="Its state; null of one that is gone.")
    halted: bool = Field(description="Whether it waits to be let go on.")
    images: int = Field(description="Images of all its attempts, work done twice counted twice.")
    quality: float | None = Field(description="The best that was found of it; lower is better.")


class SettingSection(Section):
    """What a setting came to."""

    values: dict[str, Any] = Field(description="The values of the factors, by dotted key.")
    mean: float | None = Field(description="The mean quality of its seeds, of each its best; lower is better.")
    spread: float | None = Field(description="The standard deviation from seed to seed; null of fewer than two.")
    judged: int = Field(description="Seeds of which a quality was found.")
    until_images: int = Field(description="Images to which it was let train.")
    images: int = Field(description="Images of all its jobs.")
    jobs: tuple[SweepJobSection, ...] = Field(description="Its jobs, by seed.")

    @classmethod
    def of(cls, row: Row, first_seed: int) -> Self:
        """The section of a row."""
        return cls(
            values=dict(row.setting),
            mean=row.mean,
            spread=row.spread,
            judged=len(row.qualities),
            until_images=row.until_images,
            images=row.trained_images,
            jobs=tuple(
                SweepJobSection(
                    id=child.job_id,
                    seed=first_seed + child.place.seed,
                    state=child.state,
                    halted=child.halted,
                    images=child.trained_images,
                    quality=child.quality(),
                )
                for child in row.children
            ),
        )


class LevelSection(Section):
    """A value of a factor, or one half of its range."""

    value: str = Field(description="The value, or the half, in words.")
    mean: float = Field(description="The mean quality of all settings with it.")
    settings: int = Field(description="The number of these.")


class EffectSection(Section):
    """What a factor does, all others being mixed, at the length to which all settings were let train."""

    key: str = Field(description="The factor.")
    difference: float = Field(description="From its best value to its worst.")
    levels: tuple[LevelSection, ...] = Field(description="Its values.")

    @classmethod
    def of(cls, effect: Effect) -> Self:
        """The section of an effect."""
        levels = (LevelSection(value=each.text, mean=each.mean, settings=each.settings) for each in effect.levels)
        return cls(key=effect.key, difference=effect.difference, levels=tuple(levels))


class SweepSection(Section):
    """A sweep, in short."""

    id: str = Field(description="Its id.")
    name: str = Field(description="The name of its jobs.")
    state: State = Field(description="`running`, or how it ended.")
    stopping: bool = Field(description="Whether it has been cancelled, and is not over yet.")
    user: str | None = Field(description="Whose it is.")
    submitted_at: float = Field(description="When it was submitted, Unix time in s.")
    finished_at: float | None = Field(description="When it was over.")
    settings: int = Field(description="Its settings.")
    seeds: int = Field(description="Seeds of each.")

    @classmethod
    def of(cls, heading: SweepHeading) -> Self:
        """The section of a sweep."""
        return cls(**_in_short(heading))


class SweepsDocument(Document):
    """`sweeps`: the newest sweeps, newest first."""

    sweeps: tuple[SweepSection, ...] = Field(description="The sweeps.")
    unreadable: tuple[str, ...] = Field(description="Ids of those that another version of ganservice wrote.")


class SweepDocument(SweepSection, Document):
    """`show` of a sweep: its settings and what they came to, the best first."""

    waits_for: str | None = Field(description="Why its next job is not submitted yet.")
    message: str | None = Field(description="How it ended, in words.")
    measure: str = Field(description="The number by which settings compare.")
    rungs: tuple[int, ...] = Field(description="The images to which jobs are let train, one after the other.")
    images: int = Field(description="Images that all its jobs have trained.")
    rows: tuple[SettingSection, ...] = Field(description="The settings that have jobs, the best first.")
    effects: tuple[EffectSection, ...] = Field(description="What each factor does, the largest first.")


class SweepPlanDocument(Document):
    """`sweep --dry-run`: what would be submitted."""

    settings: tuple[dict[str, Any], ...] = Field(description="The settings, by dotted key.")
    seeds: int = Field(description="Seeds of each.")
    jobs: int = Field(description="Jobs of all of them.")
    rungs: tuple[int, ...] = Field(description="The images to which jobs are let train, one after the other.")
    images: int = Field(description="Images that all jobs train at most.")
    warnings: tuple[str, ...] = Field(description="Settings that cannot work, in words.")


class NewSweepDocument(Document):
    """`sweep`: the sweep that there is now."""

    id: str = Field(description="Its id.")
    created: bool = Field(description="False where it was submitted before, with the same idempotency key.")
    jobs: int = Field(description="Jobs that the dispatcher submits for it, at most.")
    warnings: tuple[str, ...] = Field(description="Settings that cannot work, in words.")


def sweep_document(sweep: Sweep, children: Sequence[Child]) -> SweepDocument:
    """The document of a sweep whose jobs stand so."""
    first_seed = sweep.spec.base.seed
    return SweepDocument(
        **_in_short(sweep.heading),
        waits_for=sweep.waiting_for,
        message=sweep.message,
        measure=sweep.measure,
        rungs=sweep.spec.rungs,
        images=sum(child.trained_images for child in children),
        rows=tuple(SettingSection.of(row, first_seed) for row in rows_of(sweep.spec, children)),
        effects=tuple(map(EffectSection.of, effects_of(sweep.spec, children))),
    )


def _in_short(sweep: SweepHeading) -> dict[str, Any]:
    return {
        "id": sweep.id, "name": sweep.name, "state": sweep.state,
        "stopping": sweep.cancel_requested and not sweep.state.is_final, "user": sweep.user,
        "submitted_at": sweep.submitted_at, "finished_at": sweep.finished_at,
        "settings": sweep.settings, "seeds": sweep.seeds,
    }  # fmt: skip
