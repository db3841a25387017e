"""Continuing: from a checkpoint of one job to the spec of the next."""

from collections.abc import Iterator, Mapping
from typing import Any

from ganservice.artifacts import ArtifactStore
from ganservice.errors import ArtifactMissing, RequestError, SpecInvalid
from ganservice.spec import JobSpec, Start

# What both jobs must have in common: weights and optimisers fit no other networks.
ARCHITECTURE = (
    "recipe.generator",
    "recipe.discriminator",
    "recipe.latent_size",
    "recipe.conditioning",
    "recipe.pack",
    "recipe.data.kind",
    "recipe.data.image_size",
    "recipe.data.channels",
)
# What says nothing about the training.
ASIDE = ("start", "recipe.data.digest")


def continued(spec: JobSpec, store: ArtifactStore, job_id: str, which: str, weights_only: bool) -> JobSpec:
    """`spec` as the continuation of a job, from `which` of its checkpoints: "", "final", "best" or a number of images.

    Raises:
        ArtifactMissing: there is no such checkpoint.
        SpecInvalid: the spec is of other networks, or ends before it begins.
    """
    parent = store.get_spec(job_id)
    key, images = _checkpoint(store, parent, job_id, which)
    changes = differences(parent, spec)
    unlike = [name for name in changes if any(name == key or name.startswith(f"{key}.") for key in ARCHITECTURE)]
    if unlike:
        told = "; ".join(f"{name}: {changes[name][0]} there, {changes[name][1]} here" for name in unlike)
        raise SpecInvalid(f"{job_id} cannot be continued with other networks or another shape of data: {told}")
    if not weights_only and spec.total_images <= images:
        raise SpecInvalid(
            f"images: found {spec.images}, but {job_id} has seen {images} by then and images go on counting; "
            f"--set images={images + parent.images} continues for as long again"
        )
    kept_key, sha256 = store.keep_start(key)
    start = Start(
        job_id=job_id,
        images=images,
        checkpoint=kept_key,
        sha256=sha256,
        weights_only=weights_only,
        changes=changes,
        before=parent.start,
    )
    return spec.model_copy(update={"start": start})


def differences(before: JobSpec, after: JobSpec) -> dict[str, tuple[Any, Any]]:
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


def _checkpoint(store: ArtifactStore, parent: JobSpec, job_id: str, which: str) -> tuple[str, int]:
    kept = store.checkpoints(job_id)
    if not kept:
        raise ArtifactMissing(f"{job_id} has no checkpoint to continue from; see `ganctl show {job_id}`")
    newest = max(kept)
    if which == "best":
        raise ArtifactMissing(f"{job_id}@best: no checkpoint of it carries an evaluation; name one by its images")
    if which == "final":
        if newest < parent.total_images:
            raise ArtifactMissing(f"{job_id}@final: it is not finished; its newest checkpoint is at {newest} images")
        return kept[newest], newest
    if not which:
        return kept[newest], newest
    if not which.isdecimal():
        raise RequestError(f"--from {job_id}@{which}: expected @final, @best or @IMAGES, such as @{newest}")
    if int(which) not in kept:
        raise ArtifactMissing(f"{job_id}@{which}: it keeps checkpoints at {', '.join(map(str, sorted(kept)))} images")
    return kept[int(which)], int(which)
