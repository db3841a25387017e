"""fetch: a trained, verified generator comes home."""

import contextlib
from pathlib import Path

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import print_json, print_line, say
from ganservice.cli.reference import check_reference, find_job, job_argument
from ganservice.errors import ArtifactMissing, BrokerOutage, JobNotFound, NotConfigured
from ganservice.evaluation import best_of
from ganservice.job import State
from ganservice.manifest import GeneratorManifest
from ganservice.queue import JobQueue
from ganservice.reservation import reservation
from ganservice.settings import Settings

which_option = click.option(
    "--checkpoint",
    "which",
    type=click.Choice(["best", "final"]),
    help="The best evaluated generator, or the last; by default the best, if any was evaluated.",
)


@click.command("fetch")
@job_argument
@which_option
@click.option("--into", "folder", type=click.Path(path_type=Path), help="Folder to make; by default ./JOB.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Form of the output.")
def fetch_command(reference: str, which: str | None, folder: Path | None, output: str) -> None:
    """Download a job's generator, check every digest, and print the folder it is in."""
    settings = Settings()
    store = ArtifactStore(settings)
    job_id, folder_key = locate_generator(settings, store, reference, which)
    target = folder or Path(job_id)
    manifest = store.fetch_generator(folder_key, target)
    against = _reservation(settings, job_id, manifest)
    if output == "json":
        print_json(manifest.model_dump(mode="json") | {"folder": str(target), "reservation": against})
    else:
        print_line(target)
    say(f"{len(manifest.files)} files, {manifest.images:,} images trained, every sha256 is right")
    if evaluation := manifest.evaluation:
        say(f"the best that was evaluated: {evaluation.quality_name} {evaluation.quality:.4g}, lower is better")
        if manifest.images < manifest.spec.total_images:
            say("the last may be better where it was not evaluated: `ganctl show` lists what was; --checkpoint final")
    if against:
        say(f"RESERVATION: {against}; look at {target / 'samples.png'} before it is used")
    say(f"next: ganctl sample {target}")


def _reservation(settings: Settings, job_id: str, manifest: GeneratorManifest) -> str | None:
    """What is to be said against a generator; of a last one also by what was found after it was published."""
    if manifest.reservation or manifest.evaluation:
        return manifest.reservation
    with contextlib.suppress(JobNotFound, NotConfigured, BrokerOutage):
        queue = JobQueue(settings)
        found = reservation(queue.get(job_id), queue.evaluations(job_id))
        return str(found) if found else None
    return None


def locate_generator(
    settings: Settings, store: ArtifactStore, reference: str, which: str | None = None
) -> tuple[str, str]:
    """The job's id and the folder of its generator: the "best" evaluated one, the "final" one, or the best there is.

    The store remembers jobs that the queue has forgotten; of these it is the final one.
    """
    check_reference(reference)
    with contextlib.suppress(JobNotFound, NotConfigured):
        queue = JobQueue(settings)
        job_id = find_job(queue, reference)
        job = queue.get(job_id)
        best = best_of(queue.evaluations(job_id)) if which != "final" else None
        if best and best.generator:
            return job_id, best.generator
        if which == "best":
            raise ArtifactMissing(f"{job_id} has no evaluated generator; see `ganctl evaluate {job_id}`")
        if job.generator:
            return job_id, job.generator
        if not job.state.is_final:
            raise ArtifactMissing(f"{job_id} is {job.state} and has no generator yet; see `ganctl watch {job_id}`")
        if job.state is not State.SUCCEEDED:
            raise ArtifactMissing(f"{job_id} is {job.state} and published no generator: {job.message}")
    try:
        return reference, store.find_generator(reference)
    except ArtifactMissing as error:
        raise JobNotFound(f"neither the queue nor the store knows a job {reference}; see `ganctl list`") from error
