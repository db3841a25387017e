"""ArtifactStore: owns every key in the object store, every manifest and every digest.

data/NAME/DIGEST/            a data set: FILE.npy ..., manifest.json
starts/DIGEST.pt             a checkpoint from which another job goes on
weights/DIGEST.safetensors   a fetched generator that was sent back to be evaluated
jobs/ID/spec.yaml            the resolved spec
jobs/ID/reports/TIME.html    the report pages that `ganctl report` wrote
jobs/ID/attempts/NNNN/       all an attempt writes; a late writer can reach no other attempt's work
    checkpoints/IMAGES.pt    everything needed to resume
    samples/IMAGES.png       a sample grid, of the same latents every time
    metrics/IMAGES.jsonl     one Progress a line, from the job's first image on
    generator/               the published generator: files, then manifest.json
    evaluation/SHOWS.png     of an evaluation: samples beside what they are nearest to
networks/NAME.safetensors    a classifier, trained once on the pictures NAME stands for
statistics/NAME.safetensors  real pictures as a network sees them
health/HOST:PID              written and deleted at once by `probes.check_store`
"""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from ganservice.errors import (
    ArtifactExists,
    ArtifactMissing,
    DataMissing,
    DigestMismatch,
    FormatTooNew,
    GanServiceError,
)
from ganservice.files import file_sha256, make_folder, named_writing_trouble
from ganservice.job import Checkpoint, Lease
from ganservice.manifest import MANIFEST, DataManifest, FileDigest, GeneratorManifest, Manifest
from ganservice.objects import ObjectStore
from ganservice.patience import Patience, patient
from ganservice.retention import NOTHING, Written, kept_by_attempt
from ganservice.settings import Settings
from ganservice.spec import Checkpoints, TrainSpec
from ganservice.spec_file import read_spec

M = TypeVar("M", bound=Manifest)
# What a stored spec is written in, told in its first line.
SPEC_FORMAT = 1


