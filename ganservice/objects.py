"""ObjectStore: bytes under keys in an S3-compatible bucket. Created once, never replaced, checked when read."""

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from ganservice.errors import (
    ArtifactExists,
    ArtifactMissing,
    DataInvalid,
    DigestMismatch,
    GanServiceError,
    OutageKind,
    StoreOutage,
)
from ganservice.file_upload import upload_file
from ganservice.files import sha256_of, write_aside
from ganservice.proxies import by_way_of
from ganservice.s3_client import s3_client
from ganservice.settings import Settings
from ganservice.store_outages import NotInTermsOfS3, explain, is_page

# Larger objects travel in parts of this size.
PART_BYTES = 32 * 2**20
CHUNK_BYTES = 2**20
# What S3 copies by one request.
COPY_BYTES = 5 * 2**30
FIRST_REGION = "us-east-1"
# Unless its reader knows better, an object is no larger than this.
OBJECT_BYTES = 64 * 2**20

# Called, from any thread, with the number of bytes that have travelled; whatever it raises ends the journey.
OnBytes = Callable[[int], object]


def nobody(_: int) -> None:
    """Hear of bytes that have travelled, and do nothing."""


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing shows it."""

    key: str
    bytes: int
    modified_at: float  # Unix time, s


@dataclass(frozen=True)
class Upload:
    """An upload in parts that has not ended."""

    key: str
    id: str
    begun_at: float  # Unix time, s


class ObjectStore:
    """One bucket. Safe to share between threads."""

    def __init__(self, settings: Settings, on_bytes: OnBytes = nobody, *, in_haste: bool = False) -> None:
        """`on_bytes` is called, from any thread, with the number of bytes of each part that has travelled.

        With `in_haste`, for a person who waits, a silent store is given up soon, but for what may be large.
        """
        self._on_bytes = on_bytes
        url = urlsplit(settings.require_store())
        endpoint = f"{url.scheme}://{url.netloc}"
        self._address = endpoint + by_way_of(endpoint)
        self._bucket = url.path.strip("/")
        self._s3 = s3_client(settings, endpoint)
        self._hasty_s3 = s3_client(settings, endpoint, in_haste=True) if in_haste else self._s3
        self._transfer = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES)

    def create_bucket(self) -> None:
        """Make the bucket, in the region of the settings, unless it is there: then no right to make one is needed.

        Raises:
            SettingsInvalid: the store has the bucket in another region.
            StoreOutage: there may be no bucket.
        """
        with self._translated(self._bucket):
            if self._has_bucket():
                return
            # S3's first region is the one that must not be named.
            region: Any = self._s3.meta.region_name
            place: Any = {} if region == FIRST_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            with contextlib.suppress(
                self._s3.exceptions.BucketAlreadyOwnedByYou, self._s3.exceptions.BucketAlreadyExists
            ):
                _no_page(self._s3.create_bucket(Bucket=self._bucket, **place))

    def _has_bucket(self) -> bool:
        try:
            _no_page(self._hasty_s3.head_bucket(Bucket=self._bucket))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True

    def put(self, key: str, data: bytes) -> str:
        """Create an object and return its sha256. The same bytes again are no error: an answer may have been lost.

        Raises:
            ArtifactExists: other bytes are stored under `key`; they stay.
            StoreOutage: nothing is stored.
        """
        digest = hashlib.sha256(data).hexdigest()
        try:
            with self._translated(key):
                if len(data) <= PART_BYTES:
                    s3 = self._hasty_s3 if len(data) <= CHUNK_BYTES else self._s3
                    answer = s3.put_object(
                        Bucket=self._bucket, Key=key, Body=data, IfNoneMatch="*", Metadata={"sha256": digest}
                    )
                    _believed(answer, "ETag")
                    self._on_bytes(len(data))
                else:
                    self._put_in_parts(key, data, digest)
        except ArtifactExists:
            if self.sha256(key) != digest:
                raise
        return digest

    def put_anew(self, key: str, data: bytes) -> str:
        """As `put`, under a key that the bytes' own digest makes: nobody stores others there, and what is there already
        counts as stored now, so that it is no garbage. Returns the sha256. Raises StoreOutage."""
        digest = hashlib.sha256(data).hexdigest()
        with self._translated(key):
            if len(data) <= PART_BYTES:
                answer = self._s3.put_object(Bucket=self._bucket, Key=key, Body=data, Metadata={"sha256": digest})
                _believed(answer, "ETag")
            else:
                self._upload(key, data, digest)
        return digest

    def put_file(self, key: str, path: Path, sha256: str, on_bytes: OnBytes = nobody) -> None:
        """As `put_anew`, of a file whose bytes are never all in memory; its digest is told by who has read it.

        Raises:
            OSError: the file cannot be read.
            StoreOutage.
        """

        def travelled(length_bytes: int) -> None:
            self._on_bytes(length_bytes)
            on_bytes(length_bytes)

        with self._translated(key):
            upload_file(self._s3, path, self._bucket, key, {"sha256": sha256}, PART_BYTES, travelled)

    def renew(self, key: str, sha256: str) -> None:
        """Have an object of COPY_BYTES at most, stored with this digest, count as stored now: it is no garbage then.

        Raises ArtifactMissing, StoreOutage.
        """
        with self._translated(key):
            answer = self._s3.copy_object(
                Bucket=self._bucket,
                Key=key,
                CopySource={"Bucket": self._bucket, "Key": key},
                MetadataDirective="REPLACE",
                Metadata={"sha256": sha256},
            )
            _believed(answer, "CopyObjectResult")

    def _put_in_parts(self, key: str, data: bytes, digest: str) -> None:
        # No server but AWS's own honours a condition when parts are put together, so we look first; a key has one
        # writer only, the attempt it is named after.
        with contextlib.suppress(ArtifactMissing):
            self.sha256(key)
            raise ArtifactExists(f"{key}: the store holds other bytes under this key")
        self._upload(key, data, digest)

    def _upload(self, key: str, data: bytes, digest: str) -> None:
        self._s3.upload_fileobj(
            io.BytesIO(data),
            self._bucket,
            key,
            ExtraArgs={"Metadata": {"sha256": digest}},
            Callback=self._on_bytes,
            Config=self._transfer,
        )

    def sha256(self, key: str) -> str:
        """The digest an object was stored with. Raises ArtifactMissing."""
        return cast(str, self._about(key)["Metadata"].get("sha256", ""))

    def modified_at(self, key: str) -> float:
        """When an object was stored, Unix time in s. Raises ArtifactMissing."""
        return cast(float, self._about(key)["LastModified"].timestamp())

    def check_stored(self, key: str, sha256: str, length_bytes: int) -> None:
        """Raise ArtifactMissing or DigestMismatch unless the store says that it holds so many bytes with this digest.

        The bytes themselves are left where they are: `check_bytes` looks at them.
        """
        about = self._about(key)
        if about["ContentLength"] != length_bytes:
            raise DigestMismatch(f"{key}: the store holds {about['ContentLength']:,} bytes of {length_bytes:,}")
        _check(key, about["Metadata"].get("sha256", ""), sha256)

    def check_bytes(self, key: str, sha256: str, length_bytes: int, on_bytes: OnBytes = nobody) -> None:
        """Read an object through. Raises ArtifactMissing, DigestMismatch: its bytes are others."""
        with self._opened(key, length_bytes) as answer:
            found = sha256_of(self._told(answer["Body"].iter_chunks(CHUNK_BYTES), on_bytes))
        _check(key, found, sha256)

    def get(self, key: str, most_bytes: int = OBJECT_BYTES, sha256: str | None = None) -> bytes:
        """An object's bytes, which have the digest it was stored with, and that of a pin: `sha256`.

        Raises:
            ArtifactMissing, StoreOutage.
            DigestMismatch: the bytes are others, or more than `most_bytes`: then none was read.
        """
        with self._opened(key, most_bytes) as answer:
            body = io.BytesIO()
            body.writelines(self._told(answer["Body"].iter_chunks(CHUNK_BYTES)))
        data = body.getvalue()
        found = hashlib.sha256(data).hexdigest()
        _check(key, found, answer["Metadata"].get("sha256", ""))
        _check(key, found, sha256 or found)
        return data

    def download(
        self,
        key: str,
        path: Path,
        sha256: str | None = None,
        most_bytes: int = OBJECT_BYTES,
        on_bytes: OnBytes = nobody,
    ) -> bool:
        """Write an object to `path`, which appears only when whole and right: with the digest `sha256`, or else with
        the one that it was stored with. Returns whether there was one; ours all have theirs.

        Raises:
            ArtifactMissing, DigestMismatch, StoreOutage, DiskFull: `path` is not there.
        """
        digest = hashlib.sha256()
        with write_aside(path) as aside:
            with self._opened(key, most_bytes) as answer, aside.open("wb") as file:
                for chunk in self._told(answer["Body"].iter_chunks(CHUNK_BYTES), on_bytes):
                    digest.update(chunk)
                    file.write(chunk)
                expected = answer["Metadata"].get("sha256", "") if sha256 is None else sha256
            if expected or sha256 is not None:
                _check(key, digest.hexdigest(), expected)
        return bool(expected)

    def moved(self, length_bytes: int) -> None:
        """Tell of bytes that came further without a journey, as those that are verified here."""
        self._on_bytes(length_bytes)

    def _told(self, chunks: Iterable[bytes], on_bytes: OnBytes = nobody) -> Iterator[bytes]:
        for chunk in chunks:
            self._on_bytes(len(chunk))
            on_bytes(len(chunk))
            yield chunk

    def _about(self, key: str) -> Any:
        with self._translated(key):
            return _believed(self._hasty_s3.head_object(Bucket=self._bucket, Key=key), "ETag")

    @contextlib.contextmanager
    def _opened(self, key: str, most_bytes: int) -> Iterator[Any]:
        """The answer with an object's body, whose length is known not to be above `most_bytes` before it is read.

        No more than that length is ever read of it, whatever the server sends.
        """
        s3 = self._hasty_s3 if most_bytes <= OBJECT_BYTES else self._s3
        with self._translated(key):
            answer: Any = s3.get_object(Bucket=self._bucket, Key=key)
            with contextlib.closing(answer["Body"]):
                _believed(answer, "ETag")
                length_bytes = _believed(answer, "ContentLength")["ContentLength"]
                if length_bytes > most_bytes:
                    raise DigestMismatch(
                        f"{key}: the store holds {length_bytes:,} bytes, expected {most_bytes:,} at most"
                    )
                yield answer

    def link(self, key: str, expires_s: int) -> str:
        """An address at which anyone can get an object until it expires; made here, without asking the store."""
        return self._s3.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=expires_s
        )

    def list_objects(self, prefix: str) -> list[StoredObject]:
        """All objects whose key starts with `prefix`, by key."""
        return list(self.each_object(prefix))

    def each_object(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects whose key starts with `prefix`, by key, a thousand with each request."""
        with self._translated(prefix):
            for page in self._hasty_s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for entry in _believed(page, "IsTruncated").get("Contents", []):
                    yield StoredObject(entry["Key"], entry["Size"], entry["LastModified"].timestamp())

    def now_s(self) -> float | None:
        """The store's clock, Unix time in whole s, where it tells it. Raises StoreOutage."""
        with self._translated(""):
            answer: Any = self._hasty_s3.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
            told = _believed(answer, "IsTruncated")["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(told).timestamp() if told else None

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self._translated(key):
            _no_page(self._hasty_s3.delete_object(Bucket=self._bucket, Key=key))

    def list_uploads(self, prefix: str) -> list[Upload]:
        """All uploads in parts that have not ended, to keys that start with `prefix`.

        Raises:
            StoreOutage: some servers list no uploads, and some users have no right to.
        """
        with self._translated(prefix):
            pages = self._hasty_s3.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
            return [
                Upload(upload["Key"], upload["UploadId"], upload["Initiated"].timestamp())
                for page in pages
                for upload in page.get("Uploads", [])
            ]

    def abort_uploads(self, prefix: str) -> None:
        """Abort all uploads in parts to keys that start with `prefix`; what the store refuses of it stays."""
        with contextlib.suppress(StoreOutage):
            for upload in self.list_uploads(prefix):
                self.abort_upload(upload)

    def abort_upload(self, upload: Upload) -> None:
        """Free what an upload has brought so far, unless it has ended. Raises StoreOutage."""
        with contextlib.suppress(ArtifactMissing), self._translated(upload.key):
            self._s3.abort_multipart_upload(Bucket=self._bucket, Key=upload.key, UploadId=upload.id)

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except GanServiceError:
            raise
        except Exception as error:
            told = explain(error, self._address, self._bucket, key)
            if told is None:
                raise
            raise told from error


def check_length(key: str, data: bytes, most_bytes: int) -> None:
    """Raise DataInvalid of what those who read `most_bytes` at most could not read again."""
    if len(data) > most_bytes:
        raise DataInvalid(f"{key}: has {len(data):,} bytes; expected {most_bytes:,} at most, or nobody reads it")


def put_bounded(objects: ObjectStore, key: str, data: bytes, most_bytes: int) -> str:
    """Store what those who read `most_bytes` at most can read again, and return its sha256. Raises DataInvalid."""
    check_length(key, data, most_bytes)
    return objects.put(key, data)


@contextlib.contextmanager
def read_back() -> Iterator[None]:
    """Turn what is wrong with an object that was written a moment ago into an outage of the store that lost it: another
    attempt, which writes under other keys, may fare better."""
    try:
        yield
    except (ArtifactMissing, DigestMismatch) as error:
        raise StoreOutage(f"the store has lost what it took: {error}", OutageKind.FAILING) from error


def _check(key: str, found: str, expected: str) -> None:
    """Raise DigestMismatch unless a digest is the expected one. That of what was found is nobody's business."""
    if not expected:
        raise DigestMismatch(f"{key}: was stored without its sha256, by something else than ganservice")
    if found != expected:
        raise DigestMismatch(f"{key}: the stored bytes have another sha256 than {expected[:12]}...; they are damaged")


def _believed(answer: Any, sign: str) -> Any:
    """An answer that has the `sign` of an S3 store: whoever answers 200 to everything stores nothing."""
    if sign not in answer:
        raise NotInTermsOfS3(f"an answer without {sign}")
    return answer


def _no_page(answer: Any) -> None:
    """Raise NotInTermsOfS3 where an answer without contents is a page for people."""
    if is_page(answer["ResponseMetadata"]):
        raise NotInTermsOfS3("a page of HTML")
