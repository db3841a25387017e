"""How long the broker is held by what asks it, ms, with 100,000 queued and 100,000 finished jobs, beside one of each.

Nobody else is answered meanwhile. By the broker's own account (SLOWLOG): of all that an act asks the longest command,
and of three times the least, for it also counts how long the machine was busy with others.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import redis

from ganservice.cli.listing import LISTED
from ganservice.errors import GanServiceError
from ganservice.exporter import JobCollector
from ganservice.job import Capacity, Outcome, Reason, State
from ganservice.job_list import Wanted
from ganservice.job_records import JobRecords
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from ganservice.spec_file import load_spec
from tests.benchmarks import CONFIGS
from tests.benchmarks.servers import own_servers
from tests.benchmarks.sides import Budget, Row, Side, take_turns

BATCH = 2_000
TIMES = 3
ROOM, ONE_CPU = Capacity(cpus=2, gpus=0), Capacity(cpus=1, gpus=0)
# Copies of one job. What has finished did so a day before, too long ago for the exporter to tell of each.
COPY = """
local first = '{gan}:job:' .. ARGV[1]
local state = redis.call('HGET', first, 'state')
local ready = '{gan}:ready_of:' .. (redis.call('HGET', first, 'user') or '')
local place = redis.call('ZSCORE', ready, ARGV[1])
local ended = (redis.call('HGET', first, 'finished_at') or 0) - 24 * 3600 * 1000
for number = ARGV[3], ARGV[4] do
  local id = string.format('%s-%08d', ARGV[2], number)
  redis.call('COPY', first, '{gan}:job:' .. id)
  redis.call('HSET', '{gan}:job:' .. id, 'id', id, 'order', number + 1)
  if state == 'queued' then
    redis.call('ZADD', ready, place + number, id)
    redis.call('ZADD', '{gan}:state:queued', redis.call('HGET', first, 'ready_at'), id)
    redis.call('SADD', '{gan}:queued_of:ada', id)
  else
    redis.call('HSET', '{gan}:job:' .. id, 'finished_at', ended)
    redis.call('ZADD', '{gan}:state:' .. state, ended, id)
  end
end
"""


def rows(budget: Budget) -> Iterator[Row]:
    jobs = budget.size(100_000, 20)
    with own_servers("broker", "store") as few, own_servers("broker", "store") as many:
        crowds = [Crowd(few, 1), Crowd(many, jobs)]
        with contextlib.ExitStack() as ends:
            for crowd in crowds:
                ends.enter_context(closing(crowd))
            acts = [crowd.acts() for crowd in crowds]
            for name in acts[0]:
                one, all_of_them = (
                    Side(f"with {crowd.jobs:,}", partial(crowd.held_ms, own[name]))
                    for crowd, own in zip(crowds, acts, strict=True)
                )
                yield from take_turns(f"{name}, ms", all_of_them, [one], budget.share(len(acts[0])))


class Crowd:
    """A broker with so many finished jobs, and as many queued ones of a user who has one that runs."""

    def __init__(self, settings: Settings, jobs: int) -> None:
        self.jobs = jobs
        self._settings = settings
        self._admin: Any = redis.Redis.from_url(settings.require_broker(), decode_responses=True)
        self._ada, self._bob = (JobQueue(settings.model_copy(update={"user": user})) for user in ("ada", "bob"))
        self._done, self._queued = (
            load_spec(CONFIGS / "fashion-dcgan.yaml", (f"name={name}",)) for name in ("done", "queued")
        )
        self._admin.config_set("busy-reply-threshold", 60_000)
        ended, _ = self._bob.submit(self._done)
        self._bob.finish(self._bob.take(ended), Outcome(reason=Reason.SUCCEEDED))
        self._copy(ended, self._done)
        running, _ = self._ada.submit(self._queued)
        self._ada.take(running)
        waiting, _ = self._ada.submit(self._queued)
        self._copy(waiting, self._queued)
        list(self._bob.index())
        self._admin.config_set("slowlog-log-slower-than", 0)
        self._admin.config_set("slowlog-max-len", 1_000_000)

    def close(self) -> None:
        for client in (self._admin, self._ada, self._bob):
            client.close()

    def acts(self) -> dict[str, Callable[[], object]]:
        """What asks the broker, by what users call it; the last ones hold her to a quota."""
        bob, name = self._bob, self._done.name
        return {
            "PING": bob.ping,
            "submission, lease, outcome": self._work,
            "list": bob.list_jobs,
            "list of what runs": lambda: bob.list_jobs([State.RUNNING]),
            "list, as the command does": lambda: bob.find(Wanted(), LISTED, fold=True),
            "a name among all": lambda: bob.find(Wanted(pattern="nobody*"), LISTED),
            "show NAME": lambda: bob.get(bob.resolve(name)),
            "a scrape": JobCollector(self._settings).text,
            "a look for silent attempts": bob.leases,
            "head of the queue": self._head,
            "a lease where nothing fits": lambda: bob.lease(ONE_CPU, ONE_CPU),
            "a lease, all waiting for a quota": lambda: self._with_quota(lambda: bob.lease(ROOM, ROOM)),
            "a submission that is refused": lambda: self._with_quota(lambda: self._ada.submit(self._queued)),
        }

    def held_ms(self, act: Callable[[], object]) -> float:
        """The longest that one command or script of an act holds the broker."""
        return min(self._held_ms(act) for _ in range(TIMES))

    def _held_ms(self, act: Callable[[], object]) -> float:
        self._admin.slowlog_reset()
        with contextlib.suppress(GanServiceError):  # what is refused
            act()
        # In whole microseconds, of which a short command takes none.
        return float(max(1, *(entry["duration"] for entry in self._admin.slowlog_get(-1)))) / 1000

    def _copy(self, job_id: str, spec: TrainSpec) -> None:
        for first in range(1, self.jobs, BATCH):
            self._admin.eval(COPY, 0, job_id, spec.name, first, min(self.jobs, first + BATCH) - 1)

    def _work(self) -> None:
        job_id, _ = self._bob.submit(self._done)
        self._bob.finish(self._bob.take(job_id), Outcome(reason=Reason.SUCCEEDED))

    def _head(self) -> None:
        with JobRecords(self._settings) as records:
            records.head(200)

    def _with_quota(self, act: Callable[[], object]) -> None:
        self._admin.hset("{gan}:users", "ada", json.dumps({"jobs_running": 1, "jobs_queued": 1}))
        try:
            act()
        finally:
            self._admin.hdel("{gan}:users", "ada")
