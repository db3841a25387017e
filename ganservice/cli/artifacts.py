"""ls, cp, link: whatever a job has in the store, of any job: running, failed, cancelled or forgotten by the queue."""

from pathlib import Path
from urllib.parse import urlsplit

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.fetch import which_option
from ganservice.cli.output import ago, output_option, print_json, print_line, print_links, print_rows, say, span
from ganservice.cli.reference import find_job, job_argument
from ganservice.cli.spans import Span
from ganservice.documents import LinkDocument, LsDocument
from ganservice.documents.store import LinkSection, StoredFileSection
from ganservice.errors import ArtifactExists, BrokerOutage, JobNotFound, NotConfigured, RequestError
from ganservice.files import is_there, named_writing_trouble
from ganservice.job_files import JobFile, choose_files, list_files
from ganservice.job_search import check_reference, locate_generator
from ganservice.mistakes import brief
from ganservice.queue import JobQueue
from ganservice.settings import Settings

# S3 signs no link for longer.
LONGEST_LINK_S = 7 * 86_400
# The word for all files of the generator that `fetch` brings home.
GENERATOR = "generator"


@click.command("ls")
@job_argument
@click.argument("wanted", metavar="[FILE]", default="*")
@output_option
def ls_command(reference: str, wanted: str, output: str) -> None:
    """List what a job has in the store: name, bytes, age.

    FILE is a pattern of names, such as samples or '*.png', or a word for the newest of a kind: grid, metrics,
    checkpoint, report.
    """
    settings = Settings()
    job_id, files = _files(settings, ArtifactStore(settings), reference)
    if not files:
        say(f"{job_id} has nothing in the store yet")
    found = choose_files(files, wanted, job_id) if files else []
    if output == "json":
        print_json(LsDocument(job_id=job_id, files=tuple(map(_section, found))).plain())
        return
    rows = [
        {"name": each.name, "bytes": f"{each.object.bytes:,}", "age": ago(each.object.modified_at)} for each in found
    ]
    print_rows(rows)


def _section(file: JobFile) -> StoredFileSection:
    return StoredFileSection(name=file.name, bytes=file.object.bytes, modified_at=file.object.modified_at)


@click.command("cp")
@click.argument("sources", metavar="JOB:FILE...", nargs=-1, required=True)
@click.argument("target", metavar="INTO", type=click.Path())
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def cp_command(sources: tuple[str, ...], target: str, force: bool) -> None:
    """Copy files of jobs from the store, check their digests, and print their paths.

    FILE is as in `ls`: JOB:grid is the newest sample grid, JOB:metrics all reports up to the last checkpoint,
    'JOB:*.png' every picture. INTO is a folder, in which files keep their names; a single file may get another name,
    unless INTO ends in a slash.
    """
    settings = Settings()
    store = ArtifactStore(settings)
    copies = _copies(_wanted(settings, store, sources), target)
    if not force and (there := [path for path in copies if is_there(str(path))]):
        raise ArtifactExists(f"{there[0]} exists already; --force overwrites it")
    bare = 0
    for path, file in copies.items():
        with named_writing_trouble(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        bare += not store.objects.download(file.object.key, path, most_bytes=file.object.bytes)
        print_line(path)
    right = f"{bare} of them stored without a sha256, so that nobody knows" if bare else "every sha256 is right"
    say(f"{len(copies)} files, {sum(file.object.bytes for file in copies.values()):,} bytes; {right}")


def _wanted(settings: Settings, store: ArtifactStore, sources: tuple[str, ...]) -> list[JobFile]:
    """The files that are asked for. Raises RequestError of a source that is none."""
    found: list[JobFile] = []
    for source in sources:
        reference, _, wanted = source.partition(":")
        if not wanted:
            raise RequestError(f"{brief(source)}: expected JOB:FILE, such as JOB:grid or 'JOB:*.png'")
        job_id, files = _files(settings, store, reference)
        found += choose_files(files, wanted, job_id)
    for file in found:
        if not file.is_harmless:
            say(f"left out: {file.name}, for no file is called so here")
    return [file for file in found if file.is_harmless]


def _copies(files: list[JobFile], target: str) -> dict[Path, JobFile]:
    """Where each file goes; those of several jobs into a folder for each. Raises RequestError of a file as folder."""
    into = Path(target)
    is_folder = is_there(str(into)) and into.is_dir()
    if len(files) == 1 and not is_folder and not target.endswith("/"):
        return {into: files[0]}
    if is_there(str(into)) and not is_folder:
        raise RequestError(f"{brief(target)}: is a file; several files, or a slash at the end, need a folder")
    by_job = len({file.job_id for file in files}) > 1
    return {into / (file.job_id if by_job else "") / file.copy: file for file in files}


@click.command("link")
@job_argument
@click.argument("wanted", metavar="[FILE]", default="grid")
@click.option("--for", "for_s", type=Span(), default="24h", metavar="SPAN", help="How long it works; 7d at most.")
@which_option
@output_option
def link_command(reference: str, wanted: str, for_s: float, which: str | None, output: str) -> None:
    """Print a link to a file of a job, for somebody who has no keys to the store; by default to the newest grid.

    FILE is as in `ls`, or generator: all that `fetch` brings home. Several links are a line each. Whoever has a link
    has the file, until it expires.
    """
    if not 1 <= for_s <= LONGEST_LINK_S:
        raise RequestError(f"--for: found {for_s:.0f}s, expected 1s to 7d, for S3 signs no link for longer")
    settings = Settings()
    store = ArtifactStore(settings)
    if wanted == GENERATOR:
        job_id, folder_key = locate_generator(settings, store, reference, which, find_job)
        links = store.link_generator(folder_key, int(for_s))
    else:
        job_id, files = _files(settings, store, reference)
        chosen = choose_files(files, wanted, job_id)
        links = {file.name: store.objects.link(file.object.key, int(for_s)) for file in chosen}
    sections = tuple(LinkSection(file=name, link=link) for name, link in links.items())
    print_links(LinkDocument(links=sections), output)
    first = next(iter(links.values()))
    signature = f"of {len(first)} characters {len(urlsplit(first).query)} are S3's signature, which has no shorter form"
    say(f"{', '.join(links)} of {job_id}, for {span(for_s)}; {signature}")


def _files(settings: Settings, store: ArtifactStore, reference: str) -> tuple[str, list[JobFile]]:
    """A job's id and what it has in the store, which remembers jobs that the queue has forgotten, by their whole ids.

    Raises:
        JobNotFound: neither knows it.
    """
    check_reference(reference)
    job_id, is_known = reference, False
    try:
        job_id, is_known = find_job(JobQueue(settings), reference), True
    except BrokerOutage as outage:
        say(f"{outage}; {reference} is taken for a whole id")
    except (JobNotFound, NotConfigured):
        pass
    files = list_files(store.objects, job_id) if job_id else []
    if not files and not is_known:
        raise JobNotFound(f"neither the queue nor the store knows a job {reference}; see `ganctl list`")
    return job_id, files
