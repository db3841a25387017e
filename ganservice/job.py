"""The life of a spec once it is submitted: Job, State, Attempt, Lease, Progress, Outcome. Pure values."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from ganservice.evaluation import Evaluation
from ganservice.model import Count, JobId, Model, Name, SeenImages, Span, StoreKey, Text, Time
from ganservice.recipe import Precision
from ganservice.spec import EvaluateSpec, JobSpec, Subject, TrainSpec

# V(G, D) at the optimum of both (Goodfellow et al. 2014, theorem 1), in nats.
OPTIMAL_VALUE = -math.log(4)


class State(StrEnum):
    """The state of a job."""

    QUEUED = "queued"  # waits for capacity, or for a retry's delay to pass
    RUNNING = "running"  # an attempt holds its lease
    SUCCEEDED = "succeeded"  # its generator is published
    FAILED = "failed"  # given up
    CANCELLED = "cancelled"  # stopped by a user

    @property
    def is_final(self) -> bool:
        """Whether the job stays here unless a user asks for a retry."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


# From each state, the states one transition of the queue may reach.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset({State.QUEUED}),
}


class Reason(StrEnum):
    """The reason why an attempt ended."""

    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    HALTED = "halted"  # came as far as its sweep lets it
    YIELDED = "yielded"  # gave its job back, because its dispatcher goes down
    ROLLED_BACK = "rolled_back"  # the health watch sends the job back to a good checkpoint
    UNHEALTHY = "unhealthy"  # the health watch stopped it
    DIVERGED = "diverged"  # a loss stopped being finite
    DATA = "data"  # the data set, or a checkpoint, is missing, not what it was, or of a later version
    NETWORK = "network"  # a network of the user's own cannot be built or trained, or may not be run
    DISK_FULL = "disk_full"
    STORE = "store"  # the object store did not answer
    BROKER = "broker"  # Redis did not answer
    WORKER_DIED = "worker_died"  # an actor of the gang is gone
    LEASE_EXPIRED = "lease_expired"  # no heartbeat for one lease time
    STALLED = "stalled"  # it beat, but for too long came no further
    UNPLACED = "unplaced"  # the cluster found no room for the gang
    NO_GPU = "no_gpu"  # the gang holds GPUs of which one of its workers sees none
    UNREADABLE = "unreadable"  # what is kept of the job is not what this version can read
    ERROR = "error"  # anything else that was raised


class Directive(StrEnum):
    """A heartbeat's reply: what the attempt should do next."""

    CONTINUE = "continue"
    STOP = "stop"  # checkpoint, then finish as cancelled
    YIELD = "yield"  # checkpoint, then give the job back to the queue


class Health(StrEnum):
    """The states that the health watch tells apart, from the best to the worst."""

    OK = "ok"
    SUSPECT = "suspect"  # one network has won, gradients vanish, or quality falls
    COLLAPSED = "collapsed"  # samples are all alike
    DIVERGED = "diverged"  # a loss stopped being finite, or gradients grow beyond all bounds


class Rollback(Model):
    """A return to a checkpoint known to be good."""

    attempt: Count  # the last one whose work beyond the checkpoint is abandoned
    images: SeenImages  # of the checkpoint
    checkpoint: StoreKey | Literal[""]  # its key; none where the training goes back to its very beginning
    from_images: SeenImages  # where the training had come to
    lr_share: float  # both learning rates since then, as a share of those before
    why: Text


# Each retry of a job by its user may bring a few more.
Rollbacks = Annotated[tuple[Rollback, ...], Field(max_length=1_000)]


