"""When the code that this process runs was written: a process that waits for long is to run none that has changed."""

import sys
from pathlib import Path

OWN = ("ganservice", "workers")


def written() -> dict[str, int]:
    """When each file of this project that is imported was last written, ns; 0 of one that is gone."""
    own = (module for name, module in list(sys.modules.items()) if name.partition(".")[0] in OWN)
    return {file: _written_ns(Path(file)) for module in own if (file := getattr(module, "__file__", None))}


def _written_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
