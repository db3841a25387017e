"""ImageFiles: a set as .npy files on the disk, as the store takes it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from ganservice.manifest import images_files, labels_file
from workers.gan.data.image_set import ImageSet, Labels, Split


@dataclass(frozen=True)
class ImageFiles:
    """A set as files by name, with what its manifest tells of it.

    Images of each split, [C, H, W] of every image, names of classes and how many images of each a split has, where the
    set came from; and, of an import, where labels come from, files that were left out, by reason, images that are the
    same as one before, and the values that became 0 and 255.
    """

    files: Mapping[str, Path]
    counts: Mapping[str, int]
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    class_counts: Mapping[str, Mapping[str, int]]
    source: str
    labels: str | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    duplicates: int | None = None
    value_range: tuple[float, float] | None = None

    def to_json(self) -> str:
        """The same as text; files by their names alone."""
        return json.dumps(asdict(replace(self, files={})) | {"files": list(self.files)})

    @classmethod
    def from_json(cls, text: str, folder: Path) -> "ImageFiles":
        """What `to_json` gave, of files in a folder."""
        found = json.loads(text)
        files = {name: folder / name for name in found.pop("files")}
        for name in ("shape", "classes", "value_range"):
            found[name] = tuple(found[name]) if found[name] is not None else None
        return cls(files=files, **found)


def write_image_set(images: ImageSet, folder: Path) -> ImageFiles:
    """Write a set that is in memory into a folder. Raises OSError."""
    files = {}
    for split, part in images.splits.items():
        start = 0
        for name, count in images_files(split, len(part.images), part.images[0].nbytes).items():
            files[name] = folder / name
            np.save(files[name], part.images[start : start + count], allow_pickle=False)
            start += count
        if part.labels is not None:
            files |= write_labels(folder, split, part.labels)
    counts = {split: len(part.images) for split, part in images.splits.items()}
    class_counts = {split: images.counts_of_classes(split) for split in images.splits}
    return ImageFiles(files, counts, images.shape, images.classes, class_counts, images.source)


def read_image_set(images: ImageFiles, name: str) -> ImageSet:
    """Read a set into memory. Raises OSError."""
    row_bytes = int(np.prod(images.shape))
    splits = {}
    for split, count in images.counts.items():
        parts = [np.load(images.files[name]) for name in images_files(split, count, row_bytes)]
        labels = images.files.get(labels_file(split))
        splits[split] = Split(np.concatenate(parts), None if labels is None else np.load(labels))
    return ImageSet(name, splits, images.classes, images.source)


def write_labels(folder: Path, split: str, labels: Labels) -> dict[str, Path]:
    """Have the disk hold the labels of a split, and return their file by name. Raises OSError."""
    path = folder / labels_file(split)
    with path.open("wb") as file:
        np.save(file, labels, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return {path.name: path}
