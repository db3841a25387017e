"""JobList: jobs that are looked for, read from the newest on, and no more of them than it takes."""

import fnmatch
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from ganservice.broker import ROOT
from ganservice.errors import JobNotFound, RequestError
from ganservice.evaluation import Evaluation
from ganservice.job import Health, Job, State
from ganservice.job_heading import FIELDS, Heading, read_heading
from ganservice.job_records import (
    PAGE_HASHES,
    PAGE_MEMBERS,
    USER_OF_KEY,
    JobRecords,
    job_key,
    pages,
    state_key,
    unknown_job,
)
from ganservice.reservation import HEALTH

# The word for one's own newest job.
LAST = "@last"
# The word for the user who asks.
ME = "me"
# What can be an id, the beginning of one, or a name; and what else leads to a job.
WORD = re.compile(r"[a-z0-9-]{0,64}")
REFERENCE = re.compile(rf"{WORD.pattern}|{LAST}")
# Of several jobs whose ids begin alike, those that an error names.
NAMED_JOBS = 5
# Headings that are read at once: the first few show a screen.
FIRST_PAGE, PAGE_HEADINGS = 200, 1_000
# The share of all jobs up to which those in some states are read as a whole, and not come upon among others.
FEW = 0.1


@dataclass(frozen=True)
class Wanted:
    """The jobs that are looked for; what is left out matches all."""

    pattern: str | None = None  # of names and ids, as a shell has it
    kind: Literal["train", "evaluate"] | None = None
    user: str | None = None
    states: frozenset[State] = frozenset(State)
    since: float | None = None  # submitted then or later, Unix time in s
    healths: frozenset[Health] = frozenset(Health)  # that the health watch has seen; all of them: whatever it has seen
    tags: frozenset[str] = frozenset()  # all of them
    sweep: str | None = None  # of which they are a part

    def admits(self, heading: Heading) -> bool:
        """Whether a job may be wanted, by what its heading tells."""
        return (
            (self.kind is None or self.kind == heading.kind)
            and (self.user is None or self.user == heading.user)
            and (heading.state in self.states or (heading.state is None and self.states == frozenset(State)))
            and (self.since is None or heading.submitted_at >= self.since)
            and (self.pattern is None or matches(self.pattern, heading))
        )

    def takes(self, job: Job) -> bool:
        """Whether a job that is admitted is wanted, by all that is known of it."""
        return (
            job.state in self.states
            and (self.healths == frozenset(Health) or job.health_seen in self.healths)
            and self.tags <= set(job.spec.tags)
            and self.sweep in (None, job.sweep)
        )


@dataclass
class Found:
    """Jobs that were looked for, the newest first."""

    jobs: list[Job] = field(default_factory=list)
    evaluations: dict[str, list[Heading]] = field(default_factory=dict)  # by training, of those jobs; the newest first
    unreadable: int = 0  # written by another version
    has_more: bool = False  # that match and were not read


def matches(pattern: str, heading: Heading) -> bool:
    """Whether the name or the id of a job is such as a pattern of a shell says."""
    return fnmatch.fnmatchcase(heading.id, pattern) or fnmatch.fnmatchcase(heading.name, pattern)


