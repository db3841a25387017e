"""Folders, archives and tables for tests, of files by name."""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

Files = Mapping[str, bytes]


def named(*names: str) -> dict[str, bytes]:
    """Files without content: a layout is told without looking into pictures."""
    return dict.fromkeys(names, b"")


def make_folder(path: Path, files: Files) -> Path:
    """A folder; a name that ends with a slash is that of a folder in it."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if name.endswith("/"):
            (path / name).mkdir(parents=True)
            continue
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def make_zip(path: Path, files: Files) -> Path:
    """A zip, in which names stand as they are given."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: Files, mode: Literal["w", "w:gz"] = "w") -> Path:
    """A tar, packed or not."""
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def make_table(
    path: Path,
    columns: Mapping[str, Sequence[Any]],
    features: Mapping[str, Any] | None = None,
    *,
    row_group_size: int = 2,
) -> Path:
    """A table in Parquet, as the `datasets` library writes it with these features."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = {
        name: pa.array(cells, image) if name in ("image", "img") else pa.array(cells) for name, cells in columns.items()
    }
    table = pa.table(arrays)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path
