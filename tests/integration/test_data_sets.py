import hashlib
import io
import json
import secrets
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from ganservice.artifacts import ArtifactStore
from ganservice.errors import DataInvalid, DataMissing, DigestMismatch, GanServiceError, RequestError
from ganservice.manifest import DataManifest, digests_of, identity
from ganservice.objects import ObjectStore, OnBytes, nobody
from ganservice.recipe import Pictures
from ganservice.settings import Settings
from tests.integration.store import damage, put_files, raw_client
from workers.attempt.stored_data import pictures
from workers.gan.data.examples import Examples


@pytest.fixture
def store(store_settings: Settings) -> ArtifactStore:
    return ArtifactStore(store_settings)


@pytest.fixture
def name() -> str:
    """The name of a data set that no other test has."""
    return f"digits-{secrets.token_hex(6)}"


def data_set(name: str, content: bytes) -> tuple[dict[str, bytes], DataManifest]:
    files = {"train-images.npy": content, "train-labels.npy": b"labels"}
    digests = digests_of(files)
    return files, DataManifest(
        files=digests, name=name, digest=identity(digests), image_size=8, channels=1, counts={"train": 9},
        classes=("0", "1"), class_counts={"0": 4, "1": 5}, source="a test",
    )  # fmt: skip


def test_a_manifest_that_nobody_would_read_is_refused_before_anything_is_stored(
    store: ArtifactStore, name: str
) -> None:
    files, manifest = data_set(name, b"first")
    whole = manifest.model_copy(update={"classes": tuple(f"{number:0200d}" for number in range(90_000))})
    with pytest.raises(RequestError, match=r"its manifest has .* bytes, expected at most 16,777,216"):
        put_files(store, files, whole)
    assert list(store.objects.list_objects(f"data/{name}/")) == []


def test_a_data_set_is_found_by_the_first_letters_of_its_digest(store: ArtifactStore, name: str) -> None:
    sets = [data_set(name, content) for content in (b"first", b"second")]
    for files, manifest in sets:
        put_files(store, files, manifest)
    assert [store.find_data_set(name, manifest.digest[:12]) for _, manifest in sets] == [
        manifest for _, manifest in sets
    ]


def test_a_data_set_is_found_by_name_and_by_digest(store: ArtifactStore, name: str) -> None:
    (_, first), (_, second) = (sets := [data_set(name, content) for content in (b"first", b"second")])
    for files, manifest in sets:
        put_files(store, files, manifest)
    assert store.find_data_set(name, first.digest) == first
    assert store.find_data_set(name, second.digest) == second
    listed = [found.digest for found in store.list_data_sets() if found.name == name]
    assert sorted(listed) == sorted([first.digest, second.digest])


def test_a_data_set_found_by_name_alone_is_the_newest(
    store: ArtifactStore, name: str, eventually: Callable[..., Any]
) -> None:
    files, manifest = data_set(name, b"first")
    put_files(store, files, manifest)

    # The store's times are whole seconds: other sets follow until one is of a later second.
    def newer() -> DataManifest | None:
        files, manifest = data_set(name, secrets.token_bytes(8))
        put_files(store, files, manifest)
        times = {found.key: found.modified_at for found in store.objects.list_objects(f"data/{name}/")}
        latest = times[f"data/{name}/{manifest.digest}/manifest.json"]
        return manifest if sorted(times.values()).count(latest) <= len(files) + 1 else None

    newest = eventually(newer)
    assert store.find_data_set(name) == newest

    def stored_again() -> bool:
        put_files(store, files, manifest.model_copy(update={"source": "another folder"}))
        return store.find_data_set(name).digest == manifest.digest

    eventually(stored_again)
    assert store.find_data_set(name).source == "another folder"


def test_a_missing_data_set_is_told_with_what_to_do(store: ArtifactStore, name: str) -> None:
    files, manifest = data_set(f"{name}-more", b"another")
    put_files(store, files, manifest)
    for digest in (None, manifest.digest):
        with pytest.raises(DataMissing, match=f"the store holds no data set {name}; run `ganctl data get"):
            store.find_data_set(name, digest)
    held = f"{manifest.name}@{manifest.digest[:12]}"
    with pytest.raises(DataMissing, match=f"the store holds no {manifest.name}@{'0' * 12}, but {held}; see `ganctl"):
        store.find_data_set(manifest.name, "0" * 64)


def test_a_data_set_without_its_manifest_is_not_there(store: ArtifactStore, name: str) -> None:
    files, manifest = data_set(name, b"first")
    put_files(store, files, manifest)
    store.objects.delete(f"data/{name}/{manifest.digest}/manifest.json")
    with pytest.raises(DataMissing):
        store.find_data_set(name)


