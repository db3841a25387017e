import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganservice.errors import DataInvalid, DataMissing
from workers.gan.data.idx import read_idx, read_idx_image_set
from workers.gan.data.image_set import ImageSet, Pixels, Split
from workers.gan.data.mnist import IdxFiles

FILES = IdxFiles("train-images", "train-labels", "test-images", "test-labels")
Pack = Callable[[bytes], bytes]


def idx(array: Pixels) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def images(count: int, height: int = 4, width: int = 4) -> Pixels:
    return np.arange(count * height * width, dtype=np.uint8).reshape(count, height, width)


def write_four(folder: Path, pack: Pack = gzip.compress, suffix: str = ".gz") -> None:
    for name, array in (
        ("train-images", images(6)),
        ("train-labels", np.array([0, 1, 2, 0, 1, 2], np.uint8)),
        ("test-images", images(2)),
        ("test-labels", np.array([2, 0], np.uint8)),
    ):
        (folder / f"{name}{suffix}").write_bytes(pack(idx(array)))


def message_of(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(DataInvalid) as caught:
        read_idx(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("array", [images(3, 5, 7), np.array([1, 0, 255], np.uint8)])
def test_reads_what_was_written_whatever_the_file_is_called(tmp_path: Path, pack: Pack, array: Pixels) -> None:
    path = tmp_path / "any.name"
    path.write_bytes(pack(idx(array)))
    found = read_idx(path)
    np.testing.assert_array_equal(found, array)
    assert found.flags.writeable


def test_refuses_other_magic_numbers(tmp_path: Path) -> None:
    path = tmp_path / "data"
    floats = struct.pack(">HBBI", 0, 0x0D, 1, 1) + bytes(4)
    assert "found 00000d01 at its start; expected the uint8 magic 00000801" in message_of(path, floats)
    assert "found 3c68746d" in message_of(path, b"<html>not here</html>")
    assert "found no bytes" in message_of(path, b"")


def test_refuses_truncated_and_trailing_data(tmp_path: Path) -> None:
    path, whole = tmp_path / "data", idx(images(2))
    assert "found only 31 bytes after the header; expected 32 for [2, 4, 4]" in message_of(path, whole[:-1])
    assert "found more bytes after the header; expected 32" in message_of(path, whole + b"x")
    assert "found 10 bytes of header; expected 16" in message_of(path, whole[:10])


def test_refuses_a_header_that_claims_the_impossible(tmp_path: Path) -> None:
    for shape in ((2**32 - 1, 2**16, 2**16), (2**32 - 1, 2**32 - 1, 0)):
        claims = struct.pack(">HBBIII", 0, 8, 3, *shape)
        assert "expected at most" in message_of(tmp_path / "data", claims)


def test_refuses_broken_gzip(tmp_path: Path) -> None:
    path, packed = tmp_path / "data.gz", gzip.compress(idx(images(50)))
    assert "cannot be read" in message_of(path, packed[:-20])
    wrong_checksum = packed[:-8] + bytes(4) + packed[-4:]
    assert "cannot be read (CRC check failed" in message_of(path, wrong_checksum)
    assert "cannot be read" in message_of(path, packed[:10] + b"\xff" * 20)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"absent: cannot be read \(No such file or directory\)"):
        read_idx(tmp_path / "absent")


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (bytes, "")])
def test_four_files_make_a_grey_set_with_two_splits(tmp_path: Path, pack: Pack, suffix: str) -> None:
    write_four(tmp_path, pack, suffix)
    found = read_idx_image_set("tiny", tmp_path, FILES, ("a", "b", "c"), "a test")
    assert found.shape == (1, 4, 4)
    assert found.splits["train"].images.shape == (6, 1, 4, 4)
    np.testing.assert_array_equal(found.splits["test"].labels, [2, 0])


