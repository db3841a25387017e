"""A node of the cluster that is taken away with notice: its gang leaves first, with all that it has trained."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psutil

from ganservice.job import State
from tests.acceptance.conftest import Stack
from tests.lifetime import bound

# More than the stack's own node has: only the other one has room for a worker of that size.
CPUS = len(os.sched_getaffinity(0)) + 1


def start_node(stack: Stack) -> "subprocess.Popen[bytes]":
    """Another node of the stack's cluster, on this machine, as a container of deploy/ starts one."""
    words = psutil.Process(stack.pid("ray")).environ()
    environment = {name: value for name, value in words.items() if name.startswith("RAY_")}
    # The embedded stack's head is told to stay on loopback by a variable that forbids a second node.
    environment |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--address={stack.settings.ray_address}"]
    options = ["--node-ip-address=127.0.0.1", f"--num-cpus={CPUS}", "--disable-usage-stats"]
    command = [sys.executable, "-m", "workers.dispatch.node", *ray, *options]
    return subprocess.Popen(
        bound(command),
        env={**os.environ, **environment, **stack.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_node_that_is_stopped_has_its_gang_leave_first(
    stack: Stack, spec_file: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    silent = {"images": 10**9, "report_every_images": 10**9, "resources": {"cpus_per_worker": CPUS}}
    with start_node(stack) as node:
        try:
            job_id = stack.ok("submit", spec_file("silent", **silent))
            eventually(lambda: stack.job(job_id).images > 0)
            [worker] = [
                process for process in psutil.Process(node.pid).children(recursive=True)
                if any("ray::Worker" in word for word in process.cmdline())
            ]  # fmt: skip
            node.terminate()
            node.wait()
        finally:
            node.kill()
    assert not worker.is_running()
    [requeued] = stack.events(job_id, "requeued")
    assert requeued.detail["reason"] == "yielded"
    job = stack.job(job_id)
    assert (job.state, job.failures) == (State.QUEUED, 0)
    assert job.checkpoint
    assert job.checkpoint.images > 0
