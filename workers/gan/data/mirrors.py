"""Mirrors: files of a known set over HTTP, each bounded in size and in the time of every read."""

import http.client
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast
from urllib import request
from urllib.error import HTTPError

from ganservice.cache import cache_folder, cache_path
from ganservice.errors import DataInvalid, DataMissing
from ganservice.files import file_sha256, write_aside
from ganservice.places import is_http
from ganservice.proxies import ProxyHandler, by_way_of
from workers.gan.data.data_files import bounded_chunks
from workers.gan.data.tar_headers import BoundedHeader

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
        with tarfile.open(archive, tarinfo=BoundedHeader) as tar:
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


def cached_file(url: str, sha256: str, cache_dir: Path, allow: Callable[[str], bool]) -> Path:
    """Return the path of what a URL gives, in the cache as networks/SHA256; fetched unless just that is there.

    `allow` says of each URL to which a redirect leads whether it may be asked. Raises DataMissing and DataInvalid as
    `download`, DataInvalid also when the URL gives other bytes; RequestError and DiskFull as `cache_folder`.
    """
    cache_folder(cache_dir, "networks")
    path = cache_path(cache_dir, "networks", sha256)
    if not path.exists() or file_sha256(path) != sha256:
        with write_aside(path) as aside:
            with aside.open("wb") as file:
                file.writelines(fetched(url, allow))
            # Before it has its name: a wrong file would be taken for the right one ever after. What it was instead is
            # nobody's business.
            if file_sha256(aside) != sha256:
                raise DataInvalid(f"{url}: gives another file than that with sha256 {sha256}")
    return path


def fetched(url: str, allow: Callable[[str], bool] = is_http) -> Iterator[bytes]:
    """What a URL gives, in pieces. Raises DataMissing and DataInvalid as `download`.

    `allow` says of a redirect's URL whether it may be asked.
    """
    name, length_bytes = PurePosixPath(url).name, 0
    try:
        with _opener(allow).open(url, timeout=TIMEOUT_S) as response:
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


class _Redirects(request.HTTPRedirectHandler):
    """Follows a redirect where it may be followed, whatever else urllib would do."""

    def __init__(self, allow: Callable[[str], bool]) -> None:
        self._allow = allow

    def redirect_request(self, req: request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The request that follows. Raises DataMissing."""
        if not self._allow(newurl):
            fp.close()
            raise DataMissing(f"{PurePosixPath(req.full_url).name}: a redirect leads to where nothing may be fetched")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(allow: Callable[[str], bool]) -> request.OpenerDirector:
    # urllib's default opener also knows file: and ftp:, and follows a redirect to the latter.
    opener = request.OpenerDirector()
    for handler in (
        ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        _Redirects(allow),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
