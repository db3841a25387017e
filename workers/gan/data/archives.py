"""Archives as sources of pictures, and zips."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from ganservice.errors import DataInvalid
from ganservice.mistakes import brief
from workers.gan.data import picture_source
from workers.gan.data.picture_source import PictureSource, too_many_files
from workers.gan.data.spelling import spelled

UTF8_FLAG, ENCRYPTED_FLAG = 0x800, 0x1
UNICODE_PATH = 0x7075
Opener = Callable[[], IO[bytes] | None]


class Archive(PictureSource):
    """An archive whose entries are known by the text of their names; of two with one name the last counts."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._openers: dict[str, Opener] = {}
        self._folders: list[str] = []
        self._twice: list[str] = []

    def names(self) -> Sequence[str]:
        """As PictureSource has it."""
        return list(self._openers)

    def folders(self) -> Sequence[str]:
        """As PictureSource has it."""
        return self._folders

    def read(self, name: str) -> bytes:
        """As PictureSource has it."""
        try:
            stream = self._openers[name]()
            if stream is None:
                raise DataInvalid(f"{self.path}: {brief(name)}: is no file")
            with closing(stream):
                return self._bounded(name, stream)
        except DataInvalid:
            raise
        except Exception as error:  # a damaged archive raises whatever its damage leads to
            raise DataInvalid(f"{self.path}: {brief(name)}: cannot be read ({brief(str(error))})") from error

    def _look_through(self, enter_all: Callable[[], None]) -> None:
        """Enter all that is in it; it does not stay open where that fails."""
        try:
            enter_all()
        except BaseException:
            self.close()
            raise

    def _enter(self, name: str, opener: Opener) -> None:
        if self._openers.pop(name, None) is not None:
            self._twice.append(name)
        self._openers[name] = opener
        if len(self._openers) > picture_source.MAX_FILES:
            raise too_many_files(self.path)

    def _say_links(self, what: str, links: Sequence[str], why: str = "") -> None:
        if links:
            self.lines.append(f"links: {len(links):,} {what}, such as {links[0]}{why}")

    def _say_twice(self) -> None:
        if self._twice:
            twice = len(self._twice)
            self.lines.append(f"names: {twice:,} twice, such as {self._twice[0]}; the last of each is taken")


class ZipSource(Archive):
    """A zip. Backslashes part folders, as some programs of Windows write them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._zip = zipfile.ZipFile(path)
        self._look_through(self._list)

    def close(self) -> None:
        """As PictureSource has it."""
        self._zip.close()

    def _list(self) -> None:
        links, guesses = [], []
        if len(self._zip.infolist()) > picture_source.MAX_FILES:
            raise too_many_files(self.path)
        for info in self._zip.infolist():
            name, is_guess = zip_name(info)
            if info.is_dir() or info.filename.endswith("\\"):
                self._folders.append(name)
                continue
            if info.flag_bits & ENCRYPTED_FLAG:
                raise DataInvalid(f"{self.path}: is encrypted; expected a zip that opens without a password")
            if stat.S_ISLNK(info.external_attr >> 16):
                links.append(name)
                continue
            if is_guess:
                guesses.append(name)
            self._enter(name, partial(self._zip.open, info))
        self._say_links("left out", links, "; in a zip they are not followed")
        if guesses:
            self.lines.append(
                f"names: {len(guesses):,} in no known encoding, read as code page 437, such as {guesses[0]}; where "
                "that is wrong, import the folder that the zip was made of"
            )
        self._say_twice()


def zip_name(info: zipfile.ZipInfo) -> tuple[str, bool]:
    """The name of an entry as text, and whether its encoding is a guess.

    An entry says whether its name is UTF-8. Many that do not say so are all the same, or have it once more beside.
    """
    name, is_guess = info.filename, False
    if not info.flag_bits & UTF8_FLAG:
        packed = name.encode("cp437")
        try:
            name = _unicode_path(info.extra, packed) or packed.decode()
        except UnicodeDecodeError:
            is_guess = True
    return plain(spelled(name.replace("\\", "/"))), is_guess


def _unicode_path(extra: bytes, packed: bytes) -> str | None:
    """The name in the "Info-ZIP Unicode Path" field (APPNOTE.TXT 4.6.9), where it is of this very name."""
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and field[:5] == struct.pack("<BL", 1, zlib.crc32(packed)):
            return field[5:].decode()
    return None


def plain(name: str) -> str:
    """A name without the "./" that tar likes to begin with, and relative."""
    return str(PurePosixPath(name)).lstrip("/")
