"""SweepList: sweeps that are looked for, and what is told of them without reading what they are asked to do.

{gan}:sweep:ID         hash    the fields of `sweeps.Sweep`; times in ms
{gan}:sweep_jobs:ID    hash    the jobs of a sweep, by their places in it
{gan}:sweeps           zset    all sweeps, by the time of their submission
{gan}:live_sweeps      set     those that are not over
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from ganservice.broker import ROOT
from ganservice.errors import JobNotFound, RequestError
from ganservice.job import State
from ganservice.job_list import NAMED_JOBS, WORD, JobList
from ganservice.job_records import PAGE_MEMBERS, are_numbers, job_key, pages
from ganservice.mistakes import one_line
from ganservice.model import cut
from ganservice.sweep_plan import standing, word_of

# Sweeps that are told of at once.
MOST_SWEEPS = 1_000


@dataclass(frozen=True)
class SweepHeading:
    """What the list shows of a sweep. Times are Unix times in s."""

    id: str
    state: State
    settings: int
    seeds: int
    submitted_at: float
    finished_at: float | None = None
    user: str | None = None
    cancel_requested: bool = False
    jobs: str = ""  # how they stand, in words

    @property
    def name(self) -> str:
        """The name of its jobs."""
        return self.id.rpartition("-sweep-")[0]


class SweepList(JobList):
    """The sweeps of one Redis, to be looked for. Safe to share between threads."""

    def find_sweep(self, reference: str) -> str | None:
        """The id of the sweep that a word means, its id or the beginning of one; None where it means none.

        Raises:
            RequestError: several sweeps begin so, or a sweep and a job.
        """
        if not reference or not WORD.fullmatch(reference):
            return None
        with self._translated():
            if self._redis.exists(sweep_key(reference)):
                return reference
            if self._redis.exists(job_key(reference), f"{ROOT}named:{reference}"):
                return None
        found = self.sweep_ids(reference)
        jobs = self._jobs_beginning(reference) if found else []
        if len(found) + len(jobs) > 1:
            kinds = "a sweep and a job" if len(found) == 1 else "several sweeps"
            named = ", ".join([*found, *jobs][:NAMED_JOBS])
            raise RequestError(f"{reference} is the beginning of {kinds}: {named}; give more of the id")
        return found[0] if found else None

    def _jobs_beginning(self, beginning: str) -> list[str]:
        """The id of a job that begins so, if there is one."""
        bounds = (f"[{beginning}", f"[{beginning}\xff")
        [ids] = self._read(("ZRANGEBYLEX", ROOT + "ids", *bounds, "LIMIT", 0, NAMED_JOBS))
        there = self._read(*(("EXISTS", job_key(each)) for each in ids or ()))
        return [each for each, is_there in zip(ids or (), there, strict=True) if is_there][:1]

    def sweep_ids(self, beginning: str = "") -> list[str]:
        """The ids of the newest sweeps, those that begin so, newest first."""
        [ids] = self._read(("ZREVRANGE", ROOT + "sweeps", 0, MOST_SWEEPS - 1))
        ids = [each for each in ids or () if each.startswith(beginning)]
        there = self._read(*(("EXISTS", sweep_key(each)) for each in ids))
        return [each for each, is_there in zip(ids, there, strict=True) if is_there]

    def sweep_headings(self) -> tuple[list[SweepHeading], list[str]]:
        """The headings of the newest sweeps, newest first; and the ids of those that another version wrote."""
        fields = ("state", "settings", "seeds", "submitted_at", "finished_at", "user", "cancel_requested", "jobs")
        ids = self.sweep_ids()
        rows = self._read(*(("HMGET", sweep_key(each), *fields) for each in ids))
        told = {each: dict(zip(fields, row, strict=True)) for each, row in zip(ids, rows, strict=True) if row}
        live = [each for each, texts in told.items() if texts["state"] == State.RUNNING]
        standings = self._standings(live)
        headings = {each: _heading(each, told.get(each, {}), standings.get(each)) for each in ids}
        return [each for each in headings.values() if each], [each for each in ids if not headings[each]]

    def _standings(self, sweep_ids: Sequence[str]) -> dict[str, str]:
        """How the jobs of sweeps stand now, in words, by sweep."""
        jobs = self._jobs_of(sweep_ids)
        words: dict[str, str] = {}
        for page in pages((job_id for ids in jobs.values() for job_id in ids), PAGE_MEMBERS):
            rows = self._read(*(("HMGET", job_key(job_id), "state", "halted") for job_id in page))
            for job_id, row in zip(page, rows, strict=True):
                state, halted = row or (None, None)
                words[job_id] = word_of(known_state(state), halted=halted == "1")
        return {each: standing(words[job_id] for job_id in ids) for each, ids in jobs.items()}

    def _jobs_of(self, sweep_ids: Sequence[str]) -> dict[str, list[str]]:
        rows = self._read(*(("HGETALL", sweep_jobs_key(each)) for each in sweep_ids))
        return {
            each: [job_id for _, job_id in sorted((fields or {}).items()) if WORD.fullmatch(job_id)]
            for each, fields in zip(sweep_ids, rows, strict=True)
        }

    def sweep_jobs(self, sweep_id: str) -> list[str]:
        """The ids of the jobs of a sweep, whoever wrote them and it."""
        return self._jobs_of([sweep_id])[sweep_id]

    def live_jobs_of(self, sweep_id: str) -> list[str]:
        """Those that are queued or running."""
        ids = self.sweep_jobs(sweep_id)
        rows = self._read(*(("HGET", job_key(job_id), "state") for job_id in ids))
        return [job_id for job_id, state in zip(ids, rows, strict=True) if state in (State.QUEUED, State.RUNNING)]

    def sweep_field(self, sweep_id: str, field: str) -> str | None:
        """What is kept of a sweep under this name, whoever wrote it. Raises JobNotFound."""
        is_there, text = self._read(("EXISTS", sweep_key(sweep_id)), ("HGET", sweep_key(sweep_id), field))
        if not is_there:
            raise JobNotFound(unknown_sweep(sweep_id))
        return cast(str | None, text)

    def live_sweep_ids(self) -> list[str]:
        """The ids of the sweeps that are not over."""
        [ids] = self._read(("SMEMBERS", ROOT + "live_sweeps"))
        return sorted(ids or ())


def sweep_key(sweep_id: str) -> str:
    """The key of a sweep's hash."""
    return f"{ROOT}sweep:{sweep_id}"


