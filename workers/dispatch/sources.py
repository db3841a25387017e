"""Which code this is and when it was written: a process that waits for long is to run none that has changed."""

import hashlib
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

OWN = ("ganservice", "workers")
ROOT = Path(__file__).parents[2]


@cache
def release() -> str:
    """The version and a digest of all code, as they were when first asked: code may change under the same version."""
    digest = hashlib.sha256()
    for file in sorted(file for package in OWN for file in (ROOT / package).rglob("*.py")):
        digest.update(f"{file.relative_to(ROOT).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return f"{version('ganservice')}-{digest.hexdigest()[:8]}"


def written() -> dict[str, int]:
    """When each file of this project that is imported was last written, ns; 0 of one that is gone."""
    own = (module for name, module in list(sys.modules.items()) if name.partition(".")[0] in OWN)
    return {file: _written_ns(Path(file)) for module in own if (file := getattr(module, "__file__", None))}


def _written_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
