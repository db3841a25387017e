"""Continuing: from a checkpoint of one job to the spec of the next; what a spec means at the moment it is submitted."""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ganservice.artifacts import ArtifactStore
from ganservice.code_folder import pack
from ganservice.errors import ArtifactMissing, RequestError, SpecInvalid
from ganservice.evaluation import Evaluation, best_of
from ganservice.job_list import LAST
from ganservice.job_search import trained_job
from ganservice.mistakes import shown
from ganservice.model import cut
from ganservice.queue import JobQueue
from ganservice.recipe import ROLES, Code, Network, Recipe
from ganservice.spec import MAX_LINEAGE, Start, TrainSpec, unlike

# By dotted key the old value and the new one.
Changes = dict[str, tuple[Any, Any]]

log = logging.getLogger(__name__)

# Of a number of images.
MAX_DIGITS = 15
# What says nothing about the training.
ASIDE = ("start", "tags", "note")


def resolved(
    spec: TrainSpec,
    queue: JobQueue,
    store: ArtifactStore,
    origin: str | None = None,
    weights_only: bool = False,
    *,
    keep: bool = True,
    tell: Callable[[str], None] = log.warning,
) -> TrainSpec:
    """The spec with the very data set it means and the checkpoint it goes on from, which `keep` has kept for it.

    `origin` is JOB, JOB@final, JOB@best or JOB@IMAGES. `tell` hears of data sets that are passed over.

    Raises:
        DataMissing: the store does not hold the data set.
        JobNotFound, ArtifactMissing: there is no such job or checkpoint to go on from.
        RequestError: the data set or the job gone on from does not fit.
    """
    [spec] = bound([spec], store, keep=keep, tell=tell)
    if not origin:
        return spec
    reference, at, which = _parts(origin)
    if at and not which:
        raise RequestError(f"--from {origin}: expected @final, @best or @IMAGES, or the job alone for its newest")
    origin_id = trained_job(queue, store, reference)
    best = best_of(queue.evaluations(origin_id))
    return continued(spec, store, origin_id, which, weights_only, best, keep=keep)


def bound(
    specs: Iterable[TrainSpec], store: ArtifactStore, *, keep: bool = True, tell: Callable[[str], None] = log.warning
) -> list[TrainSpec]:
    """The specs with the very data sets and files of code that they mean. What several name is asked for once.

    Raises:
        DataMissing, RequestError: as `resolved`.
    """
    find = functools.cache(lambda name, digest: store.find_data_set(name, digest, tell))
    code_of = functools.cache(lambda folder: _code(folder, store if keep else None))
    found = []
    for spec in specs:
        data, code = spec.recipe.pictures, spec.recipe.code
        fitted = find(data.dataset, data.digest).fit(spec) if data else spec
        if code and not code.digest:
            fitted = fitted.model_copy(
                update={"recipe": fitted.recipe.model_copy(update={"code": code_of(code.folder)})}
            )
        found.append(fitted)
    return found


def _code(folder: str, store: ArtifactStore | None) -> Code:
    """The very files of a folder of code, once these are stored; without a store the folder stays named by its path.

    Raises RequestError.
    """
    packed = pack(Path(folder))
    if store:
        store.put_code(packed)
    return Code(folder=packed.name if store else folder, digest=packed.digest)


def _parts(origin: str) -> tuple[str, str, str]:
    """The word for a job, an @ and the word for one of its checkpoints; `@last` is a word for a job."""
    if origin.startswith(LAST):
        which = origin.removeprefix(LAST)
        return LAST, which[:1], which[1:]
    return origin.partition("@")


def continued(
    spec: TrainSpec,
    store: ArtifactStore,
    job_id: str,
    which: str,
    weights_only: bool,
    best: Evaluation | None = None,
    *,
    keep: bool = True,
) -> TrainSpec:
    """`spec` as the continuation of a job, from `which` of its checkpoints, as `find_checkpoint` has it.

    The checkpoint is copied to where no retention policy deletes it, unless `keep` is False: then it is only named.

    Raises:
        ArtifactMissing: there is no such checkpoint.
        SpecInvalid: the spec is of other networks, of which `weights_only` takes what fits, or ends before it begins.
    """
    parent = store.get_spec(job_id)
    key, images = find_checkpoint(store, parent, job_id, which, best)
    changes = differences(parent, spec)
    _refuse_other_weights(job_id, changes, parent.recipe, spec.recipe, weights_only)
    if not weights_only and spec.images <= images:
        raise SpecInvalid(
            f"images: found {spec.images}, but {job_id} has seen {images} by then and images go on counting; "
            f"--set images={images + parent.images} continues for as long again"
        )
    checkpoint, sha256 = store.keep_start(key, keep=keep)
    start = Start(
        job_id=job_id,
        images=images,
        checkpoint=checkpoint,
        sha256=sha256,
        weights_only=weights_only,
        changes=changes,
        before=parent.start and parent.start.newest(MAX_LINEAGE - 1),
    )
    return spec.model_copy(update={"start": start})


