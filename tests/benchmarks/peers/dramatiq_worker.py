"""Dramatiq: a worker of one thread in this process; no results, as by default."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from redis import Redis

from tests.benchmarks.no_op import jobs_per_s, no_op, rate_of


def submitted_per_s(url: str, jobs: int) -> float:
    _, actor = _actor(url)
    return rate_of(actor.send, jobs)


def worked_per_s(url: str, jobs: int) -> float:
    broker, actor = _actor(url)
    for _ in range(jobs):
        actor.send()
    worker = dramatiq.Worker(broker, worker_threads=1)
    worker.start()
    broker.join(actor.queue_name)
    worker.join()
    worker.stop()
    return jobs_per_s(jobs)


def _actor(url: str) -> tuple[RedisBroker, dramatiq.Actor]:
    with Redis.from_url(url) as client:
        client.flushdb()
    broker = RedisBroker(url=url)
    dramatiq.set_broker(broker)
    return broker, dramatiq.actor(no_op)
