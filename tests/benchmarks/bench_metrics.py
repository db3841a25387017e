"""A scrape of 1,000 running jobs, all measured and evaluated, over reading those jobs from Redis."""

import time

from prometheus_client import CollectorRegistry, generate_latest

from ganservice.exporter import JobCollector
from ganservice.job import Activity, Capacity, Checkpoint, Outcome, Progress, Pulse, Reason, State
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec_file import load_spec
from tests.benchmarks.bench_queue import CONFIG
from tests.benchmarks.broker import embedded_broker
from tests.benchmarks.ratios import compare
from tests.integration.jobs import evaluation, submit_evaluation

JOBS = 1_000
EVALUATIONS = 3
ROOM = Capacity(cpus=10 * JOBS, gpus=0)
PROGRESS = Progress(
    images=640, step=10, loss_g=0.7, loss_d=1.3, score_real=0.4, score_fake=-0.4, d_real=0.6, d_fake=0.4, value=-1.3,
    diversity=0.9, grad_norm_g=1.0, grad_norm_d=2.0, images_per_s=100.0, step_s=0.6, used_cpus=1.5, memory_bytes=10**9,
)  # fmt: skip
PULSE = Pulse(
    activity=Activity.TRAINING, device="cpu", images=704, images_per_s=100.0, report_age_s=1.0, report_every_s=2.0,
    still_s=0.5,
)  # fmt: skip


def main() -> None:
    spec = load_spec(CONFIG)
    with embedded_broker() as settings, JobQueue(settings) as queue:
        for _ in range(JOBS):
            queue.submit(spec)
            lease = queue.lease(ROOM, ROOM)
            assert lease
            newest = Checkpoint(key="c", images=640, bytes=1, seconds=0.1)
            queue.heartbeat(lease, PROGRESS, pulse=PULSE, checkpoint=newest)
            for images in range(EVALUATIONS):
                judge = submit_evaluation(queue, spec, lease.job_id, images)
                found = evaluation(lease.job_id, images, 1.0)
                queue.finish(queue.take(judge), Outcome(reason=Reason.SUCCEEDED, evaluation=found))
                queue.delete(judge)  # it would have series of its own

        def scrape_s(registry: CollectorRegistry) -> float:
            started = time.perf_counter()
            generate_latest(registry)
            return time.perf_counter() - started

        def read_s() -> float:
            started = time.perf_counter()
            queue.list_jobs([State.RUNNING])
            return time.perf_counter() - started

        registry = exporter(settings)
        compare("scrape / reading the jobs", lambda: scrape_s(registry), read_s)
        compare(
            "first scrape, which reads all evaluations / any other",
            lambda: scrape_s(exporter(settings)),
            lambda: scrape_s(registry),
        )
        print(f"  {len(generate_latest(registry)) / 1e6:.1f} MB")


def exporter(settings: Settings) -> CollectorRegistry:
    """The registry of an exporter that has looked at nothing yet."""
    registry = CollectorRegistry()
    registry.register(JobCollector(settings))
    return registry
