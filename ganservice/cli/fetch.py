"""fetch: a trained, verified generator comes home."""

import contextlib
from pathlib import Path

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import print_json, print_line, say
from ganservice.cli.reference import find_job, job_argument
from ganservice.documents import FetchDocument
from ganservice.errors import BrokerOutage, JobNotFound, NotConfigured
from ganservice.job_search import locate_generator
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
    job_id, folder_key = locate_generator(settings, store, reference, which, find_job)
    target = folder or Path(job_id)
    manifest = store.fetch_generator(folder_key, target)
    against = _reservation(settings, job_id, manifest)
    if output == "json":
        print_json(
            FetchDocument(folder=str(target), manifest=manifest.model_dump(mode="json"), reservation=against).plain()
        )
    else:
        print_line(target)
    say(f"{len(manifest.files)} files, {manifest.images:,} images trained, every sha256 is right")
    if evaluation := manifest.evaluation:
        say(f"the best that was evaluated: {evaluation.quality_name} {evaluation.quality:.4g}, lower is better")
        if manifest.images < manifest.spec.total_images:
            say("the last may be better where it was not evaluated: `ganctl show` lists what was; --checkpoint final")
    if against:
        say(f"RESERVATION: {against}; look at {target / 'samples.png'} before it is used")
    enlarges = manifest.spec.recipe.super_resolution
    say(f"next: ganctl upscale PICTURE --from {target}" if enlarges else f"next: ganctl sample {target}")


def _reservation(settings: Settings, job_id: str, manifest: GeneratorManifest) -> str | None:
    """What is to be said against a generator; of a last one also by what was found after it was published."""
    if manifest.reservation or manifest.evaluation:
        return manifest.reservation
    with contextlib.suppress(JobNotFound, NotConfigured, BrokerOutage):
        queue = JobQueue(settings)
        found = reservation(queue.get(job_id), queue.evaluations(job_id))
        return str(found) if found else None
    return None
