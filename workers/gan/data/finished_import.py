"""The end of an import: what is left out, labels, what is said of it; kept until the set is in the store."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ganservice.errors import DataInvalid
from ganservice.files import write_aside
from workers.gan.data.decoding import Mark
from workers.gan.data.duplicates import first_of_each
from workers.gan.data.image_files import ImageFiles, write_labels
from workers.gan.data.import_options import Options
from workers.gan.data.layout import Layout
from workers.gan.data.picture_lines import lines_about, range_of
from workers.gan.data.row_writer import RowWriter

FINISHED = "finished.json"


@dataclass(frozen=True)
class FinishedImport:
    """The files of a set, lines that say what was done to its pictures, and one of each that could not be read."""

    images: ImageFiles
    lines: list[str]
    left_out: list[str] = field(default_factory=list)

    @classmethod
    def find(cls, folder: Path, options: Options) -> Self | None:
        """What `keep` has left in a folder, where it left out by the same options; else None."""
        try:
            found = json.loads((folder / FINISHED).read_text())
        except (FileNotFoundError, ValueError):  # the second of one whose machine lost it
            return None
        if found["skip"] != _skip(options):
            (folder / FINISHED).unlink()
            return None
        return cls(ImageFiles.from_json(found["images"], folder), found["lines"], found["left_out"])

    def keep(self, folder: Path, options: Options) -> None:
        """Write it down beside the files."""
        with write_aside(folder / FINISHED) as aside:
            found = {"skip": _skip(options), "images": self.images.to_json()}
            aside.write_text(json.dumps(found | {"lines": self.lines, "left_out": self.left_out}))


def _skip(options: Options) -> list[bool]:
    return [options.skip_unreadable, options.skip_duplicates]


def finish_import(
    path: Path, layout: Layout, options: Options, folder: Path, records: NDArray[Any], rows: Mapping[str, RowWriter]
) -> FinishedImport:
    """Leave out pictures that could not be read or, if so wished, have been there before, and write the labels.

    Raises DataInvalid when fewer than two pictures to train on are left, OSError.
    """
    first, train_count = first_of_each(records["digest"]), sum(file.split == "train" for file in layout.files)
    is_read, is_first = first >= 0, first == np.arange(len(records))
    kept = is_first if options.skip_duplicates else is_read
    if (found := int(kept[:train_count].sum())) < 2:
        raise DataInvalid(f"{path}: pictures to train on: {found}; expected at least 2 that can be read")
    is_deep = records["marks"] & Mark.DEEP != 0
    left_out = {"cannot be read": int((~is_read).sum()), "same as another": int((is_read & ~kept).sum())}
    parts = {"train": np.flatnonzero(kept[:train_count]), "test": train_count + np.flatnonzero(kept[train_count:])}
    files, class_counts = _write(layout, folder, rows, {split: part for split, part in parts.items() if len(part)})
    images = ImageFiles(
        files,
        {split: len(part) for split, part in parts.items() if len(part)},
        rows["train"].shape,
        layout.classes,
        class_counts,
        str(path),
        layout.labels,
        layout.left_out | {reason: count for reason, count in left_out.items() if count},
        int((kept & ~is_first).sum()),
        # One that could be read only once counts in the range of all others.
        (options.target.value_range or range_of(records[is_deep])) if (is_deep & is_read).any() else None,
    )
    return FinishedImport(images, lines_about(layout, records, first, options))


def _write(
    layout: Layout, folder: Path, rows: Mapping[str, RowWriter], parts: Mapping[str, NDArray[np.int64]]
) -> tuple[dict[str, Path], dict[str, dict[str, int]]]:
    """Cut the rows of each split down to the places it keeps, and write their labels. Returns all files, by name, and
    how many images of each class a split has."""
    files: dict[str, Path] = {}
    class_counts, before = {}, 0
    for split, places in parts.items():
        writer, before_next = rows[split], before + len(rows[split])
        writer.keep(places - before)
        files |= writer.finish()
        labels = [label for place in places if (label := layout.files[place].label) is not None]
        if labels:
            files |= write_labels(folder, split, np.array(labels, np.int64))
        counts = Counter(labels)
        class_counts[split] = {name: counts[number] for number, name in enumerate(layout.classes) if labels}
        before = before_next
    return files, class_counts
