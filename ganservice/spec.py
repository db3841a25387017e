"""JobSpec: what a user asks for: to train a recipe for a length, or to judge what a training made.

The description of each key is what `docs/spec.md` says of it.
"""

import functools
import json
import math
from collections.abc import Iterable
from itertools import takewhile
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from ganservice.errors import SpecInvalid
from ganservice.judging import Judge, Judging
from ganservice.mistakes import describe_mistake
from ganservice.model import EachOnce, Images, JobId, Model, Seed, SeenImages, Sha256, StoreKey, kind_or
from ganservice.recipe import ROLES, Pictures, Recipe
from ganservice.recipe.extent import MAX_BATCH_NUMBERS

PRIORITIES = {"low": 25, "normal": 50, "high": 75}

# As one types it, and as a label of Prometheus shows it; commas separate several.
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=:/@-]{0,39}$")]

# Of a spec as JSON, as it lies in Redis, and of the file that it is read from.
MAX_SPEC_BYTES = 256 * 1024
# Of a whole gang.
MAX_CPUS, MAX_GPUS = 65_536, 8_192
# Of the numbers of a grid of samples, 2 GB in fp32; and of its rows, where there is one for each class.
MAX_GRID_NUMBERS, MAX_CLASS_ROWS = 5 * 10**8, 100
# Of a grid of enlarged pictures, for each of them: small, by bicubic interpolation, by the generator, and real.
ENLARGEMENT_COLUMNS = 4
# Of the jobs that a training goes on from, one after the other, and of what is written down of each.
MAX_LINEAGE = 50
MAX_CHANGES, MAX_CHANGES_BYTES, MAX_CHANGE_DEPTH = 1_000, 64 * 1024, 4
# Beside the one that a training follows.
MAX_JUDGES = 8


class Resources(Model):
    """The resources of one gang: a number of workers and what each of them needs."""

    workers: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1, description="Processes of the gang, between which each batch is split."
    )
    cpus_per_worker: Annotated[int, Field(ge=1, le=4_096)] = Field(
        default=1, description="CPUs that each worker occupies and computes on."
    )
    gpus_per_worker: Annotated[int, Field(ge=0, le=128)] = Field(
        default=0, description="GPUs that each worker occupies; with any it computes on its first one."
    )
    micro_batch_size: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description=(
            "Images that a worker's networks look at together, of a training: with fewer than its part of a batch they "
            "take less memory and more time, and gradients are summed; nothing else changes but rounding. Not for "
            "networks that mix the images of a batch, as BatchNorm does."
        ),
    )

    @property
    def cpus(self) -> int:
        """CPUs of the whole gang."""
        return self.workers * self.cpus_per_worker

    @property
    def gpus(self) -> int:
        """GPUs of the whole gang."""
        return self.workers * self.gpus_per_worker

    @property
    def misfit_of_evaluation(self) -> str | None:
        """Say what of it is of no evaluation, beginning with the key; None if nothing is."""
        if self.workers != 1:
            return f"workers: found {self.workers}; an evaluation has one worker"
        if self.micro_batch_size is not None:
            return f"micro_batch_size: found {self.micro_batch_size}; it is of trainings alone"
        return None

    @model_validator(mode="after")
    def _a_cluster_may_have_them(self) -> Self:
        for name, count, most in (("CPUs", self.cpus, MAX_CPUS), ("GPUs", self.gpus, MAX_GPUS)):
            if count > most:
                raise ValueError(
                    f"workers: found {self.workers}, which take {count:,} {name}; expected at most {most:,}"
                )
        return self


class Checkpoints(Model):
    """How often to checkpoint and which checkpoints to keep: the newest, and one per `keep_every_images`."""

    every_images: Images = Field(
        default=50_000, description="Images between two checkpoints; one more is written at the end."
    )
    keep_last: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=2, description="Number of newest checkpoints that are kept."
    )
    keep_every_images: Images | None = Field(
        default=None,
        description="Also keep the first checkpoint at or after each multiple of so many images; without it none.",
    )


class Samples(Model):
    """How often to draw a sample grid, and its shape; with conditioning there is one row for each class learned, of
    100 at most."""

    every_images: Images = Field(default=50_000, description="Images between two grids; one more is drawn at the end.")
    rows: Annotated[int, Field(ge=1, le=32)] = Field(
        default=8,
        description=(
            "Rows of the grid; with `recipe.conditioning` there is one for each class that is learned instead, and of "
            f"more than {MAX_CLASS_ROWS} for so many that lie evenly among them."
        ),
    )
    columns: Annotated[int, Field(ge=1, le=32)] = Field(
        default=8,
        description=(
            "Columns of the grid; with `recipe.super_resolution` a multiple of four, for each picture has four: small, "
            "by bicubic interpolation, by the generator, and real."
        ),
    )


