"""How long Redis is held by one read, with 100,000 finished jobs: nobody else is answered meanwhile."""

import contextlib
from collections.abc import Callable
from contextlib import closing
from typing import Any

import redis
from prometheus_client import CollectorRegistry, generate_latest

from ganservice.cli.listing import LISTED
from ganservice.errors import GanServiceError
from ganservice.exporter import JobCollector
from ganservice.job import Capacity, Outcome, Reason, State
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec_file import load_spec
from tests.benchmarks.bench_queue import CONFIG
from tests.benchmarks.broker import embedded_broker

JOBS = 100_000
BATCH = 2_000
TIMES = 3
ROOM = Capacity(cpus=2, gpus=0)
# They ended a day before the first, too long ago for the exporter to tell of each.
COPY = """
local first = '{gan}:job:' .. ARGV[1]
local ended = redis.call('HGET', first, 'finished_at') - 24 * 3600 * 1000
for number = ARGV[3], ARGV[4] do
  local id = string.format('%s-%08d', ARGV[2], number)
  redis.call('COPY', first, '{gan}:job:' .. id)
  redis.call('HSET', '{gan}:job:' .. id, 'id', id, 'order', number + 1, 'finished_at', ended)
  redis.call('ZADD', '{gan}:state:succeeded', ended, id)
end
"""


def main() -> None:
    with (
        embedded_broker() as settings,
        JobQueue(settings) as queue,
        closing(redis.Redis.from_url(settings.require_broker(), decode_responses=True)) as admin,
    ):
        fill(queue, admin)
        admin.config_set("slowlog-log-slower-than", 0)
        admin.config_set("slowlog-max-len", 1_000_000)
        ping_ms = held_ms(admin, queue.ping)
        for name, read in reads(queue, settings).items():
            read_ms = held_ms(admin, read)
            print(f"  {name} / PING: {read_ms / ping_ms:,.0f} ({read_ms:,.3f} and {ping_ms:,.3f} ms)")


def reads(queue: JobQueue, settings: Settings) -> dict[str, Callable[[], object]]:
    """What asks Redis about many jobs, by what users call it."""
    registry = CollectorRegistry()
    registry.register(JobCollector(settings))
    name = load_spec(CONFIG).name
    return {
        "list": queue.list_jobs,
        "list of what runs": lambda: queue.list_jobs([State.QUEUED, State.RUNNING]),
        "show NAME": lambda: queue.get(queue.resolve(name)),
        "show ID": lambda: queue.get(queue.resolve(f"{name}-00099999")),
        "a scrape": lambda: generate_latest(registry),
        "a reaping": lambda: queue.reap(queue.leases()),
        "list, as the command does": lambda: queue.newest(LISTED),
    }


def fill(queue: JobQueue, admin: Any) -> None:
    """One real job, finished, and copies of it, until there are as many as wanted."""
    job_id, _ = queue.submit(load_spec(CONFIG))
    lease = queue.lease(ROOM, ROOM)
    assert lease
    queue.finish(lease, Outcome(reason=Reason.SUCCEEDED))
    for first in range(1, JOBS, BATCH):
        admin.eval(COPY, 0, job_id, load_spec(CONFIG).name, first, min(JOBS, first + BATCH) - 1)
    queue.index()


def held_ms(admin: Any, read: Callable[[], object]) -> float:
    """The longest that one command or script of `read` holds Redis, by its own account; of some times the least, for
    Redis also counts how long the machine was busy with others."""
    return min(_held_ms(admin, read) for _ in range(TIMES))


def _held_ms(admin: Any, read: Callable[[], object]) -> float:
    admin.slowlog_reset()
    with contextlib.suppress(GanServiceError):  # no store is up for the exporter to ask
        read()
    return float(max(entry["duration"] for entry in admin.slowlog_get(-1))) / 1000
