import gzip
from pathlib import Path

import numpy as np
import pytest

from ganservice.errors import DataInvalid, DataMissing
from workers.gan.data.cifar import RECORD_BYTES, read_cifar_image_set
from workers.gan.data.image_set import ImageSet, Split
from workers.gan.data.stacked import is_stacked, stack_names, stacked

CLASSES = ("a", "b", "c")


def record(label: int, red: int, green: int, blue: int) -> bytes:
    return bytes([label]) + bytes([red]) * 1024 + bytes([green]) * 1024 + bytes([blue]) * 1024


def read(folder: Path) -> ImageSet:
    return read_cifar_image_set("tiny", folder, ("one.bin", "two.bin"), ("test.bin",), CLASSES, "a test")


def test_records_become_rgb_pictures_in_the_order_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "one.bin").write_bytes(record(2, 10, 20, 30) + record(0, 1, 2, 3))
    (tmp_path / "two.bin.gz").write_bytes(gzip.compress(record(1, 4, 5, 6)))
    (tmp_path / "test.bin").write_bytes(record(1, 7, 8, 9))
    found = read(tmp_path)
    train = found.splits["train"]
    assert found.shape == (3, 32, 32)
    assert train.labels is not None
    assert train.labels.tolist() == [2, 0, 1]
    assert train.images[:, :, 0, 0].tolist() == [[10, 20, 30], [1, 2, 3], [4, 5, 6]]
    assert found.counts_of_classes("train") == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("content", [b"", b"x", record(0, 1, 2, 3)[:-1], record(0, 1, 2, 3) + b"x"])
def test_a_file_cut_short_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one.bin").write_bytes(content)
    with pytest.raises(DataInvalid, match=rf"one\.bin: found {len(content):,} bytes; expected .* {RECORD_BYTES}"):
        read(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"one\.bin"):
        read(tmp_path)


def test_an_unknown_label_is_refused(tmp_path: Path) -> None:
    for name in ("one.bin", "two.bin", "test.bin"):
        (tmp_path / name).write_bytes(record(3, 1, 2, 3))
    with pytest.raises(DataInvalid, match="labels run from 3 to 3"):
        read(tmp_path)


def grey(count: int) -> ImageSet:
    """Pictures whose every pixel tells their label."""
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = np.broadcast_to(labels[:, None, None, None], (count, 1, 4, 4)).copy()
    return ImageSet("digits", {"train": Split(images, labels)}, tuple("0123456789"), "a test")


def test_a_stack_is_three_pictures_and_its_label_names_them() -> None:
    made = stacked(grey(500))
    train = made.splits["train"]
    assert (made.name, made.shape, len(made.classes)) == ("stacked-digits", (3, 4, 4), 1000)
    assert train.labels is not None
    first, second, third = train.images[:, :, 0, 0].astype(int).T
    assert train.labels.tolist() == (first + 10 * second + 100 * third).tolist()
    assert made.classes[train.labels[0]] == f"{first[0]}/{second[0]}/{third[0]}"
    assert len(set(train.labels.tolist())) > 350
    assert np.array_equal(stacked(grey(500)).splits["train"].images, train.images)


@pytest.mark.parametrize("classes", [("a", "b"), ("1", "2", "3"), ("T-shirt/top", "Bag", "/"), ("a", "a/a", "a/a/a")])
def test_a_stacked_set_is_known_by_its_classes(classes: tuple[str, ...]) -> None:
    names = stack_names(classes)
    assert len(names) == len(classes) ** 3
    assert is_stacked(names)
    assert not is_stacked((*names[1:], names[0]))
    assert not is_stacked((*names[:-1], "other"))
    assert not is_stacked(names[:-1])


@pytest.mark.parametrize("count", [0, 1, 8, 10, 1_000])
def test_other_classes_are_no_stacks_however_many_they_are(count: int) -> None:
    assert not is_stacked([str(number) for number in range(count)])
    assert not is_stacked(["" for _ in range(count)])


def test_only_grey_pictures_are_stacked() -> None:
    with pytest.raises(DataInvalid, match="found 3 channels"):
        stacked(stacked(grey(20)))
