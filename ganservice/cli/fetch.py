"""fetch, link: a trained, verified generator comes home, or is given away."""

import contextlib
from pathlib import Path

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import output_option, print_json, print_line, print_links, say
from ganservice.cli.reference import check_reference, find_job, job_argument
from ganservice.errors import ArtifactMissing, JobNotFound, NotConfigured
from ganservice.evaluation import best_of
from ganservice.job import State
from ganservice.queue import JobQueue
from ganservice.settings import Settings

which_option = click.option(
    "--checkpoint",
    "which",
    type=click.Choice(["best", "final"]),
    help="The best evaluated generator, or the last; by default the best, if any was evaluated.",
)
# S3 signs no link for longer.
MAX_HOURS = 7 * 24


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
    if output == "json":
        print_json(manifest.model_dump(mode="json") | {"folder": str(target)})
    else:
        print_line(target)
    say(f"{len(manifest.files)} files, {manifest.images:,} images trained, every sha256 is right")
    if evaluation := manifest.evaluation:
        say(f"the best that was evaluated: {evaluation.quality_name} {evaluation.quality:.4g}, lower is better")
        if manifest.images < manifest.spec.total_images:
            say("the last may be better where it was not evaluated: `ganctl show` lists what was; --checkpoint final")
    say(f"next: ganctl sample {target}")


@click.command("link")
@job_argument
@which_option
@click.option("--hours", type=click.IntRange(1, MAX_HOURS), default=24, help="How long the links work.")
@output_option
def link_command(reference: str, which: str | None, hours: int, output: str) -> None:
    """Print links to a generator's files, for somebody who has no keys to the store.

    Whoever has a link has the file, until it expires.
    """
    settings = Settings()
    store = ArtifactStore(settings)
    job_id, folder_key = locate_generator(settings, store, reference, which)
    links = store.link_generator(folder_key, hours * 3600)
    print_links(links, output)
    say(f"{len(links)} files of {job_id}, for {hours} hours")


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
