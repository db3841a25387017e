"""Data sets in shards: stored and fetched side by side, nothing twice, and verified once on each node."""

import fcntl
import io
import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ganservice import data_cache
from ganservice.artifacts import ArtifactStore
from ganservice.errors import DataInvalid, DataMissing, DigestMismatch, GanServiceError
from ganservice.manifest import DataManifest, digests_of, digests_of_files, identity
from ganservice.objects import ObjectStore, OnBytes, nobody
from ganservice.recipe import Pictures
from ganservice.settings import Settings
from tests.conftest import wait_until
from tests.integration.store import damage, put_files
from workers.attempt.stored_data import pictures

IMAGES = np.random.default_rng(0).integers(256, size=(9, 1, 8, 8), dtype=np.uint8)
LABELS = np.arange(9, dtype=np.uint8) % 2


class Watching(ObjectStore):
    """Tells which files travelled, and how many bytes were verified here."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.sent: list[str] = []
        self.fetched: list[str] = []
        self.verified_bytes = 0
        self.before_put: Callable[[str], object] = lambda _: None
        self.before_fetch: Callable[[str], object] = lambda _: None
        self.on_moved: Callable[[], object] = lambda: None

    def put_file(self, key: str, path: Path, sha256: str, on_bytes: OnBytes = nobody) -> None:
        self.before_put(path.name)
        super().put_file(key, path, sha256, on_bytes)
        self.sent.append(path.name)

    def download(
        self, key: str, path: Path, sha256: str | None = None, most_bytes: int = 0, on_bytes: OnBytes = nobody
    ) -> bool:
        self.before_fetch(path.name)
        self.fetched.append(path.name)
        return super().download(key, path, sha256, most_bytes, on_bytes)

    def moved(self, length_bytes: int) -> None:
        self.on_moved()
        self.verified_bytes += length_bytes


@pytest.fixture
def objects(store_settings: Settings) -> Watching:
    return Watching(store_settings)


@pytest.fixture
def store(store_settings: Settings, objects: Watching) -> ArtifactStore:
    store = ArtifactStore(store_settings)
    store.objects = objects
    return store


@pytest.fixture
def name() -> str:
    """The name of a data set that no other test has."""
    return f"shards-{secrets.token_hex(6)}"


def npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def in_shards(*rows: NDArray[Any], labels: NDArray[Any] = LABELS) -> dict[str, bytes]:
    files = {f"train-images-{shard:05d}.npy": npy(array) for shard, array in enumerate(rows)}
    return files | {"train-labels.npy": npy(labels)}


FILES = in_shards(IMAGES[:4], IMAGES[4:8], IMAGES[8:])


def manifest_of(name: str, files: dict[str, bytes]) -> DataManifest:
    digests = digests_of(files)
    return DataManifest(
        files=digests, name=name, digest=identity(digests), image_size=8, channels=1, counts={"train": 9},
        classes=("0", "1"), class_counts={"0": 5, "1": 4}, source="a test",
    )  # fmt: skip


@pytest.fixture
def manifest(name: str) -> DataManifest:
    return manifest_of(name, FILES)


@pytest.fixture
def stored(store: ArtifactStore, manifest: DataManifest, objects: Watching) -> DataManifest:
    put_files(store, FILES, manifest)
    objects.sent.clear()
    return manifest


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Stored


def test_files_on_the_disk_have_the_digests_of_their_bytes(tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    assert digests_of_files({name: tmp_path / name for name in FILES}) == digests_of(FILES)


def test_files_travel_side_by_side_and_the_share_is_told(
    store: ArtifactStore, manifest: DataManifest, objects: Watching, tmp_path: Path
) -> None:
    meeting, shares = threading.Barrier(len(FILES)), list[float]()
    objects.before_put = lambda _: meeting.wait(timeout=30)
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    store.put_data_set({name: tmp_path / name for name in FILES}, manifest, shares.append)
    assert sorted(objects.sent) == sorted(FILES)
    assert shares == sorted(shares)
    assert (len(shares) > len(FILES), 0 < shares[0] < 1, shares[-1]) == (True, True, 1)
    assert store.find_data_set(manifest.name) == manifest


def test_whoever_was_interrupted_sends_only_what_is_missing(
    store: ArtifactStore, manifest: DataManifest, objects: Watching
) -> None:
    def interrupt(name: str) -> None:
        if name == "train-images-00002.npy":
            wait_until(lambda: len(objects.sent) == len(FILES) - 1)
            raise InterruptedError("on purpose")

    objects.before_put = interrupt
    with pytest.raises(InterruptedError):
        put_files(store, FILES, manifest)
    with pytest.raises(DataMissing):
        store.find_data_set(manifest.name)
    objects.sent, objects.before_put = [], lambda _: None
    put_files(store, FILES, manifest)
    assert objects.sent == ["train-images-00002.npy"]
    assert store.find_data_set(manifest.name) == manifest


def test_what_is_there_already_is_not_sent_again_but_counts_as_stored_now(
    store: ArtifactStore, stored: DataManifest, objects: Watching, eventually: Callable[..., Any]
) -> None:
    key = f"data/{stored.name}/{stored.digest}/train-images-00001.npy"
    before = objects.modified_at(key)

    def is_young() -> bool:
        put_files(store, FILES, stored)
        return objects.modified_at(key) > before

    # The store tells the time of an object in whole seconds.
    eventually(is_young)
    assert objects.sent == []
    objects.check_stored(key, stored.files["train-images-00001.npy"].sha256, len(FILES["train-images-00001.npy"]))


def test_a_shard_that_is_damaged_in_the_store_is_sent_again(
    store: ArtifactStore, store_settings: Settings, stored: DataManifest, objects: Watching
) -> None:
    key = f"data/{stored.name}/{stored.digest}/train-images-00001.npy"
    damage(store_settings, key)
    put_files(store, FILES, stored)
    assert objects.sent == ["train-images-00001.npy"]
    assert objects.get(key) == FILES["train-images-00001.npy"]


def test_a_file_that_has_changed_since_its_digest_was_taken_is_told(
    store: ArtifactStore, manifest: DataManifest
) -> None:
    changed = FILES | {"train-images-00001.npy": FILES["train-images-00000.npy"]}
    with pytest.raises(DigestMismatch, match=r"train-images-00001\.npy"):
        put_files(store, changed, manifest)
    with pytest.raises(DataMissing):
        store.find_data_set(manifest.name)


# Fetched


def test_files_are_fetched_side_by_side_and_verified_once(
    store: ArtifactStore, stored: DataManifest, objects: Watching, tmp_path: Path
) -> None:
    meeting = threading.Barrier(len(FILES))
    objects.before_fetch = lambda _: meeting.wait(timeout=30)
    folder = store.cache_data_set(stored, tmp_path)
    assert contents(folder) == FILES
    for _ in range(2):
        assert store.cache_data_set(stored, tmp_path) == folder
    assert (sorted(objects.fetched), objects.verified_bytes) == (sorted(FILES), 0)


def test_a_cache_without_a_marker_is_verified_and_not_fetched(
    store: ArtifactStore, stored: DataManifest, objects: Watching, tmp_path: Path
) -> None:
    folder = store.cache_data_set(stored, tmp_path)
    [marker] = tmp_path.rglob("*.verified.json")
    for content in (
        None,
        b"",
        b"[]",
        b'{"train-labels.npy": 1}',
        marker.read_bytes().replace(b'"train-l', b'"other-l'),
    ):
        objects.fetched, objects.verified_bytes = [], 0
        marker.unlink() if content is None else marker.write_bytes(content)
        store.cache_data_set(stored, tmp_path)
        store.cache_data_set(stored, tmp_path)
        read = sum(map(len, FILES.values())) if b"other" not in (content or b"") else len(FILES["train-labels.npy"])
        assert (objects.fetched, objects.verified_bytes) == ([], read)
    assert contents(folder) == FILES


def test_of_a_cache_that_was_changed_only_that_file_is_verified_and_fetched(
    store: ArtifactStore, stored: DataManifest, objects: Watching, tmp_path: Path
) -> None:
    folder = store.cache_data_set(stored, tmp_path)
    touched, exchanged = folder / "train-images-00000.npy", folder / "train-images-00001.npy"
    touched.touch()
    exchanged.write_bytes(FILES["train-images-00000.npy"])  # as long as the other, at once
    (folder / "train-images-00002.npy").unlink()
    objects.fetched.clear()
    store.cache_data_set(stored, tmp_path)
    assert sorted(objects.fetched) == ["train-images-00001.npy", "train-images-00002.npy"]
    assert objects.verified_bytes == 2 * len(FILES["train-images-00000.npy"])
    assert contents(folder) == FILES


def test_no_change_of_what_was_just_fetched_can_leave_the_same_time(
    store: ArtifactStore, stored: DataManifest, tmp_path: Path
) -> None:
    begun_ns = time.time_ns()
    folder = store.cache_data_set(stored, tmp_path)
    for path in folder.iterdir():  # not even on a disk that tells time in whole seconds
        assert path.stat().st_mtime_ns < begun_ns - 10**9


def test_one_process_fetches_for_all(
    store: ArtifactStore, stored: DataManifest, objects: Watching, tmp_path: Path
) -> None:
    others, waiting = 3, set[int]()

    def wait_for_the_others(name: str) -> None:
        if name != "train-images-00000.npy":
            wait_until(lambda: len(waiting) == others)  # each has seen that something comes further

    objects.before_fetch = wait_for_the_others
    objects.on_moved = lambda: waiting.add(threading.get_ident())
    with ThreadPoolExecutor(1 + others) as pool:
        made = [pool.submit(store.cache_data_set, stored, tmp_path) for _ in range(1 + others)]
        [folder] = {each.result() for each in made}
    assert sorted(objects.fetched) == sorted(FILES)
    assert contents(folder) == FILES


def test_a_fetcher_that_was_killed_leaves_nothing_in_the_way(
    store: ArtifactStore, stored: DataManifest, tmp_path: Path
) -> None:
    folder = store.cache_data_set(stored, tmp_path)
    (folder / "train-images-00002.npy").unlink()
    half, fresh = folder / ".train-images-00002.npy.0.part", folder / ".train-images-00002.npy.1.part"
    for path in (half, fresh):
        path.write_bytes(b"half")
    long_ago = time.time() - 2 * data_cache.DEAD_S
    os.utime(half, (long_ago, long_ago))
    store.cache_data_set(stored, tmp_path)
    assert contents(folder) == FILES | {fresh.name: b"half"}  # somebody may be writing it


@pytest.fixture
def held(tmp_path: Path, stored: DataManifest) -> Any:
    """The lock of a data set, held by a process that does nothing."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    with (folder / f"{stored.digest}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("held")
