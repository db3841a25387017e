"""Manifests, whoever wrote them."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from ganservice.errors import FormatTooNew
from ganservice.manifest import DataManifest, FileDigest, digests_of, identity

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
