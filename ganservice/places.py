"""Places that an operator lists: folders and the beginnings of URLs, from which a submitter may have a file read."""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ganservice.addresses import is_one_word, is_url

SCHEMES = ("http", "https")
DEFAULT_PORTS = {"http": 80, "https": 443}
# Scheme, host and port, and the path in its parts.
_Url = tuple[tuple[str, str, int], list[str]]


class Places:
    """The places in a text, separated by commas: `/srv/weights,https://example.org/weights`."""

    def __init__(self, text: str) -> None:
        """Raises ValueError: one of them is neither an absolute folder nor a URL without a password."""
        words = [word.strip() for word in text.split(",") if word.strip()]
        self._urls = [_parts(word) for word in words if "://" in word]
        self._folders = [Path(word) for word in words if "://" not in word]
        if None in self._urls or not all(folder.is_absolute() for folder in self._folders):
            raise ValueError("expected folders such as /srv/weights and https://host/path, separated by commas")

    def allow_url(self, url: str) -> bool:
        """Whether a URL begins with one of the places."""
        asked = _parts(url)
        return asked is not None and any(
            place is not None and asked[0] == place[0] and asked[1][: len(place[1])] == place[1] for place in self._urls
        )

    def allow_file(self, path: Path) -> bool:
        """Whether a path leads, after all its links, to a file in one of the places; not one that none can have."""
        try:
            real = path.resolve()
            return any(_is_within(real, folder) for folder in self._folders) and real.is_file()
        except (OSError, RuntimeError, ValueError):
            return False


def is_http(url: str) -> bool:
    """Whether a text is a URL of HTTP, of which all readers understand the same."""
    return _parts(url) is not None


def _parts(url: str) -> _Url | None:
    """A URL in its parts; None of one that some server or library may understand otherwise than we do."""
    if not (is_one_word(url) and is_url(url, SCHEMES)) or "\\" in url:
        return None
    split = urlsplit(url)
    steps = [step for step in _decoded(split.path).split("/") if step]
    if split.username is not None or split.password is not None or _leaves(steps):
        return None
    host = (split.hostname or "").rstrip(".")
    return (split.scheme, host, split.port or DEFAULT_PORTS[split.scheme]), steps


def _decoded(path: str) -> str:
    while (plain := unquote(path)) != path:
        path = plain
    return path


def _leaves(steps: Iterable[str]) -> bool:
    return any(step in (".", "..") or "\\" in step for step in steps)


def _is_within(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder.resolve())