def sweep_jobs_key(sweep_id: str) -> str:
    """The key of the hash of its jobs."""
    return f"{ROOT}sweep_jobs:{sweep_id}"


def unknown_sweep(sweep_id: str) -> str:
    """The message of an id that no sweep has."""
    return f"no sweep has the id {one_line(cut(sweep_id, 100))}; see `ganctl sweeps`"


def known_state(text: str | None) -> State | None:
    """The state that a text says; None of one that this version does not know."""
    return next((state for state in State if state == text), None)


def _heading(sweep_id: str, texts: dict[str, str | None], jobs: str | None) -> SweepHeading | None:
    """The heading that these texts say; None where another version wrote them."""
    state = known_state(texts.get("state"))
    settings, seeds, submitted_at, finished_at = (
        int(text) if text and are_numbers(text) else None
        for text in map(texts.get, ("settings", "seeds", "submitted_at", "finished_at"))
    )
    if state is None or settings is None or seeds is None or submitted_at is None:
        return None
    return SweepHeading(
        id=sweep_id,
        state=state,
        settings=settings,
        seeds=seeds,
        submitted_at=submitted_at / 1000,
        finished_at=None if finished_at is None else finished_at / 1000,
        user=texts["user"],
        cancel_requested=texts["cancel_requested"] == "1",
        jobs=jobs if jobs is not None else texts["jobs"] or "",
    )
