"""What a sweep does next, from how its jobs stand. Pure: looked at again after a crash, it comes to the same."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean

from ganservice.job import State
from ganservice.model import Count, JobId, Model, SeenImages, Span
from ganservice.sweep import Place, SweepSpec, places

SECONDS_PER_HOUR = 3600.0
# Why a job does not go on that is as good as any.
SPENT = "the budget of its sweep is used up"
DAMAGED = "what is kept of it is damaged"


class Finding(Model):
    """The quality of one checkpoint; lower is better."""

    images: SeenImages
    quality: float


class Child(Model):
    """How one job of a sweep stands."""

    place: Place
    job_id: JobId
    state: State | None = None  # None of one that is gone
    unreadable: bool = False  # another version wrote it, or another hand has damaged it
    halted: bool = False  # it waits to be let go on
    has_begun: bool = False
    until_images: SeenImages = 0  # to which it is let train
    step_images: Count = 1  # by which its images grow
    images: SeenImages = 0  # that its model has seen
    trained_images: Count = 0  # work done twice counted twice
    gpu_s: Span = 0.0  # of its training and its evaluations
    under_way: Count = 0  # evaluations in the queue
    findings: tuple[Finding, ...] = ()  # under one protocol for the whole sweep

    @property
    def word(self) -> str:
        """How it stands, in a word."""
        return "unreadable" if self.unreadable else word_of(self.state, halted=self.halted)

    @property
    def is_over(self) -> bool:
        """Whether nothing is to come of it any more."""
        return (self.state is None or self.state.is_final) and not self.under_way

    def has_done(self, images: int) -> bool:
        """Whether it has trained so far and was judged there, or will never be."""
        is_there = self.until_images == images and self.halted and not self.under_way
        return self.is_over or self.until_images > images or is_there

    def quality(self, images: int | None = None) -> float | None:
        """The best that was found of it, up to so many images and the step in which they are reached."""
        within = [each.quality for each in self.findings if images is None or each.images < images + self.step_images]
        return min(within, default=None)


def word_of(state: State | None, *, halted: bool) -> str:
    """How a job of a sweep stands, in a word; without a state it is gone."""
    return "gone" if state is None else "halted" if halted else str(state)


def standing(words: Iterable[str]) -> str:
    """How many jobs stand so, of the words of all of them."""
    counts = Counter(words)
    order = ["running", "queued", "halted", *(state for state in State if state.is_final), "unreadable", "gone"]
    return ", ".join(f"{counts[word]} {word}" for word in order if counts[word])


@dataclass(frozen=True)
class Moves:
    """What is to be done now."""

    submit: list[Place] = field(default_factory=list)
    promote: list[tuple[Child, int]] = field(default_factory=list)  # with the images to which each may train
    stop: list[tuple[Child, str]] = field(default_factory=list)  # with the reason
    end: State | None = None


def next_moves(spec: SweepSpec, children: Sequence[Child], *, is_cancelled: bool = False) -> Moves:
    """What a sweep does next whose jobs stand so."""
    if is_cancelled:
        left = [child for child in children if not child.is_over]
        return Moves(stop=[(child, "its sweep is cancelled") for child in left], end=None if left else State.CANCELLED)
    if damaged := [child for child in children if child.halted and child.unreadable]:
        return Moves(stop=[(child, DAMAGED) for child in damaged])  # nobody else would ever end it
    purse, first = Purse(spec, children), spec.rungs[0]
    filled = {child.place for child in children}
    missing = [place for place in places(spec) if place not in filled]
    affordable = purse.affordable(missing, first)
    moves = Moves(submit=affordable)
    if not purse.is_spent:
        _climb(spec, children, purse, moves, is_full=not affordable)
    else:
        _save(children, moves)
    if not (moves.submit or moves.promote or moves.stop) and all(child.is_over for child in children):
        found = any(child.quality() is not None for child in children)
        return Moves(end=State.SUCCEEDED if found else State.FAILED)
    return moves


def _climb(spec: SweepSpec, children: Sequence[Child], purse: "Purse", moves: Moves, *, is_full: bool) -> None:
    """Let the best go on from each rung that all have reached who were to, and stop the others."""
    left = set(range(len(spec.settings())))
    for rung, images in enumerate(spec.rungs[:-1]):
        here = [child for child in children if child.place.setting in left]
        if not is_full or not all(child.has_done(images) for child in here):
            return
        count, next_images = spec.survivors(rung), spec.rungs[rung + 1]
        # Whom a look before this one has let go on has gone on, whatever is found later.
        ahead = {child.place.setting for child in here if child.until_images > images}
        order = [*ahead, *(each for each in ranking(map(_as_candidate, here), images) if each not in ahead)]
        left = set(order[: max(count, len(ahead))])
        for setting in order:
            halted = [child for child in here if child.place.setting == setting and _is_at(child, images)]
            if setting not in left:
                why = f"not among the best {count} of {len(order)} settings at {images:,} images"
                moves.stop.extend((child, why) for child in halted)
            elif purse.pays(halted, next_images):
                moves.promote.extend((child, next_images) for child in halted)
            else:
                moves.stop.extend((child, SPENT) for child in halted)


def _as_candidate(child: Child) -> Child:
    """The job as it counts when it is decided who goes on: of one that cannot, nothing was found."""
    return child.model_copy(update={"findings": ()}) if child.is_over else child


def _is_at(child: Child, images: int) -> bool:
    return child.halted and not child.is_over and child.until_images == images


def _save(children: Iterable[Child], moves: Moves) -> None:
    """Stop what has not begun, or would go on: the GPU time is used up."""
    for child in children:
        if child.halted or (child.state is State.QUEUED and not child.has_begun):
            moves.stop.append((child, SPENT))


def ranking(children: Iterable[Child], images: int | None = None) -> list[int]:
    """The settings of these jobs, the best first, by the mean of their qualities up to so many images; those of which a
    seed has none come last."""
    qualities: dict[int, list[float | None]] = {}
    for child in children:
        qualities.setdefault(child.place.setting, []).append(child.quality(images))

    def key(setting: int) -> tuple[bool, float, int]:
        found = [quality for quality in qualities[setting] if quality is not None]
        return len(found) < len(qualities[setting]), mean(found) if found else 0.0, setting

    return sorted(qualities, key=key)


class Purse:
    """What is left of a sweep's budget."""

    def __init__(self, spec: SweepSpec, children: Sequence[Child]) -> None:
        """With what its jobs have used, and those that live are let use."""
        self._first_images = spec.base.first_images
        used = sum(child.trained_images if child.is_over else self._length(child.until_images) for child in children)
        budget = spec.budget
        self._left_images = None if budget.images is None else budget.images - used
        gpu_hours = sum(child.gpu_s for child in children) / SECONDS_PER_HOUR
        self.is_spent = budget.gpu_hours is not None and gpu_hours >= budget.gpu_hours

    def affordable(self, missing: Sequence[Place], images: int) -> list[Place]:
        """Those of the jobs that are missing which may be submitted, to train so far."""
        if self.is_spent:
            return []
        count = len(missing)
        if self._left_images is not None:
            count = max(0, min(count, self._left_images // self._length(images)))
            self._left_images -= count * self._length(images)
        return list(missing[:count])

    def pays(self, children: Sequence[Child], images: int) -> bool:
        """Whether these jobs may all go on so far; if so, it is paid for."""
        cost = sum(images - child.until_images for child in children)
        if self._left_images is not None:
            if cost > self._left_images:
                return False
            self._left_images -= cost
        return True

    def _length(self, until_images: int) -> int:
        return until_images - self._first_images