# What both jobs have in common where a training goes on from all of another's state.
ARCHITECTURE = (
    "recipe.generator",
    "recipe.discriminator",
    "recipe.code.digest",
    "recipe.latent_size",
    "recipe.super_resolution.factor",
    "recipe.conditioning",
    "recipe.pack",
    "recipe.data.kind",
    "recipe.data.image_size",
    "recipe.data.channels",
)


def unlike(keys: Iterable[str]) -> list[str]:
    """Those of some dotted keys for which the networks of two specs are others, so that not all weights fit."""
    return [name for name in keys if any(name == key or name.startswith(f"{key}.") for key in ARCHITECTURE)]


class Start(Model):
    """The place a training goes on from: a checkpoint of another job, filled in by `submit --from`."""

    job_id: JobId = Field(description="The job that is continued.")
    images: SeenImages = Field(description="Images that the checkpoint has seen.")
    checkpoint: StoreKey = Field(description="Key of a copy of the checkpoint, which no retention policy deletes.")
    sha256: Sha256 = Field(description="SHA-256 of the checkpoint.")
    weights_only: bool = Field(
        default=False,
        description=(
            "Whether only the weights of the networks are taken, of other networks those that fit, and optimisers and "
            "counters begin anew."
        ),
    )
    changes: Annotated[dict[str, tuple[Any, Any]], Field(max_length=MAX_CHANGES)] = Field(
        default_factory=dict,
        description="By dotted key, what differs between the specs of the two jobs: the old value and the new one.",
    )
    before: "Start | None" = Field(default=None, description="Where the job that is continued went on from itself.")

    @property
    def takes_what_fits(self) -> bool:
        """Whether the job gone on from has other networks, of whose weights only some may fit."""
        return self.weights_only and bool(unlike(self.changes))

    @property
    def lineage(self) -> "list[Start]":
        """This start and those before it, newest first."""
        return [self, *(self.before.lineage if self.before else [])]

    @property
    def joins(self) -> list[int]:
        """Where, in images seen, the training that starts here took over from another; oldest first."""
        counted = takewhile(lambda start: not start.weights_only, self.lineage)
        return [start.images for start in counted][::-1]

    @field_validator("changes")
    @classmethod
    def _changes_are_plain(cls, changes: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
        if not all(is_plain(value) for values in changes.values() for value in values):
            raise ValueError(f"expected numbers, texts and lists of them, up to {MAX_CHANGE_DEPTH} deep")
        if (size := len(json.dumps(changes, ensure_ascii=False).encode(errors="replace"))) > MAX_CHANGES_BYTES:
            raise ValueError(f"found {size:,} bytes, expected at most {MAX_CHANGES_BYTES:,}")
        return changes

    @model_validator(mode="after")
    def _lineage_ends(self) -> Self:
        if len(self.lineage) > MAX_LINEAGE:
            raise ValueError(f"before: found more than {MAX_LINEAGE} starts, one before the other")
        return self

    def newest(self, count: int) -> "Start":
        """This start with at most `count` of its lineage, itself among them; what was before stands in older specs."""
        before = self.before.newest(count - 1) if self.before and count > 1 else None
        return self.model_copy(update={"before": before})


def is_plain(value: Any, depth: int = MAX_CHANGE_DEPTH) -> bool:
    """Whether a value is one that a spec may have: nothing, a number that JSON knows, a text, or a list of these."""
    if isinstance(value, list | tuple):
        return depth > 0 and all(is_plain(item, depth - 1) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or isinstance(value, str)


def _as_judge(value: Any) -> Any:
    return {"network": value} if isinstance(value, str) else value


class Evaluate(Model):
    """Evaluation jobs that a training submits: at its end, and at the checkpoints of a cadence."""

    every_images: Images | None = Field(
        default=None,
        description=(
            "Images between two evaluations, a multiple of `checkpoints.every_images`; without it only the end is "
            "evaluated."
        ),
    )
    judging: Judging = Field(
        default=Judging(), description="How the pictures are judged; it chooses the best checkpoint."
    )
    also: Annotated[tuple[Annotated[Judge, BeforeValidator(_as_judge)], ...], Field(max_length=MAX_JUDGES)] = Field(
        default=(),
        description=(
            "Further judges of the same pictures, each by jobs of its own: the name of a network, such as `pixels`, "
            "or keys. They choose nothing; where they disagree with what is chosen, commands say so."
        ),
    )
    resources: Resources = Field(default=Resources(), description="What an evaluation occupies; one worker.")

    @property
    def judgings(self) -> tuple[Judging, ...]:
        """How each checkpoint is judged: first as its best is chosen, then as its further judges do."""
        return self.judging, *(
            self.judging.model_copy(update={key: getattr(judge, key) for key in Judge.model_fields})
            for judge in self.also
        )

    @field_validator("judging", "also")
    @classmethod
    def _measures_the_distance(cls, value: Any) -> Any:
        for judge in value if isinstance(value, tuple) else (value,):
            if "frechet" not in judge.measures:
                raise ValueError(
                    "measures: expected frechet among them, for it chooses the best checkpoint, or speaks against it"
                )
        return value

    @model_validator(mode="after")
    def _has_each_judge_once(self) -> Self:
        sources = [judge.source for judge in (self.judging, *self.also)]
        for judge in self.also:
            if sources.count(judge.source) > 1:
                raise ValueError(f"also: found {judge.network} twice, or as in judging; expected each judge once")
        return self


class HealthWatch(Model):
    """What is looked for in every report of a training, and what is done about it."""

    action: Literal["warn", "stop", "rollback"] = Field(
        default="warn",
        description=(
            "What is done about a finding. `warn` tells of it. `stop` ends the job after a checkpoint. `rollback` goes "
            "back to the last checkpoint known to be good and trains on with smaller learning rates."
        ),
    )
    max_rollbacks: Annotated[int, Field(ge=1, le=10)] = Field(
        default=2, description="Number of rollbacks after which the next finding stops the job."
    )
    lr_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.5, description="Both learning rates are multiplied by this at each rollback."
    )
    span_reports: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=5, description="A fault is a finding once it has lasted so many reports."
    )
    certainty: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        default=0.95,
        description=(
            "With a loss of probabilities D has won where D(x) is above this share of the way from the label of "
            "generated pictures to that of real ones, and D(G(z)) as near to the other end; G has won where it is the "
            "other way round."
        ),
    )
    max_accuracy: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        default=0.999,
        description=(
            "With a loss that gives no probabilities D has won where it is right about more than this share of real "
            "and of generated pictures, and G where D is wrong about as many; with `wgan_gp` neither has."
        ),
    )
    min_gradient_norm: Annotated[float, Field(ge=0, le=1e9)] = Field(
        default=1e-6, description="Gradients of G vanish where their norm is below this."
    )
    max_gradient_norm: Annotated[float, Field(gt=0, le=1e30)] = Field(
        default=1e6, description="A training diverges where the gradient of a network has a norm above this."
    )
    min_diversity: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.25,
        description=(
            "Samples are all alike where their diversity is below this: the distance from a sample to its nearest "
            "other one, divided by the same of real pictures; of a mixture, the share of its modes that have a sample."
        ),
    )
    grace_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.2,
        description="Samples may be alike for this share of the training, until they have once been different.",
    )
    max_quality_ratio: Annotated[float, Field(gt=1, le=1e9)] = Field(
        default=2.0, description="Quality is lost where the newest evaluation is worse than the best by this factor."
    )