class ArtifactStore:
    """The objects that jobs leave behind, and the data sets they learn from."""

    def __init__(self, settings: Settings, patience: Patience | None = None) -> None:
        """With `patience` every single request to the store lives through outages."""
        objects = ObjectStore(settings)
        self.objects = patient(objects, patience) if patience else objects

    # Training

    def put_spec(self, job_id: str, text: str) -> None:
        """Store the resolved spec, YAML. That of the first attempt stays: a later one may be of another version of
        ganservice, which writes the same spec in other words."""
        with contextlib.suppress(ArtifactExists):
            self.objects.put(f"jobs/{job_id}/spec.yaml", f"# format {SPEC_FORMAT}\n{text}".encode())

    def get_spec(self, job_id: str) -> TrainSpec:
        """The resolved spec of a job that was started. Raises ArtifactMissing, FormatTooNew, SpecInvalid."""
        key = f"jobs/{job_id}/spec.yaml"
        try:
            text = self.objects.get(key)
        except ArtifactMissing as error:
            raise ArtifactMissing(f"{job_id} was never started, or the store holds none of it") from error
        version = re.match(rb"# format (\d{1,9})\n", text)
        if version and int(version[1]) > SPEC_FORMAT:
            raise FormatTooNew(
                f"{key} has format {version[1].decode()}, this version of ganservice reads up to format {SPEC_FORMAT}; "
                "upgrade ganservice here"
            )
        return read_spec(text.decode(errors="replace"), key)

    def put_checkpoint(self, lease: Lease, images: int, data: bytes) -> Checkpoint:
        """Store a checkpoint taken after `images` images."""
        started = time.monotonic()
        key = _attempt_key(lease, "checkpoints", images, "pt")
        self.objects.put(key, data)
        return Checkpoint(key=key, images=images, bytes=len(data), seconds=time.monotonic() - started)

    def checkpoint_keys(self, job_id: str) -> list[str]:
        """All checkpoints of a job, newest first: most images, then latest attempt."""
        checkpoints = self._attempt_objects(job_id, "checkpoints")
        return [key for _, _, key in sorted(checkpoints, reverse=True)]

    def checkpoints(self, job_id: str) -> dict[int, str]:
        """The key of the checkpoint at each number of images, that of the latest attempt."""
        return {images: key for images, _, key in sorted(self._attempt_objects(job_id, "checkpoints"))}

    def keep_start(self, checkpoint_key: str) -> tuple[str, str]:
        """Copy a checkpoint to where no retention policy deletes it. Returns its new key and its sha256."""
        data = self.objects.get(checkpoint_key)
        key = f"starts/{hashlib.sha256(data).hexdigest()}.pt"
        return key, self.objects.put_anew(key, data)  # nor is it garbage by the age of an earlier copy

    def keep_weights(self, data: bytes) -> str:
        """Store the weights of a generator that is to be evaluated. Returns their key."""
        key = f"weights/{hashlib.sha256(data).hexdigest()}.safetensors"
        self.objects.put_anew(key, data)
        return key

    def prune(
        self, lease: Lease, policy: Checkpoints, started_from: str | None = None, extra_images: Iterable[int] = ()
    ) -> list[str]:
        """Delete the checkpoints that an attempt need not keep, but those after `extra_images`, and all metrics but
        its newest. Returns deleted keys.

        `started_from` is the key of the checkpoint that the attempt went on from.
        """
        found = self._attempt_objects(lease.job_id, "checkpoints")
        checkpoints = {Written(images, attempt): key for images, attempt, key in found}
        kept = kept_by_attempt(checkpoints, lease.attempt, _written(started_from or ""), policy)
        spared = set(extra_images)
        doomed = [key for written, key in checkpoints.items() if written not in kept and written.images not in spared]
        metrics = [(attempt, images, key) for images, attempt, key in self._attempt_objects(lease.job_id, "metrics")]
        doomed += [key for _, _, key in sorted(metrics)[:-1]]
        for key in doomed:
            self.objects.delete(key)
        return doomed

    def abandon(self, job_id: str, attempt: int, images: int) -> None:
        """Delete what attempts up to `attempt` wrote beyond `images` images, but for its sample grids."""
        for kind in ("checkpoints", "metrics"):
            for at, wrote, key in self._attempt_objects(job_id, kind):
                if wrote <= attempt and at > images:
                    self.objects.delete(key)

    def put_sample_grid(self, lease: Lease, images: int, png: bytes) -> str:
        """Store a sample grid and return its key."""
        return self._put(lease, "samples", images, "png", png)

    def put_evaluation_picture(self, lease: Lease, shows: str, png: bytes) -> str:
        """Store a picture of an evaluation and return its key."""
        key = f"{_attempt_prefix(lease.job_id, lease.attempt)}evaluation/{shows}.png"
        self.objects.put(key, png)
        return key

    def latest_sample_grid(self, job_id: str) -> bytes | None:
        """The newest sample grid of a job, PNG, if it has one."""
        grids = self._attempt_objects(job_id, "samples")
        return self.objects.get(max(grids)[2]) if grids else None

    def put_metrics(self, lease: Lease, images: int, jsonl: bytes) -> None:
        """Store the metrics from the job's first image on."""
        self._put(lease, "metrics", images, "jsonl", jsonl)

    def metrics(self, job_id: str) -> bytes:
        """The newest metrics of a job, one Progress a line; nothing where there are none."""
        metrics = self._attempt_objects(job_id, "metrics")
        return self.objects.get(max(metrics)[2]) if metrics else b""

    def sample_grids(self, job_id: str) -> list[tuple[int, str]]:
        """Images and key of each sample grid of a job; of two after as many images that of the later attempt."""
        return sorted({images: key for images, _, key in sorted(self._attempt_objects(job_id, "samples"))}.items())

    def put_report(self, job_id: str, page: bytes) -> str:
        """Store a report page, under a name of its own. Returns its key."""
        key = f"jobs/{job_id}/reports/{time.time_ns():019d}.html"
        self.objects.put(key, page)
        return key

    def abort_uploads(self, job_id: str) -> None:
        """Free what attempts that died in the midst of an upload have left in the store, where nobody sees it."""
        self.objects.abort_uploads(f"jobs/{job_id}/")

    def stored_bytes(self, job_id: str) -> int:
        """Bytes of all that is stored of a job."""
        return sum(entry.bytes for entry in self.objects.list_objects(f"jobs/{job_id}/"))

    def keys(self, job_id: str) -> list[str]:
        """Every key under the job's prefix."""
        return [entry.key for entry in self.objects.list_objects(f"jobs/{job_id}/")]

    def _put(self, lease: Lease, kind: str, images: int, suffix: str, data: bytes) -> str:
        key = _attempt_key(lease, kind, images, suffix)
        self.objects.put(key, data)
        return key

    def _attempt_objects(self, job_id: str, kind: str) -> list[tuple[int, int, str]]:
        """(images, attempt, key) of each object of one kind."""
        pattern = re.compile(rf"/attempts/(\d+)/{kind}/(\d+)\.\w+$")
        matches = [(pattern.search(key), key) for key in self.keys(job_id)]
        return [(int(match[2]), int(match[1]), key) for match, key in matches if match]

    # Generators

    def publish_generator(self, lease: Lease, files: Mapping[str, bytes], manifest: GeneratorManifest) -> str:
        """Store the files, then the manifest. Returns the folder's key."""
        folder = self.stage_generator(lease, files)
        self.objects.put(folder + MANIFEST, manifest.to_json())
        return folder

    def stage_generator(self, lease: Lease, files: Mapping[str, bytes]) -> str:
        """Store the files without the manifest: nobody can fetch them yet. Returns the folder's key."""
        folder = f"{_attempt_prefix(lease.job_id, lease.attempt)}generator/"
        for name, data in files.items():
            self.objects.put(folder + name, data)
        return folder

    def find_generator(self, job_id: str) -> str:
        """The folder of the generator published by the latest attempt. Raises ArtifactMissing."""
        folder = self.published_generator(job_id)
        if folder is None:
            raise ArtifactMissing(f"{job_id} has no published generator; see `ganctl show {job_id}`")
        return folder

    def published_generator(self, job_id: str, after_attempt: int = 0) -> str | None:
        """The folder of the generator published by the latest attempt, if one after `after_attempt` published any."""
        published = [key for key in self.keys(job_id) if key.endswith(f"/generator/{MANIFEST}")]
        folders = [key.removesuffix(MANIFEST) for key in published if attempt_of(key) > after_attempt]
        return max(folders, default=None)

    def fetch_generator(self, folder_key: str, target: Path) -> GeneratorManifest:
        """Download a generator to the folder `target`, which appears only when every file is whole and right.

        Raises:
            ArtifactExists: `target` is there already.
            ArtifactMissing, DigestMismatch, DiskFull, StoreOutage: `target` is not there.
        """
        if target.exists():
            raise ArtifactExists(f"{target} exists already; choose another folder with --into")
        manifest = self._manifest(folder_key, GeneratorManifest)
        with named_writing_trouble(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            with named_writing_trouble(target):
                self._download(folder_key, manifest, aside)
                (aside / MANIFEST).write_bytes(manifest.to_json())
                aside.chmod(0o755)
                aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return manifest

    def link_generator(self, folder_key: str, expires_s: int) -> dict[str, str]:
        """Addresses at which anyone can get a generator's files until they expire, by name. Raises ArtifactMissing."""
        names = [*self._manifest(folder_key, GeneratorManifest).files, MANIFEST]
        return {name: self.objects.link(folder_key + name, expires_s) for name in names}

    # What is derived from a data set, once for all

    def find_derived(self, kind: Literal["networks", "statistics"], name: str) -> bytes | None:
        """Return something derived, or None if nobody has derived it yet."""
        try:
            return self.objects.get(f"{kind}/{name}.safetensors")
        except ArtifactMissing:
            return None

    def keep_derived(self, kind: Literal["networks", "statistics"], name: str, data: bytes) -> bytes:
        """Store something derived; of two at once the first counts. Returns what the store holds."""
        key = f"{kind}/{name}.safetensors"
        with contextlib.suppress(ArtifactExists):
            self.objects.put(key, data)
            return data
        return self.objects.get(key)

    # Data sets

    def put_data_set(self, files: Mapping[str, bytes], manifest: DataManifest) -> None:
        """Store a data set's arrays, then its manifest; from then on it is the one meant by its name."""
        for name, data in files.items():
            self.objects.put_anew(
                _data_key(manifest) + name, data
            )  # young again, lest it be garbage before its manifest
        # Of a data set that was stored before, only the manifest is written again: its time says which is newest.
        self.objects.delete(_data_key(manifest) + MANIFEST)
        self.objects.put(_data_key(manifest) + MANIFEST, manifest.to_json())

    def find_data_set(self, name: str, digest: str | None = None) -> DataManifest:
        """A data set's manifest; without a digest, of the one stored last. Raises DataMissing."""
        manifests = [
            entry
            for entry in self.objects.list_objects(f"data/{name}/{digest or ''}")
            if entry.key.endswith(f"/{MANIFEST}")
        ]
        if not manifests:
            raise DataMissing(
                f"the store holds no data set {name}; run `ganctl data get {name}` if `ganctl data list` knows it, "
                f"or `ganctl data import FOLDER --name {name}`"
            )
        newest = max(manifests, key=lambda entry: entry.modified_at)
        return self._manifest(newest.key.removesuffix(MANIFEST), DataManifest)

    def list_data_sets(self) -> list[DataManifest]:
        """All data sets, by name; of several with one name the one stored last is the last."""
        stored = [entry for entry in self.objects.list_objects("data/") if entry.key.endswith(f"/{MANIFEST}")]
        stored.sort(key=lambda entry: (entry.key.split("/")[1], entry.modified_at))
        return [self._manifest(entry.key.removesuffix(MANIFEST), DataManifest) for entry in stored]

    def cache_data_set(self, manifest: DataManifest, cache_dir: Path) -> Path:
        """A local folder with the data set's files, downloaded unless they are there; always checked by digest."""
        folder = cache_dir / "data" / manifest.digest
        if not os.access(folder, os.R_OK | os.X_OK):  # a full cache need not be one that can be written to
            make_folder(folder, "GANSERVICE_CACHE_DIR")
        for name, expected in manifest.files.items():
            path = folder / name
            if not path.exists() or file_sha256(path) != expected.sha256:
                self.objects.download(_data_key(manifest) + name, path, expected.sha256)
        return folder

    def _download(self, folder_key: str, manifest: Manifest, target: Path) -> None:
        for name, expected in manifest.files.items():
            self.objects.download(folder_key + name, target / name, expected.sha256)

    def _manifest(self, folder_key: str, kind: type[M]) -> M:
        text = self.objects.get(folder_key + MANIFEST)
        try:
            manifest = kind.from_json(text)
        except ValueError as error:
            raise GanServiceError(f"{folder_key}{MANIFEST}: is not a manifest this version can read") from error
        for name in manifest.files:
            # A name is joined to a path on the user's disk: it must be a plain one.
            if not name or name != Path(name).name or name.startswith("."):
                raise DigestMismatch(f"{folder_key}{MANIFEST}: {name!r} is not a plain file name")
        return manifest


def digests_of(files: Mapping[str, bytes]) -> dict[str, FileDigest]:
    """The digest of each file, by name."""
    return {name: FileDigest(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)) for name, data in files.items()}