class Progress(Model):
    """One report of the trainer; means are over the images since the report before."""

    images: SeenImages
    step: Count
    epochs: float | None = None  # images over the pictures in the training set; only of pictures
    loss_g: float
    loss_d: float
    score_real: float  # mean of D's logits of real images
    score_fake: float  # mean of D's logits of generated images
    # Only where the loss makes D's logits those of a probability:
    d_real: float | None = None  # mean of D(x)
    d_fake: float | None = None  # mean of D(G(z))
    value: float | None = None  # V(G, D) = E log D(x) + E log(1 - D(G(z)))
    # Shares of real and of generated images that D is right about; half of those at which it is undecided count. Where
    # only differences of logits count, both are the share of pairs in which the real image has the higher one.
    d_accuracy_real: Annotated[float, Field(ge=0, le=1)] | None = None
    d_accuracy_generated: Annotated[float, Field(ge=0, le=1)] | None = None
    # 2 P(D's logit of a learned image > that of a held-out one) - 1; only where some are held out.
    d_held_out_gap: Annotated[float, Field(ge=-1, le=1)] | None = None
    # With which D sees a picture changed; only where it changes itself.
    augment_probability: Annotated[float, Field(ge=0, le=1)] | None = None
    # Only of a mixture of Gaussians:
    modes: Count | None = None  # that have a good sample
    good_share: float | None = None  # of samples within 3 standard deviations of a mode
    # How unlike one another samples are, beside real pictures; of a mixture, the share of its modes covered.
    diversity: float | None = None
    health: Health = Health.OK
    grad_norm_g: float
    grad_norm_d: float
    images_per_s: float
    step_s: float
    # In which training stood still since the report before, for its checkpoint and its sample grid; s.
    stall_s: float | None = None
    # Of all workers together, since the report before; None where it cannot be known.
    used_cpus: float | None = None
    memory_bytes: Count | None = None
    gpu_memory_bytes: Count | None = None
    gpu_busy: float | None = None  # share of the time, mean over the GPUs

    @property
    def jensen_shannon(self) -> float | None:
        """The divergence of data and generator that V implies, in nats, as far as D is near its optimum.

        V(G, D*) = 2 JSD - log 4 (Goodfellow et al. 2014, theorem 1), so half of V's distance to -log 4.
        """
        return None if self.value is None else (self.value - OPTIMAL_VALUE) / 2


class Activity(StrEnum):
    """The activities of an attempt, in the words that users read."""

    PLACING = "waiting for room in the cluster"
    STARTING = "starting its workers"
    LOADING = "loading the data set"
    RESTORING = "looking for a checkpoint"
    TRAINING = "training"
    TRAINING_CLASSIFIER = "training the classifier of the data set"
    VIEWING = "looking at the real pictures"
    MEASURING = "generating and measuring pictures"
    PUBLISHING = "publishing the generator"


class Pulse(Model):
    """How an attempt stands by its last heartbeat, between two reports too."""

    activity: Activity
    waits_for: Text | None = None  # a server that does not do what it is asked, or another evaluation
    device: Name | None = None  # the kind that it computes on, `cpu` or `cuda`; None before its workers tell
    # Of a training that takes its steps:
    images: SeenImages | None = None  # seen by the model
    images_per_s: float | None = None  # over the last beats; None before the first step
    # Of an evaluation, once it knows how much there is to do:
    share_done: Annotated[float, Field(ge=0, le=1)] | None = None
    left_s: Span | None = None
    # None of an attempt of an older release:
    report_age_s: Span | None = None  # since its last report, or since it began to do what it does now
    report_every_s: Span | None = None  # usual time between two reports; None before there are two
    still_s: Span | None = None  # since anything at all came further: an image, a part of an evaluation, an activity


class Checkpoint(Model):
    """The place of a checkpoint and, from the attempt that wrote it, how long that took."""

    key: StoreKey
    images: SeenImages
    bytes: Count
    seconds: Span | None = None


@dataclass(frozen=True)
class Capacity:
    """An amount of CPUs and GPUs."""

    cpus: float
    gpus: float


class Lease(Model):
    """The expiring right to run one attempt of a job. No current token, no write."""

    job_id: JobId
    attempt: Count
    token: Count
    lease_s: Span
    spec: JobSpec
    rollbacks: Rollbacks = ()
    until_images: SeenImages | None = None  # to which its sweep lets it train; None of its whole length

    def end_images(self, training: TrainSpec) -> int:
        """Images after which the attempt of a training ends: its whole length, or as far as its sweep lets it."""
        return min(self.until_images or training.total_images, training.total_images)


@dataclass(frozen=True)
class RunningAttempt:
    """Who runs a job; told without its spec, which another version may have written."""

    job_id: str
    attempt: int
    token: int
    owner: str
    has_begun: bool  # its workers have reported


@dataclass(frozen=True)
class Hold:
    """Whether an attempt holds its job, and whether it says that it makes the last files, and waits for no server."""

    is_held: bool
    is_publishing: bool = False


class Outcome(Model):
    """How an attempt ended."""

    reason: Reason
    message: Text = ""
    generator: StoreKey | None = None  # key of the published generator's folder in the store
    evaluation: Evaluation | None = None  # what an evaluation job found
    rollback: Rollback | None = None  # where the next attempt starts


