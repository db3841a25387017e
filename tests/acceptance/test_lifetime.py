"""Neither a test run that is killed nor an interrupted `up` leaves a stack behind."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from ganservice.job import State
from tests.acceptance.conftest import GANCTL, Stack
from tests.inner_run import READY, processes_of, run_until_ready, runs
from tests.lifetime import bound

UP = """
import time, psutil

def test_that_is_killed(new_stack):
    stack = new_stack()
    stack.ok("up", "-d")
    pids = [stack.pid("supervisor"), *(process.pid for process in stack.processes())]
    print(stack.state_dir, *pids, file=open({ready!r}, "w"))
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
    print(stack.state_dir, stack.pid("broker"), file=open({ready!r}, "w"))
    time.sleep(600)
"""


@pytest.mark.parametrize("test", [UP, STARTING], ids=["up", "starting"])
def test_a_stack_ends_with_the_tests(test: str, tmp_path: Path, eventually: Callable[..., Any]) -> None:
    with run_until_ready(test, tmp_path, "acceptance.conftest") as run:
        state_dir = Path((tmp_path / READY).read_text().split()[0])
        processes = processes_of(tmp_path)
        assert all(map(runs, processes))
        run.send_signal(signal.SIGKILL)
        eventually(lambda: not any(map(runs, processes)))
        eventually(lambda: not state_dir.exists())


@contextmanager
def starting(stack: Stack, eventually: Callable[..., Any]) -> Iterator["subprocess.Popen[bytes]"]:
    """`ganctl up -d` once the first part of the stack runs, and before all do."""
    command = bound([*GANCTL, "up", "-d"])
    with subprocess.Popen(command, env={**os.environ, **stack.environment}, stderr=subprocess.DEVNULL) as up:
        eventually(lambda: stack.is_up, within_s=120)
        yield up


def test_an_interrupt_of_up_ends_what_it_started(
    new_stack: Callable[[], Stack], eventually: Callable[..., Any]
) -> None:
    stack = new_stack()
    with starting(stack, eventually) as up:
        broker = psutil.Process(stack.pid("broker"))
        up.send_signal(signal.SIGINT)
    assert up.returncode == 130
    assert not runs(broker)
    assert not stack.is_up


def test_up_waits_for_a_stack_that_is_starting(new_stack: Callable[[], Stack], eventually: Callable[..., Any]) -> None:
    stack = new_stack()
    with starting(stack, eventually) as up:
        up.kill()
    done = stack.ganctl("up", "-d")
    assert done.returncode == 0, done.stderr
    assert "it is up already" in done.stderr


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
