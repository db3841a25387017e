"""Mirrors: files of a known set over HTTP, each bounded in size and in the time of every read."""

import http.client
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from urllib import request
from urllib.error import HTTPError

from ganservice.errors import DataInvalid, DataMissing

TIMEOUT_S = 30.0
MAX_FILE_BYTES = 200_000_000
CHUNK_BYTES = 1 << 16


def download(base_url: str, names: Iterable[str], aside: Path) -> Iterator[Path]:
    """Fetch `base_url`/NAME.gz into the folder `aside`, one name after the other, and yield each path.

    Raises DataMissing when the mirror does not give a file, DataInvalid when it gives more than MAX_FILE_BYTES,
    OSError when the disk does not take it.
    """
    for name in names:
        path = aside / f"{name}.gz"
        with path.open("wb") as file:
            for chunk in _chunks(f"{base_url.rstrip('/')}/{path.name}"):
                file.write(chunk)
        yield path


def _chunks(url: str) -> Iterator[bytes]:
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
        raise DataMissing(f"{name}: HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataMissing(f"{name}: {getattr(error, 'reason', error)}") from error


def _opener() -> request.OpenerDirector:
    # urllib's default opener also knows file: and ftp:, and follows a redirect to the latter.
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