class EventKind(StrEnum):
    """The kinds of events of a job."""

    # Written by the scripts in `lua/`, each within the transition that it tells of:
    SUBMITTED = "submitted"  # a user put the job into the queue
    LEASED = "leased"  # a dispatcher took it: an attempt begins
    REQUEUED = "requeued"  # an attempt ended and the job waits again
    ROLLED_BACK = "rolled_back"  # the next attempt starts from an older, good checkpoint
    HALTED = "halted"  # it has come as far as its sweep lets it, and waits
    PROMOTED = "promoted"  # its sweep lets it go on
    CANCEL_REQUESTED = "cancel_requested"  # a user asked a running job to stop
    SUCCEEDED = "succeeded"  # the job is finished, as its state says
    FAILED = "failed"  # the same; it was given up
    CANCELLED = "cancelled"  # the same
    PRIORITY_CHANGED = "priority_changed"  # a user gave it another priority
    RETRIED = "retried"  # a user put a failed or cancelled job back into the queue
    EVALUATED = "evaluated"  # an evaluation job has measured one of its checkpoints
    STALE_WRITE_REFUSED = "stale_write_refused"  # an attempt that lost its lease tried to write
    # Reported by an attempt, with a heartbeat; heartbeat.lua counts each kind:
    STARTED = "started"  # the first step comes next: from which checkpoint, in which precision
    TRANSFERRED = "transferred"  # it begins with what fits of the weights of other networks: which share of them
    CHECKPOINT = "checkpoint"  # one is stored; heartbeat.lua also sets `checkpoint_at`, counts its bytes and seconds
    CHECKPOINT_DAMAGED = "checkpoint_damaged"  # its digest is wrong: the attempt tries an older one
    SAMPLES = "samples"  # a sample grid is stored
    HEALTH = "health"  # the health watch sees another state than before
    PRECISION_CHANGED = "precision_changed"  # it computes in another number format than its checkpoint did
    PRECISION_EMULATED = "precision_emulated"  # its number format is slow on these machines
    STEPS_NOT_RECORDED = "steps_not_recorded"  # its engine is eager where it was to be graph
    EVALUATION_SUBMITTED = "evaluation_submitted"  # as the spec's `evaluate` asks
    EVALUATION_SKIPPED = "evaluation_skipped"  # too many of this training are in the queue
    CLASSIFIER_TRAINED = "classifier_trained"  # by which an evaluation judges: how good it is
    STORE_UNREACHABLE = "store_unreachable"  # the object store is away, full or refuses: how; the attempt waits for it
    ALREADY_PUBLISHED = "already_published"  # an attempt before it had, and died before it could say so


class Event(Model):
    """Something that happened to a job."""

    id: Name
    at: Time
    # A kind that only another version of ganservice knows stays a plain string.
    kind: Annotated[Annotated[EventKind, Field(strict=False)] | Text, Field(union_mode="left_to_right")]
    attempt: Count
    detail: dict[str, Any]


class LogLine(Model):
    """A line an attempt wrote."""

    id: Name
    at: Time
    attempt: Count
    text: Text


