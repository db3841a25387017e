"""An index of pictures by what a table may call them: with folders or without, with a suffix or without."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from workers.gan.data.splits import Part, Place


class PictureIndex:
    """Pictures by their names, in any case."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._parts = {place.name: place.part for place in places}
        self._by_file: defaultdict[str, list[str]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for place in places:
            file = _key(place.name).rpartition("/")[2]
            self._by_file[file].append(place.name)
            self._by_stem[file.rpartition(".")[0]].append(place.name)

    def find(self, words: str, part: Part | None = None) -> list[str]:
        """The pictures that some words may mean; of several, those of a part, where any is of it."""
        path = _key(words)
        file = path.rpartition("/")[2]
        found = self._by_file.get(file) or self._by_stem.get(file) or self._by_stem.get(file.rpartition(".")[0]) or []
        found = [name for name in found if _fits(_key(name), path)]
        exact = [name for name in found if name == words] or [name for name in found if _key(name) == path]
        return exact or [name for name in found if self._parts[name] == part] or found


def _key(name: str) -> str:
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").casefold().strip().split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _fits(name: str, path: str) -> bool:
    """Whether one of two paths is the end of the other, but for the file itself."""
    shorter, longer = sorted((name.split("/")[:-1], path.split("/")[:-1]), key=len)
    return not shorter or longer[-len(shorter) :] == shorter
