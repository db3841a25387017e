"""How long Redis is held by one look for a job, with 100,000 queued jobs of a user who is at his quota."""

import json
from contextlib import closing
from typing import Any

import redis

from ganservice.job import Capacity
from ganservice.job_records import JobRecords
from ganservice.queue import JobQueue
from ganservice.spec_file import load_spec
from tests.benchmarks.bench_many_jobs import BATCH, JOBS, held_ms
from tests.benchmarks.bench_queue import CONFIG
from tests.benchmarks.broker import embedded_broker

ONE_CPU = Capacity(cpus=1, gpus=0)
ROOM = Capacity(cpus=2, gpus=0)
COPY = """
local first, key = '{gan}:job:' .. ARGV[1], '{gan}:ready_of:ada'
local place = redis.call('ZSCORE', key, ARGV[1])
for number = ARGV[3], ARGV[4] do
  local id = string.format('%s-%08d', ARGV[2], number)
  redis.call('COPY', first, '{gan}:job:' .. id)
  redis.call('HSET', '{gan}:job:' .. id, 'id', id, 'order', number + 1)
  redis.call('ZADD', key, place + number, id)
  redis.call('ZADD', '{gan}:state:queued', 0, id)
  redis.call('SADD', '{gan}:queued_of:ada', id)
end
"""


def main() -> None:
    with (
        embedded_broker() as settings,
        closing(redis.Redis.from_url(settings.require_broker(), decode_responses=True)) as admin,
    ):
        ada, bob = (JobQueue(settings.model_copy(update={"user": user})) for user in ("ada", "bob"))
        spec = load_spec(CONFIG)
        ada.submit(spec)
        ada.lease(ROOM, ROOM)
        job_id, _ = ada.submit(spec)
        for first in range(1, JOBS, BATCH):
            admin.eval(COPY, 0, job_id, spec.name, first, min(JOBS, first + BATCH) - 1)
        admin.config_set("slowlog-log-slower-than", 0)
        admin.config_set("slowlog-max-len", 1_000_000)
        ping_ms = held_ms(admin, ada.ping)
        print(f"  {JOBS:,} jobs of one user wait; PING {ping_ms:,.3f} ms")
        admin.config_set("busy-reply-threshold", 60_000)
        look(admin, ping_ms, "each is examined, for no machine could hold it", lambda: bob.lease(ONE_CPU, ONE_CPU))
        admin.hset("{gan}:users", "ada", json.dumps({"jobs_running": 1}))
        look(admin, ping_ms, "he is at his quota, and nothing else waits", lambda: bob.lease(ROOM, ROOM))
        look(admin, ping_ms, "the head of the queue", lambda: JobRecords(settings).head(200))
        admin.hset("{gan}:users", "ada", json.dumps({"jobs_running": 1, "jobs_queued": 50}))
        look(admin, ping_ms, "a submission that is refused", lambda: ada.submit(spec))


def look(admin: Any, ping_ms: float, name: str, read: Any) -> None:
    read_ms = held_ms(admin, read)
    print(f"  {name} / PING: {read_ms / ping_ms:,.0f} ({read_ms:,.3f} ms)")


if __name__ == "__main__":
    main()
