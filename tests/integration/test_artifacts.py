import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganservice.artifacts import ArtifactStore
from ganservice.errors import (
    ArtifactExists,
    ArtifactMissing,
    DataInvalid,
    DigestMismatch,
    DiskFull,
    FormatTooNew,
    GanServiceError,
    SpecInvalid,
    StoreOutage,
)
from ganservice.job import Lease
from ganservice.job_keys import attempt_of
from ganservice.objects import ObjectStore
from ganservice.retention import kept_checkpoints
from ganservice.settings import Settings
from ganservice.spec import Checkpoints, TrainSpec
from ganservice.stored_manifest import check_bundle, check_generator
from tests.integration.bundles import FILES, generator_manifest, publish
from tests.integration.store import damage, fill_disk, raw_client


@pytest.fixture
def store(store_settings: Settings) -> ArtifactStore:
    return ArtifactStore(store_settings)


@pytest.fixture
def lease(spec: TrainSpec) -> Lease:
    """The lease of a job that no other test has."""
    return Lease(job_id=f"tiny-{secrets.token_hex(6)}", attempt=1, token=1, lease_s=30.0, spec=spec)


def later(lease: Lease, attempt: int = 2) -> Lease:
    return lease.model_copy(update={"attempt": attempt, "token": attempt})


# Checkpoints


def test_a_checkpoint_says_what_it_is_and_is_found_again(store: ArtifactStore, lease: Lease) -> None:
    checkpoint = store.put_checkpoint(lease, 64, b"weights")
    assert checkpoint.key == f"jobs/{lease.job_id}/attempts/0001/checkpoints/000000000064.pt"
    assert (checkpoint.images, checkpoint.bytes) == (64, 7)
    assert checkpoint.seconds
    assert checkpoint.seconds > 0
    assert store.objects.get(checkpoint.key) == b"weights"


class Losing(ObjectStore):
    """A store that says that it has stored an object, and has lost its end."""

    def put(self, key: str, data: bytes) -> str:
        super().put(key, data[:3])
        return hashlib.sha256(data).hexdigest()


def test_a_checkpoint_that_the_store_does_not_have_is_none(
    store: ArtifactStore, store_settings: Settings, lease: Lease
) -> None:
    """Nothing gives way to it: what prunes comes after this."""
    store.objects = Losing(store_settings)
    with pytest.raises(StoreOutage, match=r"has lost what it took: .*: the store holds 3 bytes of 7"):
        store.put_checkpoint(lease, 64, b"weights")


def test_a_checkpoint_is_the_one_that_was_pinned(store: ArtifactStore, store_settings: Settings, lease: Lease) -> None:
    written = store.put_checkpoint(lease, 64, b"weights of " + lease.job_id.encode())
    key, digest = store.keep_start(written.key)
    other = hashlib.sha256(b"other weights").hexdigest()
    assert store.get_checkpoint(key, digest) == store.get_checkpoint(key) == store.get_checkpoint(written.key, digest)
    with pytest.raises(DataInvalid, match=f"{key}: is not the checkpoint with sha256 {other}"):
        store.get_checkpoint(key, other)
    with pytest.raises(DigestMismatch, match=written.key):
        store.get_checkpoint(written.key, other)
    # Whoever can write to the bucket writes the digest of his bytes too.
    bucket, sent = store_settings.require_store().rpartition("/")[2], store.keep_weights(b"sent " + os.urandom(8))
    for exchanged in (key, sent):
        raw_client(store_settings).put_object(
            Bucket=bucket, Key=exchanged, Body=b"other weights", Metadata={"sha256": other}
        )
        with pytest.raises(DigestMismatch, match=exchanged):
            store.get_checkpoint(exchanged)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "jobs/a/spec.yaml",
        "jobs/a/attempts/1/checkpoints/1.pt\n",
        "starts/../x.pt",
        "networks/x.safetensors",
        "/etc/x",
    ],
)
def test_what_is_no_checkpoint_is_never_asked_for(store: ArtifactStore, key: str) -> None:
    with pytest.raises(DataInvalid, match="is no key of a checkpoint"):
        store.get_checkpoint(key)


