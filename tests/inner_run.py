"""A run of pytest inside a test, which the test kills."""

import subprocess
import sys
from pathlib import Path

import psutil

from tests.conftest import wait_until
from tests.lifetime import bound

READY = "ready"


def run_until_ready(test: str, folder: Path, *plugins: str) -> subprocess.Popen[bytes]:
    """Start pytest over `test` and return once that has written its process ids, in one line, to the file `{ready}`.

    `plugins` are modules below `tests` with fixtures that it takes besides those of the integration tests.
    """
    ready = folder / READY
    path = folder / "test_killed.py"
    path.write_text(test.format(ready=str(ready)))
    options = [f"-ptests.{name}" for name in ("conftest", "integration.conftest", *plugins)]
    command = [sys.executable, "-m", "pytest", "-q", *options, f"--rootdir={folder}", str(path)]
    run = subprocess.Popen(bound(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def is_ready() -> bool:
        assert run.poll() is None, run.communicate()[0].decode()
        return ready.exists() and ready.read_text().endswith("\n")

    wait_until(is_ready, within_s=300)
    return run


def processes_of(folder: Path) -> list[psutil.Process]:
    """The processes that the run in `folder` named; the first word of its line is its own."""
    return [psutil.Process(int(pid)) for pid in (folder / READY).read_text().split()[1:]]


def runs(process: psutil.Process) -> bool:
    """Say whether it has not ended; an orphan may stay as a zombie where nobody collects those."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
