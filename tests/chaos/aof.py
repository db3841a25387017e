"""The broker's append-only file, cut back as a power cut does: what was written in the last moments is gone."""

from collections.abc import Iterator
from pathlib import Path


def newest_file(broker_folder: Path) -> Path:
    """The file to which the broker appends."""
    files = (broker_folder / "appendonlydir").glob("*.incr.aof")
    return max(files, key=lambda file: int(file.name.split(".")[-3]))


def cut_back(file: Path, bytes_to_keep: int) -> int:
    """Cut the file behind the first whole transaction that ends at or after `bytes_to_keep`. Returns bytes cut off."""
    data = file.read_bytes()
    end = next((end for end in transaction_ends(data) if end >= bytes_to_keep), len(data))
    with file.open("r+b") as out:
        out.truncate(end)
    return len(data) - end


def transaction_ends(data: bytes) -> Iterator[int]:
    """Offsets behind each command that is no part of a transaction, and behind each transaction."""
    at, is_inside = 0, False
    while at < len(data):
        words, at = _command(data, at)
        if words is None:  # the last one is not whole
            return
        name = words[0].upper() if words else b""
        is_inside = name == b"MULTI" or (is_inside and name != b"EXEC")
        if not is_inside:
            yield at


def _command(data: bytes, at: int) -> tuple[list[bytes] | None, int]:
    end = data.find(b"\r\n", at)
    if data[at : at + 1] == b"#":  # a note of the time
        return [], end + 2
    if end < 0:
        return None, at
    words, count, at = [], int(data[at + 1 : end]), end + 2
    for _ in range(count):
        end = data.find(b"\r\n", at)
        if end < 0:
            return None, at
        size = int(data[at + 1 : end])
        words.append(data[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
        if at > len(data):
            return None, at
    return words, at