def test_nobody_waits_for_a_fetcher_that_is_frozen(
    store: ArtifactStore, stored: DataManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_cache, "SILENCE_S", 0.0)
    monkeypatch.setattr(data_cache, "LOOK_S", 0.0)
    assert contents(store.cache_data_set(stored, tmp_path)) == FILES


def test_a_cache_whose_disk_knows_no_locks_serves_all_the_same(
    store: ArtifactStore, stored: DataManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with ThreadPoolExecutor(3) as pool:
        made = [pool.submit(store.cache_data_set, stored, tmp_path) for _ in range(3)]
        [folder] = {each.result() for each in made}
    assert contents(folder) == FILES


def test_a_cache_that_cannot_be_written_to_but_holds_all_is_verified_each_time(
    store: ArtifactStore, stored: DataManifest, objects: Watching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.cache_data_set(stored, tmp_path)
    [marker] = tmp_path.rglob("*.verified.json")
    marker.unlink()

    def refuse(*_: object, **__: object) -> None:
        raise GanServiceError("cannot be written")

    monkeypatch.setattr(data_cache, "write_aside", refuse)
    objects.fetched.clear()
    for times in (1, 2):
        assert store.cache_data_set(stored, tmp_path) == folder
        assert (objects.fetched, objects.verified_bytes) == ([], times * sum(map(len, FILES.values())))


# Learned

Learn = Callable[..., Any]


@pytest.fixture
def learn(store: ArtifactStore, store_settings: Settings, name: str, tmp_path: Path) -> Learn:
    """Store a data set of these files, and read what a training would learn of it."""
    settings = store_settings.model_copy(update={"cache_dir": tmp_path / "cache"})

    def read(files: dict[str, bytes], **asked: Any) -> Any:
        manifest = manifest_of(name, files)
        put_files(store, files, manifest)
        data: dict[str, Any] = {"dataset": name, "image_size": 8, "channels": 1, "digest": manifest.digest}
        return pictures(settings, store, Pictures(**data | asked), "train")

    return read


def test_a_set_in_shards_is_learned_as_one_in_a_file(learn: Learn) -> None:
    whole = learn({"train-images.npy": npy(IMAGES), "train-labels.npy": npy(LABELS)})
    cut = learn(FILES)
    rows = torch.tensor([8, 0, 4, 3])
    for one, other in ((whole, cut), (whole.of_classes([1]), learn(FILES, only=("1",)))):
        assert len(one.images) == len(other.images)
        assert torch.equal(one.images.first(9), other.images.first(9))
        assert torch.equal(one.labels, other.labels)
    assert torch.equal(whole.images.take(rows), cut.images.take(rows))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            in_shards(IMAGES[:4], IMAGES[4:8]),
            "8 images are here and in the shards that follow; the manifest speaks of 9",
        ),
        (in_shards(IMAGES, IMAGES[:1]), "10 images are here and in the shards that follow"),
        (in_shards(IMAGES[:4], IMAGES[4:].astype(np.int64)), "00001.npy: is not an array that the manifest speaks of"),
        (in_shards(IMAGES[:4], IMAGES[4:, :, :4]), r"00001.npy: is not an array .* uint8 \[N, 1, 8, 8\]"),
        (in_shards(IMAGES[:4], IMAGES[4:].reshape(5, 64)), "00001.npy: is not an array"),
        (in_shards(IMAGES, IMAGES[:0]), "00001.npy: is not an array"),
        (FILES | {"train-images-00001.npy": b"PK"}, "00001.npy: .*; expected a whole .npy file"),
        (in_shards(IMAGES[:4], IMAGES[4:], labels=LABELS[:4]), "train-labels.npy: is not the array"),
    ],
)
def test_shards_that_are_not_as_their_manifest_says_are_told_in_one_line(
    learn: Learn, files: dict[str, bytes], says: str
) -> None:
    with pytest.raises(DataInvalid, match=says) as caught:
        learn(files)
    assert len(str(caught.value).splitlines()) == 1
