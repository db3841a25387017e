"""show: all that is known of a job."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from ganservice.cli.exit_codes import worst
from ganservice.cli.output import (
    ago,
    counted,
    output_option,
    print_fields,
    print_json_line,
    print_line,
    print_lines,
    say,
    span,
)
from ganservice.cli.reference import find_jobs, is_pattern, jobs_argument
from ganservice.cli.standing import late_report, seconds, state_words
from ganservice.cli.sweep_rows import print_sweep
from ganservice.errors import GanServiceError, Outage, StoreOutage
from ganservice.evaluation import Evaluation, best_of
from ganservice.events import UNKNOWN
from ganservice.job import Job, State
from ganservice.job_list import JobList
from ganservice.judges import disagreements
from ganservice.quantities import texts
from ganservice.reservation import reservation
from ganservice.settings import Settings
from ganservice.spec import Start
from ganservice.sweeps import Sweeps


@click.command("show")
@jobs_argument
@click.option("--spec", "with_spec", is_flag=True, help="Also the whole spec, every default written out.")
@click.option("--artifacts", "with_artifacts", is_flag=True, help="Also the keys of what it left in the store.")
@output_option
def show_command(
    references: tuple[str, ...],
    user: str | None,
    all_users: bool,
    with_spec: bool,
    with_artifacts: bool,
    output: str,
) -> None:
    """Show all that is known of jobs: how they stand, what their evaluations found, where they come from.

    Of a sweep, by its id: its settings and what they came to, the best first, and what each factor does.
    """
    settings = Settings()
    queue = Sweeps(settings)
    codes, seen = [0], set[str]()
    for reference in references:
        try:
            if sweep_id := queue.find_sweep(reference):
                print_sweep(queue, sweep_id, output)
                continue
            for job_id in find_jobs(queue, reference, tuple(State), user, all_users):
                if job_id in seen:
                    continue
                job = queue.get(job_id)
                keys = _artifacts(settings, job_id) if with_artifacts else None
                if output == "json":
                    _print_document(job, queue.evaluations(job_id), keys, with_spec=with_spec)
                else:
                    if seen:
                        print_line()
                    _print(queue, job, keys, with_spec=with_spec)
                seen.add(job_id)
        except GanServiceError as error:
            if isinstance(error, Outage) or (len(references) == 1 and not (is_pattern(reference) and seen)):
                raise
            say(f"error: {error}")
            codes.append(error.exit_code)
    if code := worst(codes):
        sys.exit(code)


def _print_document(
    job: Job, evaluations: Sequence[Evaluation], keys: tuple[str, ...] | None, *, with_spec: bool
) -> None:
    from ganservice.documents import ShowDocument
    from ganservice.documents.job import job_values

    values, best = job_values(job, evaluations, with_spec=with_spec), best_of(evaluations)
    document = ShowDocument(
        **values,
        evaluations=tuple(evaluations),
        chosen_by=best.quality_name if best else None,
        disagreements=tuple(map(str, disagreements(evaluations))),
        artifacts=None if keys is None else tuple(keys),
    )
    print_json_line(document.plain())


def _print(queue: JobList, job: Job, keys: Sequence[str] | None, *, with_spec: bool) -> None:
    evaluations = queue.evaluations(job.id)
    print_fields(job_fields(job, evaluations, queue.now_s()))
    if job.training and job.training.start:
        _print_section("lineage", _lineage(job.id, job.training.start))
    _print_section("rollbacks", _rollbacks(job))
    _print_section("evaluations", evaluation_lines(evaluations, sorted(queue.evaluations_under_way(job.id))))
    if with_spec:
        from ganservice.spec_file import dump_spec

        _print_section("spec", dump_spec(job.spec).strip().split("\n"))
    if keys is not None:
        _print_section("artifacts", keys)


def _print_section(title: str, lines: Iterator[str] | Sequence[str]) -> None:
    """A title and the lines below it; nothing where there are none."""
    text = "\n".join(f"  {line}" for line in lines)
    if text:
        print_line()
        print_line(title)
        print_lines(text)


def _artifacts(settings: Settings, job_id: str) -> tuple[str, ...] | None:
    """The keys of what a job left behind; None while the store is away, which the job itself may wait for."""
    from ganservice.artifacts import ArtifactStore

    try:
        return tuple(ArtifactStore(settings).keys(job_id))
    except StoreOutage as outage:
        say(f"{outage}; its artifacts are not shown")
        return None


def job_fields(job: Job, evaluations: Sequence[Evaluation] = (), now_s: float | None = None) -> dict[str, Any]:
    """The fields that `show` prints of a job as it stands, by name; None is left out."""
    progress, checkpoint, code = job.progress, job.checkpoint, job.spec.recipe.code
    speed = job.images_per_s or (progress.images_per_s if progress else None)
    return {
        "id": job.id,
        "state": state_words(job, reservation(job, evaluations)),
        "reason": job.reason,
        "message": job.message or None,
        "note": job.spec.note or None,
        "tags": ", ".join(job.spec.tags) or None,
        "sweep": job.sweep,
        "after": job.after,
        "waits for": job.waits_for,
        "priority": job.priority,
        "submitted": f"{ago(job.submitted_at)} ago{f' by {job.user}' if job.user else ''}",
        "finished": f"{ago(job.finished_at)} ago" if job.finished_at else None,
        "resources": _resources(job) + (f", held for {span(job.leased_s)}" if job.leased_s >= 1 else ""),
        "attempt": job.attempt,
        "failures": f"{job.failures} in a row without a new checkpoint" if job.failures else None,
        "troubles": f"{job.troubles} by the cluster's fault, {span(job.trouble_s)} in all" if job.troubles else None,
        **_running(job, now_s),
        "does": job.preparation,
        "recipe": _recipe(job),
        "code": code and f"{code.folder} ({code.digest})",
        "of": str(job.subject) if job.subject else None,
        "images": job.training and f"{job.images:,} of {job.training.total_images:,}",
        "done": f"{job.share_done:.0%}" if job.subject else None,
        "epochs": progress and progress.epochs and f"{progress.epochs:.2f}",
        "health": job.health_seen,
        **(texts("show", progress) if progress else {}),
        "images/s": f"{speed:,.0f}" if speed else None,
        "left": span(job.left_s) if job.left_s is not None else None,
        "precision": job.precision,
        "engine": job.engine,
        "checkpoint": checkpoint and f"at {checkpoint.images:,} images, {checkpoint.bytes / 1e6:.1f} MB",
        "generator": job.generator,
    }


def _running(job: Job, now_s: float | None) -> dict[str, str | None]:
    """What there is of an attempt that runs: for how long, by whom, and when anything was heard of it."""
    if job.state is not State.RUNNING:
        return {}
    return {
        "running": f"for {ago(job.leased_at)}" if job.leased_at else None,
        "leased by": job.owner,
        "heartbeat": f"{ago(job.heartbeat_at)} ago",
        "last report": _last_report(job, now_s) if now_s is not None else None,
    }


def _last_report(job: Job, now_s: float) -> str | None:
    if late := late_report(job, now_s):
        return late
    if job.reported_at is None or job.pulse is None or job.pulse.report_every_s is None:
        return None
    return f"{seconds(max(0.0, now_s - job.reported_at))} ago; usually every {seconds(job.pulse.report_every_s)}"


def _resources(job: Job) -> str:
    asked = job.spec.resources
    gpus = f" and {counted(asked.gpus, 'GPU')}" if asked.gpus else ""
    return counted(asked.cpus, "CPU") + gpus


def _recipe(job: Job) -> str:
    """What is trained, in one line; `--spec` says all."""
    recipe = job.spec.recipe
    data = f"{recipe.pictures.dataset}, {recipe.pictures.image_size} px" if recipe.pictures else recipe.data.kind
    return f"{data}; G {recipe.generator.kind}, D {recipe.discriminator.kind}, batches of {recipe.batch_size}"


def _rollbacks(job: Job) -> Iterator[str]:
    for rollback in job.rollbacks:
        yield (
            f"from {rollback.from_images:,} back to {rollback.images:,} images, learning rates times "
            f"{rollback.lr_share:g}: {rollback.why}"
        )


def evaluation_lines(evaluations: Sequence[Evaluation], under_way: Sequence[int]) -> Iterator[str]:
    """Every evaluation of a training, the best one marked, and those that are to come."""
    best = best_of(evaluations)
    for evaluation in evaluations:
        mark = f", the best by {evaluation.quality_name}" if evaluation is best else ""
        yield f"at {evaluation.images:,} images, protocol {evaluation.protocol.digest}, by {evaluation.by}{mark}"
        if not evaluation.measures:
            yield f"  no numbers, for what they need is not there; see `ganctl logs {evaluation.by}`"
        for name in evaluation.measures:
            yield f"  {name}: {evaluation.text(name) or UNKNOWN}"
        for name, (share, distance, pictures) in evaluation.class_texts.items():
            told = [share and f"agreement {share}", distance and f"Frechet distance {distance}", pictures]
            if any(told):
                yield f"  {name}: {', '.join(filter(None, told))}"
    yield from map(str, disagreements(evaluations))
    for images in under_way:
        yield f"at {images:,} images: in the queue"


def _lineage(job_id: str, start: Start) -> Iterator[str]:
    """Yield a line for each job from the root to this one, with what it changed."""
    starts = start.lineage[::-1]
    yield starts[0].job_id
    for link, next_id in zip(starts, [*(later.job_id for later in starts[1:]), job_id], strict=True):
        weights = "weights that fit" if link.takes_what_fits else "weights only"
        what = f"{weights}, counting anew" if link.weights_only else f"at {link.images:,} images"
        yield f"-> {next_id}, from {link.job_id} {what}"
        for key, (before, after) in link.changes.items():
            yield f"     {key}: {json.dumps(before)} -> {json.dumps(after)}"