def attempt_of(key: str) -> int:
    """The attempt that wrote an object of a job."""
    match = re.search(r"/attempts/(\d+)/", key)
    return int(match[1]) if match else 0


def _written(checkpoint_key: str) -> Written:
    """When a checkpoint of a job was taken, and by which attempt; of another job's, it is no matter."""
    match = re.search(r"/attempts/(\d+)/checkpoints/(\d+)\.pt$", checkpoint_key)
    return Written(images=int(match[2]), attempt=int(match[1])) if match else NOTHING


def check_bundle(folder: Path) -> GeneratorManifest:
    """The manifest of a fetched generator, after checking every file against it.

    Raises:
        ArtifactMissing: `folder` is not a fetched generator, or a file is gone.
        DigestMismatch: a file is not what was published.
    """
    try:
        manifest = GeneratorManifest.from_json((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise ArtifactMissing(f"{folder}: holds no {MANIFEST}; expected a folder made by `ganctl fetch`") from error
    except ValueError as error:
        raise DigestMismatch(f"{folder / MANIFEST}: is not a manifest this version can read") from error
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactMissing(f"{path}: is missing from the generator; fetch it again")
        if file_sha256(path) != expected.sha256:
            raise DigestMismatch(f"{path}: is not the file that was published (sha256 differs); fetch it again")
    return manifest


def _data_key(manifest: DataManifest) -> str:
    return f"data/{manifest.name}/{manifest.digest}/"


def _attempt_prefix(job_id: str, attempt: int) -> str:
    return f"jobs/{job_id}/attempts/{attempt:04d}/"


def _attempt_key(lease: Lease, kind: str, images: int, suffix: str) -> str:
    return f"{_attempt_prefix(lease.job_id, lease.attempt)}{kind}/{images:012d}.{suffix}"