def _spec_of(value: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """The spec that the context has already, or the one that `value` is."""
    return info.context if isinstance(info.context, TrainSpec | EvaluateSpec) else read(value)


class Job(Model):
    """A submitted spec and all the queue knows about it. Times are Unix times in s, None until known."""

    id: JobId
    spec: Annotated[JobSpec, WrapValidator(_spec_of)]
    state: State
    priority: Annotated[int, Field(ge=0, le=100)]
    submitted_at: Time
    order: Count
    user: Name | None = None  # who submitted it, or the training that it judges; None of a job of an older release
    attempt: Count = 0
    token: Count = 0
    failures: Count = 0  # attempts in a row that ended by the job's own fault, without a new checkpoint
    troubles: Count = 0  # attempts in a row that ended by the cluster's, without a new checkpoint
    trouble_s: Span = 0.0  # the time that these took
    not_before: Time | None = None
    ready_at: Time | None = None  # since when a queued job could have been leased
    sweep: JobId | None = None  # of which it is a part
    until_images: SeenImages | None = None  # to which its sweep lets it train; None of its whole length
    halted: bool = False  # it has come so far, and waits for its sweep to let it go on
    halts: Count = 0  # how often that was so
    after: JobId | None = None  # the job that is to succeed before it runs
    waiting_for: Text | None = None  # why a queued job was passed over
    unplaceable: bool = False  # a queued job that the cluster, as it is, could never hold
    owner: Text | None = None
    leased_at: Time | None = None
    heartbeat_at: Time | None = None
    lease_expires_at: Time | None = None
    finished_at: Time | None = None
    cancel_requested: bool = False
    reason: Reason | None = None
    message: Text | None = None
    generator: StoreKey | None = None
    progress: Progress | None = None
    pulse: Pulse | None = None  # of the attempt that runs
    precision: Precision | None = None  # what the newest attempt of a training computes in
    engine: Text | None = None  # how that gives its device the steps, and why
    checkpoint: Checkpoint | None = None
    checkpoint_at: Time | None = None
    resumed_images: SeenImages = 0  # images of the checkpoint the current attempt started from
    evaluation: Evaluation | None = None  # of its checkpoint of most images
    evaluated_at: Time | None = None  # when its evaluations last changed
    rollbacks: Rollbacks = ()
    images_trained: Count = 0  # all images of all attempts, work done twice counted twice
    leased_s: Span = 0.0  # for how long attempts have held its CPUs and GPUs
    leased_before_s: Span = 0.0  # of that, before the newest attempt
    # The CPU and GPU time that evaluations of a training have held.
    evaluations_cpu_s: Span = 0.0
    evaluations_gpu_s: Span = 0.0

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec.name

    @property
    def training(self) -> TrainSpec | None:
        """The spec of a training; None of an evaluation."""
        return self.spec if isinstance(self.spec, TrainSpec) else None

    @property
    def subject(self) -> Subject | None:
        """What an evaluation judges; None of a training."""
        return self.spec.subject if isinstance(self.spec, EvaluateSpec) else None

    @property
    def health(self) -> Health:
        """What the health watch last saw."""
        if self.reason is Reason.DIVERGED:
            return Health.DIVERGED
        return self.progress.health if self.progress else Health.OK

    @property
    def health_seen(self) -> Health | None:
        """As `health`; None as long as the health watch has seen nothing, and of an evaluation."""
        return self.health if self.progress or self.health is not Health.OK else None

    @property
    def share_done(self) -> float:
        """How far the job is, 0 to 1."""
        if self.training is None:
            return self.pulse.share_done or 0.0 if self.pulse else float(self.state is State.SUCCEEDED)
        return self.images / self.training.total_images

    @property
    def images(self) -> int:
        """Images seen by the model as it stands."""
        if self.pulse and self.pulse.images is not None:
            return self.pulse.images
        return self.progress.images if self.progress else 0

    @property
    def images_per_s(self) -> float | None:
        """How fast it trains right now; None of a job that does not."""
        if self.state is not State.RUNNING or self.preparation:
            return None
        if self.pulse:
            return self.pulse.images_per_s
        return self.progress.images_per_s if self.progress else None

    @property
    def left_s(self) -> float | None:
        """How long the job still takes at the speed it has; None where that is not known."""
        if self.training is None:
            return self.pulse.left_s if self.pulse else None
        if not self.images_per_s:
            return None
        return (self.training.total_images - self.images) / self.images_per_s

    @property
    def preparation(self) -> Activity | None:
        """What a running attempt is busy with, other than the steps of a training."""
        if self.state is not State.RUNNING or (self.pulse and self.pulse.activity is Activity.TRAINING):
            return None
        if self.pulse is None and self.progress:  # a worker of an earlier version, which sends no pulse
            return None
        return self.pulse.activity if self.pulse else Activity.STARTING

    @property
    def reported_at(self) -> float | None:
        """When the running attempt last reported, or began to do what it does now, Unix time in s."""
        return self._before_the_beat(self.pulse.report_age_s if self.pulse else None)

    @property
    def moved_at(self) -> float | None:
        """When anything of the running attempt last came further, Unix time in s."""
        return self._before_the_beat(self.pulse.still_s if self.pulse else None)

    def _before_the_beat(self, age_s: float | None) -> float | None:
        if age_s is None or self.heartbeat_at is None or self.state is not State.RUNNING:
            return None
        return max(0.0, self.heartbeat_at - age_s)

    @property
    def attempt_s(self) -> float:
        """For how long the newest attempt has held the job's CPUs and GPUs."""
        return max(0.0, self.leased_s - self.leased_before_s)

    @property
    def waits_for(self) -> str | None:
        """What keeps a queued job from running, or a running one from going on."""
        return self.waiting_for or (self.pulse.waits_for if self.pulse else None)

    @property
    def made_progress(self) -> bool:
        """Whether the current attempt wrote a checkpoint beyond the one it started from."""
        return self.checkpoint is not None and self.checkpoint.images > self.resumed_images
