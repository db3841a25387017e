"""Tars as sources of pictures: one, and a folder of them as WebDataset writes it."""

import posixpath
import re
import tarfile
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, cast

from ganservice.errors import DataInvalid
from ganservice.files import CHUNK_BYTES
from ganservice.mistakes import brief
from workers.gan.data import picture_source
from workers.gan.data.archives import Archive, plain
from workers.gan.data.folder_source import FolderSource
from workers.gan.data.picture_source import SUFFIXES, named_damage, too_many_files
from workers.gan.data.spelling import file_text
from workers.gan.data.splits import part_in
from workers.gan.data.tar_headers import BoundedHeader

# Of what is to be said of single tars of a set.
MOST_LINES = 10
# Of a chain of links in a tar.
MOST_LINKS = 40
# One of the tars of a set: what its name begins with, perhaps, and its number.
SHARD = re.compile(r"(?:(?P<prefix>.+)[-_.])?(?P<number>\d{4,})\.(?:tar|tar\.gz|tgz)", re.IGNORECASE)


class TarSource(Archive):
    """A tar, packed or not. Links to files in it are followed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._tar = tarfile.open(path, tarinfo=BoundedHeader)  # noqa: SIM115 - `close` closes it
        self._look_through(self._list)

    def close(self) -> None:
        """As PictureSource has it."""
        self._tar.close()

    def _list(self) -> None:
        members, links = {}, []
        for count, member in enumerate(self._tar, 1):
            if count > picture_source.MAX_FILES:  # of folders and links there may be as many
                raise too_many_files(self.path)
            name = plain(file_text(member.name))
            if member.isdir():
                self._folders.append(name)
            elif member.isfile():
                self._enter(name, partial(self._tar.extractfile, member))
            elif member.islnk() or member.issym():
                links.append((name, member))
            members[posixpath.normpath(member.name)] = member
        self._check_end()
        found = [(name, _target(link, members)) for name, link in links]
        followed = [(target.offset, name, target) for name, target in found if target is not None]
        # In the order of what they lead to: going back in a packed tar means unpacking it again.
        for _, name, target in sorted(followed, key=lambda each: each[0]):
            self._enter(name, partial(self._tar.extractfile, target))
        self._say_links("followed", [name for name, target in found if target is not None])
        self._say_links("to no file of the archive", [name for name, target in found if target is None])
        self._say_twice()

    def _check_end(self) -> None:
        """Raise DataInvalid unless the tar ends where its list does: at a damaged entry that ends without a word."""
        stream = cast(IO[bytes], self._tar.fileobj)
        stream.seek(self._tar.offset)
        end = stream.read(tarfile.BLOCKSIZE)
        if len(end) < tarfile.BLOCKSIZE or any(end):
            what = "is cut off" if len(end) < tarfile.BLOCKSIZE else "is damaged"
            raise DataInvalid(f"{self.path}: {what} after {self._last()}; make or fetch it again")
        while rest := stream.read(CHUNK_BYTES):
            if rest.strip(b"\0"):
                raise DataInvalid(
                    f"{self.path}: goes on behind its end, which is after {self._last()}; expected one tar: give those "
                    "that it was joined of as a folder of numbered tars, or make it again"
                )

    def _last(self) -> str:
        members = self._tar.getmembers()
        return f"{len(members):,} {'entry' if len(members) == 1 else 'entries'}" + (
            f", the last {brief(file_text(members[-1].name))}" if members else ""
        )


class TarShards(Archive):
    """A folder of tars that are one set. A file is named by its tar's split or first words, then by its own name.

    `imagenet-train-000001.tar` with `a/7.jpg` gives `train/a/000001-7.jpg`: files of two tars never have one name.
    """

    def __init__(self, folder: FolderSource, shards: Sequence[str]) -> None:
        super().__init__(folder.path)
        self._shards = [folder.location(shard) for shard in shards]
        self._open: TarSource | None = None
        lines: list[str] = []
        for shard, path in zip(shards, self._shards, strict=True):
            with named_damage(path), TarSource(path) as tar:
                for name in tar.names():
                    whole = _name_in_shards(shard, name)
                    self._enter(whole, partial(self._read_from, path, name))
                lines += [f"{shard}: {line}" for line in tar.lines]
        self.lines += lines[:MOST_LINES]
        self.lines += [f"tars: {len(shards):,}, one set", *folder.lines_beside(shards)]
        self._say_twice()

    def paths(self) -> Sequence[Path]:
        """As PictureSource has it."""
        return self._shards

    def close(self) -> None:
        """As PictureSource has it."""
        if self._open:
            self._open.close()

    def _read_from(self, path: Path, name: str) -> IO[bytes]:
        if self._open is None or self._open.path != path:  # one is open at a time: there may be thousands
            self.close()
            self._open = TarSource(path)
        return BytesIO(self._open.read(name))


def shards_of(folder: FolderSource) -> list[str]:
    """The numbered tars of a folder, by name; none where it has other archives, or many files that are no tars."""
    names = folder.names()
    shards = [name for name in names if SHARD.fullmatch(PurePosixPath(name).name)]
    # Beside them lie a few files that tell of them: statistics, sizes, a licence.
    return shards if not any(name.lower().endswith(SUFFIXES) for name in names) else []


def _target(link: tarfile.TarInfo, members: dict[str, tarfile.TarInfo]) -> tarfile.TarInfo | None:
    """The file that a link leads to, perhaps by other links; None where it leads elsewhere."""
    found: tarfile.TarInfo | None = link
    for _ in range(MOST_LINKS):
        if found is None or found.isfile():
            return found
        folder = posixpath.dirname(found.name) if found.issym() else ""
        found = members.get(posixpath.normpath(posixpath.join(folder, found.linkname)))
    return None


def _name_in_shards(shard: str, name: str) -> str:
    path = PurePosixPath(shard)
    match = cast(re.Match[str], SHARD.fullmatch(path.name))
    prefix = match["prefix"] or ""
    inner = PurePosixPath(name)
    return plain(f"{path.parent}/{part_in(prefix) or prefix}/{inner.parent}/{match['number']}-{inner.name}")
