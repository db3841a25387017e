"""A test run that is killed leaves no stack behind."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganservice.job import State
from tests.acceptance.conftest import Stack
from tests.integration.test_lifetime import processes_told, run_until_told, runs

UP = """
import time, psutil

def test_that_is_killed(new_stack):
    stack = new_stack()
    stack.ok("up", "-d")
    told = [stack.pid("supervisor"), *(process.pid for process in stack.processes())]
    print(stack.state_dir, *told, file=open({told!r}, "w"))
    time.sleep(600)
"""
# Killed with `ganctl up -d` while the supervisor starts the first of its parts.
STARTING = """
import threading, time, psutil

def test_that_is_killed(new_stack):
    stack = new_stack()
    threading.Thread(target=stack.ganctl, args=("up", "-d")).start()
    while not stack.is_up:
        time.sleep(0.01)
    print(stack.state_dir, stack.pid("broker"), file=open({told!r}, "w"))
    time.sleep(600)
"""


@pytest.mark.parametrize("test", [UP, STARTING], ids=["up", "starting"])
def test_a_stack_ends_with_the_tests(test: str, tmp_path: Path, eventually: Callable[..., Any]) -> None:
    with run_until_told(test, tmp_path, eventually, "acceptance.conftest") as run:
        state_dir = Path((tmp_path / "told").read_text().split()[0])
        processes = processes_told(tmp_path)
        assert all(map(runs, processes))
        run.send_signal(signal.SIGKILL)
        eventually(lambda: not any(map(runs, processes)))
        eventually(lambda: not state_dir.exists())


def test_no_job_outlives_its_test(stack: Stack, spec_file: Callable[..., str], eventually: Callable[..., Any]) -> None:
    """Were it not so, the endless jobs below would stand in the way of the tests that follow."""
    kept, running, waiting = (
        stack.ok("submit", spec_file(name, images=10**9, resources={"cpus_per_worker": cpus}))
        for name, cpus in (("kept", 1), ("running", 1), ("waiting", 64))
    )
    eventually(lambda: len(stack.workers()) == 2)
    stack.clear(kept=[kept])
    assert [job.id for job in stack.unfinished()] == [kept]
    assert {stack.job(job_id).state for job_id in (running, waiting)} == {State.CANCELLED}
    stack.clear()
    assert stack.unfinished() == []
    eventually(lambda: not stack.workers())
