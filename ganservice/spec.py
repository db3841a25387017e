"""JobSpec: what a user asks for: to train a recipe for a length, or to judge what a training made."""

from itertools import takewhile
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    Tag,
    TypeAdapter,
    field_validator,
    model_validator,
)

from ganservice.model import Model
from ganservice.recipe import Pictures, Recipe, kind_or

PRIORITIES = {"low": 25, "normal": 50, "high": 75}

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Resources(Model):
    """What one gang occupies: a number of workers and what each of them needs."""

    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: NonNegativeInt = 0

    @property
    def cpus(self) -> int:
        """CPUs of the whole gang."""
        return self.workers * self.cpus_per_worker

    @property
    def gpus(self) -> int:
        """GPUs of the whole gang."""
        return self.workers * self.gpus_per_worker


class Checkpoints(Model):
    """How often to checkpoint and which checkpoints to keep: the newest, and one per `keep_every_images`."""

    every_images: PositiveInt = 50_000
    keep_last: PositiveInt = 2
    keep_every_images: PositiveInt | None = None


class Samples(Model):
    """How often to draw a SampleGrid, and its shape; with conditioning there is one row for each class instead."""

    every_images: PositiveInt = 50_000
    rows: Annotated[int, Field(ge=1, le=32)] = 8
    columns: Annotated[int, Field(ge=1, le=32)] = 8


class Start(Model):
    """Where a training goes on from: a checkpoint of another job, filled in by `submit --from`."""

    job_id: str
    images: NonNegativeInt
    # A copy that no retention policy deletes.
    checkpoint: str
    sha256: str
    # Only the weights of the networks: optimisers and counters begin anew.
    weights_only: bool = False
    # By dotted key, what it was in that job and what it is in this one.
    changes: dict[str, tuple[Any, Any]] = Field(default_factory=dict)
    # Where that job went on from.
    before: "Start | None" = None

    @property
    def lineage(self) -> "list[Start]":
        """This start and those before it, newest first."""
        return [self, *(self.before.lineage if self.before else [])]

    @property
    def joins(self) -> list[int]:
        """Where, in images seen, the training that starts here took over from another; oldest first."""
        counted = takewhile(lambda start: not start.weights_only, self.lineage)
        return [start.images for start in counted][::-1]


Measure = Literal["frechet", "kernel", "classes", "manifolds", "copying", "birthdays", "gan_train"]


class InceptionWeights(Model):
    """The file of Inception-v3 for FID, which no package brings."""

    source: str  # a path on the machine that evaluates, or an http(s) URL
    sha256: Sha256


class Judging(Model):
    """How generated pictures are judged."""

    # What pictures are seen by: a classifier trained on the data, EfficientNet-Lite0, or Inception-v3.
    network: Literal["classifier", "efficientnet_lite0", "inception_v3"] = "classifier"
    weights: InceptionWeights | None = None
    # Pictures to generate; of the real ones all count, or as many where they are more.
    samples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    # Whose pictures the generated ones are held against.
    split: Literal["train", "test"] = "train"
    # Which latents; numbers beyond the truncation are drawn anew.
    seed: NonNegativeInt = 0
    truncation: PositiveFloat | None = None
    # gan_train trains another classifier, on generated pictures.
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)] = (
        "frechet", "kernel", "classes", "manifolds", "copying", "birthdays",
    )  # fmt: skip

    @model_validator(mode="after")
    def _inception_has_weights(self) -> Self:
        if (self.network == "inception_v3") != (self.weights is not None):
            raise ValueError("weights: expected together with network: inception_v3, and only then")
        return self


class Evaluate(Model):
    """Evaluation jobs that a training submits: one at its end, and one at the checkpoints of a cadence."""

    every_images: PositiveInt | None = None
    judging: Judging = Judging()
    resources: Resources = Resources()

    @field_validator("judging")
    @classmethod
    def _chooses_the_best(cls, judging: Judging) -> Judging:
        if "frechet" not in judging.measures:
            raise ValueError("measures: expected frechet among them, for it chooses the best checkpoint")
        return judging


class HealthWatch(Model):
    """What is looked for in every report of a training, and what is done about it."""

    # stop ends the job after a checkpoint; rollback goes back to the last checkpoint known to be good and trains on
    # with both learning rates times lr_share, max_rollbacks times at most, then stops.
    action: Literal["warn", "stop", "rollback"] = "warn"
    max_rollbacks: Annotated[int, Field(ge=1, le=10)] = 2
    lr_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    # A fault counts once it has lasted for so many reports.
    span_reports: PositiveInt = 5
    # D has won when D(x) is above this share of the label of real pictures, and D(G(z)) as near to that of generated
    # ones; G has the other way round.
    certainty: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_gradient_norm: Annotated[float, Field(ge=0)] = 1e-6
    # Distance from a sample to its nearest other one, over the same of real pictures; of a mixture, share of its modes.
    min_diversity: Annotated[float, Field(ge=0, lt=1)] = 0.25
    # Samples may be alike for this share of the training, until they first part.
    grace_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    # An evaluation is worse than the best by more than this factor.
    max_quality_ratio: Annotated[float, Field(gt=1)] = 2.0


