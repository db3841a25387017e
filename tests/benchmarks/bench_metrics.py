"""A scrape of 1,000 running jobs, all measured, over reading those jobs from Redis."""

import time

from prometheus_client import CollectorRegistry, generate_latest

from ganservice.exporter import JobCollector
from ganservice.job import Capacity, Checkpoint, Progress
from ganservice.queue import JobQueue
from ganservice.spec_file import load_spec
from tests.benchmarks.bench_queue import CONFIG
from tests.benchmarks.broker import embedded_broker
from tests.benchmarks.ratios import compare

JOBS = 1_000
ROOM = Capacity(cpus=10 * JOBS, gpus=0)
PROGRESS = Progress(
    images=640, step=10, loss_g=0.7, loss_d=1.3, score_real=0.4, score_fake=-0.4, d_real=0.6, d_fake=0.4, value=-1.3,
    diversity=0.9, grad_norm_g=1.0, grad_norm_d=2.0, images_per_s=100.0, step_s=0.6, used_cpus=1.5, memory_bytes=10**9,
)  # fmt: skip


def main() -> None:
    spec = load_spec(CONFIG)
    with embedded_broker() as settings, JobQueue(settings) as queue:
        for _ in range(JOBS):
            queue.submit(spec)
            lease = queue.lease(ROOM, ROOM)
            assert lease
            queue.heartbeat(lease, PROGRESS, checkpoint=Checkpoint(key="c", images=640, bytes=1, seconds=0.1))
        registry = CollectorRegistry()
        registry.register(JobCollector(settings))

        def scrape_s() -> float:
            started = time.perf_counter()
            generate_latest(registry)
            return time.perf_counter() - started

        def read_s() -> float:
            started = time.perf_counter()
            queue.list_jobs()
            return time.perf_counter() - started

        compare("scrape / reading the jobs", scrape_s, read_s)
        print(f"  {len(generate_latest(registry)) / 1e6:.1f} MB")
