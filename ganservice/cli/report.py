"""report: the report page of a job."""

from pathlib import Path

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import output_option, print_document, print_line, say
from ganservice.cli.reference import find_job, job_argument
from ganservice.documents import ReportDocument
from ganservice.errors import ArtifactMissing, DigestMismatch, RequestError
from ganservice.evaluation import best_of
from ganservice.files import write_aside
from ganservice.queue import JobQueue
from ganservice.report_page import Story, report_page
from ganservice.report_pictures import pick_grids
from ganservice.reports import stored_reports
from ganservice.settings import Settings
from ganservice.sweep_page import SweepStory, shown_jobs, sweep_page


@click.command("report")
@job_argument
@click.option("--into", "target", type=click.Path(path_type=Path), help="HTML to write; by default ./JOB.html.")
@output_option
def report_command(reference: str, target: Path | None, output: str) -> None:
    """Write one self-contained HTML page about a training, also beside its artifacts, and print its path.

    Of a sweep, by its id, it has the settings side by side; that page is not stored.
    """
    settings = Settings()
    queue, store = JobQueue(settings), ArtifactStore(settings)
    if sweep_id := queue.find_sweep(reference):
        path = target or Path(f"{sweep_id}.html")
        write_page(path, sweep_page(tell_sweep(queue, store, sweep_id)))
        if output == "json":
            print_document(ReportDocument(path=str(path), key=None))
        else:
            print_line(path)
        return
    job_id = find_job(queue, reference)
    story = tell_story(queue, store, job_id)
    page = report_page([story])
    path = target or Path(f"{job_id}.html")
    write_page(path, page)
    key = store.put_report(job_id, page.encode())
    if output == "json":
        print_document(ReportDocument(path=str(path), key=key))
    else:
        print_line(path)
    say(f"also in the store: {key}")


def write_page(path: Path, page: str) -> None:
    """Write a page whole or not at all."""
    with write_aside(path) as aside:
        aside.write_text(page)


def tell_sweep(queue: JobQueue, store: ArtifactStore, sweep_id: str) -> SweepStory:
    """Gather what the page of a sweep needs."""
    sweep, children = queue.look_at_sweep(sweep_id)
    histories, grids = {}, {}
    for job_id in shown_jobs(sweep, children):
        histories[job_id] = stored_reports(store, job_id, say)
        found = store.sample_grids(job_id)
        png = _picture(store, found[-1][1]) if found else None
        if png:
            grids[job_id] = png
    return SweepStory(sweep, children, histories, grids)


def tell_story(queue: JobQueue, store: ArtifactStore, job_id: str) -> Story:
    """Gather what the report page of a training needs. Raises RequestError for an evaluation."""
    job = queue.get(job_id)
    if job.training is None:
        raise RequestError(
            f"{job_id} is an evaluation; its findings are in the report of {job.spec.origin['evaluates']}"
        )
    evaluations = queue.evaluations(job_id)
    best = best_of(evaluations)
    grids = [(images, _picture(store, key)) for images, key in pick_grids(store.sample_grids(job_id))]
    pictures = [(shows, _picture(store, key)) for shows, key in best.pictures.items()] if best else []
    return Story(
        job=job,
        history=stored_reports(store, job_id, say),
        evaluations=evaluations,
        events=queue.events(job_id),
        grids=[(images, png) for images, png in grids if png],
        pictures=[(shows, png) for shows, png in pictures if png],
        stored_bytes=store.stored_bytes(job_id),
    )


def _picture(store: ArtifactStore, key: str) -> bytes | None:
    """A picture, or nothing and a word where it is gone or damaged: the others are shown without it."""
    try:
        return store.picture(key)
    except ArtifactMissing:
        return None
    except DigestMismatch as error:
        say(f"{error}; left out")
        return None
