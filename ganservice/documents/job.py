"""The document of a job: how it stands, for programs."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field

from ganservice.documents.base import Document, Section
from ganservice.evaluation import Evaluation, Protocol
from ganservice.job import Activity, Health, Job, Progress, Reason, Rollback, State
from ganservice.job_heading import Heading
from ganservice.recipe import Precision
from ganservice.reservation import ReservationKind, reservation
from ganservice.spec import EvaluateSpec


class ReservationSection(Section):
    """What is to be said against a training that succeeded."""

    kind: ReservationKind = Field(description="Its kind.")
    text: str = Field(description="In words.")


class ResourcesSection(Section):
    """What a job occupies while it runs."""

    workers: int = Field(description="Processes of the gang.")
    cpus: int = Field(description="CPUs of the whole gang.")
    gpus: int = Field(description="GPUs of the whole gang.")


class CheckpointSection(Section):
    """The newest checkpoint."""

    key: str = Field(description="Its key in the store.")
    images: int = Field(description="Images that it has seen.")
    bytes: int = Field(description="Its size.")
    at: float | None = Field(description="When it was stored.")


class QualitySection(Section):
    """The number by which a checkpoint was judged; lower is better. Only numbers of one protocol compare."""

    measure: str = Field(description="Name of the number, such as `fid`.")
    value: float = Field(description="The number.")
    images: int = Field(description="Images that the checkpoint has seen.")
    protocol: str = Field(description="Digest of the protocol that it was measured under.")

    @classmethod
    def of(cls, evaluation: Evaluation | None) -> Self | None:
        """The quality that an evaluation found, if it did."""
        if evaluation is None or not evaluation.has_quality:
            return None
        return cls(
            measure=evaluation.quality_name,
            value=evaluation.quality,
            images=evaluation.images,
            protocol=evaluation.protocol.digest,
        )


class SubjectSection(Section):
    """What an evaluation judges."""

    job_id: str = Field(description="The training.")
    images: int = Field(description="Images that its checkpoint has seen.")
    checkpoint: str = Field(description="Key of the checkpoint.")


class EvaluationJobSection(Section):
    """An evaluation job of a training."""

    id: str = Field(description="Its id.")
    state: State | None = Field(description="Its state; null of one that this version does not know.")
    images: int = Field(description="Images that the judged checkpoint has seen.")


class JobDocument(Document):
    """A job as it stands. Times are Unix times in s, spans are in s."""

    id: str = Field(description="Its id.")
    name: str = Field(description="Its name, by its spec.")
    kind: Literal["train", "evaluate"] = Field(description="A training or an evaluation.")
    state: State = Field(description="Its state.")
    stopping: bool = Field(description="Whether it has been asked to stop, and still runs.")
    user: str | None = Field(description="Whose it is.")
    priority: int = Field(description="0 to 100; higher goes first.")
    tags: tuple[str, ...] = Field(description="Its tags.")
    note: str = Field(description="Its note.")
    resources: ResourcesSection = Field(description="What it occupies while it runs.")
    submitted_at: float = Field(description="When it was submitted.")
    finished_at: float | None = Field(description="When it was finished.")
    not_before: float | None = Field(description="Until when it waits before it is tried again.")
    sweep: str | None = Field(description="The sweep of which it is a part.")
    until_images: int | None = Field(description="Images to which its sweep lets it train; null of its whole length.")
    after: str | None = Field(description="The job that is to succeed before it runs.")
    waits_for: str | None = Field(description="What keeps it from running, or from going on.")
    reason: Reason | None = Field(description="Why its last attempt ended.")
    message: str | None = Field(description="The same, in words.")
    attempt: int = Field(description="Number of its newest attempt.")
    failures: int = Field(description="Attempts in a row that ended by its own fault, without a new checkpoint.")
    troubles: int = Field(description="Attempts in a row that ended by the cluster's, without a new checkpoint.")
    activity: Activity | None = Field(description="What its running attempt does.")
    attempt_at: float | None = Field(description="When its newest attempt began.")
    heartbeat_at: float | None = Field(description="When the newest attempt last beat.")
    reported_at: float | None = Field(description="When the running attempt last reported.")
    report_every_s: float | None = Field(description="Usual time between two reports.")
    moved_at: float | None = Field(description="When anything of the running attempt last came further.")
    health: Health = Field(description="What the health watch last saw.")
    reservation: ReservationSection | None = Field(description="What is to be said against a success.")
    images: int = Field(description="Images that the model has seen as it stands.")
    total_images: int | None = Field(description="Images that it will have seen; null of an evaluation.")
    share_done: float = Field(description="How far it is, 0 to 1.")
    images_per_s: float | None = Field(description="How fast it trains now; null of a job that does not.")
    left_s: float | None = Field(description="How long it still takes at this speed.")
    images_trained: int = Field(description="Images of all its attempts, work done twice counted twice.")
    held_s: float = Field(description="For how long its attempts have held its CPUs and GPUs.")
    precision: Precision | None = Field(description="What its newest attempt computes in.")
    engine: str | None = Field(description="How that gives its device the steps, eager or graph, and why.")
    report: Progress | None = Field(description="Its last report.")
    checkpoint: CheckpointSection | None = Field(description="Its newest checkpoint.")
    generator: str | None = Field(description="Key of the published generator's folder in the store.")
    quality: QualitySection | None = Field(description="What the evaluation of its checkpoint of most images found.")
    rollbacks: tuple[Rollback, ...] = Field(description="Where it went back to a good checkpoint.")
    of: SubjectSection | None = Field(description="What an evaluation judges; null of a training.")
    evaluation_jobs: tuple[EvaluationJobSection, ...] | None = Field(
        description="Evaluation jobs of a training that are listed with it; null where nobody looked for them."
    )
    spec: dict[str, Any] | None = Field(description="Its whole spec, with `--spec`; else null.")


def job_document(
    job: Job,
    evaluations: Sequence[Evaluation] = (),
    evaluation_jobs: Sequence[Heading] | None = None,
    *,
    with_spec: bool = False,
) -> JobDocument:
    """The document of a job; `evaluations` are those of a training, by which it is told what to say against it."""
    return JobDocument(**job_values(job, evaluations, evaluation_jobs, with_spec=with_spec))


def job_values(
    job: Job,
    evaluations: Sequence[Evaluation] = (),
    evaluation_jobs: Sequence[Heading] | None = None,
    *,
    with_spec: bool = False,
) -> dict[str, Any]:
    """The values of a job's document, for it and for those that have more."""
    against, pulse, start = reservation(job, evaluations), job.pulse, job.checkpoint
    return {
        "id": job.id, "name": job.name, "kind": job.spec.kind, "state": job.state, "stopping": job.cancel_requested,
        "user": job.user, "priority": job.priority, "tags": job.spec.tags, "note": job.spec.note,
        "resources": {
            "workers": job.spec.resources.workers, "cpus": job.spec.resources.cpus, "gpus": job.spec.resources.gpus
        },
        "submitted_at": job.submitted_at, "finished_at": job.finished_at, "not_before": job.not_before,
        "sweep": job.sweep, "until_images": job.until_images, "after": job.after, "waits_for": job.waits_for,
        "reason": job.reason, "message": job.message or None,
        "attempt": job.attempt, "failures": job.failures, "troubles": job.troubles,
        "activity": pulse.activity if pulse and job.state is State.RUNNING else job.preparation,
        "attempt_at": job.leased_at, "heartbeat_at": job.heartbeat_at, "reported_at": job.reported_at,
        "report_every_s": pulse and pulse.report_every_s, "moved_at": job.moved_at,
        "health": job.health, "reservation": against and {"kind": against.kind, "text": against.text},
        "images": job.images, "total_images": job.training.total_images if job.training else None,
        "share_done": job.share_done, "images_per_s": job.images_per_s, "left_s": job.left_s,
        "images_trained": job.images_trained, "held_s": job.leased_s,
        "precision": job.precision, "engine": job.engine, "report": job.progress,
        "checkpoint": start
        and {"key": start.key, "images": start.images, "bytes": start.bytes, "at": job.checkpoint_at},
        "generator": job.generator, "quality": QualitySection.of(job.evaluation), "rollbacks": job.rollbacks,
        "of": _subject(job),
        "evaluation_jobs": None if evaluation_jobs is None else [_evaluation_job(each) for each in evaluation_jobs],
        "spec": job.spec.model_dump(mode="json") if with_spec else None,
    }  # fmt: skip


