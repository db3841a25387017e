"""What `ganctl data show` tells of a data set: its fields, its classes, and a sheet of its pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ganservice.errors import DataInvalid
from ganservice.manifest import DataManifest, labels_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of the table of classes, and of a sheet; of more there are the first.
MAX_ROWS = 50
MAX_SHEET_ROWS, SHEET_COLUMNS = 20, 10


def fields(manifest: DataManifest) -> dict[str, object]:
    """The fields of a data set, those that are not known left None."""
    whole = sum(file.bytes for file in manifest.files.values())
    pixels = f"{manifest.channels} x {manifest.image_size} x {manifest.image_size}"
    low_high = manifest.value_range
    return {
        "name": manifest.name,
        "digest": manifest.digest,
        "pictures": ", ".join(f"{count:,} {split}" for split, count in manifest.counts.items()),
        "size": f"{pixels} px, {whole:,} bytes in {len(manifest.files):,} files",
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

    from workers.gan.data.arrays import read_array
    from workers.gan.grid import grid_png, to_floats

    if not manifest.classes or labels_file("train") not in manifest.files:
        chosen = _spread(np.arange(manifest.counts["train"]), SHEET_COLUMNS**2)
        return grid_png(to_floats(_pictures(manifest, folder, chosen)), SHEET_COLUMNS), []
    labels = read_array(folder / labels_file("train"))
    classes = [number for number, name in enumerate(manifest.classes) if manifest.class_counts.get(name)]
    rows = []
    for number in classes[:MAX_SHEET_ROWS]:
        pictures = _pictures(manifest, folder, _spread(np.flatnonzero(labels == number), SHEET_COLUMNS))
        ground = np.full((SHEET_COLUMNS - len(pictures), *pictures.shape[1:]), 255, np.uint8)
        rows += [pictures, ground]
    png = grid_png(to_floats(np.concatenate(rows)), SHEET_COLUMNS)
    return png, [manifest.classes[number] for number in classes[:MAX_SHEET_ROWS]]


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


def _spread(rows: "NDArray[np.int64]", count: int) -> "NDArray[np.int64]":
    """So many of some rows, or all, evenly from the first to the last."""
    import numpy as np

    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]


def _pictures(manifest: DataManifest, folder: Path, rows: "NDArray[np.int64]") -> "NDArray[np.uint8]":
    """Training pictures by their rows in the whole, of which no more is read than these."""
    import numpy as np

    from workers.gan.data.arrays import map_arrays

    shape = manifest.channels, manifest.image_size, manifest.image_size
    found = np.empty((len(rows), *shape), np.uint8)
    start = 0
    paths = [folder / name for name in manifest.images_files("train")]
    for path, shard in zip(paths, map_arrays(paths), strict=True):
        if shard.dtype != np.uint8 or shard.shape[1:] != shape:
            raise DataInvalid(f"{path}: is not the array that the manifest speaks of, {list(shape)}")
        here = (rows >= start) & (rows < start + len(shard))
        found[here] = shard[rows[here] - start]
        start += len(shard)
    if start != manifest.counts["train"]:
        raise DataInvalid(f"{folder}: holds {start:,} pictures, the manifest speaks of {manifest.counts['train']:,}")
    return found
