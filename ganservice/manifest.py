"""Manifests: what a folder in the store holds, written last, so that its presence means the folder is complete."""

import json
from typing import Annotated, Self

from pydantic import Field

from ganservice.errors import FormatTooNew, SpecInvalid
from ganservice.evaluation import Evaluation
from ganservice.job import Progress, Rollback
from ganservice.model import Model
from ganservice.recipe import Precision
from ganservice.spec import TrainSpec

MANIFEST = "manifest.json"
# What manifests are written in by this version, and the newest that it reads.
FORMAT = 1
# The file of a generator's weights.
WEIGHTS = "generator.safetensors"


class FileDigest(Model):
    """The length and sha256 that a file must have."""

    sha256: str
    bytes: int


class Manifest(Model):
    """The files of a folder, by name."""

    format: Annotated[int, Field(ge=1)] = FORMAT
    files: dict[str, FileDigest]

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read a manifest.

        Raises:
            ValueError: it is none.
            FormatTooNew: a later version of ganservice wrote it; of the rest of it nothing was looked at.
        """
        found = json.loads(text)
        version = found.get("format") if isinstance(found, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise FormatTooNew(
                f"the manifest has format {version}, this version of ganservice reads up to format {FORMAT}; upgrade "
                "ganservice here"
            )
        return cls.model_validate_json(text)

    def to_json(self) -> bytes:
        """The manifest as the store and a user's disk hold it."""
        return json.dumps(self.model_dump(mode="json"), indent=2).encode() + b"\n"


class DataManifest(Manifest):
    """A data set: arrays uint8 [N, C, H, W] and, where there are labels, uint8 or int64 [N], as .npy files."""

    name: str
    digest: str  # sha256 over the digests of the files: the data set's identity
    image_size: int
    channels: int
    counts: dict[str, int]  # images of each split
    classes: tuple[str, ...]
    class_counts: dict[str, int]  # training images of each class
    source: str

    def fit(self, spec: TrainSpec) -> TrainSpec:
        """`spec`, which learns pictures, bound to exactly these. Raises SpecInvalid when it asks for others."""
        recipe = spec.recipe
        data = recipe.pictures
        if data is None:
            raise SpecInvalid(f"recipe.data.kind: found {recipe.data.kind}, but {self.name} is a data set of pictures")
        for key, value, own in (
            ("image_size", data.image_size, self.image_size),
            ("channels", data.channels, self.channels),
        ):
            if value != own:
                raise SpecInvalid(f"recipe.data.{key}: found {value}, but the data set {self.name} has {own}")
        count = self._count(data.only)
        if recipe.batch_size > count:
            raise SpecInvalid(
                f"recipe.batch_size: found {recipe.batch_size}, but the data set {self.name} has {count} "
                f"{'such ' if data.only else ''}images"
            )
        if recipe.conditioning and recipe.conditioning.classes != len(self.classes):
            raise SpecInvalid(
                f"recipe.conditioning.classes: found {recipe.conditioning.classes}, "
                f"but the data set {self.name} has {len(self.classes)} classes"
            )
        bound = recipe.model_copy(update={"data": data.model_copy(update={"digest": self.digest})})
        return spec.model_copy(update={"recipe": bound})

    def _count(self, only: tuple[str, ...] | None) -> int:
        """Training images of the classes `only`."""
        if only is None:
            return self.counts["train"]
        for name in only:
            if name not in self.class_counts:
                known = ", ".join(self.classes) or "none"
                raise SpecInvalid(f"recipe.data.only: found {name!r}; the classes of {self.name} are: {known}")
        return sum(self.class_counts[name] for name in only)


class Lineage(Model):
    """The job, attempt and settings that a generator comes from."""

    job_id: str
    attempt: int
    resumed_images: int | None  # what the last attempt found done by those before it, where that is known
    data_digest: str | None  # None of points that are drawn from the seed
    seed: int
    precision: Precision | None = None  # what the last attempt computed in; None where nobody wrote it down
    versions: dict[str, str]  # of this project and of torch
    rollbacks: tuple[Rollback, ...] = ()


class TensorSpec(Model):
    """An input or an output of a generator; the size "N" may be any."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class GeneratorManifest(Manifest):
    """A generator: how it was made, what it scored, and the digests of its files."""

    name: str
    created_at: float  # Unix time, s
    images: int
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    classes: tuple[str, ...]  # by label; of a generator without conditioning, of the pictures it learned
    metrics: Progress
    # What it was found to be worth, of a generator that an evaluation published; and the measure that chose it.
    evaluation: Evaluation | None = None
    chosen_by: str | None = None
    lineage: Lineage
    spec: TrainSpec
