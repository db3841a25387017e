"""Garbage collection: finds in the store what nobody refers to, as `garbage` decides, and deletes it.

Who submits or retries a job meanwhile loses nothing: what is young is no garbage, what is stored again is young, and
each object is looked at once more, with its job, right before it is deleted.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ganservice.artifacts import ArtifactStore
from ganservice.deletion import manifests_in, users_of_data
from ganservice.errors import ArtifactMissing, RequestError, StoreOutage
from ganservice.evaluation import Evaluation, network_name, statistics_name
from ganservice.garbage import GarbageObject, KnownJob, Policy, Why, plan
from ganservice.job import Job, State
from ganservice.networks import code_key
from ganservice.objects import ObjectStore, Upload
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import JobSpec, TrainSpec
from ganservice.store_kinds import Amount, Kind, Place, is_manifest, place_of


@dataclass(frozen=True)
class Garbage:
    """All that is garbage, as one look found it."""

    objects: list[GarbageObject]
    uploads: list[Upload]
    # What was not looked at, and why, a line each.
    passed_over: tuple[str, ...] = ()


def policy_of(settings: Settings, older_than_s: float | None = None, *, superseded_data: bool = False) -> Policy:
    """What the settings say of keeping, or for once `older_than_s`."""
    return Policy(
        grace_s=settings.gc_grace_s,
        unreferenced_s=settings.keep_unreferenced_s if older_than_s is None else older_than_s,
        generators_s=settings.keep_generators_s,
        reports=settings.keep_reports,
        superseded_data=superseded_data,
    )


def find_garbage(queue: JobQueue, store: ArtifactStore, policy: Policy) -> Garbage:
    """What may be deleted of all that the store holds.

    Raises:
        RequestError: the queue never had a job, and the store holds some: they do not belong together.
    """
    objects = store.objects
    # By the clock that is behind: nothing counts as older than it is.
    now_s = min(time.time(), queue.now_s(), objects.now_s() or math.inf)
    entries = objects.list_objects("")  # before the jobs: what a job that is submitted now stores is not in it
    if not queue.totals().get("submitted") and any(place_of(entry).job_id for entry in entries):
        raise RequestError(
            "the queue never had a job, but the store holds some: is this the queue of this store? Nothing is deleted"
        )
    jobs, passed_over = known_jobs(queue), list[str]()
    if unreadable := [job.id for job in jobs if job.state is None]:
        passed_over.append(
            f"what no job names is kept, for another release wrote {unreadable[0]}"
            f"{f' and {len(unreadable) - 1} more' if len(unreadable) > 1 else ''}, and what it names is not known here"
        )
    uploads: list[Upload] = []
    try:
        uploads = [each for each in objects.list_uploads("") if now_s - each.begun_at >= policy.grace_s]
    except StoreOutage as outage:
        passed_over.append(f"unfinished uploads cannot be listed ({outage}): let a rule of the bucket end them")
    return Garbage(plan(entries, jobs, now_s, policy), uploads, tuple(passed_over))


def known_jobs(queue: JobQueue) -> list[KnownJob]:
    """All jobs of the queue, with what they refer to; sweeps that are not over as well, whose jobs are yet to come."""
    ids = queue.list_ids()
    jobs = [
        KnownJob(job.id, job.state, job.finished_at, frozenset(_refers(job, _evaluations(queue, job))))
        for job in queue.list_jobs()
    ]
    sweeps = [
        KnownJob(sweep_id, State.RUNNING, None, frozenset(_named_by(base))) if base else KnownJob(sweep_id, None)
        for sweep_id, base in queue.live_sweep_bases().items()
    ]
    return [*jobs, *sweeps, *(KnownJob(job_id, None) for job_id in ids - {job.id for job in jobs})]


def _evaluations(queue: JobQueue, job: Job) -> list[Evaluation]:
    return queue.evaluations(job.id) if job.training else []


def _refers(job: Job, evaluations: list[Evaluation]) -> Iterator[str]:
    """Yield the keys and folders that a job needs, or has others find."""
    yield from _named_by(job.spec)
    subject = job.subject
    # A checkpoint stays for who reads it now: the training decides how long. What was sent stays while it is named.
    if subject and (not job.state.is_final or subject.checkpoint.startswith(f"{Kind.WEIGHTS}/")):
        yield subject.checkpoint
    for evaluation in evaluations:
        yield from evaluation.pictures.values()
        if evaluation.generator:
            yield evaluation.generator
        seen = evaluation.protocol
        for split in ("train", "test"):
            name = statistics_name(seen.data_digest, seen.only, split, seen.network_digest, seen.resize)
            yield f"{Kind.STATISTICS}/{name}.safetensors"


def _named_by(spec: JobSpec) -> Iterator[str]:
    """Yield what a spec names, and what is derived from its data."""
    if isinstance(spec, TrainSpec) and spec.start:
        yield spec.start.checkpoint
    for judging in spec.judgings:
        if judging.weights:
            yield judging.weights.source
    if (code := spec.recipe.code) and code.digest:
        yield code_key(code.digest)
    if pictures := spec.recipe.pictures:
        yield f"{Kind.DATA}/{pictures.dataset}/{pictures.digest}/"
        for stacked in (False, True):  # only its classes tell which of the two it has
            yield f"{Kind.NETWORKS}/{network_name(pictures.digest, pictures.only, stacked=stacked)}.safetensors"


def delete_garbage(queue: JobQueue, store: ArtifactStore, garbage: Garbage) -> Amount:
    """Delete what was found, but for what has changed since. Returns how much it was."""
    deleted = Amount()
    for found in garbage.objects:
        if _is_still_garbage(queue, store.objects, found):
            store.objects.delete(found.object.key)
            deleted.add(found.object)
    for upload in garbage.uploads:
        store.objects.abort_upload(upload)
    return deleted


def _is_still_garbage(queue: JobQueue, objects: ObjectStore, found: GarbageObject) -> bool:
    """Whether nobody has come to refer to an object since it was found."""
    place = place_of(found.object)
    try:
        if int(objects.modified_at(found.object.key)) > int(found.object.modified_at):  # stored again
            return False
    except ArtifactMissing:
        return False
    if place.kind is Kind.DATA:
        return _is_unused_data(queue, objects, place)
    return place.job_id is None or found.why is Why.OLD_REPORT or _has_no_reader(queue, place.job_id, found.why)


def _is_unused_data(queue: JobQueue, objects: ObjectStore, place: Place) -> bool:
    """Whether no job in the queue needs this file; one of a set whose manifest is there belongs to what is whole."""
    if not is_manifest(place.object.key):
        return not manifests_in(objects, place.folder)
    _, name, digest, _ = place.object.key.split("/")
    return not users_of_data(queue, name, digest)


def _has_no_reader(queue: JobQueue, job_id: str, why: Why) -> bool:
    """Whether the job still is as it was found, and no evaluation in the queue reads what it stored."""
    state = queue.state_of(job_id)
    is_as_found = not queue.knows(job_id) if why is Why.ORPHAN else state is not None and state.is_final
    return is_as_found and not queue.evaluations_under_way(job_id)
