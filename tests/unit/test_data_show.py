import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganservice.errors import DataInvalid
from ganservice.manifest import DataManifest, digests_of_files, identity
from workers.commands import data_show
from workers.gan.grid import GAP_PX

SIZE = 4


def stored(folder: Path, shards: list[list[int]], labels: list[int] | None, **fields: Any) -> DataManifest:
    """A data set of grey pictures, in a folder, each of one value."""
    names = ["train-images.npy"] if len(shards) == 1 else [f"train-images-{at:05d}.npy" for at in range(len(shards))]
    for name, values in zip(names, shards, strict=True):
        np.save(
            folder / name,
            np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), 1, SIZE, SIZE)),
        )
    if labels is not None:
        np.save(folder / "train-labels.npy", np.array(labels))
    digests = digests_of_files({path.name: path for path in folder.iterdir()})
    told = {"classes": (), "class_counts": {}} | fields
    return DataManifest(
        files=digests, name="shades", digest=identity(digests), image_size=SIZE, channels=1, source="a test",
        counts={"train": sum(map(len, shards))}, **told,
    )  # fmt: skip


def cells(png: bytes) -> list[list[int]]:
    """The value in the middle of each picture of a sheet, by row."""
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    middles = slice(GAP_PX + SIZE // 2, None, SIZE + GAP_PX)
    return pixels[middles, middles].tolist()  # type: ignore[no-any-return]


def test_the_classes_of_a_set_are_told_with_the_smallest_and_the_largest(tmp_path: Path) -> None:
    classes = {"classes": ("cat", "dog", "emu"), "class_counts": {"cat": 1, "dog": 3, "emu": 0}}
    manifest = stored(tmp_path, [[0, 1, 2, 3]], [0, 1, 1, 1], **classes, test_class_counts={"cat": 2})
    told = data_show.fields(manifest)
    assert told["classes"] == "3, 1 of them with no picture to train on, from 1 (cat) to 3 (dog), 3.0 times as many"
    assert data_show.imbalance(manifest) == 3
    assert data_show.class_rows(manifest)[:2] == [
        {"class": "cat", "train": 1, "share": "25.0%", "test": 2},
        {"class": "dog", "train": 3, "share": "75.0%", "test": None},
    ]


def test_what_an_older_version_did_not_write_down_is_not_told(tmp_path: Path) -> None:
    manifest = stored(tmp_path, [[0, 1]], None)
    told = data_show.fields(manifest)
    assert (told["classes"], told["labels"], told["range"], told["duplicates"], told["left out"]) == (
        "none",
        *[None] * 4,
    )
    assert data_show.imbalance(manifest) is None


def test_a_sheet_has_a_row_for_each_class_whatever_shards_its_pictures_lie_in(tmp_path: Path) -> None:
    classes = {"classes": ("cat", "dog", "emu"), "class_counts": {"cat": 2, "dog": 0, "emu": 12}}
    values = list(range(10, 150, 10))
    manifest = stored(tmp_path, [values[:5], values[5:]], [0, 2, 2, 2, 2, 0, *[2] * 8], **classes)
    png, names = data_show.sheet(manifest, tmp_path)
    assert names == ["cat", "emu"]
    first, second = cells(png)
    assert first == [10, 60, *[255] * 8]
    assert (second[0], second[-1], len(set(second))) == (20, 140, data_show.SHEET_COLUMNS)


def test_a_sheet_of_a_set_without_classes_shows_pictures_from_the_first_to_the_last(tmp_path: Path) -> None:
    png, names = data_show.sheet(stored(tmp_path, [list(range(250))], None), tmp_path)
    shown = [value for row in cells(png) for value in row]
    assert (names, shown[0], shown[-1], len(set(shown))) == ([], 0, 249, 100)


def test_a_sheet_of_files_that_are_not_those_of_the_manifest_is_refused(tmp_path: Path) -> None:
    manifest = stored(tmp_path, [[0, 1]], None)
    for wrong in (np.zeros((1, 1, SIZE, SIZE), np.uint8), np.zeros((2, 1, SIZE, SIZE), np.float32)):
        np.save(tmp_path / "train-images.npy", wrong)
        with pytest.raises(DataInvalid, match="the manifest speaks of"):
            data_show.sheet(manifest, tmp_path)
    (tmp_path / "train-images.npy").write_bytes(b"no array")
    with pytest.raises(DataInvalid, match=r"expected a whole \.npy file"):
        data_show.sheet(manifest, tmp_path)


@pytest.mark.parametrize(
    "labels", [[0, 1, 1], [0, 2], [0, -1], [0.0, 1.0]], ids=["more-than-images", "beyond-classes", "negative", "floats"]
)
def test_a_sheet_of_labels_that_are_not_those_of_the_images_is_refused(tmp_path: Path, labels: list[int]) -> None:
    classes = {"classes": ("cat", "dog"), "class_counts": {"cat": 1, "dog": 1}}
    with pytest.raises(DataInvalid, match=r"train-labels\.npy: (is not the array|has labels beyond)"):
        data_show.sheet(stored(tmp_path, [[0, 1]], labels, **classes), tmp_path)
