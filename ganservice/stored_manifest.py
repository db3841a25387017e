"""Manifests as they are read: bounded, and believed in nothing that would lead out of a folder."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from ganservice.errors import ArtifactMissing, DigestMismatch, FormatTooNew, GanServiceError
from ganservice.files import file_sha256
from ganservice.manifest import MANIFEST, MANIFEST_BYTES, WEIGHTS, GeneratorManifest, Manifest
from ganservice.mistakes import describe_mistake
from ganservice.objects import ObjectStore

M = TypeVar("M", bound=Manifest)


def read_manifest(objects: ObjectStore, key: str, kind: type[M]) -> M:
    """The manifest under a key of the store.

    Raises:
        ArtifactMissing, DigestMismatch, StoreOutage.
        GanServiceError: it is none.
        FormatTooNew: a later version of ganservice wrote it.
    """
    text = objects.get(key, MANIFEST_BYTES)
    try:
        return kind.from_json(text)
    except FormatTooNew as error:
        raise FormatTooNew(f"{key}: {error}") from error
    except ValueError as error:
        raise GanServiceError(f"{key}: is not a manifest this version can read{_mistake(error)}") from error


def check_bundle(folder: Path) -> GeneratorManifest:
    """The manifest of a fetched generator, after checking every file against it.

    Raises:
        ArtifactMissing: `folder` is not a fetched generator, or a file is gone.
        DigestMismatch: a file is not what was published.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            text = file.read(MANIFEST_BYTES + 1)
    except OSError as error:
        raise ArtifactMissing(f"{folder}: holds no {MANIFEST}; expected a folder made by `ganctl fetch`") from error
    try:
        manifest = GeneratorManifest.from_json(text[:MANIFEST_BYTES])
    except ValueError as error:
        raise DigestMismatch(f"{path}: is not a manifest this version can read{_mistake(error)}") from error
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactMissing(f"{path}: is missing from the generator; fetch it again")
        if path.stat().st_size != expected.bytes or file_sha256(path) != expected.sha256:
            raise DigestMismatch(f"{path}: is not the file that was published (sha256 differs); fetch it again")
    return manifest


def check_generator(folder: Path) -> GeneratorManifest:
    """As `check_bundle`, for who takes the weights: they must be among the files that are checked."""
    manifest = check_bundle(folder)
    if WEIGHTS not in manifest.files:
        raise ArtifactMissing(f"{folder / MANIFEST}: names no {WEIGHTS}; expected a folder made by `ganctl fetch`")
    return manifest


def _mistake(error: ValueError) -> str:
    """What is wrong with a manifest, where its model says so; of its values nothing, for a stranger wrote them."""
    if not isinstance(error, ValidationError):
        return ""
    mistake = error.errors()[0]
    return f": {describe_mistake('.'.join(map(str, mistake['loc'])), mistake, shows_value=False)}"[:300]
