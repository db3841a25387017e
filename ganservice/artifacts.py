"""ArtifactStore: owns every key in the object store, every manifest and every digest.

data/NAME/DIGEST/            a data set: FILE.npy ..., manifest.json; more: `data_sets.py`
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
networks/, statistics/, code/  what evaluations see pictures by, and users' own networks; more: `networks.py`
health/HOST:PID              written and deleted at once by `probes.check_store`
"""

import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Sequence

from ganservice.data_sets import DataSets
from ganservice.errors import (
    ArtifactExists,
    ArtifactMissing,
    DataInvalid,
    FormatTooNew,
    SpecInvalid,
)
from ganservice.generators import Generators
from ganservice.job import Checkpoint, Lease
from ganservice.job_keys import attempt_key, attempt_prefix, attempts_prefix, find_in_attempt, written
from ganservice.networks import Networks
from ganservice.objects import ObjectStore, check_length, put_bounded, read_back
from ganservice.patience import Patience, patient
from ganservice.retention import Written, kept_by_attempt
from ganservice.settings import Settings
from ganservice.spec import Checkpoints, TrainSpec
from ganservice.spec_file import read_spec

# What a stored spec is written in, told in its first line.
SPEC_FORMAT = 1
# No object of a kind is larger: more is neither written nor read.
SPEC_BYTES = 16 * 2**20
CHECKPOINT_BYTES = 8 * 2**30
METRICS_BYTES = 512 * 2**20
PICTURE_BYTES = 64 * 2**20
# What a training starts from or an evaluation looks at; where the key has a digest, the bytes must have it too.
CHECKPOINT_KEY = re.compile(
    r"jobs/[a-z0-9-]+/attempts/\d+/checkpoints/\d+\.pt|(?:starts|weights)/([0-9a-f]{64})\.(?:pt|safetensors)"
)


