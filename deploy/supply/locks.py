"""Locks: all that each way of installing takes, with the digests of its files, in `deploy/requirements/`.

`python -m deploy.supply.locks` writes them anew, after a change of `constraints.txt` or of what pyproject.toml depends
on.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.supply.packages import CONSTRAINTS, OF_TORCH, PIN, project

FOLDER = Path("deploy/requirements")
# The extras of each way of installing.
LOCKS = {
    "control": ("dispatch",),
    "worker": ("train", "efficientnet", "gpu"),
    "local": ("local",),
    "parquet": ("parquet",),
    "trackers": ("mlflow", "tensorboard", "wandb"),
    "dev": ("local", "efficientnet", "dev"),
}
HEAD = "# Made by `make locks` from constraints.txt and pyproject.toml; without torch and what only it brings.\n"


def main() -> None:
    """Write the locks."""
    FOLDER.mkdir(exist_ok=True)
    for name, extras in LOCKS.items():
        (FOLDER / f"{name}.txt").write_text(HEAD + without_torch(_compiled(extras)))


def without_torch(text: str) -> str:
    """The entries of a file of requirements, each with the lines of its digests, but for those of torch."""
    entries: list[str] = []
    for line in text.splitlines(keepends=True):
        if PIN.match(line):
            entries.append(line)
        elif entries:
            entries[-1] += line
    return "".join(entry for entry in entries if not OF_TORCH.fullmatch(entry.partition("==")[0]))


def _compiled(extras: tuple[str, ...]) -> str:
    """What uv resolves, for every platform that a package has files for."""
    with tempfile.NamedTemporaryFile("w", suffix=".in") as build:
        build.write("\n".join(project()["build-system"]["requires"]))
        build.flush()
        command = [
            sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml", build.name,
            *(f"--extra={extra}" for extra in extras), f"--constraints={CONSTRAINTS}",
            "--python-version=3.11", "--universal", "--generate-hashes", "--no-annotate", "--no-header",
        ]  # fmt: skip
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
