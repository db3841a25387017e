"""Deletion: of a job and of a data set, from the queue and from the store.

Whatever is interrupted is finished by a repeat: the queue forgets a job before the store does, and a manifest goes
before what it lists.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from ganservice.artifacts import ArtifactStore
from ganservice.errors import ArtifactMissing, DataMissing, IllegalTransition, JobNotFound, JobUnreadable, RequestError
from ganservice.generators import is_generator
from ganservice.job import State
from ganservice.job_records import unknown_job
from ganservice.objects import ObjectStore, StoredObject
from ganservice.queue import JobQueue
from ganservice.recipe import DataSetName
from ganservice.spec import JobSpec
from ganservice.store_kinds import JOB_ID, Amount, Kind, is_manifest, place_of

LIVE = tuple(state for state in State if not state.is_final)


# A job


def delete_job(queue: JobQueue, store: ArtifactStore, job_id: str) -> Amount:
    """Delete a finished job, or what the store still holds of one that has left the queue. Returns what it held there.

    Raises:
        IllegalTransition: it is queued or running, or another job refers to what it stored.
        JobNotFound: neither the queue nor the store knows it.
    """
    if not JOB_ID.fullmatch(job_id):
        raise JobNotFound(unknown_job(job_id))
    if reader := _reader_of_generator(queue, job_id):
        raise IllegalTransition(f"{job_id}: {reader} refers to its generator; delete {reader} first")
    was_queued = queue.delete(job_id)
    entries = store.objects.list_objects(f"jobs/{job_id}/")
    if not entries and not was_queued:
        raise JobNotFound(f"neither the queue nor the store knows a job {job_id}; see `ganctl list --stored`")
    store.abort_uploads(job_id)
    return _delete(store.objects, entries)


def _reader_of_generator(queue: JobQueue, job_id: str) -> str | None:
    """A training whose evaluations refer to the generator that an evaluation job published, if one does."""
    folder = f"jobs/{job_id}/"
    for reader in _possible_readers(queue, job_id):
        if any((each.generator or "").startswith(folder) for each in queue.evaluations(reader)):
            return reader
    return None


def _possible_readers(queue: JobQueue, job_id: str) -> list[str]:
    """The trainings that a job may have been about: of one that nobody can read any more all of them."""
    try:
        job = queue.get(job_id)
    except (JobNotFound, JobUnreadable):
        return [each.id for each in queue.list_jobs() if each.training]
    return [job.subject.job_id] if job.subject else []


def _delete(objects: ObjectStore, entries: Iterable[StoredObject]) -> Amount:
    """Delete objects: manifests first, so that nobody finds half of what they list. Returns how much it was."""
    deleted = Amount()
    for entry in sorted(entries, key=lambda entry: not is_manifest(entry.key)):
        objects.delete(entry.key)
        deleted.add(entry)
    return deleted


@dataclass(frozen=True)
class StoredJob:
    """A job of which only the store knows."""

    id: str
    objects: int
    bytes: int
    has_generator: bool
    modified_at: float  # of its newest object, Unix time in s


def list_stored_jobs(queue: JobQueue, store: ArtifactStore) -> list[StoredJob]:
    """The jobs that have left the queue and not the store, those first that were written to last."""
    held: dict[str, list[StoredObject]] = {}
    for entry in store.objects.each_object("jobs/"):
        if job_id := place_of(entry).job_id:
            held.setdefault(job_id, []).append(entry)
    known = queue.list_ids()
    found = [
        StoredJob(
            id=job_id,
            objects=len(entries),
            bytes=sum(entry.bytes for entry in entries),
            has_generator=any(is_generator(job_id, entry.key) for entry in entries),
            modified_at=max(entry.modified_at for entry in entries),
        )
        for job_id, entries in held.items()
        if job_id not in known
    ]
    return sorted(found, key=lambda job: -job.modified_at)


# A data set


def delete_data_set(queue: JobQueue, store: ArtifactStore, name: str, digest: str = "") -> tuple[str, Amount]:
    """Delete the data set of a name whose digest begins with `digest`. Returns its digest and what it held.

    Raises:
        DataMissing: the store holds none such.
        RequestError: several are meant, or a job in the queue uses it.
    """
    objects, folder = store.objects, _data_folder(store.objects, name, digest)
    whole_digest = folder.split("/")[2]
    _refuse_used_data(queue, name, whole_digest)
    manifests: dict[str, bytes] = {}
    for entry in manifests_in(objects, folder):
        with contextlib.suppress(ArtifactMissing):
            manifests[entry.key] = objects.get(entry.key)
        objects.delete(entry.key)
    try:
        _refuse_used_data(queue, name, whole_digest)  # by a job that was submitted in between
    except RequestError:
        for key, text in manifests.items():
            objects.put(key, text)
        raise
    deleted = Amount()
    for entry in objects.list_objects(folder):
        if manifests_in(objects, folder):
            raise RequestError(f"data set {name} is being stored again: what was not deleted yet stays")
        objects.delete(entry.key)
        deleted.add(entry)
    return whole_digest, deleted


def _data_folder(objects: ObjectStore, name: str, digest: str) -> str:
    try:
        TypeAdapter(DataSetName).validate_python(name)
    except ValidationError:
        raise DataMissing(f"the store holds no data set {name!r}; see `ganctl data list`") from None
    places = map(place_of, objects.each_object(f"data/{name}/"))
    folders = sorted({place.folder for place in places if place.kind is Kind.DATA})
    found = [folder for folder in folders if folder.split("/")[2].startswith(digest)]
    if not found:
        which = f"{name}@{digest}" if digest else name
        raise DataMissing(f"the store holds no data set {which}; see `ganctl data list`")
    if len(found) > 1:
        names = ", ".join(f"{name}@{folder.split('/')[2][:12]}" for folder in found)
        raise RequestError(f"there are several data sets {name}: {names}; say which")
    return found[0]


def _refuse_used_data(queue: JobQueue, name: str, digest: str) -> None:
    users = users_of_data(queue, name, digest)
    if users:
        raise RequestError(f"data set {name} is used by {users[0]}, which is in the queue; wait for it, or cancel it")


def users_of_data(queue: JobQueue, name: str, digest: str) -> list[str]:
    """The jobs that are queued or running, and the sweeps that are not over, which learn these pictures; or may, for
    this version cannot read them."""
    readable = {job.id: job for job in queue.list_jobs()}
    unreadable = (job_id for job_id in queue.list_ids() if job_id not in readable)
    users = [job_id for job_id in unreadable if queue.state_of(job_id) in LIVE]
    specs: dict[str, JobSpec | None] = {job.id: job.spec for job in readable.values() if job.state in LIVE}
    for user, spec in (specs | queue.live_sweep_bases()).items():
        pictures = spec and spec.recipe.pictures
        if not spec or (pictures and pictures.dataset == name and pictures.digest in (None, digest)):
            users.append(user)
    return users


def manifests_in(objects: ObjectStore, folder: str) -> list[StoredObject]:
    """The manifests in the folder of a data set. Raises StoreOutage."""
    return [entry for entry in objects.list_objects(f"{folder}manifest") if is_manifest(entry.key)]
