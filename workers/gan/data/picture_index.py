"""An index of pictures by what a table may call them: with folders or without, with a suffix or without."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from workers.gan.data.splits import Part, Place


class PictureIndex:
    """Pictures by their names, in any case."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._parts = {place.name: place.part for place in places}
        # Keys and names, by the whole key without its suffix and by each end of it: what a table tells is one of these
        # or longer, so that a row is found by as many look-ups as it has folders.
        self._by_path: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self._by_end: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for place in places:
            entry = _key(place.name), place.name
            first, *others = _ends(entry[0].rpartition(".")[0])
            self._by_path[first].append(entry)
            for end in (first, *others):
                self._by_end[end].append(entry)

    def has(self, words: str) -> bool:
        """Whether some words may mean a picture."""
        path = _key(words)
        return self._is_near(path) or self._is_near(_stem(path))

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
        file = path.rpartition("/")[2]
        by_stem = self._near(_stem(path))
        return [each for each in by_stem if each[0].rpartition("/")[2] == file] or self._near(path) or by_stem

    def _near(self, path: str) -> list[tuple[str, str]]:
        """The pictures whose path, without its suffix, ends with another, or is the end of that."""
        longer = self._by_end.get(path, [])
        shorter = [self._by_path[end] for end in _ends(path)[1:] if end in self._by_path]
        return [*longer, *(each for found in shorter for each in found)] if shorter else longer

    def _is_near(self, path: str) -> bool:
        return path in self._by_end or any(end in self._by_path for end in _ends(path)[1:])


def _key(name: str) -> str:
    if name.isascii() and "\\" not in name and "//" not in name and "./" not in name:
        return name.strip().strip("/").lower()
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").casefold().strip().split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _stem(path: str) -> str:
    """A path without the suffix of its file; without a suffix it is empty, which no picture is."""
    folders, slash, file = path.rpartition("/")
    stem = file.rpartition(".")[0]
    return f"{folders}{slash}{stem}" if stem else ""


def _ends(path: str) -> list[str]:
    """A path, and what is left of it without its first folder, without its first two, and so on."""
    ends = [path]
    while end := ends[-1].partition("/")[2]:
        ends.append(end)
    return ends
