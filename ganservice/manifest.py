"""Manifests: what a folder in the store holds, written last, so that its presence means the folder is complete."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, FiniteFloat, StringConstraints, model_validator

from ganservice.errors import FormatTooNew, SpecInvalid
from ganservice.evaluation import Evaluation
from ganservice.files import file_sha256
from ganservice.job import Progress, Rollback
from ganservice.judging import Judge
from ganservice.model import Count, Model, Sha256, Text
from ganservice.recipe import Channels, DataSetName, Precision, Sides, sides_of
from ganservice.recipe.image_size import Oblong, misfit
from ganservice.spec import TrainSpec

MANIFEST = "manifest.json"
# What manifests are written in by this version, those of data sets that 0.1.0 has no place for, and the newest that it
# reads.
FORMAT = 1
SECOND_FORMAT = 2
NEWEST_FORMAT = 2
# Images of a split that are more than this lie in several files, each of whole rows and no larger.
SHARD_BYTES = 2**30
# Files of a data set: enough for four terabytes of images, in shards.
DATA_SET_FILES = 4_096
# The file of a generator's weights.
WEIGHTS = "generator.safetensors"
# The Python files of networks of a user's own, as one text.
CODE = "code.json"
SHARD_NAME = re.compile(r"(train|test)-images-[0-9]{5}\.npy")
# A manifest is no larger than this, a file that one names than that.
MANIFEST_BYTES = 16 * 2**20
FILE_BYTES = 2**40
MAX_CLASSES = 100_000
# A name that is joined to a key and to a path on the user's disk.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$")]
SplitName = Annotated[str, StringConstraints(pattern=r"^(train|test)$")]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=255)]
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class FileDigest(Model):
    """The length and sha256 that a file must have."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0, le=FILE_BYTES)]


class Manifest(Model):
    """The files of a folder, by name."""

    format: Annotated[int, Field(ge=1)] = FORMAT
    files: Annotated[dict[FileName, FileDigest], Field(max_length=64)]

    @model_validator(mode="after")
    def _leaves_itself_out(self) -> Self:
        if MANIFEST in self.files:
            raise ValueError(f"files: {MANIFEST} is the manifest itself")
        return self

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read a manifest.

        Raises:
            ValueError: it is none.
            FormatTooNew: a later version of ganservice wrote it; of the rest of it nothing was looked at.
        """
        try:
            found = json.loads(text)
        except RecursionError as error:
            raise ValueError("the JSON is nested too deep") from error
        version = found.get("format") if isinstance(found, dict) else None
        if isinstance(version, int) and version > NEWEST_FORMAT:
            raise FormatTooNew(
                f"the manifest has format {version}, this version of ganservice reads up to format {NEWEST_FORMAT}; "
                "upgrade ganservice here"
            )
        return cls.model_validate_json(text)

    def to_json(self) -> bytes:
        """The manifest as the store and a user's disk hold it."""
        return json.dumps(self.model_dump(mode="json"), indent=2).encode() + b"\n"


def digests_of(files: Mapping[str, bytes]) -> dict[str, FileDigest]:
    """The digest of each file, by name."""
    return {name: FileDigest(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)) for name, data in files.items()}


def digests_of_files(files: Mapping[str, Path], moved: Callable[[int], None] = lambda _: None) -> dict[str, FileDigest]:
    """The digest of each file on the disk, by name; `moved` gets the length of each piece that is read.

    Raises OSError when one cannot be read.
    """
    return {
        name: FileDigest(sha256=file_sha256(path, moved), bytes=path.stat().st_size) for name, path in files.items()
    }


