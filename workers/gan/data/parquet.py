"""Tables in Parquet as sources of pictures, in the layout of the `datasets` library.

A column holds structs of `bytes` and `path`; what the columns are, and the names of classes, stand in the schema's
metadata under "huggingface" (https://huggingface.co/docs/datasets/about_dataset_features). Splits are told by the names
of files: data/train-00000-of-00002.parquet.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from ganservice.errors import DataInvalid
from ganservice.mistakes import brief
from workers.gan.data import picture_source
from workers.gan.data.folder_source import FolderSource
from workers.gan.data.labels import Label, Labels, as_label
from workers.gan.data.one_hot import one_hot_classes
from workers.gan.data.parquet_rows import RowReader, cells_of, row_count
from workers.gan.data.picture_source import SUFFIXES, PictureSource, named_damage, too_many_files
from workers.gan.data.spelling import spelled
from workers.gan.data.splits import LayoutUnclear, Part, counted, listing, part_in, part_of
from workers.gan.data.table_columns import FILE_COLUMNS, LABEL_COLUMNS, PART_COLUMNS, as_part, column_name, flag_part

SUFFIX = ".parquet"
# Of what is known of a column: whether its cells are numbers.
IS_NUMBER = "is_number"
# Of several columns of pictures the one with the first of these names.
IMAGE_COLUMNS = ("image", "img", "picture")


class ParquetSource(PictureSource):
    """Tables whose rows are pictures: data/train-00000-of-00002.parquet gives train/train-00000-of-00002-0000000.png.

    Beside tables of splits any other, such as extra-00000-of-00001.parquet, is in a folder of its own, too.
    A picture has the suffix of its path in the table, or .png where it has none: what it is, its bytes say.
    """

    def __init__(self, path: Path, files: Mapping[str, Path], lines: Sequence[str] = ()) -> None:
        super().__init__(path)
        self.lines += lines
        self._files = files
        self._features = self._common_features()
        self._image = self._image_column()
        self._rows: dict[str, tuple[Path, int]] = {}
        self._reader = RowReader(self._image)
        self._has_parts = any(part_in(PurePosixPath(name).stem) for name in files)
        empty = count = 0
        for name, file in files.items():
            with named_damage(file):
                count += row_count(file)
            if count > picture_source.MAX_FILES:  # rows without a picture are rows
                raise too_many_files(path)
            empty += self._enter(name, file)
        self.lines.append(
            f"tables: {len(files):,}, with {counted(len(self._rows), 'picture')} in the column {self._image}"
        )
        if empty:
            self.lines.append(f"tables: {counted(empty, 'row')} without a picture")

    def names(self) -> Sequence[str]:
        """As PictureSource has it."""
        return list(self._rows)

    def folders(self) -> Sequence[str]:
        """As PictureSource has it."""
        return ()

    def read(self, name: str) -> bytes:
        """As PictureSource has it."""
        file, row = self._rows[name]
        try:
            found = self._reader.picture(file, row)
        except Exception as error:  # a damaged table raises whatever its damage leads to
            raise DataInvalid(f"{self.path}: {brief(name)}: cannot be read ({brief(str(error))})") from error
        if found is None:
            raise DataInvalid(
                f"{self.path}: {brief(name)}: the table holds a path alone; expected the bytes of the picture"
            )
        if len(found) > picture_source.MAX_FILE_BYTES:
            raise self._too_large(name)
        return found

    def paths(self) -> Sequence[Path]:
        """As PictureSource has it."""
        return list(self._files.values())

    def close(self) -> None:
        """As PictureSource has it."""
        self._reader.close()

    def labels(self, column: str | None) -> Labels | None:
        """As PictureSource has it."""
        if column is None:
            column = self._label_column()
        if column is None:
            return self._one_hot_labels()
        if column not in self._features or column == self._image:
            return None
        names = self._features[column].get("names")
        is_number_of_class = self._features[column].get("_type") == "ClassLabel" and isinstance(names, list)
        labels: dict[str, Label] = {}
        one_of_each: dict[Label, Label] = {}
        is_list_of_classes = "ClassLabel" in str(self._features[column].get("feature"))
        lengths = set()
        for name, value in self._cells(column):
            if isinstance(value, list):  # one-hot, or what is no class
                lengths.add(len(value))
            try:
                label = as_label(value)
            except LayoutUnclear as error:
                raise LayoutUnclear(f"{error}, in its column {column}; give --labels none") from error
            # The library writes -1 where a class is not told.
            if label is not None and not (is_number_of_class and label == -1):
                labels[name] = one_of_each.setdefault(label, label)
        if len(lengths) > 1 or (lengths and is_list_of_classes):
            raise LayoutUnclear(f"holds several labels of one picture in its column {column}; give --labels none")
        classes = tuple(spelled(str(name)) for name in names or ()) if is_number_of_class else None
        return Labels(f"the column {column}", labels, classes, says_none=not labels)

    def _one_hot_labels(self) -> Labels | None:
        """The labels in columns of numbers, one for each class; None where there are none such, or words too."""
        known = {
            name for name in self._features
            if flag_part(column_name(name)) or column_name(name) in (*FILE_COLUMNS, *PART_COLUMNS)
        }  # fmt: skip
        others = self._features.keys() - known - {self._image}
        if not all(self._features[name][IS_NUMBER] for name in others):
            return None
        columns = {name: (cell for _, cell in self._cells(name)) for name in self._features if name in others}
        classes = one_hot_classes(columns)
        if classes is None:
            return None
        return Labels("one-hot columns", dict(zip(self._rows, classes, strict=True)))

    def parts(self) -> tuple[str, dict[str, Part]] | None:
        """As PictureSource has it."""
        columns = {column_name(name): name for name in self._features}
        told = next((name for name in PART_COLUMNS if name in columns), None) or next(filter(flag_part, columns), None)
        if told is None:
            return None
        column = columns[told]
        names = self._features[column].get("names") or ()
        parts: dict[str, Part] = {}
        for name, value in self._cells(column):
            is_number = isinstance(names, list) and type(value) is int and 0 <= value < len(names)
            if part := as_part(told, names[value] if is_number else value):
                parts[name] = part
        return f"the column {column}", parts

    def _common_features(self) -> dict[str, dict[str, Any]]:
        """What the columns are, which must be the same in all tables."""
        first = None
        for name, file in self._files.items():
            with named_damage(file):
                features = _features(file)
            if first is not None and features != first[1]:
                raise DataInvalid(
                    f"{self.path}: {first[0]} and {name} have other columns or classes; expected the tables of one set"
                )
            first = first or (name, features)
        return first[1] if first else {}

    def _image_column(self) -> str:
        found = [name for name, feature in self._features.items() if feature.get("_type") == "Image"]
        chosen = next((name for name in IMAGE_COLUMNS if name in found), found[0] if len(found) == 1 else None)
        if chosen is None:
            raise DataInvalid(
                f"{self.path}: columns of pictures found: {brief(listing(found)) or 'none'}; expected one, of structs "
                f"of bytes and path, called {IMAGE_COLUMNS[0]}"
            )
        return chosen

    def _label_column(self) -> str | None:
        of_classes = [name for name, feature in self._features.items() if feature.get("_type") == "ClassLabel"]
        of_classes = [name for name in of_classes if column_name(name) not in PART_COLUMNS]
        found = of_classes or [name for name in self._features if name.lower() in LABEL_COLUMNS]
        if len(found) > 1:
            raise LayoutUnclear(f"holds labels in the columns {listing(found, 8)}; give --labels with one of them")
        return found[0] if found else None

    def _enter(self, name: str, file: Path) -> int:
        """List the pictures of a table. Returns the number of rows without one."""
        path = PurePosixPath(name)
        folder: str = part_in(path.stem) or ""
        if not folder and self._has_parts and not any(map(part_of, path.parent.parts)):
            folder = path.stem.partition("-")[0]
        if folder and path.parent.name.lower() == folder:
            folder = ""
        empty = 0
        with named_damage(file):
            for row, cell in enumerate(cells_of(file, f"{self._image}.path")):
                if cell is None:
                    empty += 1
                    continue
                suffix = PurePosixPath(str(cell["path"] or "")).suffix.lower()
                file_name = f"{path.stem}-{row:07d}{suffix if suffix in SUFFIXES else '.png'}"
                self._rows[str(path.parent / folder / file_name)] = file, row
        return empty

    def _cells(self, column: str) -> Iterator[tuple[str, Any]]:
        """Yield the names of the pictures, and what a column has in their rows. Raises DataInvalid."""
        rows = groupby(self._rows.items(), key=lambda each: each[1][0])
        for file, pictures in rows:
            with named_damage(file), closing(cells_of(file, column)) as cells:
                at, cell = -1, None
                for name, (_, row) in pictures:
                    while at < row:
                        at, cell = at + 1, next(cells)
                    yield name, cell


def tables_of(folder: FolderSource) -> dict[str, Path]:
    """The tables of a folder, by name. Raises DataInvalid where there are pictures beside them."""
    visible = [name for name in folder.names() if not any(part.startswith(".") for part in name.split("/"))]
    tables = {name: folder.location(name) for name in visible if name.lower().endswith(SUFFIX)}
    if tables and (picture := next((name for name in visible if name.lower().endswith(SUFFIXES)), None)):
        raise DataInvalid(
            f"{folder.path}: holds tables ({brief(next(iter(tables)))}) and pictures ({brief(picture)}); expected one "
            "or the other: move some away, or give the path of the tables alone"
        )
    return tables


def _features(file: Path) -> dict[str, dict[str, Any]]:
    """What the columns of a table are, by the names that the `datasets` library has for it, as far as it is known."""
    from pyarrow import types  # noqa: PLC0415 - an extra
    from pyarrow.parquet import read_schema  # noqa: PLC0415

    schema = read_schema(file)
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, TypeError, LookupError, RecursionError):
        told = {}
    features = {}
    for field in schema:
        feature = told.get(field.name) if isinstance(told, dict) else None
        features[field.name] = dict(feature) if isinstance(feature, dict) else {}
        is_file = types.is_struct(field.type) and {"bytes", "path"} <= {part.name for part in field.type}
        is_number = any(check(field.type) for check in (types.is_integer, types.is_floating, types.is_boolean))
        features[field.name][IS_NUMBER] = is_number
        if not is_file and features[field.name].get("_type") == "Image":
            features[field.name] = {IS_NUMBER: is_number}
        elif is_file:
            features[field.name].setdefault("_type", "Image")
    return features
