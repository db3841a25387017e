"""Mirrors: files of a known set over HTTP, each bounded in size and in the time of every read."""

import http.client
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast
from urllib import request
from urllib.error import HTTPError

from ganservice.errors import DataInvalid, DataMissing
from ganservice.files import file_sha256, make_folder, write_aside
from ganservice.proxies import ProxyHandler, by_way_of
from workers.gan.data.data_files import bounded_chunks

TIMEOUT_S = 30.0
MAX_FILE_BYTES = 200_000_000
CHUNK_BYTES = 1 << 16


def download(base_url: str, names: Iterable[str], aside: Path) -> Iterator[Path]:
    """Fetch `base_url`/NAME.gz, or NAME if it is an archive, into the folder `aside`, and yield each path in turn.

    Raises DataMissing when the mirror does not give a file, DataInvalid when it gives more than MAX_FILE_BYTES,
    OSError when the disk does not take it.
    """
    for name in names:
        path = aside / (name if name.endswith(".tgz") else f"{name}.gz")
        with path.open("wb") as file:
            for chunk in fetched(f"{base_url.rstrip('/')}/{path.name}"):
                file.write(chunk)
        yield path


def download_archive(url: str, names: Iterable[str], aside: Path) -> Iterator[Path]:
    """Fetch a tar, unpack the named files, wherever in it they lie, into the folder `aside` and yield each path.

    Raises DataMissing and DataInvalid as `download`, DataMissing also for a name that the tar does not hold.
    """
    archive = aside / "archive"
    with archive.open("wb") as file:
        for chunk in fetched(url):
            file.write(chunk)
    try:
        with tarfile.open(archive) as tar:
            members = {PurePosixPath(member.name).name: member for member in tar if member.isfile()}
            for name in names:
                if name not in members:
                    raise DataMissing(f"{PurePosixPath(url).name}: holds no {name}")
                unpacked = cast(IO[bytes], tar.extractfile(members[name]))
                with unpacked, (aside / name).open("wb") as target:
                    target.writelines(bounded_chunks(unpacked, Path(name)))
                yield aside / name
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataInvalid(f"{PurePosixPath(url).name}: cannot be unpacked ({error})") from error


def local_file(source: str, sha256: str, cache: Path) -> Path:
    """Return the path of a file on this machine: `source` itself, or `cache`/SHA256, fetched at first, if it is a URL.

    A file of one's own is not checked here. Raises DataMissing and DataInvalid as `download`, DataInvalid also when a
    URL gives bytes of another sha256; RequestError and DiskFull when the cache cannot be written.
    """
    if not source.startswith(("http://", "https://")):
        return Path(source)
    path = cache / sha256
    if not path.exists():
        make_folder(cache, "GANSERVICE_CACHE_DIR")
        with write_aside(path) as aside:
            with aside.open("wb") as file:
                file.writelines(fetched(source))
            # Before it has its name: a wrong file would be taken for the right one ever after.
            if (actual := file_sha256(aside)) != sha256:
                raise DataInvalid(f"{source}: sha256 is {actual}, expected {sha256}")
    return path


def fetched(url: str) -> Iterator[bytes]:
    """What a URL gives, in pieces. Raises DataMissing and DataInvalid as `download`."""
    name, length_bytes = PurePosixPath(url).name, 0
    try:
        with _opener().open(url, timeout=TIMEOUT_S) as response:
            while chunk := response.read(CHUNK_BYTES):
                length_bytes += len(chunk)
                if length_bytes > MAX_FILE_BYTES:
                    raise DataInvalid(f"{name}: more than {MAX_FILE_BYTES:,} bytes; expected less")
                yield chunk
    except HTTPError as error:
        error.close()
        raise DataMissing(f"{name}: HTTP {error.code} {error.reason}{by_way_of(url)}") from error
    except http.client.InvalidURL as error:  # which quotes what it cannot read: of a proxy's, perhaps the password
        raise DataMissing(f"{name}: its address, or the proxy's, cannot be read{by_way_of(url)}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataMissing(f"{name}: {getattr(error, 'reason', error)}{by_way_of(url)}") from error


def _opener() -> request.OpenerDirector:
    # urllib's default opener also knows file: and ftp:, and follows a redirect to the latter.
    opener = request.OpenerDirector()
    for handler in (
        ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
