"""Manifests: what a folder in the store holds, written last, so that its presence means the folder is complete."""

import json
from typing import Annotated, Any

from pydantic import Field

from ganservice.errors import SpecInvalid
from ganservice.job import Progress
from ganservice.model import Model
from ganservice.spec import JobSpec

NAME = "manifest.json"


class FileDigest(Model):
    """What a file must be, byte for byte."""

    sha256: str
    bytes: int


class Manifest(Model):
    """The files of a folder, by name."""

    files: dict[str, FileDigest]

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
    source: str

    def fit(self, spec: JobSpec) -> JobSpec:
        """`spec` bound to exactly these pictures. Raises SpecInvalid when it asks for others."""
        data = spec.recipe.data
        for key, found, holds in (
            ("image_size", data.image_size, self.image_size),
            ("channels", data.channels, self.channels),
        ):
            if found != holds:
                raise SpecInvalid(f"recipe.data.{key}: found {found}, but the data set {self.name} has {holds}")
        if spec.recipe.batch_size > self.counts["train"]:
            raise SpecInvalid(
                f"recipe.batch_size: found {spec.recipe.batch_size}, "
                f"but the data set {self.name} has {self.counts['train']} images"
            )
        recipe = spec.recipe.model_copy(update={"data": data.model_copy(update={"digest": self.digest})})
        return spec.model_copy(update={"recipe": recipe})


class Lineage(Model):
    """Where a generator comes from."""

    job_id: str
    attempt: int
    resumed_images: int  # what the last attempt found done by those before it
    data_digest: str
    seed: int
    versions: dict[str, str]  # of this project and of torch


class GeneratorManifest(Manifest):
    """A generator: how it was made, what it scored, and the digests of its files."""

    format: Annotated[int, Field(ge=1)] = 1
    name: str
    created_at: float  # Unix time, s
    images: int
    input: dict[str, Any]  # name, dtype and shape of the latents
    output: dict[str, Any]  # name, dtype, shape and range of the pictures
    metrics: Progress
    lineage: Lineage
    spec: JobSpec
