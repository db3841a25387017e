"""Manifests as they are read: bounded, and believed in nothing that would lead out of a folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from ganservice.errors import ArtifactMissing, DigestMismatch, FormatTooNew, GanServiceError, JobNotFound, NotConfigured
from ganservice.files import file_sha256, is_there
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


def folder_of(source: str) -> Path | None:
    """The folder that a user means; None where the word may mean a job, also beside a folder without a manifest."""
    if not _is_folder(source) or not ("/" in source or is_there(f"{source}/{MANIFEST}")):
        return None
    return Path(source)


@contextlib.contextmanager
def job_or_folder(source: str) -> Iterator[None]:
    """Look for a job in the block. Where there is none, but a folder of that name, say what is wrong with the folder.

    Raises:
        ArtifactMissing: there is neither such a job nor a generator in the folder.
    """
    try:
        yield
    except (JobNotFound, NotConfigured):
        if _is_folder(source):
            check_generator(Path(source))
        raise


def _is_folder(source: str) -> bool:
    return is_there(source) and Path(source).is_dir()


def _mistake(error: ValueError) -> str:
    """What is wrong with a manifest, where its model says so; of its values nothing, for a stranger wrote them."""
    if not isinstance(error, ValidationError):
        return ""
    mistake = error.errors()[0]
    return f": {describe_mistake('.'.join(map(str, mistake['loc'])), mistake, shows_value=False)}"[:300]
