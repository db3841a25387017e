"""FolderSource: the pictures of a folder of the disk."""

import errno
import os
from collections.abc import Container, Sequence
from pathlib import Path, PurePosixPath

from ganservice.errors import DataInvalid
from ganservice.mistakes import brief
from workers.gan.data import picture_source
from workers.gan.data.picture_source import PictureSource, too_many_files
from workers.gan.data.spelling import file_text

# Nobody sorts pictures so deep, and Python calls itself no deeper than three times that.
MAX_DEPTH = 300


class FolderSource(PictureSource):
    """A folder of the disk. Links are followed and counted; one that leads back to a folder it lies in is refused."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._paths: dict[str, str] = {}
        self._folders: list[str] = []
        self._links: list[str] = []
        self._dead_links: list[str] = []
        self._walk("", "", [])
        if self._links:
            self.lines.append(f"links: {len(self._links):,} followed, such as {self._links[0]}")
        if self._dead_links:
            self.lines.append(f"links: {len(self._dead_links):,} to nothing, such as {self._dead_links[0]}")

    def names(self) -> Sequence[str]:
        """As PictureSource has it."""
        return list(self._paths)

    def folders(self) -> Sequence[str]:
        """As PictureSource has it."""
        return self._folders

    def paths(self) -> Sequence[Path]:
        """As PictureSource has it."""
        return [Path(path) for path in self._paths.values()]

    def lines_beside(self, files: Container[str]) -> list[str]:
        """The lines of a folder of which some files are the source, and one about the others."""
        others = [name for name in self._paths if name not in files]
        more = f", with {len(others) - 1:,} more" if len(others) > 1 else ""
        return [*self.lines, *([f"ignored: {others[0]}{more}, beside what holds pictures"] if others else [])]

    def location(self, name: str) -> Path:
        """Where a file lies."""
        return Path(self._paths[name])

    def read(self, name: str) -> bytes:
        """As PictureSource has it."""
        try:
            with Path(self._paths[name]).open("rb") as stream:
                return self._bounded(name, stream)
        except OSError as error:
            raise DataInvalid(f"{self.path}: {brief(name)}: cannot be read ({error.strerror})") from error

    def _walk(self, below: str, folder_name: str, above: list[tuple[int, int]]) -> None:
        folder = os.path.join(self.path, below)  # noqa: PTH118 - a million of them
        try:
            status = os.stat(folder)  # noqa: PTH116 - the same
            if len(above) > MAX_DEPTH:
                raise DataInvalid(
                    f"{self.path}: {brief(folder_name)} lies more than {MAX_DEPTH} folders deep; move it up"
                )
            if (status.st_dev, status.st_ino) in above:
                raise DataInvalid(
                    f"{self.path}: {brief(folder_name)} is a link to a folder that it lies in; remove the link"
                )
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise DataInvalid(
                f"{self.path}: the folder {brief(folder_name) or '.'} cannot be read ({error.strerror}); make it "
                "readable, or move it away"
            ) from error
        here = [*above, (status.st_dev, status.st_ino)]
        for entry in entries:
            name = self._unused(f"{folder_name}/{file_text(entry.name)}".lstrip("/"))
            if entry.is_symlink() and not self._leads_somewhere(entry, name):
                continue
            if entry.is_dir():
                self._folders.append(name)
                self._check_count()
                self._walk(os.path.join(below, entry.name), name, here)  # noqa: PTH118 - the same
            elif entry.is_file():
                self._paths[name] = entry.path
                self._check_count()

    def _check_count(self) -> None:
        if len(self._paths) + len(self._folders) > picture_source.MAX_FILES:
            raise too_many_files(self.path)

    def _leads_somewhere(self, entry: os.DirEntry[str], name: str) -> bool:
        """Whether a link leads to anything. Raises DataInvalid for links in a circle."""
        try:
            entry.stat()
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise DataInvalid(f"{self.path}: {brief(name)} is a link to itself; remove the link") from error
            self._dead_links.append(name)
            return False
        self._links.append(name)
        return True

    def _unused(self, name: str) -> str:
        """A name that no other file has: two whose bytes are others may be spelled alike, such as é in two forms."""
        path = PurePosixPath(name)
        return name if name not in self._paths else self._unused(str(path.with_stem(f"{path.stem}'")))