def identity(files: Mapping[str, FileDigest]) -> str:
    """A data set's identity: the sha256 over the names and digests of its files."""
    text = "".join(f"{name} {files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha256(text.encode()).hexdigest()


def images_file(split: str, shard: int | None = None) -> str:
    """The file with the images of one split of a data set, or with those of one shard of it."""
    return f"{split}-images.npy" if shard is None else f"{split}-images-{shard:05d}.npy"


def images_files(split: str, count: int, image_bytes: int) -> dict[str, int]:
    """The files with the `count` images of a split, in order, and how many images each holds.

    One file where they are SHARD_BYTES at most; else shards, as many rows in each as fit, the rest in the last.
    """
    rows = max(1, SHARD_BYTES // image_bytes)
    if count <= rows:
        return {images_file(split): count}
    starts = range(0, count, rows)
    return {images_file(split, shard): min(rows, count - start) for shard, start in enumerate(starts)}


def labels_file(split: str) -> str:
    """The file with the labels of one split of a data set, where it has any."""
    return f"{split}-labels.npy"


def _is_shard(name: object) -> bool:
    return isinstance(name, str) and SHARD_NAME.fullmatch(name) is not None


class DataManifest(Manifest):
    """A data set: arrays uint8 [N, C, H, W] and, where there are labels, uint8 or int64 [N], as .npy files.

    The images of a large split lie in several files, its shards, each of some rows of the whole.
    """

    files: Annotated[dict[FileName, FileDigest], Field(max_length=DATA_SET_FILES)]
    name: DataSetName
    digest: Sha256  # what `identity` makes of the files
    image_size: Annotated[int, Field(ge=1, le=65_536)] | Oblong
    channels: Channels
    # Images of each split.
    counts: dict[SplitName, Annotated[int, Field(ge=1, le=2**40)]]
    classes: Annotated[tuple[ClassName, ...], Field(max_length=MAX_CLASSES)]
    # Training images of each class.
    class_counts: Annotated[dict[ClassName, Annotated[int, Field(ge=0)]], Field(max_length=MAX_CLASSES)]
    source: Annotated[str, StringConstraints(max_length=4_096)]
    # Held-out images of each class; of a set that an older version has stored nothing is known, as of all that follows.
    test_class_counts: dict[ClassName, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict, max_length=MAX_CLASSES
    )
    # Where labels come from: "folders", "none", or the name of a file or column.
    labels: Annotated[str, StringConstraints(max_length=4_096)] | None = None
    # Files of the source that are no images of the set, by reason.
    left_out: dict[Reason, Annotated[int, Field(ge=1)]] = Field(default_factory=dict, max_length=1_000)
    # Images that are the same as one before, pixel for pixel.
    duplicates: Annotated[int, Field(ge=0)] | None = None
    # The values of images of more than 8 bits that have become 0 and 255.
    value_range: tuple[FiniteFloat, FiniteFloat] | None = None

    @model_validator(mode="before")
    @classmethod
    def _tells_older_versions(cls, values: Any) -> Any:
        """Have a set in shards, with alpha or of pictures that are no squares say that 0.1.0 cannot read it."""
        if isinstance(values, dict) and "format" not in values and isinstance(files := values.get("files"), dict):
            is_new = (
                any(map(_is_shard, files)) or values.get("channels") == 4 or isinstance(values.get("image_size"), str)
            )
            return values | {"format": SECOND_FORMAT if is_new else FORMAT}
        return values

    @model_validator(mode="after")
    def _is_of_its_files(self) -> Self:
        if self.digest != identity(self.files):
            raise ValueError("digest: is not that of the files")
        if isinstance(self.image_size, str) and (mistake := misfit(self.image_size)):
            raise ValueError(f"image_size: {mistake}")
        if "train" not in self.counts:
            raise ValueError("counts: expected train among them")
        for split in self.counts:
            self.images_files(split)
        return self

    @property
    def sides(self) -> Sides:
        """Width and height of each image."""
        return sides_of(self.image_size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of each image."""
        return (self.channels, self.sides.height, self.sides.width)

    def images_files(self, split: str) -> tuple[str, ...]:
        """The files with the images of a split, in the order of their rows.

        Raises ValueError where one is missing, or where there are shards and a whole file beside them.
        """
        shards = [name for name in self.files if _is_shard(name) and name.startswith(f"{split}-")]
        if not shards:
            if images_file(split) not in self.files:
                raise ValueError(f"files: expected {images_file(split)} among them")
            return (images_file(split),)
        if images_file(split) in self.files:
            raise ValueError(f"files: expected {images_file(split)} or its shards, found both")
        expected = tuple(images_file(split, shard) for shard in range(len(shards)))
        for name in expected:
            if name not in self.files:
                raise ValueError(f"files: expected {name} among the {len(shards)} shards of {split}")
        return expected

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
        if spec.evaluate and recipe.super_resolution and "test" not in self.counts:
            raise SpecInvalid(
                f"evaluate: enlarged pictures are judged by such as were not learned, but the data set {self.name} has "
                "no test split; leave evaluate out, or import the set with one"
            )
        if spec.evaluate:
            judges = {
                "judging": spec.evaluate.judging,
                **{f"also.{at}": judge for at, judge in enumerate(spec.evaluate.also)},
            }
            for key, judge in judges.items():
                if misfit := self.judge_misfit(judge):
                    raise SpecInvalid(f"evaluate.{key}.network: {misfit}")
        bound = recipe.model_copy(update={"data": data.model_copy(update={"digest": self.digest})})
        return spec.model_copy(update={"recipe": bound})

    def judge_misfit(self, judge: Judge) -> str | None:
        """Say why a judge can tell nothing of these pictures; None where it can."""
        if judge.network != "classifier" or len(self.classes) > 1:
            return None
        classes = "is one class" if self.classes else "are no classes"
        return (
            f"found classifier, but of the data set {self.name} there {classes} to train one on, expected two; choose "
            "efficientnet_lite0, inception_v3, onnx or pixels"
        )

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
    data_digest: Sha256 | None  # None of points that are drawn from the seed
    code_digest: Sha256 | None = None  # of the files of networks of the user's own
    seed: int
    precision: Precision | None = None  # what the last attempt computed in; None where nobody wrote it down
    versions: dict[str, str]  # of this project and of torch
    rollbacks: tuple[Rollback, ...] = ()


class TensorSpec(Model):
    """An input or an output of a generator; a size in letters may be any, and twice it is "2h"."""

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
    styles: TensorSpec | None = None  # of a style generator, its second output
    classes: tuple[str, ...]  # by label; of a generator without conditioning, of the pictures it learned
    # By label, the pictures of each class that it learned; none where nobody wrote them down.
    class_counts: Annotated[tuple[Count, ...], Field(max_length=100_000)] = ()
    metrics: Progress
    # What it was found to be worth, of a generator that an evaluation published; and the measure that chose it.
    evaluation: Evaluation | None = None
    chosen_by: str | None = None
    reservation: Text | None = None  # what was to be said against it when it was published
    lineage: Lineage
    spec: TrainSpec

    @property
    def learned(self) -> tuple[int, ...]:
        """The labels of the classes that a conditional generator learned; a recipe with `only` names them as well."""
        recipe = self.spec.recipe
        count = recipe.conditioning.classes if recipe.conditioning else 0
        if len(self.class_counts) == count and any(self.class_counts):
            return tuple(label for label, pictures in enumerate(self.class_counts) if pictures)
        only = recipe.pictures.only if recipe.pictures else None
        named = tuple(label for label, name in enumerate(self.classes) if name in (only or ()))
        return named if named and len(self.classes) == count else tuple(range(count))
