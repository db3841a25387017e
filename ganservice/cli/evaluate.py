"""evaluate, compare: what generators are worth."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli.once import SUBMITTED_ALREADY, key_of, once_options
from ganservice.cli.output import output_option, print_document, print_line, print_rows, say
from ganservice.cli.plan import warnings_of
from ganservice.cli.reference import find_jobs, is_pattern, jobs_argument
from ganservice.cli.report import tell_story, write_page
from ganservice.cli.watch import watch_job
from ganservice.documents import CompareDocument, SubmitDocument
from ganservice.errors import ArtifactMissing, RequestError
from ganservice.evaluation import Evaluation, best_of
from ganservice.evaluation_request import evaluation_spec
from ganservice.job import State
from ganservice.judges import disagreements, other_judges
from ganservice.judging import Judging, Measure
from ganservice.queue import JobQueue
from ganservice.report_page import report_page
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec

MEASURES = get_args(Measure)
NETWORKS = get_args(Judging.model_fields["network"].annotation)


@click.command("evaluate")
@click.argument("source", metavar="JOB|FOLDER")
@click.option(
    "--checkpoint", "which", default="", show_default=False, metavar="WHICH", help="final, best or a number of images."
)
@click.option("--measures", type=click.Choice(MEASURES), multiple=True, help="What to measure; repeat it.")
@click.option("--network", type=click.Choice(NETWORKS), default="classifier", help="What pictures are seen by.")
@click.option(
    "--weights",
    metavar="KEY|PATH|URL",
    help="File of inception_v3 or onnx: as `ganctl networks put` printed it, or where the operator lists such.",
)
@click.option("--sha256", help="Of that file; a key says it itself.")
@click.option("--mean", type=float, multiple=True, help="Of a pixel from 0 to 1, for onnx; one, or three times.")
@click.option("--std", type=float, multiple=True, help="By which it is divided then; without both ImageNet's.")
@click.option("-n", "--samples", type=int, default=10_000, help="Pictures to generate.")
@click.option("--split", type=click.Choice(["train", "test"]), default="train", help="Real pictures to be like.")
@click.option("--truncation", type=float, help="Draw numbers of latents beyond this anew.")
@click.option("--cpus", type=click.IntRange(1, 4_096), default=1, help="CPUs of the evaluation.")
@once_options
@click.option("-w", "--watch", is_flag=True, help="Watch the job until it is finished.")
@output_option
def evaluate_command(
    source: str,
    which: str,
    measures: tuple[Measure, ...],
    weights: str | None,
    sha256: str | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    cpus: int,
    idempotency_key: str | None,
    once: bool,
    watch: bool,
    output: str,
    **options: Any,
) -> None:
    """Judge a checkpoint of a job, or a fetched generator, by an evaluation job, and print its id.

    Without --checkpoint the newest one. The findings appear with the training: `ganctl show JOB`.
    """
    settings = Settings()
    queue, store = JobQueue(settings), ArtifactStore(settings)
    if measures:
        options["measures"] = measures
    if scaling := {key: value for key, value in (("mean", mean), ("std", std)) if value}:
        options["scaling"] = scaling
    evaluation = evaluation_spec(queue, store, source, which, weights=weights, sha256=sha256, cpus=cpus, **options)
    job_id, created = queue.submit(evaluation, key_of(evaluation, idempotency_key, once))
    warnings = warnings_of(evaluation, settings)
    if output == "json":
        print_document(SubmitDocument(id=job_id, created=created, warnings=tuple(warnings)))
    else:
        print_line(job_id)
    if not created:
        say(SUBMITTED_ALREADY)
    for warning in warnings:
        say(f"warning: {warning}")
    if watch:
        watch_job(settings, job_id)
        return
    say(f"next: ganctl watch {job_id}")
    say(f"then: ganctl show {evaluation.subject.job_id}")


@click.command("compare")
@jobs_argument
@click.option("--into", "target", type=click.Path(path_type=Path), help="Also write an HTML page of all reports.")
@output_option
def compare_command(
    references: tuple[str, ...], user: str | None, all_users: bool, target: Path | None, output: str
) -> None:
    """Set the best evaluations of several jobs side by side; only numbers of one protocol compare.

    What other judges found of the same checkpoints stands below, and a line says where one disagrees with the choice.
    A pattern matches the trainings that were evaluated.
    """
    settings = Settings()
    queue = JobQueue(settings)
    evaluations: dict[str, list[Evaluation]] = {}
    for reference in references:
        for job_id in find_jobs(queue, reference, tuple(State), user, all_users):
            if found := _evaluations(queue, job_id, is_named=not is_pattern(reference)):
                evaluations[job_id] = found
    if not evaluations:
        raise ArtifactMissing("none of these jobs was evaluated; `ganctl evaluate JOB` does it")
    bests = _bests(evaluations)
    first = next(iter(bests.values()))
    _check_protocols(bests)
    against = {job_id: tuple(map(str, disagreements(evaluations[job_id]))) for job_id in bests}
    if target:
        store = ArtifactStore(settings)
        write_page(target, report_page([tell_story(queue, store, job_id) for job_id in bests]))
        say(f"side by side: {target}")
    if output == "json":
        print_document(
            CompareDocument(
                chosen_by=first.quality_name,
                better=first.better,
                protocol=first.protocol,
                protocol_digest=first.protocol.digest,
                jobs=bests,
                disagreements=against,
            )
        )
        return
    names = dict.fromkeys(name for best in bests.values() for name in best.measures)
    better = {name: way for best in bests.values() for name, way in best.better.items()}
    rows: list[dict[str, Any]] = [
        {"measure": "images", "better": "", **{job_id: f"{best.images:,}" for job_id, best in bests.items()}},
        *[
            {
                "measure": name,
                "better": better.get(name, ""),
                **{job_id: best.text(name) for job_id, best in bests.items()},
            }
            for name in names
        ],
        *_other_rows(evaluations, bests),
    ]
    print_rows(rows, in_capitals=False)
    say(
        f"best by {first.quality_name}; protocol {first.protocol.digest}: {first.protocol.network}, "
        f"{first.protocol.samples:,} samples"
    )
    for job_id, texts in against.items():
        for text in texts:
            say(f"warning: {job_id}: {text}")


def _other_rows(evaluations: dict[str, list[Evaluation]], bests: dict[str, Evaluation]) -> Iterator[dict[str, Any]]:
    """A row for each protocol of another judge, with what it found of the same checkpoints."""
    found: dict[str, dict[str, Evaluation]] = {}
    for job_id, best in bests.items():
        for own in other_judges(evaluations[job_id]):
            found.setdefault(own[0].protocol.digest, {}).update(
                (job_id, each) for each in own if each.subject == best.subject
            )
    for by_job in filter(None, found.values()):
        name = next(iter(by_job.values())).quality_name
        yield {
            "measure": name,
            "better": "lower",
            **{job_id: by_job[job_id].text(name) if job_id in by_job else "" for job_id in bests},
        }


def _check_protocols(bests: dict[str, Evaluation]) -> None:
    """Raise RequestError unless all were evaluated under one protocol."""
    first_id, first = next(iter(bests.items()))
    for job_id, best in bests.items():
        if differences := first.protocol.differences(best.protocol):
            text = "; ".join(f"{key}: {mine} and {theirs}" for key, (mine, theirs) in differences.items())
            raise RequestError(
                f"{first_id} and {job_id} were evaluated under protocols that differ, so that their numbers do not "
                f"compare: {text}; evaluate one of them again, as the other was"
            )


def _evaluations(queue: JobQueue, job_id: str, *, is_named: bool) -> list[Evaluation]:
    """The evaluations of a training that have its quality; of one that was named there must be some."""
    evaluations = [evaluation for evaluation in queue.evaluations(job_id) if evaluation.has_quality]
    if evaluations or not is_named:
        return evaluations
    job = queue.get(job_id)
    if isinstance(job.spec, EvaluateSpec):
        raise RequestError(f"{job_id} is an evaluation; its findings are with the training, {job.spec.subject.job_id}")
    if job.spec.recipe.pictures is None:
        raise RequestError(
            f"{job_id} learned points in the plane, which no evaluation judges; `ganctl show {job_id}` tells how many "
            "modes it covers"
        )
    if queue.evaluations_under_way(job_id):
        raise ArtifactMissing(f"{job_id}: its evaluation is in the queue yet; see `ganctl list --name {job.name}-eval`")
    if job.checkpoint is None:
        raise ArtifactMissing(f"{job_id} is {job.state} and has no checkpoint to evaluate; see `ganctl show {job_id}`")
    raise ArtifactMissing(f"{job_id} was never evaluated; see `ganctl evaluate {job_id}`")


def _bests(evaluations: dict[str, list[Evaluation]]) -> dict[str, Evaluation]:
    """The best of each job, under the protocol that was used most of those that all of them share, if any is."""
    shared = set.intersection(*({each.protocol.digest for each in own} for own in evaluations.values()))
    used = Counter(each.protocol.digest for own in evaluations.values() for each in own if not each.advisory)
    usual = max(shared, key=lambda digest: (used[digest], digest), default=None)
    bests = {}
    for job_id, own in evaluations.items():
        best = best_of([each for each in own if usual in (None, each.protocol.digest)])
        if best:
            bests[job_id] = best
    return bests
