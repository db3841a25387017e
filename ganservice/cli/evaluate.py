"""evaluate, compare: what generators are worth."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import ValidationError

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import output_option, print_json, print_line, print_rows, say
from ganservice.cli.reference import SUBMITTED_ALREADY, is_there, key_of, once_options, trained_job
from ganservice.cli.report import tell_story, write_page
from ganservice.cli.watch import watch_job
from ganservice.continuation import find_checkpoint
from ganservice.errors import ArtifactMissing, RequestError
from ganservice.evaluation import Evaluation, best_of
from ganservice.job_keys import attempt_of
from ganservice.manifest import WEIGHTS
from ganservice.mistakes import describe_mistake, one_line
from ganservice.model import cut
from ganservice.networks import NETWORK_KEY
from ganservice.queue import JobQueue
from ganservice.report_page import report_page
from ganservice.settings import Settings
from ganservice.spec import (
    EvaluateSpec,
    InceptionWeights,
    Judging,
    Measure,
    Resources,
    Subject,
    TrainSpec,
    evaluation_name,
)
from ganservice.stored_manifest import check_generator

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
    help="File of the network inception_v3: as `ganctl networks put` printed it, or where the operator lists such.",
)
@click.option("--sha256", help="Of that file; a key says it itself.")
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
    with _told():
        options["weights"] = _weights(options["network"], weights, sha256)
    subject, spec = _subject(queue, store, source, which)
    if measures:
        options["measures"] = measures
    with _told():
        evaluation = EvaluateSpec(
            name=evaluation_name(spec.name),
            recipe=spec.recipe,
            subject=subject,
            judging=Judging(**options),
            resources=Resources(cpus_per_worker=cpus),
        )
    job_id, created = queue.submit(evaluation, key_of(evaluation, idempotency_key, once))
    if output == "json":
        print_json({"id": job_id, "created": created})
    else:
        print_line(job_id)
    if not created:
        say(SUBMITTED_ALREADY)
    if watch:
        watch_job(settings, job_id)
        return
    say(f"next: ganctl watch {job_id}")
    say(f"then: ganctl show {subject.job_id}")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Have what a model finds wrong in the block told as a mistake of its user."""
    try:
        yield
    except ValidationError as error:
        mistake = error.errors()[0]
        raise RequestError(describe_mistake(".".join(map(str, mistake["loc"])), mistake)) from error


def _weights(network: str, source: str | None, sha256: str | None) -> InceptionWeights | None:
    if network != "inception_v3":
        if source or sha256:
            raise RequestError(f"--weights and --sha256 are for --network inception_v3, not for {network}")
        return None
    if source and not sha256 and (key := NETWORK_KEY.fullmatch(source)):
        sha256 = key[1]
    if not source or not sha256:
        missing = (
            "--sha256: missing; `sha256sum FILE` prints it"
            if source
            else "--weights: missing; what `ganctl networks put FILE` prints"
        )
        raise RequestError(f"--network inception_v3 takes --weights and --sha256; {missing}")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise RequestError(f"--sha256: found {sha256}, expected 64 hexadecimal digits, as `sha256sum FILE` prints them")
    if not source.startswith(("http://", "https://")) and not NETWORK_KEY.fullmatch(source):
        source = str(Path(source).absolute())
    return InceptionWeights(source=source, sha256=sha256)


def _subject(queue: JobQueue, store: ArtifactStore, source: str, which: str) -> tuple[Subject, TrainSpec]:
    if is_there(source) and Path(source).is_dir():
        if which:
            raise RequestError("--checkpoint is for jobs; a fetched folder holds one generator")
        return _folder(store, Path(source))
    if "/" in source:
        raise RequestError(
            one_line(f"{cut(source)}: there is no such folder; expected a fetched generator's, or a job")
        )
    return _checkpoint(queue, store, source, which)


def _checkpoint(queue: JobQueue, store: ArtifactStore, source: str, which: str) -> tuple[Subject, TrainSpec]:
    job_id = trained_job(queue, store, source)
    spec = store.get_spec(job_id)
    key, images = find_checkpoint(store, spec, job_id, which, best_of(queue.evaluations(job_id)))
    return Subject(job_id=job_id, images=images, attempt=attempt_of(key), checkpoint=key), spec


def _folder(store: ArtifactStore, folder: Path) -> tuple[Subject, TrainSpec]:
    """A fetched generator: its weights travel to the store, whatever has become of the job."""
    manifest = check_generator(folder)
    key = store.keep_weights((folder / WEIGHTS).read_bytes())
    return Subject(job_id=manifest.lineage.job_id, images=manifest.images, checkpoint=key), manifest.spec


@click.command("compare")
@click.argument("references", metavar="JOB...", nargs=-1, required=True)
@click.option("--into", "target", type=click.Path(path_type=Path), help="Also write an HTML page of all reports.")
@output_option
def compare_command(references: tuple[str, ...], target: Path | None, output: str) -> None:
    """Set the best evaluations of several jobs side by side; only numbers of one protocol compare."""
    settings = Settings()
    queue = JobQueue(settings)
    evaluations = {
        job_id: _evaluations(queue, job_id) for job_id in (queue.resolve(reference) for reference in references)
    }
    bests = _bests(evaluations)
    first_id, first = next(iter(bests.items()))
    for job_id, best in bests.items():
        if differences := first.protocol.differences(best.protocol):
            text = "; ".join(f"{key}: {mine} and {theirs}" for key, (mine, theirs) in differences.items())
            raise RequestError(
                f"{first_id} and {job_id} were evaluated under protocols that differ, so that their numbers do not "
                f"compare: {text}; evaluate one of them again, as the other was"
            )
    if target:
        store = ArtifactStore(settings)
        write_page(target, report_page([tell_story(queue, store, job_id) for job_id in bests]))
        say(f"side by side: {target}")
    if output == "json":
        print_json({job_id: best.model_dump(mode="json") for job_id, best in bests.items()})
        return
    names = dict.fromkeys(name for best in bests.values() for name in best.measures)
    rows: list[dict[str, Any]] = [
        {"measure": "images", **{job_id: f"{best.images:,}" for job_id, best in bests.items()}},
        *[{"measure": name, **{job_id: best.text(name) for job_id, best in bests.items()}} for name in names],
    ]
    print_rows(rows, output)
    say(f"protocol {first.protocol.digest}: {first.protocol.network}, {first.protocol.samples:,} samples")


def _evaluations(queue: JobQueue, job_id: str) -> list[Evaluation]:
    evaluations = [evaluation for evaluation in queue.evaluations(job_id) if evaluation.has_quality]
    if not evaluations:
        spec = queue.get(job_id).spec
        if isinstance(spec, EvaluateSpec):
            raise RequestError(f"{job_id} is an evaluation; its findings are with the training, {spec.subject.job_id}")
        raise ArtifactMissing(f"{job_id} was never evaluated; see `ganctl evaluate {job_id}`")
    return evaluations


def _bests(evaluations: dict[str, list[Evaluation]]) -> dict[str, Evaluation]:
    """The best of each job, under the protocol that was used most of those that all of them share, if any is."""
    shared = set.intersection(*({each.protocol.digest for each in own} for own in evaluations.values()))
    used = Counter(each.protocol.digest for own in evaluations.values() for each in own)
    usual = max(shared, key=lambda digest: (used[digest], digest), default=None)
    bests = {}
    for job_id, own in evaluations.items():
        best = best_of([each for each in own if usual in (None, each.protocol.digest)])
        if best:
            bests[job_id] = best
    return bests
