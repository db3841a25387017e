"""Round trips to Redis that fit into one no-op job: submit, lease, finish."""

import time
from pathlib import Path

from ganservice.job import Capacity, Outcome, Reason
from ganservice.queue import JobQueue
from ganservice.spec_file import load_spec
from tests.benchmarks.broker import embedded_broker
from tests.benchmarks.ratios import compare

CONFIG = Path(__file__).parents[2] / "configs" / "fashion-dcgan.yaml"
JOBS = 300
ROOM = Capacity(cpus=2, gpus=0)


def main() -> None:
    spec = load_spec(CONFIG)
    with embedded_broker() as settings, JobQueue(settings) as queue:

        def job_s() -> float:
            started = time.perf_counter()
            for _ in range(JOBS):
                queue.submit(spec)
            for _ in range(JOBS):
                lease = queue.lease(ROOM, ROOM)
                assert lease
                queue.finish(lease, Outcome(reason=Reason.SUCCEEDED))
            return (time.perf_counter() - started) / JOBS

        def round_trip_s() -> float:
            started = time.perf_counter()
            for _ in range(JOBS):
                queue.ping()
            return (time.perf_counter() - started) / JOBS

        compare("no-op job / round trip", job_s, round_trip_s)
