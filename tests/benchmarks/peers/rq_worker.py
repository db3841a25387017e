"""RQ: a queue, and a SimpleWorker, which runs jobs in its own process; outcomes are kept, as RQ does."""

import logging

from redis import Redis
from rq import Queue, SimpleWorker

from tests.benchmarks.no_op import jobs_per_s, no_op, rate_of


def submitted_per_s(url: str, jobs: int) -> float:
    queue = _queue(url)
    return rate_of(lambda: queue.enqueue(no_op), jobs)


def worked_per_s(url: str, jobs: int) -> float:
    logging.getLogger("rq.worker").setLevel(logging.ERROR)
    queue = _queue(url)
    for _ in range(jobs):
        queue.enqueue(no_op)
    SimpleWorker([queue], connection=queue.connection).work(burst=True, logging_level="ERROR")
    return jobs_per_s(jobs)


def _queue(url: str) -> Queue:
    broker = Redis.from_url(url)
    broker.flushdb()
    return Queue(connection=broker)
