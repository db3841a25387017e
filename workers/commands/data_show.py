"""What `ganctl data show` tells of a data set: its fields, its classes, and a sheet of its pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ganservice.manifest import DataManifest

if TYPE_CHECKING:
    from torch import Tensor

# Of the table of classes, and of a sheet; of more there are the first.
MAX_ROWS = 50
MAX_SHEET_ROWS, SHEET_COLUMNS = 20, 10


def fields(manifest: DataManifest) -> dict[str, object]:
    """The fields of a data set, those that are not known left None."""
    whole = sum(file.bytes for file in manifest.files.values())
    pixels = " x ".join(map(str, (manifest.channels, *manifest.sides)))
    low_high = manifest.value_range
    return {
        "name": manifest.name,
        "digest": manifest.digest,
        "pictures": ", ".join(f"{count:,} {split}" for split, count in manifest.counts.items()),
        "size": f"{pixels} px (channels, width, height), {whole:,} bytes in {len(manifest.files):,} files",
        "classes": _classes(manifest),
        "labels": manifest.labels,
        "range": low_high and f"{low_high[0]:g} to {low_high[1]:g}, of pictures of more than 8 bits",
        "duplicates": manifest.duplicates,
        "left out": ", ".join(f"{count:,} {reason}" for reason, count in manifest.left_out.items()) or None,
        "source": manifest.source,
    }


def imbalance(manifest: DataManifest) -> float | None:
    """Training pictures of the largest class, for each one of the smallest; of classes that have any."""
    counts = [count for count in manifest.class_counts.values() if count]
    return max(counts) / min(counts) if counts else None


def class_rows(manifest: DataManifest) -> list[dict[str, object]]:
    """A row of each class, at most MAX_ROWS; what an older version did not write down is None."""
    total = manifest.counts["train"]
    return [
        {
            "class": name,
            "train": manifest.class_counts.get(name),
            "share": f"{manifest.class_counts.get(name, 0) / total:.1%}",
            "test": manifest.test_class_counts.get(name),
        }
        for name in manifest.classes[:MAX_ROWS]
    ]


def sheet(manifest: DataManifest, folder: Path) -> tuple[bytes, list[str]]:
    """Training pictures as one PNG, and the classes whose pictures are its rows, from the top; none without classes.

    `folder` holds the files of the set. Of a class, and of a set without classes, pictures are taken that lie evenly
    among all. Raises DataInvalid when the files are not what the manifest says.
    """
    import numpy as np
    import torch

    from workers.attempt.stored_data import split_in
    from workers.gan.grid import grid_png, to_floats

    examples = split_in(folder, manifest, "train")
    if not manifest.classes or examples.labels is None:
        chosen = _spread(torch.arange(len(examples.images)), SHEET_COLUMNS**2)
        return grid_png(to_floats(examples.images.take(chosen).numpy()), SHEET_COLUMNS), []
    classes = examples.labels.unique()[:MAX_SHEET_ROWS].tolist()
    rows = []
    for number in classes:
        chosen = _spread((examples.labels == number).nonzero().flatten(), SHEET_COLUMNS)
        pictures = examples.images.take(chosen).numpy()
        ground = np.full((SHEET_COLUMNS - len(pictures), *pictures.shape[1:]), 255, np.uint8)
        rows += [pictures, ground]
    return grid_png(to_floats(np.concatenate(rows)), SHEET_COLUMNS), [manifest.classes[number] for number in classes]


def _classes(manifest: DataManifest) -> str:
    counts: Mapping[str, int] = {name: count for name, count in manifest.class_counts.items() if count}
    if not manifest.classes or not counts:
        return f"{len(manifest.classes):,}" if manifest.classes else "none"
    smallest, largest = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    told = f"{len(manifest.classes):,}"
    if len(manifest.classes) > len(counts):
        told += f", {len(manifest.classes) - len(counts):,} of them with no picture to train on"
    if counts[smallest] == counts[largest]:
        return f"{told}, each of {counts[largest]:,}"
    times = f"{counts[largest] / counts[smallest]:.1f}"
    return f"{told}, from {counts[smallest]:,} ({smallest}) to {counts[largest]:,} ({largest}), {times} times as many"


def _spread(rows: "Tensor", count: int) -> "Tensor":
    """So many of some rows, or all, evenly from the first to the last."""
    import torch

    return rows[torch.linspace(0, len(rows) - 1, min(count, len(rows)), dtype=torch.float64).long()]