class _Asked(Model):
    """What every kind of job has."""

    # The name becomes part of the job's id and of its keys in the store.
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")]
    recipe: Recipe
    resources: Resources = Resources()
    priority: Literal["low", "normal", "high"] | Annotated[int, Field(ge=0, le=100)] = "normal"
    # Attempts in a row that may fail without a new checkpoint before the job is given up.
    max_attempts: PositiveInt = 3

    @property
    def priority_number(self) -> int:
        """The priority as a number, 0 to 100; higher goes first."""
        return self.priority if isinstance(self.priority, int) else PRIORITIES[self.priority]


class TrainSpec(_Asked):
    """A training job."""

    kind: Literal["train"] = "train"
    # Length of the training, counted from the beginning of its lineage; rounded up to whole steps.
    images: Annotated[int, Field(ge=1, le=10**12)]
    seed: NonNegativeInt = 0
    report_every_images: PositiveInt = 2_000
    checkpoints: Checkpoints = Checkpoints()
    samples: Samples = Samples()
    evaluate: Evaluate | None = None
    health: HealthWatch = HealthWatch()
    start: Start | None = None

    @property
    def first_images(self) -> int:
        """Images seen before the job's own first step: what it continues counts on."""
        return self.start.images if self.start and not self.start.weights_only else 0

    @property
    def steps(self) -> int:
        """Steps of G that are the job's own."""
        return -(-(self.images - self.first_images) // self.recipe.images_per_step)

    @property
    def total_images(self) -> int:
        """Images seen when the job is done: `images` rounded up to whole steps of its own."""
        return self.first_images + self.steps * self.recipe.images_per_step

    @property
    def origin(self) -> dict[str, Any]:
        """What its submission tells of where it comes from."""
        start = self.start
        return {"continues": start.job_id, "images": start.images, "changes": start.changes} if start else {}

    @model_validator(mode="after")
    def _evaluation_fits(self) -> Self:
        if self.evaluate is None:
            return self
        if self.recipe.pictures is None:
            raise ValueError("evaluate: is for pictures; a mixture has its modes counted without it")
        every, saved = self.evaluate.every_images, self.checkpoints.every_images
        if every is not None and every % saved:
            raise ValueError(
                f"evaluate.every_images: found {every}, expected a multiple of checkpoints.every_images = {saved}: "
                "what is evaluated is a checkpoint"
            )
        if self.evaluate.resources.workers != 1:
            raise ValueError(f"evaluate.resources.workers: found {self.evaluate.resources.workers}, expected 1")
        return self

    @model_validator(mode="after")
    def _batch_splits_evenly(self) -> Self:
        batch, workers = self.recipe.batch_size, self.resources.workers
        if batch % (workers * self.recipe.pack):
            packs = f" in packs of {self.recipe.pack}" if self.recipe.pack > 1 else ""
            raise ValueError(
                f"recipe.batch_size: found {batch}, which does not split evenly over "
                f"resources.workers = {workers}{packs}; choose a multiple of {workers * self.recipe.pack}"
            )
        if batch // workers < 2:
            raise ValueError(
                f"recipe.batch_size: found {batch}, expected at least 2 images for each of "
                f"{workers} workers (BatchNorm needs two)"
            )
        return self


class Subject(Model):
    """What an evaluation judges: the sampling copy of G in a checkpoint of a training."""

    job_id: str
    images: NonNegativeInt
    attempt: NonNegativeInt = 0  # that wrote it; 0 of weights that were sent
    checkpoint: str  # its key

    def __str__(self) -> str:
        return f"{self.job_id} at {self.images:,} images"


class EvaluateSpec(_Asked):
    """An evaluation job."""

    kind: Literal["evaluate"] = "evaluate"
    subject: Subject
    judging: Judging

    @property
    def pictures(self) -> Pictures:
        """What its generator learned. Raises ValueError when those were no pictures, as the spec itself does."""
        if self.recipe.pictures is None:
            raise ValueError(
                f"recipe.data.kind: found {self.recipe.data.kind}; only generators of pictures are evaluated"
            )
        return self.recipe.pictures

    @model_validator(mode="after")
    def _makes_pictures_alone(self) -> Self:
        _ = self.pictures
        if self.resources.workers != 1:
            raise ValueError(f"resources.workers: found {self.resources.workers}; an evaluation has one worker")
        return self

    @property
    def origin(self) -> dict[str, Any]:
        """What its submission tells of what it is about."""
        return {"evaluates": self.subject.job_id, "images": self.subject.images}


def evaluation_name(training: str) -> str:
    """What an evaluation job of a training of this name is called."""
    return f"{training[:43]}-eval"


# What the queue carries.
JobSpec = Annotated[
    Annotated[TrainSpec, Tag("train")] | Annotated[EvaluateSpec, Tag("evaluate")],
    kind_or("train"),
]
JOB_SPEC: TypeAdapter[TrainSpec | EvaluateSpec] = TypeAdapter(JobSpec)