class _AnyJobSpec(Model):
    """The keys of every kind of job."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")] = Field(
        description="Name of the job, with which its id and its keys in the store begin."
    )
    recipe: Recipe = Field(description="What is trained: data, networks, loss and optimisers.")
    resources: Resources = Field(default=Resources(), description="What the job occupies while it runs.")
    priority: Literal["low", "normal", "high"] | Annotated[int, Field(ge=0, le=100)] = Field(
        default="normal",
        description="Jobs of higher priority are started first; `low` is 25, `normal` 50, `high` 75.",
    )
    tags: Annotated[tuple[Tag, ...], Field(max_length=20), EachOnce()] = Field(
        default=(), description="Words of yours by which jobs are found again, such as a project."
    )
    note: Annotated[str, StringConstraints(max_length=500)] = Field(
        default="", description="A remark of yours, which is shown with the job."
    )
    max_attempts: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=3,
        description=(
            "Attempts in a row that may fail by the job's own fault, without a new checkpoint, before it is given up. "
            "Those that the cluster ends do not count."
        ),
    )

    @property
    def priority_number(self) -> int:
        """The priority as a number, 0 to 100; higher goes first."""
        return self.priority if isinstance(self.priority, int) else PRIORITIES[self.priority]


class TrainSpec(_AnyJobSpec):
    """A training job."""

    kind: Literal["train"] = Field(default="train", description="A training.")
    images: Images = Field(
        description=(
            "Length of the training, in real images that D sees, rounded up to whole steps. A job that goes on from "
            "another one counts from the beginning of that one."
        )
    )
    seed: Seed = Field(default=0, description="Seed of the weights, of the order of the data and of all noise.")
    report_every_images: Images = Field(
        default=2_000,
        description=(
            "Images between two reports. Samples and checkpoints wait for the next report; a wish to stop does not."
        ),
    )
    checkpoints: Checkpoints = Field(default=Checkpoints(), description="How often to checkpoint, and what to keep.")
    samples: Samples = Field(default=Samples(), description="How often to draw a grid of samples, and its shape.")
    evaluate: Evaluate | None = Field(
        default=None, description="Evaluation jobs that the training submits; without it none. For pictures only."
    )
    health: HealthWatch = Field(default=HealthWatch(), description="What the health watch looks for, and what it does.")
    start: Start | None = Field(
        default=None, description="Where the training goes on from; filled in by `ganctl submit --from`."
    )

    @property
    def first_images(self) -> int:
        """Images seen before the job's own first step: what it continues counts on."""
        return self.start.images if self.start and not self.start.weights_only else 0

    @property
    def steps(self) -> int:
        """Steps of G that are the job's own."""
        return -(-(self.images - self.first_images) // self.recipe.images_per_step)

    @property
    def images_per_report(self) -> int:
        """Images between two reports: `report_every_images` in whole steps, one at least."""
        step = self.recipe.images_per_step
        return max(1, self.report_every_images // step) * step

    @property
    def total_images(self) -> int:
        """Images seen when the job is done: `images` rounded up to whole steps of its own."""
        return self.first_images + self.steps * self.recipe.images_per_step

    @property
    def judgings(self) -> tuple[Judging, ...]:
        """How its checkpoints are judged."""
        return self.evaluate.judgings if self.evaluate else ()

    @property
    def origin(self) -> dict[str, Any]:
        """What the event of its submission says of where it comes from."""
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
        if misfit := self.evaluate.resources.misfit_of_evaluation:
            raise ValueError(f"evaluate.resources.{misfit}")
        return self

    @model_validator(mode="after")
    def _grid_has_whole_pictures(self) -> Self:
        if self.recipe.super_resolution and self.samples.columns % ENLARGEMENT_COLUMNS:
            raise ValueError(
                f"samples.columns: found {self.samples.columns}, expected a multiple of {ENLARGEMENT_COLUMNS}: each "
                "picture is shown small, by bicubic interpolation, by the generator, and real"
            )
        return self

    @property
    def _grid_rows(self) -> int:
        """Rows of a sample grid: at most one for each class, where classes are asked for."""
        if self.recipe.conditioning is None:
            return self.samples.rows
        classes, only = self.recipe.conditioning.classes, self.recipe.pictures and self.recipe.pictures.only
        return min(MAX_CLASS_ROWS, classes, len(only) if only else classes)

    @model_validator(mode="after")
    def _fits_a_machine(self) -> Self:
        numbers = math.prod(self.recipe.data.shape)
        if (grid := self._grid_rows * self.samples.columns * numbers) > MAX_GRID_NUMBERS:
            raise ValueError(
                f"samples.columns: found {self.samples.columns}, so that a grid has {grid:,} numbers; expected at most "
                f"{MAX_GRID_NUMBERS:,}"
            )
        if self.evaluate is not None and (misfit := self.evaluate.judging.misfit(self.recipe)):
            raise ValueError(f"evaluate.judging.{misfit}")
        images = self.resources.micro_batch_size or -(-self.recipe.batch_size // self.resources.workers)
        for network in ("generator", "discriminator"):
            features = images * self.recipe.extent_of(network).features
            if features > MAX_BATCH_NUMBERS:
                raise ValueError(
                    f"recipe.batch_size: found {self.recipe.batch_size}, of which a layer of the {network} makes "
                    f"{features:,} numbers in each worker; expected at most {MAX_BATCH_NUMBERS:,}"
                )
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

    @model_validator(mode="after")
    def _micro_batches_are_like_the_whole(self) -> Self:
        size, pack = self.resources.micro_batch_size, self.recipe.pack
        if size is None:
            return self
        images, together = self.recipe.batch_size // self.resources.workers, pack
        for role, of_one in zip(ROLES, (1, pack), strict=True):
            network = self.recipe.network(role)
            if network.images_together is None:
                raise ValueError(
                    f"resources.micro_batch_size: found {size}, but a {role} of kind {network.kind} with these keys "
                    "looks at all images of a batch together, as BatchNorm does; leave it out, or choose another"
                )
            together = math.lcm(together, of_one * network.images_together)
        if images % size or (size % together and size != images):
            whole = f" in {'packs' if together == pack else 'multiples'} of {together}" if together > 1 else ""
            raise ValueError(
                f"resources.micro_batch_size: found {size}, into which the {images} images of a worker do not split "
                f"evenly{whole}; choose {_nearest_divisor(images, size, together)}"
            )
        return self


def _nearest_divisor(images: int, size: int, together: int) -> int:
    """The divisor of a worker's images nearest to `size` that is a multiple of `together`, or else all of them."""
    fitting = (each for each in range(together, images, together) if images % each == 0)
    return min((*fitting, images), key=lambda each: abs(each - size))


class Subject(Model):
    """The subject of an evaluation: the sampling copy of G in a checkpoint of a training."""

    job_id: JobId = Field(description="The training.")
    images: SeenImages = Field(description="Images that the checkpoint has seen.")
    attempt: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=0, description="The attempt that wrote the checkpoint; 0 of weights that were sent from a folder."
    )
    checkpoint: StoreKey = Field(description="Key of the checkpoint.")

    def __str__(self) -> str:
        return f"{self.job_id} at {self.images:,} images"


class EvaluateSpec(_AnyJobSpec):
    """An evaluation job."""

    kind: Literal["evaluate"] = Field(default="evaluate", description="An evaluation.")
    subject: Subject = Field(description="What is judged.")
    judging: Judging = Field(description="How it is judged.")
    advisory: bool = Field(
        default=False,
        description="Whether it is by a further judge of the training, and so chooses no best checkpoint.",
    )

    @property
    def judgings(self) -> tuple[Judging, ...]:
        """How the checkpoint is judged, as of a training."""
        return (self.judging,)

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
        if misfit := self.resources.misfit_of_evaluation:
            raise ValueError(f"resources.{misfit}")
        if misfit := self.judging.misfit(self.recipe):
            raise ValueError(f"judging.{misfit}")
        return self

    @property
    def origin(self) -> dict[str, Any]:
        """What the event of its submission says of what it is about."""
        return {"evaluates": self.subject.job_id, "images": self.subject.images}


def evaluation_name(training: str) -> str:
    """What an evaluation job of a training of this name is called."""
    return f"{training[:43]}-eval"


# What the queue carries.
JobSpec = Annotated[
    Annotated[TrainSpec, pydantic.Tag("train")] | Annotated[EvaluateSpec, pydantic.Tag("evaluate")],
    kind_or("train"),
]
JOB_SPEC: TypeAdapter[TrainSpec | EvaluateSpec] = TypeAdapter(JobSpec)
# What a process remembers: to read a spec takes most of the time that it takes to read its job, which changes while the
# spec does not. A spec in memory is about eight times as long as its text.
KNOWN_SPECS, LONGEST_KNOWN_SPEC = 2_048, 8_192
_known_spec = functools.lru_cache(KNOWN_SPECS)(JOB_SPEC.validate_json)


def read_spec(text: str) -> TrainSpec | EvaluateSpec:
    """The spec that the queue keeps as this text; read once, if it is not long. Raises ValidationError."""
    return _known_spec(text) if len(text) <= LONGEST_KNOWN_SPEC else JOB_SPEC.validate_json(text)


def spec_text(spec: TrainSpec | EvaluateSpec) -> str:
    """A spec as the queue keeps it, looked at once more: a copy with other values was never validated.

    Raises:
        SpecInvalid: it is out of bounds.
    """
    text = spec.model_dump_json()
    if (size := len(text.encode())) > MAX_SPEC_BYTES:
        raise SpecInvalid(f"is {size:,} bytes with every default; expected at most {MAX_SPEC_BYTES:,}")
    try:
        read_spec(text)
    except ValidationError as error:
        mistake = error.errors()[0]
        _, *keys = mistake["loc"]  # after the kind
        raise SpecInvalid(describe_mistake(".".join(map(str, keys)), mistake)) from error
    return text
