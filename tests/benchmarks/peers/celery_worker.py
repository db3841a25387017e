"""Celery: a worker with the solo pool, which runs tasks in its own process; no results, as by default."""

import contextlib
import warnings

from celery import Celery
from celery.exceptions import WorkerShutdown
from redis import Redis

from tests.benchmarks.no_op import count, jobs_per_s, no_op, rate_of


def submitted_per_s(url: str, jobs: int) -> float:
    task = _task(url, jobs)
    return rate_of(task.delay, jobs)


def worked_per_s(url: str, jobs: int) -> float:
    task = _task(url, jobs)
    for _ in range(jobs):
        task.delay()
    warnings.simplefilter("ignore")  # of the rights of who measures
    options = ["--quiet", "worker", "--pool=solo", "--concurrency=1", "--loglevel=ERROR"]
    with contextlib.suppress(WorkerShutdown, SystemExit):
        task.app.worker_main([*options, "--without-gossip", "--without-mingle", "--without-heartbeat"])
    return jobs_per_s(jobs)


def _task(url: str, jobs: int):  # type: ignore[no-untyped-def] # Celery is not installed where types are checked
    with Redis.from_url(url) as broker:
        broker.flushdb()
    app = Celery("benchmark", broker=url)

    @app.task(name="no_op")  # type: ignore[untyped-decorator]
    def task() -> None:
        no_op()
        if count() == jobs:
            raise WorkerShutdown(0)

    return task
