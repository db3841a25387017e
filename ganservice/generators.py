"""Published generators in the store: the files, then the manifest, from which on anybody can fetch them.

jobs/ID/attempts/NNNN/generator/    FILE ..., manifest.json
"""

import errno
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ganservice.errors import ArtifactExists, ArtifactMissing, DigestMismatch
from ganservice.files import is_there, named_writing_trouble
from ganservice.job import Lease
from ganservice.job_keys import attempt_of, attempt_prefix, attempts_prefix, find_in_attempt
from ganservice.manifest import MANIFEST, GeneratorManifest
from ganservice.objects import ObjectStore, read_back
from ganservice.stored_manifest import read_manifest


class Generators:
    """The generators that attempts have published."""

    objects: ObjectStore

    def publish_generator(self, lease: Lease, files: Mapping[str, bytes], manifest: GeneratorManifest) -> str:
        """Store the files, then the manifest, each read back. Returns the folder's key.

        Raises:
            StoreOutage: the store does not hold what it was given; nobody can fetch it.
        """
        folder = self.stage_generator(lease, files)
        with read_back():
            for name, expected in manifest.files.items():
                self.objects.check_bytes(folder + name, expected.sha256, expected.bytes)
        self.objects.put(folder + MANIFEST, manifest.to_json())
        with read_back():
            if read_manifest(self.objects, folder + MANIFEST, GeneratorManifest) != manifest:
                raise DigestMismatch(f"{folder}{MANIFEST}: is another manifest than was written")
        return folder

    def stage_generator(self, lease: Lease, files: Mapping[str, bytes]) -> str:
        """Store the files without the manifest: nobody can fetch them yet. Returns the folder's key."""
        folder = f"{attempt_prefix(lease.job_id, lease.attempt)}generator/"
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
        keys = [entry.key for entry in self.objects.list_objects(attempts_prefix(job_id))]
        published = [key for key in keys if is_generator(job_id, key)]
        folders = [key.removesuffix(MANIFEST) for key in published if attempt_of(key) > after_attempt]
        return max(folders, key=attempt_of, default=None)

    def fetch_generator(self, folder_key: str, target: Path) -> GeneratorManifest:
        """Download a generator to the folder `target`, which appears only when every file is whole and right.

        Raises:
            ArtifactExists: `target` is there already.
            ArtifactMissing, DigestMismatch, DiskFull, StoreOutage: `target` is not there.
        """
        if is_there(str(target)):
            raise _exists(target)
        manifest = read_manifest(self.objects, folder_key + MANIFEST, GeneratorManifest)
        with named_writing_trouble(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            with named_writing_trouble(target):
                for name, expected in manifest.files.items():
                    self.objects.download(folder_key + name, aside / name, expected.sha256, expected.bytes)
                (aside / MANIFEST).write_bytes(manifest.to_json())
                aside.chmod(0o755)
                _put(aside, target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return manifest

    def link_generator(self, folder_key: str, expires_s: int) -> dict[str, str]:
        """Addresses at which anyone can get a generator's files until they expire, by name. Raises ArtifactMissing."""
        names = [*read_manifest(self.objects, folder_key + MANIFEST, GeneratorManifest).files, MANIFEST]
        return {name: self.objects.link(folder_key + name, expires_s) for name in names}


def is_generator(job_id: str, key: str) -> bool:
    """Whether a key is that of the manifest of a job's generator, without which nobody finds it."""
    return find_in_attempt(job_id, re.escape(f"generator/{MANIFEST}"), key) is not None


def _put(aside: Path, target: Path) -> None:
    """Give a folder its name. Raises ArtifactExists where another process has made one meanwhile."""
    try:
        aside.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise _exists(target) from error
        raise


def _exists(target: Path) -> ArtifactExists:
    return ArtifactExists(f"{target} exists already; choose another folder (into)")
