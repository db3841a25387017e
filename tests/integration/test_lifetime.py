"""A test run that is killed leaves no server behind."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.lifetime import bound

SERVERS = """
import json, time, psutil

def test_that_is_killed(broker, store_settings):
    servers = psutil.Process().children(recursive=True)
    assert len(servers) == 2
    print("pids", *(server.pid for server in servers), file=open({told!r}, "w"))
    time.sleep(600)
"""


def run_until_told(test: str, folder: Path, eventually: Callable[..., Any], *options: str) -> subprocess.Popen[bytes]:
    """A run of pytest over `test`, once it has written the file `told`."""
    told = folder / "told"
    path = folder / "test_killed.py"
    path.write_text(test.format(told=str(told)))
    plugins = [f"-ptests.{name}" for name in ("conftest", "integration.conftest", "integration.store", *options)]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, f"--rootdir={folder}", str(path)]
    run = subprocess.Popen(bound(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def has_told() -> bool:
        assert run.poll() is None, run.communicate()[0].decode()
        return told.exists() and told.read_text().endswith("\n")

    eventually(has_told, within_s=300)
    return run


def processes_told(folder: Path) -> list[psutil.Process]:
    return [psutil.Process(int(pid)) for pid in (folder / "told").read_text().split()[1:]]


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended; an orphan may stay as a zombie where nobody collects those."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_servers_end_with_the_tests(number: int, tmp_path: Path, eventually: Callable[..., Any]) -> None:
    with run_until_told(SERVERS, tmp_path, eventually) as run:
        servers = processes_told(tmp_path)
        run.send_signal(number)
        eventually(lambda: not any(map(runs, servers)))


def test_nothing_is_started_for_a_process_that_has_ended(tmp_path: Path) -> None:
    command = bound(["touch", str(tmp_path / "started")])
    command[command.index("bound") + 1] = "1"  # which is not the parent of what follows
    subprocess.run(command, check=False)
    assert not (tmp_path / "started").exists()
