"""A test run that is killed leaves no server behind."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.inner_run import processes_of, run_until_ready, runs
from tests.lifetime import bound

SERVERS = """
import json, time, psutil

def test_that_is_killed(valkey, store_settings):
    servers = psutil.Process().children(recursive=True)
    assert len(servers) == 2
    print("pids", *(server.pid for server in servers), file=open({ready!r}, "w"))
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_servers_end_with_the_tests(number: int, tmp_path: Path, eventually: Callable[..., Any]) -> None:
    with run_until_ready(SERVERS, tmp_path) as run:
        servers = processes_of(tmp_path)
        run.send_signal(number)
        eventually(lambda: not any(map(runs, servers)))


def test_nothing_is_started_for_a_process_that_has_ended(tmp_path: Path) -> None:
    command = bound(["touch", str(tmp_path / "started")])
    command[command.index("bound") + 1] = "1"  # which is not the parent of what follows
    subprocess.run(command, check=False)
    assert not (tmp_path / "started").exists()
