"""Watch: looks at a run a few times a second, past the proxies, and notes what must never be seen."""

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Self, cast

import redis

from ganservice.errors import GanServiceError
from ganservice.job import Activity, Job, State
from ganservice.queue import JobQueue
from ganservice.retry import LONGEST_DELAY_S
from ganservice.settings import Settings
from tests.chaos.plan import Moment

LOOK_S = 0.25
KEYS_EVERY_LOOKS = 8
# Counters of what attempts hold, which grow with every beat.
HELD = ("cpu_ms", "gpu_ms")
STARTING = {None, Activity.PLACING, Activity.STARTING, Activity.LOADING, Activity.RESTORING}
# Every zset that a job may be in, and what its hash says, at one moment; answers what does not agree.
DISAGREEMENTS = """
local found, places = {}, {}
local function add(id, place) places[id] = (places[id] and places[id] .. '+' or '') .. place end
for _, state in ipairs({'queued', 'running', 'succeeded', 'failed', 'cancelled'}) do
  for _, id in ipairs(redis.call('ZRANGE', '{gan}:state:' .. state, 0, -1)) do add(id, state) end
end
local names = {ready = 'ready', delayed = 'delayed'}
for _, user in ipairs(redis.call('SMEMBERS', '{gan}:ready_users')) do names['ready_of:' .. user] = 'ready' end
for key, name in pairs(names) do
  for _, id in ipairs(redis.call('ZRANGE', '{gan}:' .. key, 0, -1)) do add(id, name) end
end
for _, id in ipairs(redis.call('ZRANGE', '{gan}:jobs', 0, -1)) do
  if not places[id] then table.insert(found, id .. ' is indexed, and in no state') end
end
for id, place in pairs(places) do
  if not redis.call('ZSCORE', '{gan}:jobs', id) then table.insert(found, id .. ' is in no index, and in ' .. place) end
  local state = redis.call('HGET', '{gan}:job:' .. id, 'state')
  local expected = {[state or ''] = true}
  if state == 'queued' then expected = {['queued+ready'] = true, ['queued+delayed'] = true} end
  if not expected[place] then
    table.insert(found, id .. ' is in ' .. place .. ', its hash says ' .. (state or 'nothing'))
  end
end
return found
"""


@dataclass(frozen=True)
class Violation:
    """Something that must not be, and the job that it is about."""

    what: str
    job_id: str | None = None
    at: float = field(default_factory=time.time, compare=False)


class Watch:
    """Samples of a run; `violations` are those of what must hold at every moment."""

    def __init__(self, settings: Settings) -> None:
        self._queue = JobQueue(settings)
        self._client = redis.Redis.from_url(settings.require_broker(), decode_responses=True, socket_timeout=5)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self._lock = threading.Lock()
        self._leases: dict[int, tuple[str, int, float | None]] = {}
        self._newest: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self.violations: dict[Violation, None] = {}
        self.unfinished: list[Job] = []
        self.totals: dict[str, int] = {}
        self.looks = 0
        self.ended: list[tuple[float, str]] = []  # when attempts ended, Unix time in s, and for which reasons
        self.moved_at = time.monotonic()
        self._fingerprint: object = None

    def __enter__(self) -> Self:
        # Not from before: what was trained undisturbed may have taken minutes.
        self.moved_at = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._queue.close()
        self._client.close()

    @property
    def quiet_s(self) -> float:
        """For how long nothing has moved."""
        return time.monotonic() - self.moved_at

    def forget_totals(self) -> None:
        """Redis has lost its last moments: what it counts begins again."""
        with self._lock:
            self._totals = {}

    def is_at(self, moment: Moment, checkpoints: int) -> bool:
        """Whether it is time; `checkpoints` were stored when the waiting began."""
        running = [job for job in self.unfinished if job.state is State.RUNNING]
        activities = {job.pulse.activity if job.pulse else None for job in running}
        match moment:
            case Moment.STARTING:
                return bool(activities & STARTING)
            case Moment.TRAINING:
                return Activity.TRAINING in activities
            case Moment.SAVED:
                return self.checkpoints > checkpoints
            case Moment.PUBLISHING:
                return Activity.PUBLISHING in activities
            case Moment.ANY:
                return True

    @property
    def checkpoints(self) -> int:
        """Stored so far, of all jobs."""
        return self.totals.get("event:checkpoint", 0)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            with contextlib.suppress(GanServiceError, redis.RedisError):
                self.look()

    def look(self) -> None:
        """Look once. Raises BrokerOutage."""
        with self._lock:
            totals = self._queue.totals()
            self.unfinished = self._queue.list_jobs([State.QUEUED, State.RUNNING])
            self._watch_totals(totals)
            for job in self.unfinished:
                self._watch_job(job)
            if self.looks % KEYS_EVERY_LOOKS == 0:
                for found in cast(list[str], self._client.eval(DISAGREEMENTS, 0)):
                    self.note(f"keys disagree: {found}", str(found).split(maxsplit=1)[0])
            self.looks += 1
            events = {name: count for name, count in totals.items() if name not in HELD}
            fingerprint = ([course(job) for job in self.unfinished], events)
            if fingerprint != self._fingerprint or self._waits_for_a_retry():
                self._fingerprint, self.moved_at = fingerprint, time.monotonic()

    def _waits_for_a_retry(self) -> bool:
        """Whether a job's pause before its next attempt is under way; one that is longer than any is none."""
        now_s = self._queue.now_s()
        return any(
            0 < job.not_before - now_s <= LONGEST_DELAY_S
            for job in self.unfinished
            if job.state is State.QUEUED and job.not_before
        )

    def note(self, what: str, job_id: str | None = None) -> None:
        """Note a violation, once."""
        self.violations.setdefault(Violation(what, job_id))

    def flush_scripts(self) -> None:
        """Have the broker forget all scripts."""
        self._client.script_flush()

    def _watch_totals(self, totals: dict[str, int]) -> None:
        for name, value in totals.items():
            if value < self._totals.get(name, 0):
                self.note(f"the counter {name} fell from {self._totals[name]} to {value}")
            if value < 0:
                self.note(f"the counter {name} is negative")
        if self.looks:
            now = time.time()
            self.ended += [(now, reason) for reason in (_reasons(totals) - _reasons(self.totals)).elements()]
        self._totals = self.totals = totals

    def _watch_job(self, job: Job) -> None:
        if job.failures:
            self.note(f"a failure is counted, after an attempt that ended as {job.reason}: {job.message}", job.id)
        if job.state is not State.RUNNING:
            return
        lease = (job.id, job.attempt, job.leased_at)
        holder = self._leases.setdefault(job.token, lease)
        if holder != lease:
            self.note(f"token {job.token} was given to {holder} and to {lease}", job.id)
        newest = self._newest.get(job.id, 0)
        if job.token < newest:
            self.note(f"token {job.token} of attempt {job.attempt} is smaller than {newest}, given before it", job.id)
        self._newest[job.id] = max(newest, job.token)


def course(job: Job) -> object:
    """All of a job that changes when it comes further, and nothing of what does when it only beats."""
    pulse = job.pulse
    doing = pulse and (pulse.activity, pulse.waits_for, pulse.images, pulse.share_done)
    return job.id, job.state, job.attempt, job.images, doing


def _reasons(totals: dict[str, int]) -> Counter[str]:
    """How attempts ended so far."""
    return Counter({name.partition(":")[2]: n for name, n in totals.items() if name.startswith("outcome:")})
