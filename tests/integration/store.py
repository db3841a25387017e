"""A real SeaweedFS on loopback, started by the very command of the embedded stack."""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import psutil
import pytest
from pydantic import SecretStr

from ganservice.artifacts import ArtifactStore
from ganservice.embedded.home import BUCKET, Home
from ganservice.embedded.parts import server_parts
from ganservice.errors import GanServiceError
from ganservice.manifest import DataManifest, digests_of, identity
from ganservice.roles import STORE_KEYS, Role, store_actions
from ganservice.settings import Settings
from tests.conftest import wait_until
from tests.lifetime import bound

NO_BROKER = SecretStr("redis://127.0.0.1:1/0")


class Store:
    """One SeaweedFS in one folder; it may be killed and started again."""

    def __init__(self, folder: Path, *flags: str, scheme: str = "http") -> None:
        """`flags` are added to the embedded stack's; with TLS among them the `scheme` is https."""
        self._log = folder / "store.log"
        # The broker counts as somebody else's: only the store is wanted.
        home, external = Home(folder), Settings(state_dir=folder, store_url=None, broker_url=NO_BROKER)
        settings = home.prepare(external)
        url = settings.require_store().replace("http", scheme, 1)
        self.settings = settings.model_copy(update={"store_url": url})
        [self._part] = server_parts(home, external, self.settings)
        self._command = (*self._part.command, *flags)
        self._enter_roles(folder / "store" / "s3.json")
        self._process: subprocess.Popen[bytes] | None = None

    def _enter_roles(self, config: Path) -> None:
        """Beside the owner, who may do everything, an account for each role, with the same secret."""
        [owner] = json.loads(config.read_text())["identities"]
        secret = owner["credentials"][0]["secretKey"]
        roles = [
            {
                "name": role,
                "credentials": [{"accessKey": role, "secretKey": secret}],
                "actions": store_actions(role, BUCKET),
            }
            for role in STORE_KEYS
        ]
        config.write_text(json.dumps({"identities": [owner, *roles]}))

    def start(self) -> None:
        """Start it and wait until it works."""
        with self._log.open("ab") as log:
            environment = os.environ | self._part.environment
            self._process = subprocess.Popen(bound(self._command), stdout=log, stderr=log, env=environment)
        wait_until(self._works)

    @property
    def process(self) -> psutil.Process:
        """The process that serves."""
        assert self._process
        return psutil.Process(self._process.pid)

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, to its own process only."""
        if self._process:
            self._process.kill()
            self._process.wait(timeout=60)

    def _works(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self._log.read_text()
        try:
            self._part.check()
        except GanServiceError:
            return False
        return True


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every file that is written aside answer as on a full disk."""
    open_file = Path.open
    full = Path("/dev/full")
    monkeypatch.setattr(Path, "open", lambda path, *a: open_file(full if path.suffix == ".part" else path, *a))


def as_role(role: Role, settings: Settings) -> Settings:
    """The settings of a process that has the rights of a role at a `Store`."""
    return settings.model_copy(update={"store_access_key": role})


def put_files(store: ArtifactStore, files: Mapping[str, bytes], manifest: DataManifest) -> None:
    """Store a data set of these files."""
    with TemporaryDirectory() as folder:
        paths = {name: Path(folder) / name for name in files}
        for name, path in paths.items():
            path.write_bytes(files[name])
        store.put_data_set(paths, manifest)


def raw_client(settings: Settings) -> Any:
    """The store, behind ObjectStore's back."""
    assert settings.store_secret_key
    return boto3.client(
        "s3",
        endpoint_url=settings.require_store().rpartition("/")[0],
        aws_access_key_id=settings.store_access_key,
        aws_secret_access_key=settings.store_secret_key.get_secret_value(),
        region_name=settings.store_region,
    )


def empty(settings: Settings) -> None:
    """Delete all that lies in a bucket, uploads that were never finished too."""
    client, bucket = raw_client(settings), settings.require_store().rpartition("/")[2]
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", ()):  # one by one: no XML holds every name
            client.delete_object(Bucket=bucket, Key=found["Key"])
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def flipped(data: bytes) -> bytes:
    """With the bits of the first byte flipped."""
    return bytes([data[0] ^ 0xFF]) + data[1:]


def truncated(data: bytes) -> bytes:
    """As half-written."""
    return data[: len(data) // 2]


def damage(
    settings: Settings, key: str, how: Callable[[bytes], bytes] = flipped, *, renews_digest: bool = False
) -> None:
    """Change an object's bytes and keep all else, its metadata too; with `renews_digest` as somebody who knows it."""
    s3, bucket = raw_client(settings), settings.require_store().rpartition("/")[2]
    found = s3.get_object(Bucket=bucket, Key=key)
    data = how(found["Body"].read())
    metadata = {"sha256": hashlib.sha256(data).hexdigest()} if renews_digest else found["Metadata"]
    s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata=metadata)


def put_digits(store: ArtifactStore, name: str = "digits") -> DataManifest:
    """A set of a hundred pictures of two classes by their manifest alone, for what looks at none of them."""
    files = {"train-images.npy": b"digits"}
    digests = digests_of(files)
    manifest = DataManifest(
        files=digests, name=name, digest=identity(digests), image_size=8, channels=1, counts={"train": 100},
        classes=("a", "b"), class_counts={"a": 50, "b": 50}, source="a test",
    )  # fmt: skip
    put_files(store, files, manifest)
    return manifest