def test_a_cached_data_set_is_not_downloaded_again(store: ArtifactStore, name: str, tmp_path: Path) -> None:
    files, manifest = data_set(name, b"first")
    put_files(store, files, manifest)
    folder = store.cache_data_set(manifest, tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    for file in files:
        store.objects.delete(f"data/{name}/{manifest.digest}/{file}")
    assert store.cache_data_set(manifest, tmp_path) == folder


def test_a_damaged_or_missing_file_of_the_cache_is_downloaded_again(
    store: ArtifactStore, name: str, tmp_path: Path
) -> None:
    files, manifest = data_set(name, b"first")
    put_files(store, files, manifest)
    folder = store.cache_data_set(manifest, tmp_path)
    (folder / "train-images.npy").write_bytes(b"half")
    (folder / "train-labels.npy").unlink()
    store.cache_data_set(manifest, tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_a_data_set_damaged_in_the_store_is_refused(
    store: ArtifactStore, store_settings: Settings, name: str, tmp_path: Path
) -> None:
    files, manifest = data_set(name, b"first")
    put_files(store, files, manifest)
    damage(store_settings, f"data/{name}/{manifest.digest}/train-images.npy")
    with pytest.raises(DigestMismatch, match=r"train-images\.npy"):
        store.cache_data_set(manifest, tmp_path)
    assert not list(tmp_path.rglob("*train-images*"))


def test_a_cache_that_cannot_be_made_is_told_with_the_variable_that_moves_it(
    store: ArtifactStore, name: str, tmp_path: Path
) -> None:
    files, manifest = data_set(name, b"first")
    put_files(store, files, manifest)
    (tmp_path / "file").write_text("in the way")
    for cache in (tmp_path / "file", Path("/proc/none")):
        with pytest.raises(RequestError, match=f"^{cache}.* cannot be written .*; set GANSERVICE_CACHE_DIR"):
            store.cache_data_set(manifest, cache)


# A bucket to which others write


def overwrite(settings: Settings, key: str, data: bytes) -> None:
    """Replace an object as who may write to the bucket can: with the digest that its new bytes have."""
    bucket = settings.require_store().rpartition("/")[2]
    digest = hashlib.sha256(data).hexdigest()
    raw_client(settings).put_object(Bucket=bucket, Key=key, Body=data, Metadata={"sha256": digest})


def arrays(images: NDArray[Any], labels: NDArray[Any]) -> dict[str, bytes]:
    files = {}
    for name, array in (("train-images.npy", images), ("train-labels.npy", labels)):
        buffer = io.BytesIO()
        np.save(buffer, array)
        files[name] = buffer.getvalue()
    return files


def of_pictures(name: str, files: dict[str, bytes]) -> DataManifest:
    digests = digests_of(files)
    return DataManifest(
        files=digests, name=name, digest=identity(digests), image_size=8, channels=1, counts={"train": 9},
        classes=("0", "1"), class_counts={"0": 4, "1": 5}, source="a test",
    )  # fmt: skip


IMAGES, LABELS = np.arange(9 * 64, dtype=np.uint8).reshape(9, 1, 8, 8), np.arange(9, dtype=np.uint8) % 2


@pytest.fixture
def stored(store: ArtifactStore, name: str) -> DataManifest:
    """A data set of nine pictures that can be learned."""
    files = arrays(IMAGES, LABELS)
    manifest = of_pictures(name, files)
    put_files(store, files, manifest)
    return manifest


@pytest.fixture
def learn(store: ArtifactStore, store_settings: Settings, tmp_path: Path) -> Callable[..., Examples]:
    """Read what a training would learn of a data set that its spec pins."""
    settings = store_settings.model_copy(update={"cache_dir": tmp_path / "cache"})

    def read(manifest: DataManifest, **asked: Any) -> Examples:
        data: dict[str, Any] = {"dataset": manifest.name, "image_size": 8, "channels": 1, "digest": manifest.digest}
        return pictures(settings, store, Pictures(**data | asked), "train")

    return read


def test_a_digest_that_is_a_path_writes_nowhere(
    store: ArtifactStore, store_settings: Settings, name: str, tmp_path: Path
) -> None:
    """The manifest of a data set whose digest is a folder of the user's."""
    files = {"train-images.npy": b"a key of mine"}
    victim = tmp_path / "home" / ".ssh"
    evil = json.loads(of_pictures(name, files).to_json()) | {"digest": str(victim)}
    for folder in (of_pictures(name, files).digest, "home/.ssh"):
        overwrite(store_settings, f"data/{name}/{folder}/manifest.json", json.dumps(evil).encode())
        overwrite(store_settings, f"data/{name}/{folder}/train-images.npy", files["train-images.npy"])
    said: list[str] = []
    for digest in (None, evil["digest"], of_pictures(name, files).digest):
        with pytest.raises((GanServiceError, DataMissing)):
            store.find_data_set(name, digest, said.append)
    assert all(found.name != name for found in store.list_data_sets(said.append))
    assert any("is not a manifest this version can read: digest" in line for line in said)
    assert any("is not where a data set can lie" in line for line in said)
    with pytest.raises(ValidationError):
        store.cache_data_set(DataManifest.model_validate(evil), tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


def test_other_pictures_under_a_pinned_digest_are_never_learned(
    store_settings: Settings, stored: DataManifest, learn: Callable[..., Examples], tmp_path: Path
) -> None:
    assert torch.equal(learn(stored).images.first(9), torch.from_numpy(IMAGES))
    shutil.rmtree(tmp_path / "cache")
    files = arrays(255 - IMAGES, LABELS)
    folder = f"data/{stored.name}/{stored.digest}/"
    overwrite(store_settings, folder + "train-images.npy", files["train-images.npy"])
    with pytest.raises(DigestMismatch, match=r"train-images\.npy: the stored bytes have another sha256 than"):
        learn(stored)
    # The manifest is exchanged too: for one of the other pictures, and for one that claims the pinned digest for them.
    other = of_pictures(stored.name, files)
    claims = json.loads(other.to_json()) | {"digest": stored.digest}
    for text, says in (
        (other.to_json(), "is the manifest of another data set"),
        (json.dumps(claims).encode(), "digest: is not that of the files"),
    ):
        overwrite(store_settings, folder + "manifest.json", text)
        with pytest.raises(GanServiceError, match=says):
            learn(stored)
    assert not list(tmp_path.rglob("*train-images*"))


def test_what_is_exchanged_in_the_cache_is_not_learned(
    stored: DataManifest, learn: Callable[..., Examples], tmp_path: Path
) -> None:
    learn(stored)
    path = tmp_path / "cache" / "data" / stored.digest / "train-images.npy"
    path.write_bytes(arrays(255 - IMAGES, LABELS)["train-images.npy"])
    assert torch.equal(learn(stored).images.first(9), torch.from_numpy(IMAGES))


def test_a_file_that_is_larger_than_its_manifest_says_is_not_read(
    store: ArtifactStore, store_settings: Settings, stored: DataManifest, tmp_path: Path
) -> None:
    key, length = f"data/{stored.name}/{stored.digest}/train-images.npy", stored.files["train-images.npy"].bytes
    overwrite(store_settings, key, bytes(length + 1))
    with pytest.raises(DigestMismatch, match=f"holds {length + 1:,} bytes, expected {length:,} at most"):
        store.cache_data_set(stored, tmp_path)
    assert not list(tmp_path.rglob("*train-images*"))


def header_of(shape: tuple[int, ...]) -> bytes:
    """A file of .npy that claims more than it holds."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(9 * 64)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES[:8], LABELS),
        (IMAGES.astype(np.int64), LABELS),
        (IMAGES.reshape(9, 1, 64, 1), LABELS),
        (IMAGES, LABELS + 1),
        (IMAGES, LABELS.astype(np.int64) - 1),
        (IMAGES, LABELS[:3]),
        (IMAGES, LABELS.astype(np.float32)),
    ],
)
def test_arrays_that_are_not_as_their_manifest_says_are_refused(
    store: ArtifactStore, name: str, learn: Callable[..., Examples], images: NDArray[Any], labels: NDArray[Any]
) -> None:
    files = arrays(images, labels)
    manifest = of_pictures(name, files)
    put_files(store, files, manifest)
    with pytest.raises(DataInvalid, match=r"train-(images|labels)\.npy: "):
        learn(manifest)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x93NUMPY", header_of((2**50, 1, 8, 8)), header_of((9, 1, 8))]
)
def test_a_file_that_is_no_array_or_claims_too_much_is_refused(
    store: ArtifactStore, name: str, learn: Callable[..., Examples], content: bytes
) -> None:
    files = arrays(IMAGES, LABELS) | {"train-images.npy": content}
    manifest = of_pictures(name, files)
    put_files(store, files, manifest)
    with pytest.raises(DataInvalid, match=r"train-images\.npy: .*expected a whole \.npy file"):
        learn(manifest)


def test_a_spec_that_asks_for_other_pictures_than_the_data_set_has_is_refused(
    stored: DataManifest, learn: Callable[..., Examples]
) -> None:
    assert len(learn(stored, only=("1",)).images) == 4
    for asked, error in (
        ({"image_size": 16}, DataInvalid),
        ({"channels": 3}, DataInvalid),
        ({"only": ("2",)}, DataMissing),
    ):
        with pytest.raises(error, match=stored.name):
            learn(stored, **asked)


# Stored again


def test_a_set_that_is_stored_again_is_there_at_every_moment(store: ArtifactStore, name: str) -> None:
    (files, manifest), (others, other) = data_set(name, b"first"), data_set(name, b"second")
    put_files(store, files, manifest)
    put_files(store, others, other)
    stored, troubles, looks = threading.Event(), list[Exception](), 0

    def look() -> None:
        nonlocal looks
        while not stored.is_set() or not looks:
            try:
                assert store.find_data_set(name, manifest.digest).digest == manifest.digest
                assert store.find_data_set(name).name == name
            except Exception as error:  # noqa: BLE001 # whatever a reader meets
                troubles.append(error)
            looks += 1

    with ThreadPoolExecutor(2) as readers:
        looking = [readers.submit(look) for _ in range(2)]
        try:
            for turn in range(6):
                again = manifest if turn % 2 else manifest.model_copy(update={"source": "another folder"})
                put_files(store, files, again)
                assert store.find_data_set(name) == again
        finally:
            stored.set()
        for reader in looking:
            reader.result()
    assert (troubles, looks > 0) == ([], True)


def test_a_set_that_is_the_newest_already_is_not_written_again(store: ArtifactStore, name: str) -> None:
    files, manifest = data_set(name, b"first")
    for _ in range(3):
        put_files(store, files, manifest)
    assert len(store.objects.list_objects(f"data/{name}/")) == len(files) + 1


class Forgetful(ObjectStore):
    """A store that says that it has stored a file, and has stored half of it."""

    def put_file(self, key: str, path: Path, sha256: str, on_bytes: OnBytes = nobody) -> None:
        path.write_bytes(path.read_bytes()[:3])
        super().put_file(key, path, sha256, on_bytes)


def test_a_manifest_is_written_once_its_files_are_known_to_be_stored(
    store: ArtifactStore, store_settings: Settings, name: str
) -> None:
    store.objects = Forgetful(store_settings)
    files, manifest = data_set(name, b"first")
    with pytest.raises(DigestMismatch, match=r"\.npy"):
        put_files(store, files, manifest)
    with pytest.raises(DataMissing):
        store.find_data_set(name)


def test_a_set_that_was_damaged_in_the_store_is_whole_once_it_is_stored_again(
    store: ArtifactStore, store_settings: Settings, name: str
) -> None:
    files, manifest = data_set(name, b"first")
    put_files(store, files, manifest)
    key = f"data/{name}/{manifest.digest}/train-images.npy"
    damage(store_settings, key)
    put_files(store, files, manifest)
    assert store.objects.get(key) == files["train-images.npy"]


# One that cannot be read hides no other


def broken(manifest: DataManifest) -> st.SearchStrategy[bytes]:
    """What may lie where a manifest should: anything, or this one with a key exchanged, or cut off."""
    text = manifest.to_json()
    anything = st.none() | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.integers())
    keys = st.sampled_from(sorted(json.loads(text)))
    exchanged = st.builds(lambda key, value: json.dumps(json.loads(text) | {key: value}).encode(), keys, anything)
    return st.binary() | exchanged | st.integers(0, len(text) - 3).map(lambda end: text[:end])


def test_a_damaged_manifest_hides_no_other(store: ArtifactStore, store_settings: Settings, name: str) -> None:
    (files, whole), (others, other) = data_set(name, b"first"), data_set(name, b"second")
    put_files(store, files, whole)
    put_files(store, others, other)
    key = f"data/{name}/{other.digest}/manifest.json"

    @given(text=broken(other))
    @example(text=b'{"format": 99}')
    @example(text=b"[" * 100_000)
    @hypothesis_settings(max_examples=20)
    def hides_nothing(text: bytes) -> None:
        overwrite(store_settings, key, text)
        said: list[str] = []
        listed = [found for found in store.list_data_sets(said.append) if found.name == name]
        assert whole in listed
        assert store.find_data_set(name, whole.digest, said.append) == whole
        found = store.find_data_set(name, tell=said.append)
        assert found.digest in (whole.digest, other.digest)
        assert all(len(line.splitlines()) == 1 for line in said)
        assert len(listed) == 2 or any(key in line for line in said)

    hides_nothing()
