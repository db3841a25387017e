"""Trainings in the process of `ganctl run`: jobs like any other, with a dispatcher beside them and without a stack."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from ganservice.job import State
from tests.acceptance.conftest import GANCTL, Stack
from tests.lifetime import bound

Eventually = Callable[..., Any]
SpecFile = Callable[..., str]
ENDLESS = ("--set", "images=1000000000")


# Stops where a debugger would be wanted, and then goes wrong.
BROKEN = """
from workers.gan.trainer import Trainer

def train(self, *_):
    breakpoint()
    raise ZeroDivisionError("on purpose")

Trainer.train = train
from ganservice.cli import main
main()
"""


@contextmanager
def running(
    stack: Stack, eventually: Eventually, *arguments: str, until: str = "checkpoint"
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`ganctl run`, once its attempt has told such an event, and its job."""
    environment = {**os.environ, **stack.environment}
    command = bound([*GANCTL, "run", *arguments])
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            job_id = process.stdout.readline().strip()
            eventually(lambda: process.poll() is not None or stack.events(job_id, until))
            assert process.returncode is None, process.communicate()[1]
            yield process, job_id
        finally:
            process.kill()


@pytest.fixture(scope="module")
def bare(new_stack: Callable[[], Stack]) -> Stack:
    """A state folder in which nothing was ever started."""
    return new_stack()


def test_a_run_beside_a_dispatcher_is_a_job_like_any_other(
    stack: Stack, spec_file: SpecFile, tmp_path: Path, eventually: Eventually
) -> None:
    done = stack.ganctl("run", spec_file("here"), "--set", "seed=1")
    assert done.returncode == 0, done.stderr
    job_id = done.stdout.strip()
    assert "32,000 of 32,000 images" in done.stderr
    assert "checkpoint at 32,000 images" in done.stderr
    assert f"next: ganctl fetch {job_id}" in done.stderr
    assert job_id in stack.ok("list")
    stack.ok("report", job_id, "--into", "page.html", cwd=tmp_path)
    assert [event.kind for event in stack.events(job_id)][:3] == ["submitted", "leased", "started"]

    with running(stack, eventually, spec_file("here"), "--set", "seed=1") as (process, killed):
        process.kill()
    stack.ok("wait", killed)
    assert [event.detail["reason"] for event in stack.events(killed, "requeued")] == ["lease_expired"]
    # One part of it was trained here, the other by a worker of the cluster.
    owners = {event.detail["owner"] for event in stack.events(killed, "leased")}
    assert len(owners) == 2
    assert stack.weights(killed) == stack.weights(job_id)


def test_without_a_stack_a_run_brings_broker_and_store_and_takes_them_away(
    bare: Stack, spec_file: SpecFile, eventually: Eventually, tmp_path: Path
) -> None:
    with running(bare, eventually, spec_file()) as (process, job_id):
        servers = [psutil.Process(bare.pid(part)) for part in ("broker", "store")]
        assert not bare.pids().keys() - {"broker", "store"}
        bare.refused(2, "is run by", "run", job_id)
        process.kill()
    # They outlive a death, and serve the next.
    assert all(server.is_running() for server in servers)
    assert bare.queue().reap(bare.queue().leases()) == [job_id]
    with running(bare, eventually, spec_file(), *ENDLESS) as (other, endless):
        done = bare.ganctl("run", job_id)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == job_id
        first, second = bare.events(job_id, "started")
        assert (first.detail["images"], second.detail["images"] >= 4_000) == (0, True)
        assert bare.job(job_id).state is State.SUCCEEDED
        # The other still needs them.
        assert all(server.is_running() for server in servers)
        bare.ok("fetch", job_id, cwd=tmp_path)
        other.send_signal(signal.SIGTERM)
        _, stderr = other.communicate()
    assert other.returncode == 130
    assert f"next: ganctl run {endless}" in stderr
    assert "`ganctl up -d` brings them back" in stderr.splitlines()[-1]
    assert not any(server.is_running() for server in servers)


def test_a_second_interrupt_ends_a_run_at_once(bare: Stack, spec_file: SpecFile, eventually: Eventually) -> None:
    with running(bare, eventually, spec_file(), *ENDLESS, until="started") as (process, job_id):
        store = psutil.Process(bare.pid("store"))
        store.suspend()  # so that the checkpoint after which it leaves is not written
        try:
            process.send_signal(signal.SIGINT)
            assert process.stderr
            eventually(lambda: "leaving after a checkpoint" in process.stderr.readline())
            job = bare.job(job_id)
            process.send_signal(signal.SIGINT)
            eventually(lambda: process.poll() is not None or bare.job(job_id).state is State.QUEUED)
        finally:
            store.resume()
        process.communicate()
    assert (process.returncode, job.state) == (130, State.RUNNING)


def test_a_run_that_is_terminated_leaves_after_a_checkpoint_without_waiting_for_a_report(
    bare: Stack, spec_file: SpecFile, eventually: Eventually
) -> None:
    silent = spec_file("silent", images=10**9, report_every_images=10**9)
    with running(bare, eventually, silent, until="started") as (process, job_id):
        process.terminate()
        process.communicate()
        with running(bare, eventually, job_id, until="checkpoint") as (other, _):
            job = bare.job(job_id)
            bare.queue().cancel(job_id, now=True)
            other.communicate()
    assert process.returncode == 130
    assert job.checkpoint
    assert job.resumed_images == job.checkpoint.images > 0
    assert job.failures == 0


def test_a_breakpoint_holds_and_an_error_shows_its_traceback(bare: Stack, spec_file: SpecFile) -> None:
    done = subprocess.run(
        bound([sys.executable, "-c", BROKEN, "run", spec_file()]),
        env={**os.environ, **bare.environment}, input="p 6 * 7\nc\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 100, done.stderr
    assert "(Pdb) 42" in done.stdout
    assert "Traceback" in done.stderr
    assert done.stderr.count("ZeroDivisionError: on purpose") >= 2
    assert "is queued again: error: ZeroDivisionError: on purpose" in done.stderr


def test_down_has_runs_leave_first(bare: Stack, spec_file: SpecFile, eventually: Eventually) -> None:
    with running(bare, eventually, spec_file(), *ENDLESS) as (process, job_id):
        with subprocess.Popen(bound([*GANCTL, "down"]), env={**os.environ, **bare.environment}) as down:
            _, stderr = process.communicate()
        assert (process.returncode, down.returncode) == (130, 0)
        assert f"{job_id} is queued again: yielded" in stderr
    assert not bare.is_up
