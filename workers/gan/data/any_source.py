"""The source of pictures that a path is: a folder, an archive or a table."""

import os
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ganservice.errors import DataInvalid
from ganservice.mistakes import MAX_VALUE_CHARS
from ganservice.model import cut
from workers.gan.data.archives import ZipSource
from workers.gan.data.folder_source import FolderSource
from workers.gan.data.foreign_files import advice_alone
from workers.gan.data.parquet import ParquetSource, tables_of
from workers.gan.data.picture_source import PARQUET_MAGIC, SUFFIXES, PictureSource, named_damage
from workers.gan.data.tars import TarShards, TarSource, shards_of

# The kernel opens paths of twice that; every line about a source begins with its path.
MOST_PATH_BYTES = 2_000
# Of what would be opened if it were whole.
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


@contextmanager
def open_source(path: Path) -> Iterator[PictureSource]:
    """A folder, zip or tar, or a table or folder of tables in Parquet, as a PictureSource.

    Raises DataInvalid when it is none of them, or damaged.
    """
    if len(os.fsencode(path)) > MOST_PATH_BYTES:
        raise DataInvalid(f"{cut(str(path), MAX_VALUE_CHARS)}: no path is so long; expected that of a folder or file")
    with named_damage(path):
        source = _opened(path)
    with source:
        yield source


def _opened(path: Path) -> PictureSource:
    if path.is_dir():
        folder = FolderSource(path)
        if tables := tables_of(folder):
            return ParquetSource(path, tables, folder.lines_beside(tables))
        if shards := shards_of(folder):
            return TarShards(folder, shards)
        return folder
    if not path.is_file():
        raise DataInvalid(f"{path}: no such folder or file; expected a folder, zip, tar or Parquet of pictures")
    with path.open("rb") as file:
        is_table = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    if is_table:
        return ParquetSource(path, {path.name: path})
    if zipfile.is_zipfile(path):
        return ZipSource(path)
    if tarfile.is_tarfile(path):
        return TarSource(path)
    name = path.name.lower()
    if name.endswith(SUFFIXES):
        what = "; give the folder that it lies in"
    elif name.endswith(ARCHIVE_SUFFIXES):
        what = "; it is cut off or damaged: make or fetch it again"
    else:
        what = advice_alone([path.name])
    raise DataInvalid(
        f"{path}: neither a folder nor a whole zip, tar or Parquet; expected one of these with pictures{what}"
    )
