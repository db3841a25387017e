"""fetch, link: a trained, verified generator comes home, or is given away."""

from pathlib import Path

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import output_option, print_json, print_line, print_links, say
from ganservice.cli.reference import find_job, job_argument
from ganservice.job_search import locate_generator
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
    job_id, folder_key = locate_generator(settings, store, reference, which, find_job)
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
    job_id, folder_key = locate_generator(settings, store, reference, which, find_job)
    links = store.link_generator(folder_key, hours * 3600)
    print_links(links, output)
    say(f"{len(links)} files of {job_id}, for {hours} hours")
