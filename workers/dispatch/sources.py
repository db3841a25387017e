"""Which code this is and when it was written: a process that waits for long is to run none that has changed."""

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

OWN = ("ganservice", "workers")
ROOT = Path(__file__).parents[2]


@cache
def release() -> str:
    """The version and a digest of all code, as they were when first asked: code may change under the same version."""
    digest = hashlib.sha256()
    for file in _files():
        digest.update(f"{file.relative_to(ROOT).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return f"{version('ganservice')}-{digest.hexdigest()[:8]}"


def written() -> dict[Path, int]:
    """When each file of all code was last written, ns, whether it is imported already or later."""
    return {file: _written_ns(file) for file in _files()}


def _written_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:  # it has just gone
        return 0


def _files() -> Iterator[Path]:
    """Those that there are, in an order that is the same everywhere."""
    return (file for package in OWN for file in sorted((ROOT / package).rglob("*.py")))
