"""A scrape of 1,000 running jobs, all measured and evaluated, each of which has beaten since the one before, s."""

from collections.abc import Callable, Iterator

from ganservice.exporter import JobCollector
from ganservice.job import Activity, Checkpoint, Lease, Outcome, Progress, Pulse, Reason, State
from ganservice.queue import JobQueue
from ganservice.spec import TrainSpec
from ganservice.spec_file import load_spec
from tests.benchmarks import CONFIGS
from tests.benchmarks.servers import own_servers
from tests.benchmarks.sides import Budget, Row, Side, seconds, take_turns
from tests.integration.jobs import evaluation, submit_evaluation

EVALUATIONS = 3
PROGRESS = Progress(
    images=640, step=10, loss_g=0.7, loss_d=1.3, score_real=0.4, score_fake=-0.4, d_real=0.6, d_fake=0.4, value=-1.3,
    diversity=0.9, grad_norm_g=1.0, grad_norm_d=2.0, images_per_s=100.0, step_s=0.6, used_cpus=1.5, memory_bytes=10**9,
)  # fmt: skip
PULSE = Pulse(
    activity=Activity.TRAINING, device="cpu", images=704, images_per_s=100.0, report_age_s=1.0, report_every_s=2.0,
    still_s=0.5,
)  # fmt: skip


def rows(budget: Budget) -> Iterator[Row]:
    jobs = budget.size(1_000, 3)
    spec = load_spec(CONFIGS / "fashion-dcgan.yaml")
    with own_servers("broker", "store") as settings, JobQueue(settings) as queue:
        leases = [run(queue, spec) for _ in range(jobs)]
        exporter = JobCollector(settings)

        def scrape_after_beats() -> float:
            for lease in leases:
                queue.heartbeat(lease, PROGRESS, pulse=PULSE)
            return seconds(exporter.text)

        scrape = Side(f"a scrape of {len(exporter.text()) / 1e6:.1f} MB", scrape_after_beats)
        others = [
            _timed("one with no beat since", exporter.text),
            _timed("reading the jobs", lambda: queue.list_jobs([State.RUNNING])),
            _timed("a first scrape, of all evaluations", lambda: JobCollector(settings).text()),
        ]
        yield from take_turns(f"{jobs:,} jobs, s", scrape, others, budget)


def run(queue: JobQueue, spec: TrainSpec) -> Lease:
    """Have one more job that runs, has told all it can, and was evaluated."""
    job_id, _ = queue.submit(spec)
    lease = queue.take(job_id)
    queue.heartbeat(lease, PROGRESS, pulse=PULSE, checkpoint=Checkpoint(key="c", images=640, bytes=1, seconds=0.1))
    for images in range(EVALUATIONS):
        judge = submit_evaluation(queue, spec, job_id, images)
        found = evaluation(job_id, images, 1.0)
        queue.finish(queue.take(judge), Outcome(reason=Reason.SUCCEEDED, evaluation=found))
        queue.delete(judge)  # it would have series of its own
    return lease


def _timed(name: str, act: Callable[[], object]) -> Side:
    return Side(name, lambda: seconds(act))