def test_what_nobody_could_read_again_is_not_written(
    store: ArtifactStore, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("CHECKPOINT", "METRICS", "PICTURE"):
        monkeypatch.setattr(f"ganservice.artifacts.{kind}_BYTES", 6)
    for put in (store.put_checkpoint, store.put_metrics, store.put_sample_grid):
        with pytest.raises(DataInvalid, match="has 7 bytes; expected 6 at most, or nobody reads it"):
            put(lease, 64, b"weights")
    assert store.keys(lease.job_id) == []


def test_the_newest_checkpoint_has_most_images_then_the_latest_attempt(store: ArtifactStore, lease: Lease) -> None:
    tenth = later(lease, 10)
    written = [
        store.put_checkpoint(*asked).key
        for asked in ((lease, 8, b"a"), (tenth, 8, b"b"), (lease, 1_000_000, b"c"), (tenth, 16, b"d"))
    ]
    a, b, c, d = written
    assert store.checkpoint_keys(lease.job_id) == [c, d, b, a]


def test_a_late_writer_reaches_no_other_attempt(store: ArtifactStore, lease: Lease) -> None:
    mine, theirs = store.put_checkpoint(later(lease), 8, b"mine"), store.put_checkpoint(lease, 8, b"theirs")
    assert mine.key != theirs.key
    assert store.objects.get(mine.key) == b"mine"
    with pytest.raises(ArtifactExists):
        store.put_checkpoint(lease, 8, b"changed")


def test_a_job_of_a_longer_name_is_another_job(store: ArtifactStore, lease: Lease) -> None:
    store.put_checkpoint(lease.model_copy(update={"job_id": f"{lease.job_id}-more"}), 8, b"a")
    assert store.checkpoint_keys(lease.job_id) == []


@pytest.mark.parametrize("below", ["reports/", "attempts/0001/reports/", "attempts/0009/checkpoints/reports/"])
def test_what_a_submitter_may_write_is_the_work_of_no_attempt(store: ArtifactStore, lease: Lease, below: str) -> None:
    """He could end a job of another with a generator of his own, have its checkpoints deleted, or none of them read."""
    own = store.put_checkpoint(lease, 8, b"a").key
    store.put_metrics(lease, 8, b"{}\n")
    folder = publish(store, lease)
    for forged in (
        "attempts/9999/generator/manifest.json",
        "attempts/0001/checkpoints/999999999999.pt",
        "attempts/9999/metrics/999999999999.jsonl",
        "attempts/9999/samples/999999999999.png",
    ):
        store.objects.put(f"jobs/{lease.job_id}/{below}{forged}", b"forged")
    assert store.checkpoint_keys(lease.job_id) == [own]
    assert store.published_generator(lease.job_id) == folder
    assert store.published_generator(lease.job_id, after_attempt=1) is None
    assert store.metrics(lease.job_id) == b"{}\n"
    assert store.sample_grids(lease.job_id) == []
    assert store.prune(lease, Checkpoints(keep_last=1), own) == []


def test_of_generators_the_one_of_the_latest_attempt_is_found(store: ArtifactStore, lease: Lease) -> None:
    publish(store, lease)
    publish(store, later(lease, 9_999))
    latest = publish(store, later(lease, 10_000))
    assert store.find_generator(lease.job_id) == latest


def test_pruning_keeps_what_the_policy_says_and_the_newest_metrics(store: ArtifactStore, lease: Lease) -> None:
    attempts = {8: lease, 16: lease, 24: lease, 32: later(lease), 40: later(lease), 48: later(lease)}
    for images, attempt in attempts.items():
        store.put_checkpoint(attempt, images, b"")
        store.put_metrics(attempt, images, b"{}\n")
        store.put_sample_grid(attempt, images, b"png")
    store.put_spec(lease.job_id, "name: tiny\n")
    publish(store, later(lease))
    before = set(store.keys(lease.job_id))
    start = store.checkpoints(lease.job_id)[24]
    deleted = store.prune(later(lease), Checkpoints(keep_last=2, keep_every_images=20), start)
    kept = [key.removeprefix(f"jobs/{lease.job_id}/") for key in store.keys(lease.job_id)]
    assert before - set(deleted) == set(store.keys(lease.job_id))
    assert [key for key in kept if "/checkpoints/" in key] == [
        "attempts/0001/checkpoints/000000000024.pt",
        "attempts/0002/checkpoints/000000000040.pt",
        "attempts/0002/checkpoints/000000000048.pt",
    ]
    assert [key for key in kept if "/metrics/" in key] == [
        "attempts/0002/metrics/000000000048.jsonl",
    ]
    assert len([key for key in kept if "/samples/" in key]) == 6
    assert len([key for key in kept if "/generator/" in key]) == 4
    assert "spec.yaml" in kept
    assert store.prune(later(lease), Checkpoints(keep_last=2, keep_every_images=20), start) == []


def test_what_an_attempt_passed_over_pushes_nothing_of_its_own_out(store: ArtifactStore, lease: Lease) -> None:
    for images in (8, 16, 24):
        store.put_checkpoint(lease, images, b"")
        store.put_metrics(lease, images, b"first attempt")
    start = store.checkpoints(lease.job_id)[8]
    for images in (16, 24):
        written = store.put_checkpoint(later(lease), images, b"")
        store.put_metrics(later(lease), images, b"second attempt")
        store.prune(later(lease), Checkpoints(keep_last=1), start)
        assert store.objects.get(written.key) == b""
        assert store.metrics(lease.job_id) == b"second attempt"
    assert store.checkpoint_keys(lease.job_id) == [written.key]


IMAGES = st.lists(st.integers(1, 300), max_size=30)
POLICIES = st.builds(
    Checkpoints, keep_last=st.integers(1, 5), keep_every_images=st.one_of(st.none(), st.integers(1, 100))
)


@given(images=IMAGES, policy=POLICIES)
def test_kept_are_the_last_and_the_first_at_or_after_each_milestone(images: list[int], policy: Checkpoints) -> None:
    every = policy.keep_every_images
    milestones = range(every, 301, every) if every else ()
    after = [[image for image in images if image >= milestone] for milestone in milestones]
    expected = {*sorted(set(images))[-policy.keep_last :], *(min(found) for found in after if found)}
    assert kept_checkpoints(images, policy) == sorted(expected)


@given(images=IMAGES, policy=POLICIES)
def test_pruning_after_each_checkpoint_keeps_what_pruning_once_would(images: list[int], policy: Checkpoints) -> None:
    kept: list[int] = []
    for image in sorted(images):
        kept = kept_checkpoints([*kept, image], policy)
    assert kept == kept_checkpoints(images, policy)


# Samples


def test_the_latest_sample_grid_has_most_images_then_the_latest_attempt(store: ArtifactStore, lease: Lease) -> None:
    assert store.latest_sample_grid(lease.job_id) is None
    store.put_sample_grid(lease, 8, b"early")
    store.put_sample_grid(lease, 16, b"first attempt")
    key = store.put_sample_grid(later(lease), 16, b"second attempt")
    assert store.latest_sample_grid(lease.job_id) == b"second attempt"
    assert key == f"jobs/{lease.job_id}/attempts/0002/samples/000000000016.png"


# Generators


def test_a_published_generator_is_fetched_whole(store: ArtifactStore, lease: Lease, tmp_path: Path) -> None:
    folder, target = publish(store, lease), tmp_path / "new" / "generator"
    assert store.find_generator(lease.job_id) == folder
    manifest = store.fetch_generator(folder, target)
    assert manifest == generator_manifest(lease, FILES) == check_bundle(target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == FILES | {"manifest.json": manifest.to_json()}
    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_staged_generator_is_not_found(store: ArtifactStore, lease: Lease, tmp_path: Path) -> None:
    folder = store.stage_generator(lease, FILES)
    with pytest.raises(ArtifactMissing, match=f"{lease.job_id} has no published generator"):
        store.find_generator(lease.job_id)
    with pytest.raises(ArtifactMissing):
        store.fetch_generator(folder, tmp_path / "generator")
    assert list(tmp_path.iterdir()) == []


def test_publishing_what_was_staged_is_no_error(store: ArtifactStore, lease: Lease) -> None:
    assert store.stage_generator(lease, FILES) == publish(store, lease) == publish(store, lease)


def test_the_generator_found_is_that_of_the_latest_attempt(store: ArtifactStore, lease: Lease) -> None:
    folders = [publish(store, later(lease, attempt), {"file": b"%d" % attempt}) for attempt in (2, 10, 9)]
    assert store.find_generator(lease.job_id) == folders[1]


def test_a_generator_from_before_a_rollback_is_not_the_one_of_the_job(store: ArtifactStore, lease: Lease) -> None:
    assert store.published_generator(lease.job_id) is None
    folders = [publish(store, held) for held in (lease, later(lease, 3))]
    found = [store.published_generator(lease.job_id, after_attempt=attempt) for attempt in (0, 2, 3)]
    assert found == [folders[1], folders[1], None]


def test_the_spec_of_the_first_attempt_stays(store: ArtifactStore, lease: Lease) -> None:
    for text in ("name: tiny\n", "name: tiny\nlr_share: 0.5\n"):
        store.put_spec(lease.job_id, text)
    assert store.objects.get(f"jobs/{lease.job_id}/spec.yaml") == b"# format 1\nname: tiny\n"


def test_a_folder_that_exists_is_never_touched(store: ArtifactStore, lease: Lease, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ArtifactExists, match=r"exists already; choose another folder \(into\)$"):
        store.fetch_generator(publish(store, lease), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def delete(settings: Settings, key: str) -> None:
    ArtifactStore(settings).objects.delete(key)


@pytest.mark.parametrize(("spoil", "error"), [(damage, DigestMismatch), (delete, ArtifactMissing)])
def test_a_generator_is_fetched_whole_or_not_at_all(
    store: ArtifactStore,
    store_settings: Settings,
    lease: Lease,
    tmp_path: Path,
    spoil: Callable[[Settings, str], None],
    error: type[GanServiceError],
) -> None:
    folder = publish(store, lease)
    spoil(store_settings, f"{folder}samples.png")
    with pytest.raises(error, match=r"samples\.png"):
        store.fetch_generator(folder, tmp_path / "generator")
    assert list(tmp_path.iterdir()) == []


def test_a_generator_fetched_to_a_full_disk_leaves_nothing(
    store: ArtifactStore, lease: Lease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch)
    with pytest.raises(DiskFull, match="the disk is full"):
        store.fetch_generator(publish(store, lease), tmp_path / "generator")
    assert list(tmp_path.iterdir()) == []


NO_NAMES = [
    "../evil",
    "/etc/evil",
    "a/b",
    "a\\b",
    ".hidden",
    "..",
    ".",
    "",
    "a\nb",
    "\x1b[2J",
    "x" * 101,
    "manifest.json",
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_manifest_cannot_write_outside_its_folder(
    store: ArtifactStore, lease: Lease, tmp_path: Path, name: str
) -> None:
    folder = f"jobs/{lease.job_id}/attempts/0001/generator/"
    manifest = json.loads(generator_manifest(lease, {"file": b"evil"}).to_json())
    manifest["files"] = {name: manifest["files"]["file"]}
    for text in (json.dumps(manifest).encode(), b"[" * 100_000):
        damaged = f"{folder}{len(text)}/"
        store.objects.put(damaged + "manifest.json", text)
        with pytest.raises(GanServiceError, match="is not a manifest this version can read") as caught:
            store.fetch_generator(damaged, tmp_path / "inner" / "generator")
        assert len(str(caught.value)) < 1_000
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_manifest_of_another_version_is_told(store: ArtifactStore, lease: Lease, tmp_path: Path) -> None:
    folder = f"jobs/{lease.job_id}/attempts/0001/generator/"
    store.objects.put(folder + "manifest.json", json.dumps({"format": 99}).encode())
    with pytest.raises(FormatTooNew, match="has format 99, this version of ganservice reads up to format 2; upgrade"):
        store.fetch_generator(folder, tmp_path / "generator")
    (tmp_path / "manifest.json").write_bytes(json.dumps({"format": 99}).encode())
    with pytest.raises(FormatTooNew, match="has format 99"):
        check_bundle(tmp_path)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"format": "x"}', b"\xff"])
def test_what_is_no_manifest_is_told(store: ArtifactStore, lease: Lease, tmp_path: Path, text: bytes) -> None:
    folder = f"jobs/{lease.job_id}/attempts/0001/generator/"
    store.objects.put(folder + "manifest.json", text)
    with pytest.raises(GanServiceError, match="is not a manifest this version can read"):
        store.fetch_generator(folder, tmp_path / "generator")


def test_a_spec_of_another_version_is_told(store: ArtifactStore, lease: Lease) -> None:
    store.objects.put(f"jobs/{lease.job_id}/spec.yaml", b"# format 99\nnobody: knows\n")
    with pytest.raises(FormatTooNew, match=r"spec.yaml has format 99, this version of ganservice reads up to format 1"):
        store.get_spec(lease.job_id)


def test_a_bundle_of_which_nobody_vouches_for_the_weights_is_refused(
    store: ArtifactStore, lease: Lease, tmp_path: Path
) -> None:
    """Its manifest is right, and says nothing of a file that lies beside it."""
    target = tmp_path / "generator"
    store.fetch_generator(publish(store, lease), target)
    (target / "generator.safetensors").write_bytes(b"weights of somebody else")
    check_bundle(target)
    with pytest.raises(ArtifactMissing, match=r"names no generator\.safetensors"):
        check_generator(target)


def test_a_spec_that_is_no_text_is_told(store: ArtifactStore, lease: Lease) -> None:
    store.objects.put(f"jobs/{lease.job_id}/spec.yaml", b"# format 1\nname: \xff\n")
    with pytest.raises(SpecInvalid, match=r"spec\.yaml: is not a spec this version can read"):
        store.get_spec(lease.job_id)


def test_a_generator_is_fetchable_once_its_files_are_known_to_be_stored(
    store: ArtifactStore, store_settings: Settings, lease: Lease
) -> None:
    store.objects = Losing(store_settings)
    with pytest.raises(StoreOutage, match="has lost what it took"):
        publish(store, lease)
    assert store.published_generator(lease.job_id) is None


def test_a_bundle_is_checked_file_by_file(store: ArtifactStore, lease: Lease, tmp_path: Path) -> None:
    target = tmp_path / "generator"
    store.fetch_generator(publish(store, lease), target)
    (target / "README.md").write_bytes(b"changed")
    with pytest.raises(DigestMismatch, match=r"README\.md"):
        check_bundle(target)
    (target / "README.md").unlink()
    with pytest.raises(ArtifactMissing, match=r"README\.md"):
        check_bundle(target)
    (target / "manifest.json").write_text("{}")
    with pytest.raises(DigestMismatch, match=r"manifest\.json"):
        check_bundle(target)
    with pytest.raises(ArtifactMissing, match="ganctl fetch"):
        check_bundle(tmp_path)


# A store in trouble


def test_a_store_that_does_not_answer_is_told_in_one_line(
    store_settings: Settings, lease: Lease, unused_port: int, tmp_path: Path
) -> None:
    store = ArtifactStore(store_settings.model_copy(update={"store_url": f"http://127.0.0.1:{unused_port}/gan"}))
    asks: list[Callable[[], Any]] = [
        lambda: store.put_checkpoint(lease, 8, b""),
        lambda: store.checkpoint_keys(lease.job_id),
        lambda: store.find_data_set("digits"),
        lambda: store.fetch_generator("jobs/a/attempts/0001/generator/", tmp_path / "generator"),
    ]
    for ask in asks:
        with pytest.raises(StoreOutage, match="see `ganctl doctor`") as caught:
            ask()
        assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# What is derived, and what evaluations keep


def test_of_two_that_derive_the_same_thing_the_first_counts(store: ArtifactStore) -> None:
    name = secrets.token_hex(32)
    assert store.find_derived("networks", name) is None
    assert store.keep_derived("networks", name, b"mine") == b"mine"
    assert store.keep_derived("networks", name, b"theirs") == b"mine"
    assert store.find_derived("networks", name) == b"mine"
    assert store.find_derived("statistics", name) is None


def test_pruning_leaves_what_else_is_to_be_kept(store: ArtifactStore, lease: Lease) -> None:
    for images in (8, 16, 24, 32):
        store.put_checkpoint(lease, images, b"")
    store.prune(lease, Checkpoints(keep_last=1), extra_images={8, 99})
    assert sorted(store.checkpoints(lease.job_id)) == [8, 32]


def test_the_attempt_is_in_the_key(store: ArtifactStore, lease: Lease) -> None:
    assert attempt_of(store.put_checkpoint(later(lease, 12), 8, b"").key) == 12
    assert attempt_of(store.keep_weights(b"weights")) == 0


def test_what_lies_beyond_a_rollback_is_deleted_but_for_its_pictures(store: ArtifactStore, lease: Lease) -> None:
    for images in (8, 16, 24):
        store.put_checkpoint(lease, images, b"")
        store.put_metrics(lease, images, b"{}\n")
        store.put_sample_grid(lease, images, b"png")
    store.put_checkpoint(later(lease), 16, b"again")
    store.abandon(lease.job_id, 1, 8)
    assert sorted(store.checkpoints(lease.job_id)) == [8, 16]
    assert store.objects.get(store.checkpoints(lease.job_id)[16]) == b"again"
    left = [key for key in store.keys(lease.job_id) if "/attempts/0001/" in key]
    assert [key.split("/")[-2:] for key in left if "samples" not in key] == [
        ["checkpoints", "000000000008.pt"], ["metrics", "000000000008.jsonl"],
    ]  # fmt: skip
    assert len([key for key in left if "samples" in key]) == 3