class ArtifactStore(DataSets, Generators, Networks):
    """The objects that jobs leave behind, and the data sets they learn from."""

    def __init__(
        self,
        settings: Settings,
        patience: Patience | None = None,
        on_bytes: Callable[[int], object] = lambda _: None,
    ) -> None:
        """With `patience` every single request to the store lives through outages; without it somebody waits, and hears
        of a silent store soon. `on_bytes` is called, from any thread, with the number of bytes of each part of an
        object that has travelled."""
        objects = ObjectStore(settings, on_bytes, in_haste=patience is None)
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
            text = self.objects.get(key, SPEC_BYTES)
        except ArtifactMissing as error:
            raise ArtifactMissing(f"{job_id} was never started, or the store holds none of it") from error
        version = re.match(rb"# format (\d{1,9})\n", text)
        if version and int(version[1]) > SPEC_FORMAT:
            raise FormatTooNew(
                f"{key} has format {version[1].decode()}, this version of ganservice reads up to format {SPEC_FORMAT}; "
                "upgrade ganservice here"
            )
        try:
            return read_spec(text.decode(), key)
        except UnicodeDecodeError as error:
            raise SpecInvalid(f"{key}: is not a spec this version can read") from error

    def put_checkpoint(self, lease: Lease, images: int, data: bytes) -> Checkpoint:
        """Store a checkpoint taken after `images` images, and make sure that the store has it: others give way to it.

        Raises:
            DataInvalid: it is larger than CHECKPOINT_BYTES.
            StoreOutage: the store does not hold it.
        """
        started = time.monotonic()
        key = attempt_key(lease, "checkpoints", images, "pt")
        digest = put_bounded(self.objects, key, data, CHECKPOINT_BYTES)
        with read_back():
            self.objects.check_stored(key, digest, len(data))
        return Checkpoint(key=key, images=images, bytes=len(data), seconds=time.monotonic() - started)

    def get_checkpoint(self, key: str, sha256: str | None = None) -> bytes:
        """A checkpoint, or weights that were sent; the bytes have the digest in the key and that of a pin, `sha256`.

        Raises:
            DataInvalid: the key is none of a checkpoint.
            ArtifactMissing, DigestMismatch.
        """
        match = CHECKPOINT_KEY.fullmatch(key)
        if match is None:
            raise DataInvalid(f"{key!r}: is no key of a checkpoint")
        if match[1] and sha256 and match[1] != sha256:
            raise DataInvalid(f"{key}: is not the checkpoint with sha256 {sha256}")
        return self.objects.get(key, CHECKPOINT_BYTES, match[1] or sha256)

    def checkpoint_keys(self, job_id: str) -> list[str]:
        """All checkpoints of a job, newest first: most images, then latest attempt."""
        checkpoints = self._attempt_objects(job_id, "checkpoints")
        return [key for _, _, key in sorted(checkpoints, reverse=True)]

    def checkpoints(self, job_id: str) -> dict[int, str]:
        """The key of the checkpoint at each number of images, that of the latest attempt."""
        return {images: key for images, _, key in sorted(self._attempt_objects(job_id, "checkpoints"))}

    def keep_start(self, checkpoint_key: str, *, keep: bool = True) -> tuple[str, str]:
        """Copy a checkpoint to where no retention policy deletes it. Returns its new key and its sha256.

        Without `keep` it is read and left where it is.
        """
        data = self.get_checkpoint(checkpoint_key)
        digest = hashlib.sha256(data).hexdigest()
        if not keep:
            return checkpoint_key, digest
        key = f"starts/{digest}.pt"
        self.objects.put_anew(key, data)  # nor is it garbage by the age of an earlier copy
        return key, digest

    def keep_weights(self, data: bytes) -> str:
        """Store the weights of a generator that is to be evaluated. Returns their key."""
        key = f"weights/{hashlib.sha256(data).hexdigest()}.safetensors"
        check_length(key, data, CHECKPOINT_BYTES)
        self.objects.put_anew(key, data)
        return key

    def prune(
        self,
        lease: Lease,
        policy: Checkpoints,
        started_from: str | None = None,
        extra_images: Iterable[int] = (),
        trouble_images: int | None = None,
    ) -> list[str]:
        """Delete the checkpoints that an attempt need not keep, but those after `extra_images`, and all metrics but
        its newest. Returns deleted keys.

        With `trouble_images`, at which a trouble may have begun that is yet to be found, two more stay: the newest from
        before that, to go back to, and the oldest from then on, which takes its place once a trouble began after it.

        `started_from` is the key of the checkpoint that the attempt went on from.
        """
        found = self._attempt_objects(lease.job_id, "checkpoints")
        checkpoints = {Written(images, attempt): key for images, attempt, key in found}
        kept = kept_by_attempt(checkpoints, lease.attempt, written(started_from or ""), policy)
        spared = {*extra_images, *_around(trouble_images, [each.images for each in checkpoints])}
        deleted = [key for written, key in checkpoints.items() if written not in kept and written.images not in spared]
        metrics = [(attempt, images, key) for images, attempt, key in self._attempt_objects(lease.job_id, "metrics")]
        deleted += [key for _, _, key in sorted(metrics)[:-1]]
        for key in deleted:
            self.objects.delete(key)
        return deleted

    def abandon(self, job_id: str, attempt: int, images: int) -> None:
        """Delete what attempts up to `attempt` wrote beyond `images` images, but for its sample grids."""
        for kind in ("checkpoints", "metrics"):
            for at, wrote, key in self._attempt_objects(job_id, kind):
                if wrote <= attempt and at > images:
                    self.objects.delete(key)

    def put_sample_grid(self, lease: Lease, images: int, png: bytes) -> str:
        """Store a sample grid and return its key."""
        key = attempt_key(lease, "samples", images, "png")
        put_bounded(self.objects, key, png, PICTURE_BYTES)
        return key

    def put_evaluation_picture(self, lease: Lease, shows: str, png: bytes) -> str:
        """Store a picture of an evaluation and return its key."""
        key = f"{attempt_prefix(lease.job_id, lease.attempt)}evaluation/{shows}.png"
        put_bounded(self.objects, key, png, PICTURE_BYTES)
        return key

    def latest_sample_grid(self, job_id: str) -> bytes | None:
        """The newest sample grid of a job, PNG, if it has one."""
        grids = self._attempt_objects(job_id, "samples")
        # By its attempt first: before a rollback the training had seen more images.
        return self.picture(max(grids, key=lambda grid: (grid[1], grid[0]))[2]) if grids else None

    def picture(self, key: str) -> bytes:
        """A sample grid or a picture of an evaluation, PNG. Raises ArtifactMissing, DigestMismatch."""
        return self.objects.get(key, PICTURE_BYTES)

    def put_metrics(self, lease: Lease, images: int, jsonl: bytes, instead_of: int | None = None) -> None:
        """Store the metrics from the job's first image on, and delete the attempt's own after `instead_of` images."""
        put_bounded(self.objects, attempt_key(lease, "metrics", images, "jsonl"), jsonl, METRICS_BYTES)
        if instead_of not in (None, images):
            self.objects.delete(attempt_key(lease, "metrics", instead_of, "jsonl"))

    def metrics(self, job_id: str, most_bytes: int = METRICS_BYTES) -> bytes:
        """The newest metrics of a job, one Progress a line; nothing where there are none.

        Raises:
            ArtifactMissing: they are gone by now.
            DigestMismatch: they are damaged, or have more than `most_bytes`.
        """
        metrics = self._attempt_objects(job_id, "metrics")
        return self.objects.get(max(metrics)[2], most_bytes) if metrics else b""

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

    def _attempt_objects(self, job_id: str, kind: str) -> list[tuple[int, int, str]]:
        """(images, attempt, key) of each object of one kind."""
        keys = [entry.key for entry in self.objects.list_objects(attempts_prefix(job_id))]
        matches = [(find_in_attempt(job_id, rf"{kind}/(\d+)\.\w+", key), key) for key in keys]
        return [(int(match[2]), int(match[1]), key) for match, key in matches if match]


def _around(moment: int | None, images: Sequence[int]) -> set[int]:
    """The last of these before a moment and the first from then on; none where there is no moment."""
    if moment is None:
        return set()
    before, after = [each for each in images if each < moment], [each for each in images if each >= moment]
    return {*sorted(before)[-1:], *sorted(after)[:1]}
