"""Manifests, whoever wrote them."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from ganservice.errors import FormatTooNew, SpecInvalid
from ganservice.manifest import MANIFEST_BYTES, DataManifest, FileDigest, digests_of, identity, images_files
from ganservice.mistakes import describe_mistake
from ganservice.spec import TrainSpec

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
FILES = {"train-images.npy": b"images", "train-labels.npy": b"labels"}


def manifest(**changes: Any) -> dict[str, Any]:
    digests = digests_of(FILES)
    whole = DataManifest(
        files=digests, name="digits", digest=identity(digests), image_size=8, channels=1, counts={"train": 9},
        classes=("0", "1"), class_counts={"0": 4, "1": 5}, source="a test",
    )  # fmt: skip
    return whole.model_dump(mode="json") | changes


def read(value: dict[str, Any]) -> DataManifest:
    return DataManifest.from_json(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("evaluate", "key"),
    [({}, "judging"), ({"judging": {"network": "pixels"}, "also": ["efficientnet_lite0", "classifier"]}, "also.1")],
)
def test_no_classifier_judges_pictures_of_fewer_than_two_classes(evaluate: dict[str, Any], key: str) -> None:
    data = {"dataset": "digits", "image_size": 8, "channels": 1}
    recipe = {"data": data, "generator": {"kind": "mlp"}, "discriminator": {"kind": "mlp"}, "batch_size": 2}
    spec = TrainSpec.model_validate({"name": "tiny", "images": 64, "recipe": recipe, "evaluate": evaluate})
    assert read(manifest()).fit(spec).evaluate == spec.evaluate
    for own, say in (((), "are no classes"), (("a",), "is one class")):
        says = rf"^evaluate\.{key}\.network: found classifier, but of the data set digits there {say} .*; choose eff"
        with pytest.raises(SpecInvalid, match=says):
            read(manifest(classes=own, class_counts=dict.fromkeys(own, 4))).fit(spec)


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "/home/x/.ssh"},
        {"digest": "d" * 64},
        {"digest": manifest()["digest"].upper()},
        {"digest": manifest()["digest"] + "\n"},
        {"name": "../digits"},
        {"name": "Digits"},
        {"counts": {}},
        {"counts": {"test": 9}},
        {"counts": {"train": 9, "test": 3}},
        {"counts": {"train": 9, "../../train": 3}},
        {"counts": {"train": -1}},
        {"counts": {"train": 10**30}},
        {"channels": 10**6},
        {"image_size": 0},
        {"image_size": "8x8"},
        {"image_size": "8x999"},
        {"image_size": "8x9/.."},
        {"classes": ["x" * 256]},
        {"classes": ["\ud800"]},
        {"files": {}},
    ],
)
def test_a_manifest_that_leads_astray_is_none(changes: dict[str, Any]) -> None:
    assert read(manifest()).name == "digits"
    with pytest.raises(ValueError, match=r".") as caught:
        read(manifest(**changes))
    assert isinstance(caught.value, ValidationError)


@pytest.mark.parametrize(
    ("changes", "format_"), [({}, 1), ({"channels": 3}, 1), ({"channels": 4}, 2), ({"image_size": "8x12"}, 2)]
)
def test_a_set_that_the_first_release_has_no_place_for_says_so(changes: dict[str, Any], format_: int) -> None:
    asked = {key: value for key, value in manifest(**changes).items() if key != "format"}
    found = read(asked)
    assert found.format == format_
    assert found.shape == (asked["channels"], 12 if changes == {"image_size": "8x12"} else 8, 8)
    assert read(json.loads(found.to_json())) == found


@pytest.mark.parametrize(
    ("sha256", "length"), [("d" * 63, 1), ("D" * 64, 1), ("", 1), ("d" * 64, -1), ("d" * 64, 2**50)]
)
def test_a_file_has_a_digest_and_a_length_that_can_be(sha256: str, length: int) -> None:
    with pytest.raises(ValidationError):
        FileDigest(sha256=sha256, bytes=length)


@given(value=ANYTHING, key=st.sampled_from(sorted(manifest())))
@example(value=2, key="format")
def test_whatever_stands_in_a_manifest_it_is_read_or_refused(value: Any, key: str) -> None:
    try:
        found = read(manifest(**{key: value}))
    except (ValueError, FormatTooNew):
        return
    assert found.digest == identity(found.files)


def test_the_identity_of_a_data_set_is_that_of_its_files_by_name() -> None:
    one = digests_of(FILES)
    assert identity(one) == identity(dict(reversed(one.items())))
    assert identity(one) != identity(digests_of(FILES | {"train-labels.npy": b"others"}))


# Shards


SHARDS = {f"train-images-{shard:05d}.npy": bytes([shard]) for shard in range(3)} | {"train-labels.npy": b"labels"}


def of_files(files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    """A manifest of other files, with their digest."""
    digests = digests_of(files)
    shown = {name: digest.model_dump() for name, digest in digests.items()}
    return manifest(files=shown, digest=identity(digests)) | changes


def test_a_set_in_one_file_is_what_it_always_was() -> None:
    whole = read(manifest())
    assert (
        whole.digest
        == hashlib.sha256(
            b"".join(
                b"%b %b\n" % (name.encode(), hashlib.sha256(FILES[name]).hexdigest().encode()) for name in sorted(FILES)
            )
        ).hexdigest()
    )
    assert (whole.format, whole.images_files("train")) == (1, ("train-images.npy",))
    assert json.loads(whole.to_json()) == manifest()
    assert images_files("train", 60_000, 28 * 28) == {"train-images.npy": 60_000}


def test_the_shards_of_a_split_are_told_in_order() -> None:
    value = of_files(dict(reversed(SHARDS.items())))
    del value["format"]
    found = read(value)
    assert found.images_files("train") == tuple(sorted(SHARDS))[:3]
    assert found.format == 2  # an older version says that it must be upgraded
    assert read(json.loads(found.to_json())) == found


@pytest.mark.parametrize(("count", "rows"), [(10, [10]), (11, [10, 1]), (20, [10, 10]), (35, [10, 10, 10, 5])])
def test_a_split_that_is_too_large_for_one_file_lies_in_shards(
    monkeypatch: pytest.MonkeyPatch, count: int, rows: list[int]
) -> None:
    monkeypatch.setattr("ganservice.manifest.SHARD_BYTES", 1_000)
    files = images_files("test", count, 96)
    assert list(files.values()) == rows
    names = [f"test-images-{shard:05d}.npy" for shard in range(len(rows))]
    assert list(files) == (names if len(rows) > 1 else ["test-images.npy"])


def test_a_row_that_is_larger_than_a_shard_has_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganservice.manifest.SHARD_BYTES", 10)
    assert list(images_files("train", 2, 96).values()) == [1, 1]


def test_a_terabyte_has_a_manifest() -> None:
    image_bytes = 3 * 256 * 256
    names = images_files("train", 10**12 // image_bytes, image_bytes)
    digests = {name: FileDigest(sha256="0" * 64, bytes=2**30) for name in names}
    found = read(manifest(files={name: file.model_dump() for name, file in digests.items()}, digest=identity(digests)))
    assert found.images_files("train") == tuple(names)
    assert len(found.to_json()) < MANIFEST_BYTES / 10


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train-images-00001.npy": None}, "expected train-images-00001.npy among the 2 shards of train"),
        ({"train-images-00000.npy": None}, "expected train-images-00000.npy among the 2 shards of train"),
        ({"train-images.npy": b"whole"}, "expected train-images.npy or its shards, found both"),
        ({"train-images-00009.npy": b"far"}, "expected train-images-00003.npy among the 4 shards of train"),
        ({f"train-images-{shard:05d}.npy": b"" for shard in range(5_000)}, "at most 4096 items"),
    ],
)
def test_shards_with_gaps_are_told_in_one_line(change: dict[str, bytes | None], says: str) -> None:
    files = {name: data for name, data in (SHARDS | change).items() if data is not None}
    with pytest.raises(ValidationError) as caught:
        read(of_files(files))
    assert says in describe_mistake("manifest", caught.value.errors()[0], shows_value=False)


def test_shards_of_a_split_without_pictures_count_for_nothing() -> None:
    assert read(of_files(FILES | {"test-images-00007.npy": b"odd"})).images_files("train") == ("train-images.npy",)
