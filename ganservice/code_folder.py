"""CodeFolder: the Python files of a user's own networks as one text, known by its digest. Runs none of them."""

import ast
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from ganservice.cache import ADVICE, cache_folder, cache_path
from ganservice.errors import DigestMismatch, RequestError
from ganservice.file_lock import file_lock
from ganservice.files import named_writing_trouble
from ganservice.mistakes import one_line
from ganservice.model import Model

SUFFIX = ".py"
MAX_FILES, MAX_BYTES, MAX_DEPTH = 200, 2**20, 8
# Of the files as one text: what JSON escapes of them takes more than they do.
TEXT_BYTES = 8 * MAX_BYTES
# Between two looks whether another process has written what this one waits for.
LOOK_S = 0.05
NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"


class CodeFolder(Model):
    """The files by their paths in the folder, and what the folder is called, as a package is imported."""

    format: Literal[1] = 1
    name: Annotated[str, StringConstraints(pattern=NAME)]
    files: Annotated[dict[str, str], Field(min_length=1, max_length=MAX_FILES)]

    @property
    def text(self) -> bytes:
        """All of it, UTF-8, in the same bytes wherever it is packed."""
        return json.dumps(self.model_dump(), sort_keys=True, ensure_ascii=False).encode()

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text).hexdigest()

    @model_validator(mode="after")
    def _paths_stay_in_the_folder(self) -> Self:
        for path in self.files:
            parts = PurePosixPath(path).parts
            plain = path == "/".join(parts) and path.isprintable() and "\\" not in path
            if not plain or len(parts) > MAX_DEPTH or not all(map(_is_name, parts)) or not path.endswith(SUFFIX):
                raise ValueError(f"{path!r}: is no path of a Python file in a folder")
        if (size := sum(len(text.encode(errors="replace")) for text in self.files.values())) > MAX_BYTES:
            raise ValueError(f"holds {size:,} bytes of Python, expected at most {MAX_BYTES:,}")
        return self

    def cached(self, cache_dir: Path) -> Path:
        """The folder in the cache with these very files, written unless it is there."""
        parent = cache_folder(cache_dir, "code", self.digest)
        folder = cache_path(cache_dir, "code", self.digest, self.name)
        with file_lock(cache_path(cache_dir, "code", f"{self.digest}.lock"), _wait):
            if not folder.exists() or not self._is(folder):
                shutil.rmtree(folder, ignore_errors=True)
                with named_writing_trouble(folder, ADVICE), tempfile.TemporaryDirectory(dir=parent) as aside:
                    self._write(Path(aside, self.name))
                    Path(aside, self.name).rename(folder)
        return folder

    def _is(self, folder: Path) -> bool:
        try:
            return pack(folder) == self
        except RequestError:
            return False

    def _write(self, folder: Path) -> None:
        for path, text in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="")


@dataclass(frozen=True)
class _Found:
    path: Path
    name: str  # in the folder


def pack(folder: Path) -> CodeFolder:
    """Read the Python files of a folder and of those in it.

    Raises:
        RequestError: it is no folder with Python files, or holds what Python would not read, a link or too much.
    """
    shown = one_line(str(folder))
    if not folder.is_dir():
        raise RequestError(f"recipe.code: {shown}: is no folder; expected one with Python files")
    name = folder.resolve().name
    if name in sys.stdlib_module_names:
        raise RequestError(f"recipe.code: {shown}: is called as a module of Python is; rename the folder")
    files = {found.name: _source(found.path) for found in _python_files(folder)}
    if not files:
        raise RequestError(f"recipe.code: {shown}: holds no Python file, such as __init__.py")
    try:
        return CodeFolder(name=name, files=files)
    except ValidationError as error:
        mistake = error.errors()[0]
        if mistake["loc"][:1] == ("name",):
            reason = "expected a name of letters, digits and underscores, as packages of Python have"
        elif mistake["loc"][:1] == ("files",):
            reason = f"holds {len(files):,} Python files, expected at most {MAX_FILES}"
        else:
            reason = str(mistake.get("ctx", {}).get("error", mistake["msg"]))
        raise RequestError(one_line(f"recipe.code: {folder}: {reason}")) from error


def unpack(text: bytes, digest: str, source: str) -> CodeFolder:
    """The folder of a stored text; `source` names where it came from. Raises DigestMismatch where it is none."""
    try:
        folder = CodeFolder.model_validate_json(text)
    except ValidationError as error:
        raise DigestMismatch(f"{source}: is no folder of Python files that this version can read") from error
    if folder.digest != digest:
        raise DigestMismatch(f"{source}: expected sha256 {digest}, found another")
    return folder


def is_cached(cache_dir: Path, digest: str) -> bool:
    """Whether the files of a digest have been run on this machine."""
    return cache_path(cache_dir, "code", digest).is_dir()


def _wait() -> bool:
    time.sleep(LOOK_S)
    return True


def _python_files(folder: Path) -> Iterator[_Found]:
    count = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each != "__pycache__")
        for name in folders:
            if Path(parent, name).is_symlink():
                raise RequestError(one_line(f"recipe.code: {Path(parent, name)}: is a link; copy the folder there"))
        for name in sorted(names):
            if not name.endswith(SUFFIX) or name.startswith("."):
                continue
            path, count = Path(parent, name), count + 1
            if path.is_symlink():
                raise RequestError(one_line(f"recipe.code: {path}: is a link; copy the file into the folder"))
            if count > MAX_FILES:
                raise RequestError(one_line(f"recipe.code: {folder}: holds more than {MAX_FILES} Python files"))
            yield _Found(path, path.relative_to(folder).as_posix())


def _source(path: Path) -> str:
    """The text of a Python file, which Python can read. Raises RequestError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise RequestError(one_line(f"recipe.code: {path}: is larger than {MAX_BYTES:,} bytes"))
        text = data.decode("utf-8-sig")
        ast.parse(text, str(path))
    except OSError as error:
        raise RequestError(one_line(f"recipe.code: {path}: cannot be read: {error.strerror}")) from error
    except UnicodeDecodeError as error:
        raise RequestError(one_line(f"recipe.code: {path}: expected UTF-8: {error}")) from error
    except SyntaxError as error:
        where = f"{path}, line {error.lineno}" if error.lineno else path  # none of a null byte
        raise RequestError(one_line(f"recipe.code: {where}: {error.msg}")) from error
    except (ValueError, RecursionError, MemoryError) as error:  # nested deeper than Python reads
        raise RequestError(one_line(f"recipe.code: {path}: is nothing that Python can read: {error}")) from error
    return text


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and "/" not in part and len(part.encode(errors="replace")) <= 255
