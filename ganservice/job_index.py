"""JobIndex: the places in which jobs are found by number, name and user are tended. `queue` says which there are."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from ganservice.broker import ROOT
from ganservice.job import State
from ganservice.job_records import PAGE_MEMBERS, USER_OF_KEY, JobRecords, job_key, pages, state_key

# Jobs that one script forgets, or finds a place for: a millisecond of Redis' time.
FORGOTTEN_AT_ONCE = 100


class JobIndex(JobRecords):
    """What a dispatcher does for the places of jobs. Safe to share between threads."""

    scripts: tuple[str, ...] = ("forget", "index")

    def index(self, leadership: int | None = None, *, compares: bool = True) -> Iterator[None]:
        """Have those jobs found that an earlier release has submitted, and those no more that it has forgotten: a page
        for each item, for there may be many.

        Every place is looked at, or unless it `compares` only where their numbers tell that some are missing: one that
        is missing and one that is left over make up for each other.

        Raises:
            LeadershipLost: nothing was done from then on.
        """
        if compares:
            for state in (State.QUEUED, State.RUNNING):
                yield from self._forget_gone(state, leadership)
        elif self._adds_up():
            return
        yield from self._forget_users(leadership)
        for state in State:
            for page in self._scan(self._redis.zscan, state_key(state)):
                for ids in pages(self._without_places(page), FORGOTTEN_AT_ONCE):
                    if self._run("index", ids=ids, leadership=leadership).get("refused"):
                        return
                    yield
                yield

    def forget(self, leadership: int | None = None) -> None:
        """Forget where to find jobs that are gone, because they finished too long ago. Raises LeadershipLost."""
        long_ago_ms = int(self.now_s() * 1000) - int(self._settings.finished_ttl_s * 1000)
        for state in filter(lambda state: state.is_final, State):
            kept = 0  # by a longer time, which was set when they finished
            while ids := self._finished_before(long_ago_ms, state, kept):
                answer = self._run("forget", ids=ids, state=state, leadership=leadership)
                kept += len(ids) - int(answer["forgotten"])

    def _finished_before(self, moment_ms: int, state: State, first: int) -> list[str]:
        with self._translated():
            found = self._redis.zrangebyscore(state_key(state), "-inf", moment_ms, first, FORGOTTEN_AT_ONCE)
        return cast(list[str], found)

    def _adds_up(self) -> bool:
        every, by_number, by_user = self.indexed()
        return by_user <= by_number and min(by_number, by_user) >= every

    def _scan(self, scan: Callable[..., Any], key: str) -> Iterator[list[str]]:
        """Yield the members of a sorted set, or the fields of a hash, in pages; all that are there all the time."""
        cursor = None
        while cursor != 0:
            with self._translated():
                cursor, found = scan(key, cursor or 0, count=PAGE_MEMBERS)
            yield list(found) if isinstance(found, dict) else [member for member, _ in found]

    def _forget_gone(self, state: State, leadership: int | None) -> Iterator[None]:
        """Take out of a state the jobs whose hash another hand has taken away."""
        for page in self._scan(self._redis.zscan, state_key(state)):
            known = self._read(*(("EXISTS", job_key(job_id)) for job_id in page))
            gone = [job_id for job_id, is_there in zip(page, known, strict=True) if not is_there]
            yield from self._forget(gone, state, leadership)
            yield

    def _forget_users(self, leadership: int | None) -> Iterator[None]:
        """Forget whose jobs those were that a dispatcher of an earlier release has forgotten but for that."""
        [found] = self._read(("HLEN", USER_OF_KEY))
        if not found:
            return
        for page in self._scan(self._redis.hscan, USER_OF_KEY):
            numbers = self._numbers(page)
            forgotten = [job_id for job_id, number in zip(page, numbers, strict=True) if number is None]
            yield from self._forget(forgotten, State.CANCELLED, leadership)
            yield

    def _forget(self, job_ids: Sequence[str], state: State, leadership: int | None) -> Iterator[None]:
        for ids in pages(job_ids, FORGOTTEN_AT_ONCE):
            self._run("forget", ids=ids, state=state, leadership=leadership)
            yield

    def _without_places(self, job_ids: Sequence[str]) -> list[str]:
        """Those of these jobs that are not found by their number, or not by their user."""
        if not job_ids:
            return []
        [users] = self._read(("HMGET", USER_OF_KEY, *job_ids))
        by_user: dict[str, list[str]] = defaultdict(list)
        for job_id, user in zip(job_ids, users or (), strict=False):
            if user is not None:
                by_user[user].append(job_id)
        placed = set(by_user.pop("", ()))
        rows = self._read(*(("ZMSCORE", f"{ROOT}jobs_of:{user}", *theirs) for user, theirs in by_user.items()))
        for theirs, scores in zip(by_user.values(), rows, strict=True):
            placed |= {job_id for job_id, score in zip(theirs, scores or (), strict=False) if score is not None}
        numbers = self._numbers(job_ids)
        return [
            job_id for job_id, number in zip(job_ids, numbers, strict=True) if number is None or job_id not in placed
        ]

    def _numbers(self, job_ids: Sequence[str]) -> list[Any]:
        """The places of jobs among all; None of what has none."""
        [numbers] = self._read(("ZMSCORE", ROOT + "jobs", *job_ids)) if job_ids else [None]
        return numbers or [None] * len(job_ids)
