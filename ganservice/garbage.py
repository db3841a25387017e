"""Garbage: which objects of the store nobody refers to any more. Pure.

`garbage_collection` looks at the store and the queue, and deletes what is found here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ganservice.job import State
from ganservice.manifest import MANIFEST
from ganservice.objects import StoredObject
from ganservice.store_kinds import Kind, Place, is_manifest, manifest_order, place_of

NAMED_BY_JOBS = (Kind.STARTS, Kind.WEIGHTS, Kind.NETWORKS, Kind.STATISTICS, Kind.CODE)


class Why(StrEnum):
    """The reasons for which an object is garbage, in the words that users read."""

    ORPHAN = "its job has left the queue"
    ABANDONED = "a checkpoint of a job that failed or was cancelled"
    REWRITTEN = "a checkpoint that a later attempt wrote again"
    UNPUBLISHED = "a generator that was never published"
    OLD_REPORT = "a report page with newer ones beside it"
    UNNAMED = "no job names it"
    PROBE = "left by a probe that was killed"
    HALF = "a data set without a manifest"
    SUPERSEDED = "a data set with a newer one of its name, used by no job"


@dataclass(frozen=True)
class Policy:
    """How long what nobody refers to is kept, s."""

    grace_s: float  # nothing younger is garbage, for who refers to it may still be on his way
    unreferenced_s: float
    generators_s: float | None  # published ones of jobs that have left the queue; None keeps them
    reports: int  # the newest pages of each job
    superseded_data: bool = False


@dataclass(frozen=True)
class KnownJob:
    """A job of the queue, as far as it keeps objects from being garbage."""

    id: str
    state: State | None  # None of one that another version wrote: what it refers to is not known
    finished_at: float | None = None  # Unix time, s
    refers: frozenset[str] = frozenset()  # keys, and folders that end in a slash

    @property
    def may_go_on(self) -> bool:
        """Whether nothing of it may go."""
        return self.state is None or not self.state.is_final


@dataclass(frozen=True)
class GarbageObject:
    """An object that is garbage, and why."""

    object: StoredObject
    why: Why


def plan(
    entries: Iterable[StoredObject], jobs: Sequence[KnownJob], now_s: float, policy: Policy
) -> list[GarbageObject]:
    """The garbage among all objects of a store, manifests before what they list."""
    places = [place_of(entry) for entry in entries]
    look = _Look({job.id: job for job in jobs}, now_s, policy)
    of_jobs = _grouped((place for place in places if place.job_id), lambda place: place.job_id or "")
    garbage = [each for group in of_jobs.values() for each in look.of_job(group)]
    garbage += look.of_data([place for place in places if place.kind is Kind.DATA])
    garbage += look.of_all([place for place in places if place.job_id is None])
    return sorted(garbage, key=lambda each: (not is_manifest(each.object.key), each.object.key))


def _grouped(places: Iterable[Place], name: Callable[[Place], str]) -> Mapping[str, list[Place]]:
    found = defaultdict[str, list[Place]](list)
    for place in places:
        found[name(place)].append(place)
    return found


@dataclass(frozen=True)
class _Look:
    """One look at a store and at the jobs that the queue knew before."""

    jobs: Mapping[str, KnownJob]
    now_s: float
    policy: Policy
    refers: frozenset[str] = field(init=False)
    # Whether there is a job of which it is not known what it refers to.
    may_be_named: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "refers", frozenset().union(*(job.refers for job in self.jobs.values())))
        object.__setattr__(self, "may_be_named", any(job.state is None for job in self.jobs.values()))

    def of_job(self, places: list[Place]) -> Iterator[GarbageObject]:
        """Yield the garbage among the objects of one job."""
        job_id = places[0].job_id or ""
        job = self.jobs.get(job_id)
        if job is None:
            yield from self._of_orphan(places)
            return
        if job.may_go_on:
            return
        yield from self._reports(places)
        finished_s = self.now_s - (self.now_s if job.finished_at is None else job.finished_at)
        if finished_s < self.policy.unreferenced_s:
            return
        for place in self._of_ended(places, job):
            if self._is_old(place.object, self.policy.unreferenced_s) and not self._is_named(place):
                yield GarbageObject(place.object, _why_ended(place, job))

    def _of_ended(self, places: list[Place], job: KnownJob) -> Iterator[Place]:
        """Yield what a job that is finished leaves over."""
        checkpoints = [place for place in places if place.kind is Kind.CHECKPOINTS]
        newest = {place.object.key.rpartition("/")[2]: place for place in sorted(checkpoints, key=_attempt)}
        for place in checkpoints:
            if job.state is not State.SUCCEEDED or newest[place.object.key.rpartition("/")[2]] is not place:
                yield place
        published = _published(places)
        yield from (place for place in places if place.kind is Kind.GENERATORS and place.folder not in published)

    def _of_orphan(self, places: list[Place]) -> Iterator[GarbageObject]:
        """Yield the garbage of a job that the queue does not know; of one without a kept generator that is all."""
        if not all(self._is_old(place.object, self.policy.unreferenced_s) for place in places):
            return
        kept = {folder for folder in _published(places) if not self._has_expired(folder, places)}
        for place in places:
            is_kept = place.folder in kept or (kept and place.kind is Kind.SPECS) or place.kind is Kind.OTHER
            if not is_kept and not self._is_named(place):
                yield GarbageObject(place.object, Why.ORPHAN)

    def _has_expired(self, folder: str, places: list[Place]) -> bool:
        limit_s = self.policy.generators_s
        if limit_s is None:
            return False
        return all(self._is_old(place.object, limit_s) for place in places if place.folder == folder)

    def _reports(self, places: list[Place]) -> Iterator[GarbageObject]:
        pages = sorted((place.object for place in places if place.kind is Kind.REPORTS), key=lambda entry: entry.key)
        for page in pages[: max(0, len(pages) - self.policy.reports)]:
            if self._is_old(page, self.policy.grace_s):
                yield GarbageObject(page, Why.OLD_REPORT)

    def of_data(self, places: list[Place]) -> Iterator[GarbageObject]:
        """Yield the garbage among data sets: each goes whole or not at all."""
        sets = _grouped(places, lambda place: place.folder)
        manifests = [place for place in places if is_manifest(place.object.key)]
        newest: dict[str, str] = {}
        for place in sorted(manifests, key=lambda place: manifest_order(place.object)):
            newest[_name_of(place.folder)] = place.folder
        whole = {place.folder for place in manifests}
        for folder, files in sets.items():
            is_kept = folder in whole and (newest[_name_of(folder)] == folder or not self.policy.superseded_data)
            if is_kept or self.may_be_named or any(map(self._is_named, files)):
                continue
            if all(self._is_old(place.object, self.policy.unreferenced_s) for place in files):
                why = Why.SUPERSEDED if folder in whole else Why.HALF
                yield from (GarbageObject(place.object, why) for place in files)

    def of_all(self, places: list[Place]) -> Iterator[GarbageObject]:
        """Yield the garbage among what belongs to no job and to no data set."""
        for place in places:
            if self._is_named(place):
                continue
            if place.kind is Kind.HEALTH and self._is_old(place.object, self.policy.grace_s):
                yield GarbageObject(place.object, Why.PROBE)
            is_unnamed = place.kind in NAMED_BY_JOBS and not self.may_be_named
            if is_unnamed and self._is_old(place.object, self.policy.unreferenced_s):
                yield GarbageObject(place.object, Why.UNNAMED)

    def _is_named(self, place: Place) -> bool:
        return place.object.key in self.refers or place.folder in self.refers

    def _is_old(self, entry: StoredObject, limit_s: float) -> bool:
        return self.now_s - entry.modified_at >= max(limit_s, self.policy.grace_s)


def _published(places: Iterable[Place]) -> set[str]:
    """The folders of generators that have a manifest."""
    return {
        place.folder
        for place in places
        if place.kind is Kind.GENERATORS and place.object.key == place.folder + MANIFEST
    }


def _name_of(data_folder: str) -> str:
    return data_folder.split("/")[1]


def _attempt(place: Place) -> int:
    return int(place.object.key.split("/")[3])


def _why_ended(place: Place, job: KnownJob) -> Why:
    if place.kind is Kind.GENERATORS:
        return Why.UNPUBLISHED
    return Why.REWRITTEN if job.state is State.SUCCEEDED else Why.ABANDONED
