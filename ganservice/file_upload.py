"""Upload of a file to S3, whose bytes are never all in memory and whose journey may be ended."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig, create_transfer_manager
from s3transfer.exceptions import CancelledError
from s3transfer.subscribers import BaseSubscriber

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Parts of one file that travel at once: several files do so side by side, by the connections of one client.
PARTS_AT_ONCE = 2


class _Hearer(BaseSubscriber):
    """Who is told of bytes that have travelled. What it raises ends the journey by a request: raised within the library
    it would leave the file open."""

    def __init__(self, on_bytes: Callable[[int], object]) -> None:
        self._on_bytes = on_bytes
        self.error: BaseException | None = None

    def on_progress(self, future: Any, bytes_transferred: int, **_: Any) -> None:
        if self.error is not None:
            return
        try:
            self._on_bytes(bytes_transferred)
        except BaseException as error:  # noqa: BLE001 # it is raised where the upload was asked for
            self.error = error
            future.cancel()


def upload_file(
    s3: "S3Client",
    path: Path,
    bucket: str,
    key: str,
    metadata: dict[str, str],
    part_bytes: int,
    on_bytes: Callable[[int], object],
) -> None:
    """Store a file under a key, in parts of `part_bytes` where it is larger.

    `on_bytes` is called from several threads with the bytes that have travelled since; what it raises ends the upload,
    and is raised here.

    Raises:
        OSError: the file cannot be read.
        ClientError, HTTPClientError: what the store or the way to it said.
    """
    path.open("rb").close()  # within the library, what the disk says would pass for an outage
    hearer = _Hearer(on_bytes)
    config = TransferConfig(
        multipart_threshold=part_bytes, multipart_chunksize=part_bytes, max_concurrency=PARTS_AT_ONCE
    )
    with create_transfer_manager(s3, config) as transfers:
        upload = transfers.upload(str(path), bucket, key, {"Metadata": metadata}, [hearer])
        with suppress(CancelledError):  # only we cancel it
            upload.result()
    if hearer.error is not None:
        raise hearer.error
