"""Documents of what commands change: one for each job, or each thing, that they were about."""

from typing import Any

from pydantic import Field

from ganservice.documents.base import Document, Section
from ganservice.documents.job import ReservationSection
from ganservice.job import Reason, State


class SubmitDocument(Document):
    """`submit`, `evaluate`: the job that there is now."""

    id: str = Field(description="Its id.")
    created: bool = Field(description="Whether this call submitted it; false of a repeat by the same key.")
    warnings: tuple[str, ...] = Field(description="What may keep it from being run, in words.")


class GangSection(Section):
    """The processes of a training, and what they occupy."""

    workers: int = Field(description="Processes.")
    cpus: int = Field(description="CPUs of all of them.")
    gpus: int = Field(description="GPUs of all of them.")
    images_per_worker_and_step: int = Field(description="Share of a batch.")


class SizesSection(Section):
    """How large the networks are."""

    parameters_g: int = Field(description="Parameters of the generator.")
    parameters_d: int = Field(description="Parameters of the discriminator.")
    checkpoint_bytes: int = Field(description="Bytes of a checkpoint, about.")


class EstimateSection(Section):
    """What a training will take, at the speed last seen of trainings like it."""

    images_per_s: float = Field(description="The speed: the median of those trainings.")
    seconds: float = Field(description="How long the training takes at it.")
    cpu_hours: float = Field(description="CPU hours that its gang holds meanwhile.")
    gpu_hours: float = Field(description="GPU hours that its gang holds meanwhile.")
    jobs: int = Field(description="Number of trainings that were looked at.")
    alike: str = Field(description="What they have in common with it, in words.")


class PlanDocument(Document):
    """`submit --dry-run`: what would be submitted, and what it would take."""

    spec: dict[str, Any] | None = Field(
        description="The whole spec, every default written out, with `--spec`; else null."
    )
    steps: int = Field(description="Steps of the generator.")
    images: int = Field(description="Images that the model will have seen.")
    checkpoints: int = Field(description="Checkpoints before the one at the end.")
    sample_grids: int = Field(description="Sample grids before the one at the end.")
    evaluations: int = Field(description="Evaluations before the one at the end, at most.")
    gang: GangSection = Field(description="What would be scheduled.")
    sizes: SizesSection | None = Field(description="How large the networks are; null where torch is not installed.")
    estimate: EstimateSection | None = Field(description="What it would take; null where no training like it is known.")
    transfer: tuple[str, ...] = Field(
        description="What its networks would take of the weights of other ones, with `--from --weights-only`, in words."
    )
    warnings: tuple[str, ...] = Field(description="What would keep it from being run, in words.")


class ChangeDocument(Document):
    """A command about several jobs, a line for each: how it went."""

    id: str = Field(description="The job; or, where none was found, the word for it.")
    done: bool = Field(description="Whether what was asked is done, or was so already.")
    error: str | None = Field(description="Why it is not.")
    exit_code: int = Field(description="What the command would exit with for this job alone.")


class CancelDocument(ChangeDocument):
    """`cancel`: a running job stops after a checkpoint, so that it may be running yet."""

    state: State | None = Field(description="The state that it is in now.")


class RetryDocument(ChangeDocument):
    """`retry`."""

    state: State | None = Field(description="The state that it is in now.")


class SetPriorityDocument(ChangeDocument):
    """`set-priority`."""

    before: int | None = Field(description="The priority that it had.")
    priority: int | None = Field(description="The priority that it has.")


class DeleteDocument(ChangeDocument):
    """`delete`."""

    objects: int | None = Field(description="Objects of the store that were deleted.")
    bytes: int | None = Field(description="Their bytes.")


class WaitDocument(ChangeDocument):
    """`wait`: how a job ended, or stands when time is up."""

    state: State | None = Field(description="Its state.")
    reason: Reason | None = Field(description="Why its last attempt ended.")
    message: str | None = Field(description="The same, in words.")
    reservation: ReservationSection | None = Field(description="What is to be said against a success.")