def test_a_set_names_the_file_it_lacks(tmp_path: Path) -> None:
    write_four(tmp_path)
    (tmp_path / "test-labels.gz").unlink()
    with pytest.raises(DataMissing, match=r"neither test-labels nor test-labels\.gz"):
        read_idx_image_set("tiny", tmp_path, FILES, (), "a test")


def test_a_set_refuses_files_that_do_not_fit_together(tmp_path: Path) -> None:
    write_four(tmp_path)
    (tmp_path / "test-labels.gz").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(DataInvalid, match=r"test-labels\.gz: found 3 labels; expected 2"):
        read_idx_image_set("tiny", tmp_path, FILES, (), "a test")
    exchanged = IdxFiles("train-labels", "train-images", "test-images", "test-labels")
    with pytest.raises(DataInvalid, match="found 1 dimensions; expected 3"):
        read_idx_image_set("tiny", tmp_path, exchanged, (), "a test")


def test_a_set_refuses_labels_without_a_class(tmp_path: Path) -> None:
    write_four(tmp_path)
    with pytest.raises(DataInvalid, match="train labels run from 0 to 2; expected 0 to 1"):
        read_idx_image_set("tiny", tmp_path, FILES, ("a", "b"), "a test")


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 1, 4, 4), np.float32), np.zeros((2, 5, 5, 3), np.uint8), np.zeros((0, 1, 4, 4), np.uint8)],
)
def test_a_split_refuses_other_arrays(array: Any) -> None:
    with pytest.raises(DataInvalid, match="images: found"):
        Split(array)


def test_a_split_refuses_labels_of_another_length_or_type() -> None:
    pictures = np.zeros((2, 1, 4, 4), np.uint8)
    with pytest.raises(DataInvalid, match=r"labels: found uint8 \[3\]"):
        Split(pictures, np.zeros(3, np.uint8))
    floats: Any = np.zeros(2)
    with pytest.raises(DataInvalid, match="labels: found float64"):
        Split(pictures, floats)


def test_a_set_refuses_splits_of_two_sizes_or_without_train() -> None:
    small, large = Split(np.zeros((2, 1, 4, 4), np.uint8)), Split(np.zeros((2, 1, 8, 8), np.uint8))
    with pytest.raises(DataInvalid, match=r"test images are \[1, 8, 8\], train images are \[1, 4, 4\]"):
        ImageSet("odd", {"train": small, "test": large}, (), "a test")
    with pytest.raises(DataInvalid, match="expected train, perhaps test"):
        ImageSet("odd", {"test": small}, (), "a test")


@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_keeps_the_picture_its_channels_and_the_labels(channels: int) -> None:
    ramp = np.linspace(0, 255, 28).astype(np.uint8)
    pictures = np.broadcast_to(ramp, (3, channels, 28, 28)).copy()
    pictures[:, 0] = pictures[:, 0, :, ::-1]
    labels = np.array([4, 5, 6], np.int64)
    small = ImageSet("ramp", {"train": Split(pictures, labels)}, (), "a test")
    large = small.resized(32).splits["train"]
    assert large.images.shape == (3, channels, 32, 32)
    assert large.images.dtype == np.uint8
    np.testing.assert_array_equal(large.labels, labels)
    assert large.images[0, 0, 0, 0] > 250
    assert large.images[0, 0, 0, -1] < 5
    if channels == 3:
        assert large.images[0, 1, 0, -1] > 250


def test_resizing_to_the_same_size_is_the_same_set() -> None:
    same = ImageSet("same", {"train": Split(np.zeros((2, 1, 8, 8), np.uint8))}, (), "a test")
    assert same.resized(8) is same


def test_resizing_crops_what_is_not_square() -> None:
    wide = np.zeros((2, 1, 8, 16), np.uint8)
    wide[:, :, :, 4:12] = 200
    cropped = ImageSet("wide", {"train": Split(wide)}, (), "a test").resized(8)
    assert cropped.shape == (1, 8, 8)
    assert cropped.splits["train"].images.min() == 200
