"""Jobs that do nothing, per second, of one worker: ours with lease, fencing, heartbeat and outcome, beside others.

All ask one broker, that of the embedded stack, with its append-only file on. Each measurement enqueues first and then
works in a process of its own. The others are as they come: Celery and Dramatiq keep no result.
"""

import threading
from collections.abc import Iterator

from ganservice.job import Capacity, Outcome, Reason
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec_file import load_spec
from tests.benchmarks import CONFIGS
from tests.benchmarks.no_op import jobs_per_s, no_op, rate_of
from tests.benchmarks.servers import own_servers
from tests.benchmarks.sides import Budget, Row, afresh, take_turns
from workers.attempt.heartbeat import Heartbeat

CONFIG = CONFIGS / "ring2d.yaml"
ROOM = Capacity(cpus=2, gpus=0)
PEERS = {
    "RQ, SimpleWorker": "rq_worker",
    "Celery, solo": "celery_worker",
    "Dramatiq, 1 thread": "dramatiq_worker",
}


def rows(budget: Budget) -> Iterator[Row]:
    jobs = budget.size(1_000, 20)
    with own_servers("broker") as settings:
        url = settings.require_broker()
        for what, function in (("submitted/s", "submitted_per_s"), ("no-op jobs/s", "worked_per_s")):
            ours = afresh("ours", f"jobs:{function}", settings, jobs)
            peers = [
                # A database of its own for each, which it clears.
                afresh(name, f"peers.{module}:{function}", f"{url.rpartition('/')[0]}/{number}", jobs)
                for number, (name, module) in enumerate(PEERS.items(), start=1)
            ]
            yield from take_turns(what, ours, peers, budget.share(3))
        together, one_by_one = (
            afresh(name, f"jobs:{function}", settings, jobs)
            for name, function in (("together", "submitted_together_per_s"), ("one by one", "submitted_per_s"))
        )
        yield from take_turns("submitted/s", together, [one_by_one], budget.share(3))


def submitted_per_s(settings: Settings, jobs: int) -> float:
    with JobQueue(settings) as queue:
        spec = load_spec(CONFIG)
        rate = rate_of(lambda: queue.submit(spec), jobs)
        _work(queue)
    return rate


def submitted_together_per_s(settings: Settings, jobs: int) -> float:
    with JobQueue(settings) as queue:
        several = [(load_spec(CONFIG), None)] * jobs
        rate = jobs * rate_of(lambda: queue.submit_all(several), 1)
        _work(queue)
    return rate


def _work(queue: JobQueue) -> None:
    while lease := queue.lease(ROOM, ROOM):
        queue.finish(lease, Outcome(reason=Reason.SUCCEEDED))


def worked_per_s(settings: Settings, jobs: int) -> float:
    """As an attempt works: a lease, beats from a thread that holds it, an outcome by its token."""
    with JobQueue(settings) as queue:
        spec = load_spec(CONFIG)
        for _ in range(jobs):
            queue.submit(spec)
        lost = threading.Event()
        while lease := queue.lease(ROOM, ROOM):
            with Heartbeat(queue, lease, settings.heartbeat_s, lost.set) as heartbeat:
                no_op()
                heartbeat.finish(Outcome(reason=Reason.SUCCEEDED))
        assert not lost.is_set()
    return jobs_per_s(jobs)
