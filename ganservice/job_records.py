"""JobRecords: what anyone may look at of the jobs in Redis. `queue` says which keys there are.

Nothing here holds Redis for long, however many jobs it keeps: what may be long is read in pages.
"""

import contextlib
import heapq
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

from ganservice.broker import ROOT, Broker
from ganservice.errors import JobNotFound, JobUnreadable
from ganservice.evaluation import Evaluation
from ganservice.job import Activity, Event, Hold, Job, Lease, LogLine, RunningAttempt, State
from ganservice.job_hash import UNREADABLE, read_job, readable_jobs
from ganservice.maintenance import PAUSE_KEY, Pause
from ganservice.mistakes import one_line
from ganservice.model import cut
from ganservice.spec import PRIORITIES

Item = TypeVar("Item")

# Hashes, members of a set and entries of a stream that are read at once: a millisecond or two of Redis' time.
PAGE_HASHES, PAGE_MEMBERS, PAGE_ENTRIES = 50, 1_000, 200
# Digits of a time in ms, with some to spare.
LONGEST_NUMBER = 16
HIGHEST_PRIORITY = 100
# Digits of a counter of Redis.
LONGEST_COUNTER = 19
# The users of all jobs that are found by them; see `queue`.
USER_OF_KEY = ROOT + "user_of"
# Places in the queue of one priority; see `transitions.lua`.
BAND = 2**40
# Added to the place of a job in the queue that the cluster could not hold when it was looked at: see `lease.lua`.
ASIDE = 2.0**50
# The priority of each band in which a job may have its place, as it may be leased or is put aside.
PRIORITY_OF: dict[float, int] = {
    first + HIGHEST_PRIORITY - priority: priority
    for first in (0, int(ASIDE) // BAND)
    for priority in range(HIGHEST_PRIORITY + 1)
}
# Those in which nearly all jobs are: of priorities that have names.
COMMON_BANDS = {band for band, priority in PRIORITY_OF.items() if priority in PRIORITIES.values()}
# So many places of a user are read rather than counted by bands.
FEW_PLACES = 30
# What an entry of a stream, or a text of JSON, that another hand wrote may lead to.
UNREADABLE_ENTRY = (ValueError, KeyError, TypeError, RecursionError)


class JobRecords(Broker):
    """The jobs of one Redis (or Valkey), to be read. Safe to share between threads."""

    def get(self, job_id: str) -> Job:
        """The job as it stands. Raises JobNotFound, and JobUnreadable of one that another version wrote."""
        fields, pause = self._read(("HGETALL", job_key(job_id)), ("HGETALL", PAUSE_KEY))
        if fields is None:
            raise JobUnreadable(f"{job_id}: {UNREADABLE}")
        if not fields:
            raise JobNotFound(unknown_job(job_id))
        return held_up(read_job(fields), Pause.read(pause or {}))

    def paused(self) -> Pause | None:
        """Who has paused the queue, if it is."""
        [pause] = self._read(("HGETALL", PAUSE_KEY))
        return Pause.read(pause or {})

    def format_of(self, job_id: str) -> int:
        """The number of the format in which a job is written; see `job_hash.FORMAT`."""
        [text] = self._read(("HGET", job_key(job_id), "format"))
        return int(text) if text and are_numbers(text) else 1

    def user_of(self, job_id: str) -> str | None:
        """Whose job it is; None of one that is gone, or of an older release."""
        [user] = self._read(("HGET", job_key(job_id), "user"))
        return cast(str | None, user)

    def list_jobs(
        self,
        states: Sequence[State] = tuple(State),
        finished_since: float | None = None,
        most_queued: int | None = None,
    ) -> list[Job]:
        """All jobs in `states`, in the order they were submitted; with a Unix time, of finished ones the later only;
        with a number, so many of the queued ones, the first in the order in which they will be leased."""
        first = f"{finished_since * 1000:.0f}" if finished_since else "-inf"
        live = [state for state in State if state in states and not state.is_final]
        # A job on its way from one state to another is found where it was or where it comes to: what lives is looked
        # through in the order in which jobs go on, and last in that in which they go back.
        ids = {job_id for state in live for job_id in self._live_ids(state, most_queued)}
        for state in states:
            if state.is_final:
                ids.update(self._members(state_key(state), first))
        ids.update(job_id for state in reversed(live) for job_id in self._live_ids(state, most_queued))
        jobs = [job for job in self._read_jobs(ids) if job.state in states]
        queued = sorted((job for job in jobs if job.state is State.QUEUED), key=lambda job: (-job.priority, job.order))
        others = [job for job in jobs if job.state is not State.QUEUED]
        return sorted([*queued[:most_queued], *others], key=lambda job: job.order)

    def list_ids(self) -> set[str]:
        """The ids of all jobs that are there from beginning to end of the call, those included that cannot be read."""
        with self._translated():
            ids = set(cast(Iterator[str], (member for member, _ in self._redis.zscan_iter(ROOT + "ids"))))
        for state in State:  # what an earlier release has submitted has no place among the ids yet
            ids.update(self._members(state_key(state)))
        found: set[str] = set()
        for page in pages(ids, PAGE_MEMBERS):
            with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
                for job_id in page:
                    pipeline.exists(job_key(job_id))
                found.update(job_id for job_id, is_there in zip(page, pipeline.execute(), strict=True) if is_there)
        return found

    def knows(self, job_id: str) -> bool:
        """Whether there is such a job, whoever wrote it."""
        with self._translated():
            return bool(self._redis.exists(job_key(job_id)))

    def state_of(self, job_id: str) -> State | None:
        """The state of a job, whoever wrote it; None of one that is not there."""
        [text] = self._read(("HGET", job_key(job_id), "state"))
        return next((state for state in State if state == text), None)

    def newest(self, count: int) -> list[Job]:
        """The `count` jobs that were submitted last, in the order they were submitted."""
        with self._translated():
            ids = cast(list[str], self._redis.zrevrange(ROOT + "jobs", 0, count - 1))
        return sorted(self._read_jobs(ids), key=lambda job: job.order)

    def head(self, count: int) -> list[Job]:
        """The first jobs of those that may be leased now, in the order in which they will be."""
        return self._read_jobs(self._first_ready(count))

    def _ready_keys(self) -> list[str]:
        with self._translated():
            users = cast(set[str], self._redis.smembers(ROOT + "ready_users"))
        return [ROOT + "ready", *(f"{ROOT}ready_of:{user}" for user in users)]

    def _first_ready(self, count: int) -> list[str]:
        keys = self._ready_keys()
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.zrange(key, 0, count - 1, withscores=True)
                pipeline.zrangebyscore(key, ASIDE, "+inf", 0, count, withscores=True)
            queues = cast(list[list[tuple[str, float]]], pipeline.execute())
        places = {job_id: place % ASIDE for queue in queues for job_id, place in queue}
        return heapq.nsmallest(count, places, key=places.__getitem__)

    def _live_ids(self, state: State, most_queued: int | None) -> Iterable[str]:
        """The jobs in a state that is not final; of queued ones, with a number, no more than the first so many that may
        be leased now, the first so many that wait for a retry and the first so many that wait for another job."""
        if state is not State.QUEUED or most_queued is None:
            return self._members(state_key(state))
        with self._translated():
            delayed = cast(list[str], self._redis.zrange(ROOT + "delayed", 0, most_queued - 1))
            waiting = cast(list[str], self._redis.zrange(ROOT + "waiting", 0, most_queued - 1))
        return [*self._first_ready(most_queued), *delayed, *waiting]

    def depth(self) -> Counter[int]:
        """How many queued jobs there are of each priority, but for those that wait for another job or for their sweep.
        None is read, but what is delayed."""
        depth: Counter[int] = Counter()
        for keys in pages(self._ready_keys(), PAGE_HASHES):
            depth += self._count_places(keys)
        for ids in pages(self._members(ROOT + "delayed"), PAGE_MEMBERS):
            rows = self._read(*(("HGET", job_key(job_id), "priority") for job_id in ids))
            depth.update(int(text) for text in rows if are_numbers(text))
        return Counter({priority: depth[priority] for priority in range(HIGHEST_PRIORITY + 1) if depth[priority]})

    def _count_places(self, keys: Sequence[str]) -> Counter[int]:
        """How many jobs of each priority have places in these queues."""
        counted: Counter[int] = Counter()
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.zcard(key)
                pipeline.zrange(key, 0, FEW_PLACES - 1, withscores=True)
            answers: list[Any] = pipeline.execute()
        left: dict[str, int] = {}
        for key, size, places in zip(keys, answers[::2], answers[1::2], strict=True):
            if size > FEW_PLACES:
                left[key] = size
                continue
            found = (place // BAND for _, place in places)
            counted.update(PRIORITY_OF[band] for band in found if band in PRIORITY_OF)
        for bands in (COMMON_BANDS, PRIORITY_OF.keys() - COMMON_BANDS):
            asked = [(key, band) for key in left for band in bands]
            counts = self._read(*(("ZCOUNT", key, band * BAND, (band + 1) * BAND - 1) for key, band in asked))
            for (key, band), count in zip(asked, counts, strict=True):
                counted[PRIORITY_OF[band]] += count or 0
                left[key] -= count or 0
            left = {key: size for key, size in left.items() if size > 0}
        return counted

    def waits_since(self) -> float | None:
        """Since when the job of those in `depth` has waited that has waited longest, Unix time in s. Read are the first
        of the queue, up to that one. One that an earlier release has queued stands there by the time it came, which may
        be before it can be leased."""
        earliest_ms, start, size = math.inf, 0, PAGE_HASHES
        while True:
            with self._translated():
                page = cast(
                    list[tuple[str, float]],
                    self._redis.zrange(state_key(State.QUEUED), start, start + size - 1, withscores=True),
                )
            rows = self._read(*(("HMGET", job_key(job_id), "state", "ready_at") for job_id, _ in page))
            for (_, since_ms), row in zip(page, rows, strict=True):
                if since_ms >= earliest_ms:
                    return earliest_ms / 1000
                if row and row[0] == State.QUEUED and are_numbers(row[1]):
                    earliest_ms = min(earliest_ms, int(row[1]))
            if len(page) < size:
                return earliest_ms / 1000 if earliest_ms < math.inf else None
            start, size = start + size, PAGE_MEMBERS

    def leases(self) -> dict[str, int]:
        """When the lease of each running job ends if no heartbeat moves it, by Redis' clock, in ms."""
        with self._translated():
            rows = cast(list[tuple[str, float]], self._redis.zrange(state_key(State.RUNNING), 0, -1, withscores=True))
        return {job_id: int(min(end, 10.0**LONGEST_NUMBER)) for job_id, end in rows}

    def running_attempts(self) -> list[RunningAttempt]:
        """Who runs each of the running jobs, those included that this version cannot read."""
        found: list[RunningAttempt] = []
        for ids in pages(self.leases(), PAGE_HASHES):  # at once: beats move jobs within the set, between its pages too
            rows = self._read(*(("HMGET", job_key(job_id), "attempt", "token", "owner", "pulse") for job_id in ids))
            found += [
                RunningAttempt(job_id, int(row[0]), int(row[1]), row[2] or "", _has_begun(row[3]))
                for job_id, row in zip(ids, rows, strict=True)
                if row and are_numbers(row[0], row[1])
            ]
        return found

    def holds(self, lease: Lease) -> bool:
        """Whether the job is this attempt's; asks nothing of how the job is written."""
        [hold] = self.look_at([lease])
        return hold.is_held

    def look_at(self, leases: Iterable[Lease]) -> list[Hold]:
        """What becomes of several, each in its turn; asks no more than `holds` does."""
        found: list[Hold] = []
        for page in pages(leases, PAGE_MEMBERS):
            rows = self._read(*(("HMGET", job_key(lease.job_id), "state", "token", "pulse") for lease in page))
            found += [_hold_of(lease, row) for lease, row in zip(page, rows, strict=True)]
        return found

    def me(self) -> str:
        """Whose jobs those are that this process submits: a user of Redis who is entered goes by his name there."""
        name = self._redis_user
        with self._translated():
            is_entered = bool(name) and bool(self._redis.hexists(ROOT + "users", name))
        return name if is_entered else self._settings.user

    def events(self, job_id: str, after: str = "-", block_ms: int | None = None) -> list[Event]:
        """Events after the id `after` (by default all), oldest first; waits `block_ms` for the next."""
        entries = self._read_stream(f"{ROOT}events:{job_id}", after, block_ms)
        events = []
        for entry_id, entry in entries:
            with contextlib.suppress(*UNREADABLE_ENTRY):  # another version's must hide no others
                attempt, detail = int(entry["attempt"]), json.loads(entry["detail"])
                at = _entry_time_s(entry_id)
                events.append(Event(id=entry_id, at=at, kind=entry["kind"], attempt=attempt, detail=detail))
        return events

    def evaluations(self, job_id: str) -> list[Evaluation]:
        """The evaluations of a training's checkpoints, in the order of their images."""
        return self.evaluations_of([job_id])[job_id]

    def evaluations_of(self, job_ids: Iterable[str]) -> dict[str, list[Evaluation]]:
        """As `evaluations`, of several trainings, by their ids."""
        found: dict[str, list[Evaluation]] = {}
        for page in pages(job_ids, PAGE_HASHES):
            answers = self._read(*(("HVALS", f"{ROOT}evaluations:{job_id}") for job_id in page))
            found |= {job_id: _read_evaluations(texts) for job_id, texts in zip(page, answers, strict=True)}
        return found

    def evaluations_under_way(self, job_id: str) -> set[int]:
        """Images of the training's checkpoints that evaluation jobs in the queue are about."""
        [values] = self._read(("HVALS", f"{ROOT}evaluations_under_way:{job_id}"))
        return {int(images) for images in values or () if are_numbers(images)}

    def evaluation_jobs(self, job_id: str) -> list[str]:
        """The ids of evaluation jobs of a training that are in the queue, by their images."""
        [fields] = self._read(("HGETALL", f"{ROOT}evaluations_under_way:{job_id}"))
        known = {each: images for each, images in (fields or {}).items() if are_numbers(images)}
        return sorted(known, key=lambda each: (int(known[each]), each))

    def logs(self, job_id: str, after: str = "-", block_ms: int | None = None) -> list[LogLine]:
        """Log lines, as `events`."""
        entries = self._read_stream(f"{ROOT}logs:{job_id}", after, block_ms)
        lines = []
        for entry_id, entry in entries:
            with contextlib.suppress(*UNREADABLE_ENTRY):
                attempt, text = int(entry["attempt"]), entry["text"]
                lines.append(LogLine(id=entry_id, at=_entry_time_s(entry_id), attempt=attempt, text=text))
        return lines

    def totals(self) -> dict[str, int]:
        """All counters, by name."""
        with self._translated():
            counters = cast(dict[str, str], self._redis.hgetall(ROOT + "totals"))
        return {name: int(value) for name, value in counters.items() if are_numbers(value, longest=LONGEST_COUNTER)}

    def count_by_state(self) -> dict[State, int]:
        """Number of jobs in each state."""
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            for state in State:
                pipeline.zcard(state_key(state))
            return dict(zip(State, pipeline.execute(), strict=True))

    def indexed(self) -> tuple[int, int, int]:
        """Number of all jobs, of those that are found by their number, and of those that are found by their user."""
        counts = self._read(*(("ZCARD", key) for key in (*map(state_key, State), ROOT + "jobs")), ("HLEN", USER_OF_KEY))
        *by_state, by_number, by_user = (count or 0 for count in counts)
        return sum(by_state), by_number, by_user

    def _members(self, key: str, first: str = "-inf") -> Iterator[str]:
        """The members of a sorted set from a score on, in pages; what moves meanwhile may be missed or come twice."""
        start = 0
        while True:
            with self._translated():
                if first == "-inf":  # by rank, which needs no walk over what comes before
                    page = cast(list[str], self._redis.zrange(key, start, start + PAGE_MEMBERS - 1))
                else:
                    page = cast(list[str], self._redis.zrangebyscore(key, first, "+inf", start, PAGE_MEMBERS))
            yield from page
            start += len(page)
            if len(page) < PAGE_MEMBERS:
                return

    def _read_jobs(self, ids: Iterable[str]) -> list[Job]:
        """Those of the jobs that are still there and can be read, in the order of `ids`."""
        jobs: list[Job] = []
        for page in pages(ids, PAGE_HASHES):
            *hashes, pause = self._read(*(("HGETALL", job_key(job_id)) for job_id in page), ("HGETALL", PAUSE_KEY))
            jobs += [held_up(job, Pause.read(pause or {})) for job in readable_jobs(hashes)]
        return jobs

    def _read_stream(self, key: str, after: str, block_ms: int | None) -> list[tuple[str, dict[str, str]]]:
        entries, last = list[tuple[str, dict[str, str]]](), after
        while True:
            start = "-" if last == "-" else f"({last}"
            [found] = self._read(("XRANGE", key, start, "+", "COUNT", PAGE_ENTRIES))
            page = cast(list[tuple[str, dict[str, str]]], found or [])
            entries += page
            if len(page) < PAGE_ENTRIES:
                break
            last = page[-1][0]
        if entries or block_ms is None:
            return entries
        # No longer than the connection waits for an answer: a caller that follows a stream asks again.
        patience_ms = int(self._redis.connection_pool.connection_kwargs["socket_timeout"] * 500)
        with self._translated():
            streams = self._redis.xread({key: "0" if after == "-" else after}, block=min(block_ms, patience_ms))
        return [entry for _, stream in cast(list[Any], streams or []) for entry in stream]


def job_key(job_id: str) -> str:
    """The key of a job's hash."""
    return f"{ROOT}job:{job_id}"


def state_key(state: State) -> str:
    """The key of the set of all jobs in a state."""
    return f"{ROOT}state:{state}"


def _read_evaluations(texts: Iterable[str] | None) -> list[Evaluation]:
    """The evaluations that these texts of JSON are, in the order of their images."""
    evaluations = []
    for text in texts or ():
        with contextlib.suppress(*UNREADABLE_ENTRY):  # another version's must hide no others
            evaluations.append(Evaluation.model_validate_json(text))
    return sorted(evaluations, key=lambda evaluation: (evaluation.images, evaluation.at))


def unknown_job(reference: str) -> str:
    """The message of a reference that leads to no job."""
    return f"no job has the id or name {one_line(cut(reference, 100))}; see `ganctl list`"


def pages(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of `size`, the last of which may be shorter."""
    page: list[Item] = []
    for item in items:
        page.append(item)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page


def held_up(job: Job, pause: Pause | None) -> Job:
    """The job as it is: one that is queued waits for no more than the end of a pause."""
    if pause is None or job.state is not State.QUEUED:
        return job
    return job.model_copy(update={"waiting_for": f"the queue to be resumed ({pause.text})"})


def _has_begun(pulse: str | None) -> bool:
    """Whether the last pulse is of a worker: one of its dispatcher says that it is being placed or started."""
    return pulse is not None and not _tells(pulse, Activity.PLACING, Activity.STARTING)


def _hold_of(lease: Lease, row: list[str | None] | None) -> Hold:
    state, token, pulse = row or (None, None, None)
    is_held = (state, token) == (State.RUNNING, str(lease.token))
    pulse = pulse or ""
    is_publishing = _tells(pulse, Activity.PUBLISHING) and '"waits_for":"' not in pulse
    return Hold(is_held, is_publishing=is_held and is_publishing)


def _tells(pulse: str, *activities: Activity) -> bool:
    return any(f'"{activity}"' in pulse for activity in activities)


def are_numbers(*texts: str | None, longest: int = LONGEST_NUMBER) -> bool:
    """False of what another hand wrote into a job."""
    return all(text is not None and text.isdecimal() and len(text) <= longest for text in texts)


def _entry_time_s(entry_id: str) -> float:
    return int(entry_id.partition("-")[0]) / 1000
