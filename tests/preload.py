"""Libraries that a process loads before all others (LD_PRELOAD), so that it finds other answers of its machine."""

import shutil
import subprocess
from pathlib import Path


def build(source: Path, folder: Path) -> Path:
    """Build one of a source in C. Raises RuntimeError where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError(f"no C compiler, which {source.name} takes; on Debian: apt-get install gcc")
    library = folder / f"{source.stem}.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library
