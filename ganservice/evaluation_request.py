"""Evaluation requests: from what a user wants judged to the spec of the job that judges it."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ganservice.artifacts import ArtifactStore
from ganservice.code_folder import unpack
from ganservice.continuation import find_checkpoint
from ganservice.errors import DataMissing, RequestError
from ganservice.evaluation import best_of
from ganservice.job_keys import attempt_of
from ganservice.job_search import trained_job
from ganservice.judging import FILED_NETWORKS, Judging, NetworkWeights
from ganservice.manifest import CODE, WEIGHTS
from ganservice.mistakes import describe_mistake, one_line
from ganservice.model import cut
from ganservice.networks import NETWORK_KEY
from ganservice.queue import JobQueue
from ganservice.spec import EvaluateSpec, Resources, Subject, TrainSpec, evaluation_name
from ganservice.stored_manifest import check_generator, folder_of, job_or_folder


def evaluation_spec(
    queue: JobQueue,
    store: ArtifactStore,
    source: str,
    which: str = "",
    *,
    weights: str | None = None,
    sha256: str | None = None,
    cpus: int = 1,
    **judging: Any,
) -> EvaluateSpec:
    """The spec of a job that judges a checkpoint of a training, `which` as `find_checkpoint` has it, or the generator
    in a fetched folder, whose weights travel to the store.

    `weights` and `sha256` are the file of the network inception_v3 or onnx; `judging` are the keys of `Judging`.

    Raises:
        RequestError: what is asked for does not fit, or the folder is none.
        JobNotFound, ArtifactMissing: there is no such job or checkpoint.
        DigestMismatch: the folder's files are not those that were published.
    """
    with _told():
        pinned = _weights(judging.get("network", "classifier"), weights, sha256)
        judged = Judging(**judging, weights=pinned)
    subject, spec = _subject(queue, store, source, which)
    _check_judge(store, spec, judged)
    with _told():
        return EvaluateSpec(
            name=evaluation_name(spec.name),
            recipe=spec.recipe,
            subject=subject,
            judging=judged,
            # Which judge chooses is for the training to say, and not for who judged last.
            advisory=spec.evaluate is not None and spec.evaluate.judging.source != judged.source,
            resources=Resources(cpus_per_worker=cpus),
        )


def _check_judge(store: ArtifactStore, spec: TrainSpec, judged: Judging) -> None:
    data = spec.recipe.pictures
    if data is None:
        return
    with contextlib.suppress(DataMissing):  # the evaluation will say so
        if misfit := store.find_data_set(data.dataset, data.digest).judge_misfit(judged):
            raise RequestError(f"network: {misfit}")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Have what a model finds wrong in the block told as a mistake of its user."""
    try:
        yield
    except ValidationError as error:
        mistake = error.errors()[0]
        raise RequestError(describe_mistake(".".join(map(str, mistake["loc"])), mistake)) from error


def _weights(network: str, source: str | None, sha256: str | None) -> NetworkWeights | None:
    if network not in FILED_NETWORKS:
        if source or sha256:
            raise RequestError(
                f"--weights and --sha256 are for --network {' and '.join(FILED_NETWORKS)}, not for {network}"
            )
        return None
    if source and not sha256 and (key := NETWORK_KEY.fullmatch(source)):
        sha256 = key[1]
    if not source or not sha256:
        missing = (
            "--sha256: missing; `sha256sum FILE` prints it"
            if source
            else "--weights: missing; what `ganctl networks put FILE` prints"
        )
        raise RequestError(f"--network {network} takes --weights and --sha256; {missing}")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise RequestError(f"--sha256: found {sha256}, expected 64 hexadecimal digits, as `sha256sum FILE` prints them")
    if not source.startswith(("http://", "https://")) and not NETWORK_KEY.fullmatch(source):
        source = str(Path(source).absolute())
    return NetworkWeights(source=source, sha256=sha256)


def _subject(queue: JobQueue, store: ArtifactStore, source: str, which: str) -> tuple[Subject, TrainSpec]:
    if folder := folder_of(source):
        if which:
            raise RequestError("--checkpoint is for jobs; a fetched folder holds one generator")
        return _folder(store, folder)
    if "/" in source:
        raise RequestError(
            one_line(f"{cut(source)}: there is no such folder; expected a fetched generator's, or a job")
        )
    with job_or_folder(source):
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
    code = manifest.spec.recipe.code
    if code and code.digest and CODE in manifest.files:
        store.put_code(unpack((folder / CODE).read_bytes(), code.digest, str(folder / CODE)))
    return Subject(job_id=manifest.lineage.job_id, images=manifest.images, checkpoint=key), manifest.spec
