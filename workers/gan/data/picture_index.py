"""An index of pictures by what a table may call them: with folders or without, with a suffix or without."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from workers.gan.data.splits import Part, Place


class PictureIndex:
    """Pictures by their names, in any case."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._parts = {place.name: place.part for place in places}
        # Keys and names, by the key without its suffix, alone and after the folder that it is in: what a table tells is
        # one of these or longer, so that few pictures are looked at for each row.
        self._by_stem: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self._by_folder: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for place in places:
            key = _key(place.name)
            folder, file = _folder_and_file(key)
            stem = file.rpartition(".")[0]
            self._by_stem[stem].append((key, place.name))
            self._by_folder[f"{folder}/{stem}"].append((key, place.name))

    def has(self, words: str) -> bool:
        """Whether some words may mean a picture."""
        path = _key(words)
        if "/" in path:
            return bool(self._found(path))
        return path in self._by_stem or path.rpartition(".")[0] in self._by_stem

    def find(self, words: str, part: Part | None = None) -> list[str]:
        """The pictures that some words may mean; of several, those of a part, where any is of it."""
        path = _key(words)
        found = self._found(path)
        if len(found) > 1:
            exact = [name for _, name in found if name == words] or [name for key, name in found if key == path]
            if exact:
                return exact
        names = [name for _, name in found]
        return [name for name in names if self._parts[name] == part] or names

    def _found(self, path: str) -> list[tuple[str, str]]:
        folder, file = _folder_and_file(path)
        by_stem = self._near(folder, file.rpartition(".")[0])
        found = (
            [each for each in by_stem if _folder_and_file(each[0])[1] == file] or self._near(folder, file) or by_stem
        )
        return [each for each in found if _fits(each[0], path)]

    def _near(self, folder: str, stem: str) -> list[tuple[str, str]]:
        if not stem:
            return []
        if not folder:
            return self._by_stem.get(stem, [])
        # A picture in no folder is meant by a longer path too.
        return self._by_folder.get(f"{folder}/{stem}", []) + self._by_folder.get(f"/{stem}", [])


def _key(name: str) -> str:
    if name.isascii() and "\\" not in name and "//" not in name and "./" not in name:
        return name.strip().strip("/").lower()
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
