"""Data sets in the store: each known by the digest of its files, and each file by its own.

data/NAME/DIGEST/            FILE.npy ..., then manifest.json
data/NAME/DIGEST/manifest-TIME.json   the manifest again, where a set was stored once more after another of its name
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ganservice.data_cache import DataCache
from ganservice.errors import (
    ArtifactExists,
    ArtifactMissing,
    DataMissing,
    DigestMismatch,
    FormatTooNew,
    GanServiceError,
    Outage,
    RequestError,
)
from ganservice.manifest import MANIFEST, MANIFEST_BYTES, DataManifest, FileDigest
from ganservice.objects import COPY_BYTES, ObjectStore
from ganservice.parallel import side_by_side
from ganservice.stored_manifest import read_manifest

MANIFEST_KEY = re.compile(r"data/([a-z0-9][a-z0-9._-]{0,63})/([0-9a-f]{64})/manifest(?:-([0-9]{19}))?\.json")


@dataclass(frozen=True, order=True)
class _Stored:
    """A manifest by where it lies, in the order in which manifests were stored."""

    modified_at: float  # Unix time by the store's clock, whole s in some stores
    time_ns: int  # by the clock of who stored it again; 0 of a first manifest
    key: str
    name: str
    digest: str


def _tell_nobody(_: str) -> None:
    pass


class _Share:
    """The share of a data set that is stored and read back, of bytes that travel twice."""

    def __init__(self, manifest: DataManifest, proceed: Callable[[float], object]) -> None:
        self._most = {name: 2 * file.bytes for name, file in manifest.files.items()}
        self._travelled = dict.fromkeys(self._most, 0)
        self._total = max(1, sum(self._most.values()))
        self._proceed = proceed
        self._lock = threading.Lock()

    def add(self, name: str, length_bytes: int) -> None:
        """Take note of bytes of a file; those that travel once more, as after an outage, count for nothing."""
        with self._lock:
            self._travelled[name] = min(self._most[name], self._travelled[name] + length_bytes)
            share = sum(self._travelled.values()) / self._total
            self._proceed(share)


class DataSets:
    """The data sets in the store."""

    objects: ObjectStore

    def put_data_set(
        self,
        files: Mapping[str, Path],
        manifest: DataManifest,
        proceed: Callable[[float], object] = lambda _: None,
    ) -> None:
        """Store a data set's files, then its manifest, each read back; from then on it is the one meant by its name.

        Files travel side by side, and one that the store holds already is not sent again: who was interrupted goes on.
        `proceed` is called, from any thread, with the share that is stored and read back, 0 to 1.
        Nothing is taken away meanwhile: who reads a set while it is stored again finds it at any time.

        Raises:
            RequestError: nobody could read the manifest; nothing is stored.
            OSError: a file cannot be read.
            DigestMismatch: the store holds other bytes than it was given, or a file has changed since its digest was
                taken.
        """
        folder = _folder_key(manifest)
        if (length_bytes := len(manifest.to_json())) > MANIFEST_BYTES:
            raise RequestError(
                f"{manifest.name}: its manifest has {length_bytes:,} bytes, expected at most {MANIFEST_BYTES:,}: fewer "
                "classes, or shorter names of them; nothing was stored"
            )
        try:
            DataManifest.from_json(manifest.to_json())
        except ValueError as error:
            raise RequestError(f"{manifest.name}: its manifest could not be read again; nothing was stored") from error
        share = _Share(manifest, proceed)
        side_by_side(
            partial(self._put_file, folder + name, files[name], expected, partial(share.add, name))
            for name, expected in manifest.files.items()
        )
        with contextlib.suppress(ArtifactExists):
            self._put_manifest(folder + MANIFEST, manifest)
        if not self._is_meant(manifest):
            self._put_manifest(f"{folder}manifest-{time.time_ns():019d}.json", manifest)

    def _put_file(
        self, key: str, path: Path, expected: FileDigest, tell: Callable[[int], None], check: Callable[[], None]
    ) -> None:
        """Have the store hold a file, young: unless it does, send the file, and read it back.

        `tell` hears of its bytes twice, and `check` is called as they travel.
        """

        def travelled(length_bytes: int) -> None:
            check()
            tell(length_bytes)

        if not self._is_stored(key, expected, check):
            self.objects.put_file(key, path, expected.sha256, travelled)
            self.objects.check_bytes(key, expected.sha256, expected.bytes, travelled)
        tell(2 * expected.bytes)

    def _is_stored(self, key: str, expected: FileDigest, check: Callable[[], None]) -> bool:
        """Whether the store holds a file whole; it counts as stored now, lest it be garbage before its manifest."""
        check()
        if expected.bytes > COPY_BYTES:
            return False
        try:
            self.objects.check_bytes(key, expected.sha256, expected.bytes, lambda _: check())
            self.objects.renew(key, expected.sha256)
        except (ArtifactMissing, DigestMismatch):
            return False
        return True

    def _put_manifest(self, key: str, manifest: DataManifest) -> None:
        self.objects.put(key, manifest.to_json())
        if read_manifest(self.objects, key, DataManifest) != manifest:
            raise DigestMismatch(f"{key}: the store gives back another manifest than it was given")

    def _is_meant(self, manifest: DataManifest) -> bool:
        """Whether this very manifest is the one meant by its name."""
        for newest in self._manifests(f"data/{manifest.name}/")[-1:]:
            with contextlib.suppress(ArtifactMissing, DigestMismatch, FormatTooNew):
                return self._read(newest) == manifest
        return False

    def find_data_set(
        self, name: str, digest: str | None = None, tell: Callable[[str], None] = _tell_nobody
    ) -> DataManifest:
        """A data set's manifest: of several with that digest, or whose digest begins so, that of the one stored last.

        `tell` hears of each that is unreadable.

        Raises:
            DataMissing: the store holds none.
            DigestMismatch, FormatTooNew, GanServiceError: none of those that it holds can be read.
        """
        stored = self._manifests(f"data/{name}/{digest or ''}")
        unreadable: GanServiceError | None = None
        for each in reversed(stored):
            try:
                return self._read(each)
            except Outage:
                raise
            except GanServiceError as error:
                tell(f"{error}; passed over")
                unreadable = unreadable or error
        if unreadable and not isinstance(unreadable, ArtifactMissing):
            raise unreadable
        if digest and (others := self._manifests(f"data/{name}/")):
            held = ", ".join(dict.fromkeys(f"{name}@{each.digest[:12]}" for each in others))
            raise DataMissing(f"the store holds no {name}@{digest[:12]}, but {held}; see `ganctl data list`")
        raise DataMissing(
            f"the store holds no data set {name}; run `ganctl data get {name}` if `ganctl data list` knows it, "
            f"or `ganctl data import FOLDER --name {name}`"
        )

    def list_data_sets(self, tell: Callable[[str], None] = _tell_nobody) -> list[DataManifest]:
        """All data sets, by name; of several with one name the one stored last is the last.

        `tell` hears of each that is unreadable.
        """
        found: dict[tuple[str, str], DataManifest] = {}
        for stored in sorted(self._manifests("data/", tell), key=lambda stored: (stored.name, stored)):
            try:
                manifest = self._read(stored)
            except Outage:
                raise
            except GanServiceError as error:
                tell(f"{error}; passed over")
            else:
                found.pop((stored.name, stored.digest), None)
                found[stored.name, stored.digest] = manifest
        return list(found.values())

    def cache_data_set(self, manifest: DataManifest, cache_dir: Path) -> Path:
        """A local folder with the data set's files, fetched side by side unless they are there; see `data_cache`.

        Raises:
            ArtifactMissing, DigestMismatch, StoreOutage: a file cannot be had as its manifest says.
            RequestError, DiskFull: there can be no cache, or it has no room.
        """
        return DataCache(self.objects, _folder_key(manifest), manifest, cache_dir).bring()

    def _manifests(self, prefix: str, tell: Callable[[str], None] = _tell_nobody) -> list[_Stored]:
        """The manifests stored under a prefix, oldest first. `tell` hears of those where no data set can lie."""
        found = []
        for entry in self.objects.list_objects(prefix):
            if match := MANIFEST_KEY.fullmatch(entry.key):
                found.append(_Stored(entry.modified_at, int(match[3] or 0), entry.key, match[1], match[2]))
            elif entry.key.endswith(f"/{MANIFEST}"):
                tell(f"{entry.key}: is not where a data set can lie; passed over")
        return sorted(found)

    def _read(self, stored: _Stored) -> DataManifest:
        """A manifest, which must be that of the data set in whose folder it lies."""
        manifest = read_manifest(self.objects, stored.key, DataManifest)
        if (manifest.name, manifest.digest) != (stored.name, stored.digest):
            raise DigestMismatch(f"{stored.key}: is the manifest of another data set")
        return manifest


def _folder_key(manifest: DataManifest) -> str:
    return f"data/{manifest.name}/{manifest.digest}/"