def _refuse_other_weights(job_id: str, changes: Changes, before: Recipe, after: Recipe, weights_only: bool) -> None:
    """Raise SpecInvalid where the weights of two jobs differ in names, shapes or meaning.

    With `weights_only` other names and shapes are no reason: what does not fit begins anew.
    """
    others = [key for key in unlike(changes) if not _keeps_weights(key, before, after)]
    scaled = [key for key in others if _scales_weights(key, before, after)]
    if not (scaled if weights_only else others):
        return
    values = {key: tuple(map(shown, changes[key])) for key in scaled or others}
    mismatch = "; ".join(f"{key}: {there} there, {here} here" for key, (there, here) in values.items())
    if scaled:
        keep = " ".join(f"--set {key}={there}" for key, (there, _) in values.items())
        raise SpecInvalid(f"{job_id} has its weights stored by another scale: {mismatch}; keep it by {keep}")
    raise SpecInvalid(
        f"{job_id} cannot be continued with other networks or another shape of data: {mismatch}; "
        "--weights-only takes the weights that fit"
    )


def _keeps_weights(key: str, before: Recipe, after: Recipe) -> bool:
    return any(new.keeps_weights(name, old) for name, old, new in _alike(key, before, after))


def _scales_weights(key: str, before: Recipe, after: Recipe) -> bool:
    return any(name in new.scale_keys for name, _, new in _alike(key, before, after))


def _alike(key: str, before: Recipe, after: Recipe) -> Iterator[tuple[str, Network, Network]]:
    """The key of a network that a dotted key of a spec is, and both networks, where these are of one kind."""
    for role in ROLES:
        path, old, new = f"recipe.{role}.", before.network(role), after.network(role)
        if key.startswith(path) and old.kind == new.kind:
            yield key.removeprefix(path), old, new


def differences(before: TrainSpec, after: TrainSpec) -> Changes:
    """The settings in which two specs differ, by dotted key, with both values."""
    old, new = (dict(_leaves(spec.model_dump(mode="json"))) for spec in (before, after))
    keys = [key for key in dict.fromkeys([*old, *new]) if not key.startswith(ASIDE)]
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            yield from _leaves(value, key)
        else:
            yield key, value


def find_checkpoint(
    store: ArtifactStore, spec: TrainSpec, job_id: str, which: str, best: Evaluation | None
) -> tuple[str, int]:
    """Key and images of `which` of a job's checkpoints: "" the newest, "final", "best" or a number of images.

    Raises:
        ArtifactMissing: there is none such.
        RequestError: `which` is nothing that could be one.
    """
    checkpoints = store.checkpoints(job_id)
    if not checkpoints:
        raise ArtifactMissing(f"{job_id} has no checkpoint; see `ganctl show {job_id}`")
    newest = max(checkpoints)
    if which == "best":
        if best is None:
            raise ArtifactMissing(f"{job_id}@best: nothing of it was evaluated yet; see `ganctl evaluate {job_id}`")
        if best.checkpoint in checkpoints.values():
            return best.checkpoint, best.images
        which = str(best.images)
    if which == "final":
        if newest < spec.total_images:
            raise ArtifactMissing(f"{job_id}@final: it is not finished; its newest checkpoint is at {newest} images")
        return checkpoints[newest], newest
    if not which:
        return checkpoints[newest], newest
    if not which.isdecimal() or len(which) > MAX_DIGITS:
        raise RequestError(f"{job_id}@{cut(which, 100)}: expected final, best or a number of images, such as {newest}")
    if int(which) not in checkpoints:
        at = ", ".join(map(str, sorted(checkpoints)))
        raise ArtifactMissing(f"{job_id}@{which}: it keeps checkpoints at {at} images")
    return checkpoints[int(which)], int(which)
