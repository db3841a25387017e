"""Debian packages of data, fetched and unpacked by any user: nothing is installed, no system state is touched."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from ganservice.errors import DataMissing
from workers.gan.data.data_files import find_file

TIMEOUT_S = 900.0
# What apt and dpkg say in the C locale when a disk is full.
FULL_DISK_WORDS = ("No space left on device", "have enough free space")


def unpack(package: str, folder: Path, names: Iterable[str], aside: Path) -> Iterator[Path]:
    """Fetch a package, unpack it below `aside` and yield the named files that it would install in `folder`.

    Works on Debian and its relatives, from the sources the system is configured for. Raises DataMissing when
    that cannot be done, OSError (ENOSPC) when the disk is full.
    """
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise DataMissing(f"{program} is not on PATH")
    # A private package list; what apt trusts (Dir::Etc) stays the system's.
    state, cache, root = aside / "state", aside / "cache", aside / "root"
    for private in (state / "lists" / "partial", cache / "archives" / "partial"):
        private.mkdir(parents=True)
    options = [f"Dir::State={state}", f"Dir::State::lists={state / 'lists'}", f"Dir::Cache={cache}"]
    # With retries, apt 2.6 never returns from a full disk.
    apt_get = ["apt-get", "-qq", *(f"-o{option}" for option in (*options, "Acquire::Retries=0"))]
    # One unreachable source among many fails the update, not the package that another source has.
    update_error = _run([*apt_get, "update"], aside)
    download_error = _run([*apt_get, "download", package], aside)
    if download_error:
        raise DataMissing(update_error or download_error)
    archives = sorted(map(str, aside.glob("*.deb")))
    if unpack_error := _run(["dpkg", "-x", *archives, str(root)], aside):
        raise DataMissing(unpack_error)
    for name in names:
        yield find_file(root / folder.relative_to("/"), name)


def _run(command: list[str], folder: Path) -> str:
    """Run a program in a folder; one line of what it says when it fails, else nothing."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        ran = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            timeout=TIMEOUT_S,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} took more than {TIMEOUT_S:.0f} s"
    if ran.returncode == 0:
        return ""
    if any(words in ran.stderr for words in FULL_DISK_WORDS):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    lines = ran.stderr.strip().splitlines() or [f"{command[0]} ended with status {ran.returncode}"]
    # apt begins with the cause and ends with a platitude.
    return next((line for line in lines if line.startswith("E:")), lines[-1])
