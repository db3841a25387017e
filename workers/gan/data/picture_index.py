"""An index of pictures by what a table may call them: with folders or without, with a suffix or without."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from workers.gan.data.splits import Part, Place


class PictureIndex:
    """Pictures by their names, in any case."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._parts = {place.name: place.part for place in places}
        # By the name without its suffix, alone and after the folder that it is in: what a table tells is one of these
        # or longer, so that few pictures are looked at for each row.
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        self._by_folder: defaultdict[str, list[str]] = defaultdict(list)
        for place in places:
            folder, file = _folder_and_file(_key(place.name))
            stem = file.rpartition(".")[0]
            self._by_stem[stem].append(place.name)
            self._by_folder[f"{folder}/{stem}"].append(place.name)

    def has(self, words: str) -> bool:
        """Whether some words may mean a picture."""
        path = _key(words)
        if "/" in path:
            return bool(self.find(words))
        return path in self._by_stem or path.rpartition(".")[0] in self._by_stem

    def find(self, words: str, part: Part | None = None) -> list[str]:
        """The pictures that some words may mean; of several, those of a part, where any is of it."""
        path = _key(words)
        folder, file = _folder_and_file(path)
        by_stem = self._near(folder, file.rpartition(".")[0])
        found = [name for name in by_stem if _folder_and_file(_key(name))[1] == file]
        found = found or self._near(folder, file) or by_stem
        found = [name for name in found if _fits(_key(name), path)]
        exact = [name for name in found if name == words] or [name for name in found if _key(name) == path]
        return exact or [name for name in found if self._parts[name] == part] or found

    def _near(self, folder: str, stem: str) -> list[str]:
        if not stem:
            return []
        if not folder:
            return self._by_stem.get(stem, [])
        # A picture in no folder is meant by a longer path too.
        return self._by_folder.get(f"{folder}/{stem}", []) + self._by_folder.get(f"/{stem}", [])


def _key(name: str) -> str:
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").casefold().strip().split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _folder_and_file(path: str) -> tuple[str, str]:
    """The last two parts of a path; the folder is empty where there is none."""
    folders, _, file = path.rpartition("/")
    return folders.rpartition("/")[2], file


def _fits(name: str, path: str) -> bool:
    """Whether one of two paths is the end of the other, but for the file itself."""
    shorter, longer = sorted((name.split("/")[:-1], path.split("/")[:-1]), key=len)
    return not shorter or longer[-len(shorter) :] == shorter
