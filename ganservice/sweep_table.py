"""The table of a sweep: what its settings came to, and what each factor does. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev

from ganservice.sweep import Listed, Setting, SweepSpec, short
from ganservice.sweep_plan import Child, ranking


@dataclass(frozen=True)
class Row:
    """What one setting came to."""

    place: int  # in the sweep's order of settings
    setting: Setting
    children: tuple[Child, ...]
    until_images: int  # to which it was let train

    @property
    def qualities(self) -> list[float]:
        """The best that was found of each seed that was judged; lower is better."""
        found = (child.quality() for child in self.children)
        return [quality for quality in found if quality is not None]

    @property
    def mean(self) -> float | None:
        """Their mean."""
        return mean(self.qualities) if self.qualities else None

    @property
    def spread(self) -> float | None:
        """Their standard deviation from seed to seed, of a sample; None of fewer than two."""
        return stdev(self.qualities) if len(self.qualities) > 1 else None

    @property
    def trained_images(self) -> int:
        """All images of all its jobs."""
        return sum(child.trained_images for child in self.children)


@dataclass(frozen=True)
class Level:
    """One value of a factor, or one half of its range, and what settings with it came to."""

    text: str
    settings: int
    mean: float


@dataclass(frozen=True)
class Effect:
    """What a factor does: the means over all settings with each of its values, all else being mixed."""

    key: str
    levels: tuple[Level, ...]

    @property
    def difference(self) -> float:
        """From the best level to the worst."""
        means = [level.mean for level in self.levels]
        return max(means) - min(means)


def rows_of(spec: SweepSpec, children: Sequence[Child]) -> list[Row]:
    """A row for each setting that has jobs, first those that were let come furthest, and of these the best."""
    settings, by_setting = spec.settings(), dict[int, list[Child]]()
    for child in children:
        by_setting.setdefault(child.place.setting, []).append(child)
    rows = [
        Row(place, settings[place], tuple(own), max(child.until_images for child in own))
        for place, own in by_setting.items()
    ]
    order = {setting: at for at, setting in enumerate(ranking(children))}
    return sorted(rows, key=lambda row: (not row.qualities, -row.until_images, order[row.place]))


def effects_of(spec: SweepSpec, children: Sequence[Child]) -> list[Effect]:
    """The effect of each factor, the largest first, at the length to which all settings were let train.

    A range is told in two halves, below its median and from there on.
    """
    images = spec.rungs[0] if spec.halving else None
    qualities: dict[int, list[float]] = {}
    for child in children:
        if (quality := child.quality(images)) is not None:
            qualities.setdefault(child.place.setting, []).append(quality)
    settings = spec.settings()
    found = [(settings[place], mean(own)) for place, own in sorted(qualities.items())]
    effects = [_effect(factor.key, isinstance(factor, Listed), found) for factor in spec.factors]
    return sorted((effect for effect in effects if len(effect.levels) > 1), key=lambda effect: -effect.difference)


def _effect(key: str, is_listed: bool, found: Sequence[tuple[Setting, float]]) -> Effect:
    middle = None if is_listed or not found else median(setting[key] for setting, _ in found)
    levels: dict[str, list[float]] = {}
    for setting, quality in found:
        value = setting[key]
        text = str(value) if middle is None else f"below {middle:g}" if value < middle else f"from {middle:g} on"
        levels.setdefault(text, []).append(quality)
    return Effect(key, tuple(Level(text, len(own), mean(own)) for text, own in levels.items()))


def columns(spec: SweepSpec) -> list[str]:
    """The keys of the factors, as people read them."""
    return [short(factor.key) for factor in spec.factors]