def _subject(job: Job) -> dict[str, Any] | None:
    if not isinstance(job.spec, EvaluateSpec):
        return None
    subject = job.spec.subject
    return {"job_id": subject.job_id, "images": subject.images, "checkpoint": subject.checkpoint}


def _evaluation_job(heading: Heading) -> dict[str, Any]:
    return {"id": heading.id, "state": heading.state, "images": heading.images}


class ListDocument(Document):
    """`list`: jobs, in the order asked for."""

    jobs: tuple[JobDocument, ...] = Field(description="The jobs.")
    known: int = Field(description="Number of all jobs in the queue, in whatever state.")
    more: bool = Field(description="Whether there may be more that match.")
    pause: str | None = Field(description="Who has paused the queue and why; null while it gives out jobs.")


class ShowDocument(JobDocument):
    """`show`, a line for each job: with all its evaluations and, where the store answers, what it left there."""

    evaluations: tuple[Evaluation, ...] = Field(description="What was found of its checkpoints, by images.")
    chosen_by: str | None = Field(description="The number by which the best of them is chosen; null of none.")
    disagreements: tuple[str, ...] = Field(description="What other judges have against the choice, in words.")
    artifacts: tuple[str, ...] | None = Field(description="Keys of what it left in the store; null while that is away.")


class CompareDocument(Document):
    """`compare`: the best evaluation of each job, all under one protocol."""

    chosen_by: str = Field(description="The number by which the best of each was chosen; lower is better.")
    better: dict[str, Literal["higher", "lower"]] = Field(
        description="Which way numbers go of a better generator, of those that tell how good it is."
    )
    protocol: Protocol = Field(description="The protocol.")
    protocol_digest: str = Field(description="Its digest.")
    jobs: dict[str, Evaluation] = Field(description="The evaluations, by job.")
    disagreements: dict[str, tuple[str, ...]] = Field(
        description="By job, what other judges have against the choice, in words."
    )
