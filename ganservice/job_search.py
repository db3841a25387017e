"""Job search: the jobs that users mean, and what these left behind, known to the queue or to the store alone."""

import contextlib
from collections.abc import Callable

from ganservice.artifacts import ArtifactStore
from ganservice.errors import ArtifactMissing, JobNotFound, NotConfigured
from ganservice.evaluation import best_of
from ganservice.job import State
from ganservice.job_list import LAST, REFERENCE
from ganservice.job_records import unknown_job
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec

# How a word for a job becomes its id; see `JobQueue.resolve`.
Resolve = Callable[[JobQueue, str], str]


def check_reference(reference: str) -> None:
    """Raise JobNotFound of what is no word for a job: of the store nothing is asked by it."""
    if not REFERENCE.fullmatch(reference):
        raise JobNotFound(unknown_job(reference))


def known_job(queue: JobQueue, reference: str) -> str:
    """The id of a job that the queue knows, or the word itself: the store remembers jobs longer."""
    check_reference(reference)
    try:
        return queue.resolve(reference)
    except JobNotFound:
        if reference == LAST:
            raise
        return reference


def trained_job(queue: JobQueue, store: ArtifactStore, reference: str) -> str:
    """The id of a training that began, known to the queue or to the store alone.

    Raises:
        JobNotFound: neither knows it.
        ArtifactMissing: it has not begun.
    """
    job_id = known_job(queue, reference)
    try:
        store.get_spec(job_id)
    except ArtifactMissing as error:
        try:
            job = queue.get(job_id)
        except JobNotFound:
            raise JobNotFound(f"neither the queue nor the store knows a job {reference}; see `ganctl list`") from error
        if isinstance(job.spec, EvaluateSpec):
            subject = job.spec.subject.job_id
            raise ArtifactMissing(f"{job_id} is an evaluation, which leaves numbers alone; name {subject}") from error
        raise ArtifactMissing(f"{job_id} is {job.state} and left nothing yet; see `ganctl watch {job_id}`") from error
    return job_id


def locate_generator(
    settings: Settings,
    store: ArtifactStore,
    reference: str,
    which: str | None = None,
    resolve: Resolve = JobQueue.resolve,
) -> tuple[str, str]:
    """The job's id and the folder of its generator: the "best" evaluated one, the "final" one, or the best there is.

    The store remembers jobs that the queue has forgotten; of these it is the final one.

    Raises:
        JobNotFound: neither queue nor store knows the job.
        ArtifactMissing: it published none, or none such.
    """
    check_reference(reference)
    with contextlib.suppress(JobNotFound, NotConfigured):
        queue = JobQueue(settings)
        job_id = resolve(queue, reference)
        job = queue.get(job_id)
        best = best_of(queue.evaluations(job_id)) if which != "final" else None
        if best and best.generator:
            return job_id, best.generator
        if which == "best":
            raise ArtifactMissing(f"{job_id} has no evaluated generator; see `ganctl evaluate {job_id}`")
        if job.generator:
            return job_id, job.generator
        if not job.state.is_final:
            raise ArtifactMissing(f"{job_id} is {job.state} and has no generator yet; see `ganctl watch {job_id}`")
        if job.state is not State.SUCCEEDED:
            raise ArtifactMissing(f"{job_id} is {job.state} and published no generator: {job.message}")
        if job.subject:
            raise ArtifactMissing(f"{job_id} is an evaluation and published no generator; name {job.subject.job_id}")
    try:
        return reference, store.find_generator(reference)
    except ArtifactMissing as error:
        raise JobNotFound(f"neither the queue nor the store knows a job {reference}; see `ganctl list`") from error
