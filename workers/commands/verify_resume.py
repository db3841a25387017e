"""ganctl verify-resume: a training that is killed and resumed ends with the same bits as one that was left alone."""

import random
import sys
from pathlib import Path

import click

from ganservice.cli.output import print_line, say
from ganservice.cli.reference import find_job
from ganservice.cli.submit import spec_options
from ganservice.embedded.stack import Stack
from ganservice.errors import RequestError
from ganservice.files import is_there
from ganservice.job_search import check_reference
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from ganservice.spec_file import load_spec
from workers.commands.run import resolve, termination_as_interrupt

DIFFERENT = 1


@click.command("verify-resume")
@click.argument("source", metavar="SPEC|JOB")
@spec_options
@click.option(
    "--interruptions", metavar="N", type=click.IntRange(1, 1_000), default=3, help="How often to kill the workers."
)
@click.option(
    "--seed",
    metavar="SEED",
    type=click.IntRange(0, 2**63 - 1),
    help="Seed of the moments; without it others each time.",
)
@click.option(
    "--tolerance",
    metavar="SHARE",
    type=click.FloatRange(0, 1e9),
    default=0.0,
    help="How far apart numbers may be; 0 means in no bit.",
)
def verify_resume(
    source: str,
    overrides: tuple[str, ...],
    origin: str | None,
    weights_only: bool,
    interruptions: int,
    seed: int | None,
    tolerance: float,
) -> None:
    """Train a spec twice, kill the second training at random moments, and compare what both leave, bit by bit.

    Both are jobs like any other, without their evaluations, and train in child processes on this machine. Compared are
    the last checkpoint, the published generator and every report, but for times and the use of machines. Exits with 1
    where they differ, and names the first difference.
    """
    from workers.commands import twins

    is_job = not is_there(source) and Path(source).suffix not in (".yaml", ".yml")
    if is_job and (overrides or origin or weights_only):
        raise RequestError(f"{source} is no file: --set, --from and --weights-only change a spec, not a job")
    if is_job:
        check_reference(source)  # before any server is started
    spec = None if is_job else load_spec(Path(source), overrides)
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    with termination_as_interrupt(), Stack(Settings.from_environment()).servers(say):
        settings = Settings()
        queue = JobQueue(settings)
        spec = resolve(spec, queue, settings, origin, weights_only) if spec else _spec_of(queue, source)
        _check_gpus(spec)
        say(f"the moments of the interruptions are those of --seed {seed}")
        verdict = twins.verify(settings, spec, twins.moments(spec, interruptions, seed), tolerance)
    print_line(verdict)
    if not verdict.holds:
        sys.exit(DIFFERENT)


def _spec_of(queue: JobQueue, reference: str) -> TrainSpec:
    job = queue.get(find_job(queue, reference))
    if job.training is None:
        raise RequestError(f"{job.id} is an evaluation; expected a training")
    return job.training


def _check_gpus(spec: TrainSpec) -> None:
    import torch

    wanted, found = spec.resources.workers * spec.resources.gpus_per_worker, torch.cuda.device_count()
    if wanted > found:
        raise RequestError(
            f"resources.gpus_per_worker: {wanted} GPUs are wanted and {found} are seen here; "
            "--set resources.gpus_per_worker=0"
        )