class JobList(JobRecords):
    """The jobs of one Redis, to be looked for. Safe to share between threads."""

    def find(self, wanted: Wanted, limit: int, *, fold: bool = False) -> Found:
        """The newest `limit` jobs of those that are wanted.

        With `fold` an evaluation is told of with its training, if that is among them, and is none of the jobs.
        """
        found, folded, waits_to_be_read = Found(), list[Heading](), list[Heading]()

        def read() -> None:
            jobs = self.read(heading.id for heading in waits_to_be_read)
            found.unreadable += len(waits_to_be_read) - len(jobs)
            found.jobs += [job for job in jobs if wanted.takes(job)]
            waits_to_be_read.clear()

        for heading in self.headings(wanted.states, wanted.since, wanted.user):
            if not wanted.admits(heading):
                continue
            if fold and heading.evaluates:
                folded.append(heading)
                continue
            if len(found.jobs) >= limit:
                found.has_more = True
                break
            waits_to_be_read.append(heading)
            if len(waits_to_be_read) >= min(PAGE_HASHES, limit - len(found.jobs)):
                read()
        read()
        if folded:
            self._fold(found, folded, wanted, limit)
        found.has_more |= len(found.jobs) > limit
        del found.jobs[limit:]
        return found

    def _fold(self, found: Found, folded: Sequence[Heading], wanted: Wanted, limit: int) -> None:
        """Put evaluations to their trainings; those whose training is not among the jobs become jobs themselves."""
        trainings = {job.id for job in found.jobs}
        alone = [heading.id for heading in folded if heading.evaluates not in trainings][: limit + 1]
        jobs = self.read(alone)
        found.unreadable += len(alone) - len(jobs)
        found.jobs = sorted([*found.jobs, *filter(wanted.takes, jobs)], key=lambda job: -job.order)
        for heading in folded:
            if heading.evaluates in trainings:
                found.evaluations.setdefault(heading.evaluates, []).append(heading)

    def headings(
        self, states: Iterable[State] = tuple(State), since: float | None = None, user: str | None = None
    ) -> Iterator[Heading]:
        """Yield the headings of all jobs in these states, the newest first, and none that was submitted before. With a
        user all of his are among them."""
        states = frozenset(states)
        for ids in self._ids(states, user):
            rows = self._read(*(("HMGET", job_key(job_id), *FIELDS) for job_id in ids))
            page = list(filter(None, map(read_heading, ids, rows)))
            recent = [heading for heading in page if since is None or heading.submitted_at >= since]
            yield from sorted(recent, key=lambda heading: -heading.order)
            if page and not recent:
                return

    def _ids(self, states: frozenset[State], user: str | None) -> Iterator[list[str]]:
        """Yield ids in pages, the newest first; where few are in these states, only of those, else of this user."""
        every, by_number, by_user = self.indexed()  # fewer than there are where an earlier release has submitted some
        counts = self.count_by_state()
        key = f"{ROOT}jobs_of:{user}" if user and by_user >= every else ROOT + "jobs"
        [most] = self._read(("ZCARD", key))
        if most is None:  # another hand's
            key, most = ROOT + "jobs", by_number
        if sum(counts[state] for state in states) <= most * FEW or by_number < every:
            yield from self._ids_in(states)
            return
        first = self._newest_that_may_be_of(user) if user and key != ROOT + "jobs" else []
        before, size, known = "+inf", FIRST_PAGE, frozenset(first)
        while True:
            with self._translated():
                page = cast(
                    list[tuple[str, float]],
                    self._redis.zrevrangebyscore(key, before, "-inf", 0, size, withscores=True),
                )
            yield [*first, *(job_id for job_id, _ in page if job_id not in known)]
            if len(page) < size:
                return
            before, size, first = f"({page[-1][1]:.17g}", PAGE_HEADINGS, []

    def _newest_that_may_be_of(self, user: str) -> list[str]:
        """Those of the newest jobs of all that are this user's, or that nobody has entered yet: one that an earlier
        release has submitted has no place among his, whatever their number is."""
        with self._translated():
            ids = cast(list[str], self._redis.zrevrange(ROOT + "jobs", 0, FIRST_PAGE - 1))
        [users] = self._read(("HMGET", USER_OF_KEY, *ids)) if ids else [None]
        return [job_id for job_id, known in zip(ids, users or (), strict=False) if known in (None, user)]

    def _ids_in(self, states: frozenset[State]) -> Iterator[list[str]]:
        """As `_ids`, of the sets of these states. One on its way from one to another is found before or after."""
        in_order = [state for state in State if state in states]
        ids = {job_id for state in (*in_order, *reversed(in_order)) for job_id in self._members(state_key(state))}
        orders: dict[str, int] = {}
        for page in pages(ids, PAGE_MEMBERS):
            rows = self._read(*(("HMGET", job_key(job_id), *FIELDS) for job_id in page))
            headings = filter(None, map(read_heading, page, rows))
            orders |= {heading.id: heading.order for heading in headings}
        yield from pages(sorted(orders, key=lambda job_id: -orders[job_id]), PAGE_HEADINGS)

    def read(self, ids: Iterable[str]) -> list[Job]:
        """Those of these jobs that are there and can be read, in this order."""
        return self._read_jobs(ids)

    def telling_evaluations(self, jobs: Iterable[Job]) -> dict[str, list[Evaluation]]:
        """The evaluations of each training that succeeded, where they may matter to what is said against it."""
        return self.evaluations_of(
            job.id
            for job in jobs
            if job.training and job.state is State.SUCCEEDED and job.evaluation and not _is_settled(job.health)
        )

    def matching(self, wanted: Wanted, most: int) -> list[Heading]:
        """The headings of the newest `most` jobs that are wanted, by what these tell."""
        admitted = (
            heading for heading in self.headings(wanted.states, wanted.since, wanted.user) if wanted.admits(heading)
        )
        return list(itertools.islice(admitted, most))

    def resolve(self, reference: str) -> str:
        """The id meant by an id, the beginning of one, or a name: its newest job, or the newest of one's own among its
        newest few; or by `@last`: one's own newest job.

        Raises:
            JobNotFound: there is none.
            RequestError: several are meant, or none is named.
        """
        if reference == LAST:
            return self.newest_of(self.me())
        if not reference:
            raise RequestError("JOB: found nothing, expected an id, the beginning of one, or a name; see `ganctl list`")
        if not WORD.fullmatch(reference):
            raise JobNotFound(unknown_job(reference))
        with self._translated():
            if self._redis.exists(job_key(reference)):
                return reference
            named = cast(list[str], self._redis.zrevrange(f"{ROOT}named:{reference}", 0, NAMED_JOBS))
            # One that is forgotten may still be named.
            named = [job_id for job_id in filter(_can_be_id, named) if self._redis.exists(job_key(job_id))]
        if named:
            me = self.me() if len(named) > 1 else None
            return next((job_id for job_id in named if me and self.user_of(job_id) == me), named[0])
        with self._translated():
            candidates = cast(
                list[str],
                self._redis.zrangebylex(ROOT + "ids", f"[{reference}", f"[{reference}\xff", 0, NAMED_JOBS + 1),
            )
        candidates = list(filter(_can_be_id, candidates))
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            more = " and more" if len(candidates) > NAMED_JOBS else ""
            raise RequestError(
                f"{reference} is the beginning of several jobs: "
                f"{', '.join(candidates[:NAMED_JOBS])}{more}; give more of the id"
            )
        raise JobNotFound(unknown_job(reference))

    def newest_of(self, user: str) -> str:
        """The id of a user's newest job, but for evaluations that a training submitted itself.

        Raises:
            JobNotFound: he has none.
        """
        for heading in self.headings(user=user):
            if heading.user == user and not heading.is_automatic:
                return heading.id
        raise JobNotFound(f"{user} has no job in the queue; see `ganctl list`")


def _is_settled(health: Health) -> bool:
    """Whether this health alone says what there is against a training, whatever its evaluations found."""
    return health in HEALTH and health is not Health.SUSPECT


def _can_be_id(text: str) -> bool:
    """False of what another hand has put among the ids: paths are made of what a reference leads to."""
    return bool(text) and WORD.fullmatch(text) is not None
