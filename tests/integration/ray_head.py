"""A Ray head on loopback, started by the very command of the embedded stack, and workers that only beat."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from ganservice.embedded.home import Home
from ganservice.embedded.parts import Part, embedded_parts
from ganservice.job import Activity, Directive, Outcome, Pulse, Reason
from ganservice.queue import JobQueue
from ganservice.settings import Settings, child_environment
from tests.conftest import wait_until
from tests.lifetime import last_will
from workers.dispatch.worker import Worker

# A dispatcher as it is, but for its workers.
WITH_BEATING_WORKERS = """
from workers.dispatch import __main__, actors
from tests.integration.ray_head import BeatingWorker
actors.Worker = BeatingWorker
raise SystemExit(__main__.main())
"""
DISPATCHER = (sys.executable, "-c", WITH_BEATING_WORKERS)
# What `ray start` says at last, and how often it may fail to.
HAS_STARTED, TRIES = "Ray runtime started", 8
ELSEWHERE = SecretStr("redis://127.0.0.1:1/0")


class BeatingWorker(Worker):
    """A worker that trains nothing; it imports no torch, and leaves when it is told to."""

    needed = ahead = ()
    activity = Activity.TRAINING

    def _run_share(self, meeting_point: str) -> None:
        del meeting_point
        with JobQueue(self._settings) as queue:
            while self._rank > 0 and queue.holds(self._lease):
                time.sleep(0.05)
            if self._rank > 0:
                return
            while queue.heartbeat(self._lease, pulse=self._pulse()) is Directive.CONTINUE:
                time.sleep(0.05)
            queue.finish(self._lease, Outcome(reason=Reason.YIELDED, message="gave its job back"))

    def _pulse(self) -> Pulse:
        return Pulse(activity=self.activity)


class SightedWorker(BeatingWorker):
    """A worker that tells which GPUs it sees, in the place of the kind of device that it computes on."""

    def _pulse(self) -> Pulse:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all") or "none"
        return Pulse(activity=self.activity, device=f"gpus-{visible.replace(',', '-')}")

    def _has_gpus(self) -> bool:
        return True  # as torch would, were the ones of the tests there


class BlindWorker(SightedWorker):
    """One that sees no GPU if it was idle before."""

    def _has_gpus(self) -> bool:
        return False


class PublishingWorker(BeatingWorker):
    """A worker that never comes to an end with the last files of its training."""

    activity = Activity.PUBLISHING


@contextmanager
def ray_head(folder: Path, gpus: int = 0) -> Iterator[Part]:
    """The head, once it has its node, which says that it has so many GPUs. This process and its children may then be
    drivers of it."""
    home = Home(folder)
    external = Settings(state_dir=folder, broker_url=ELSEWHERE, store_url="http://127.0.0.1:1/gan", ray_address=None)
    settings = home.prepare(external)
    parts = embedded_parts(home, external, settings, monitored=False)
    [found] = [part for part in parts if part.name == "ray"]
    part = replace(found, command=(*found.command, f"--num-gpus={gpus}"))
    for tries_left in reversed(range(TRIES)):
        with _started(part, folder / "ray.log") as has_node:
            # Where a busy machine takes longer than the head gives itself, it ends, and is started again by a stack.
            if not has_node and tries_left:
                continue
            assert has_node, (folder / "ray.log").read_text()
            yield part
            return


@contextmanager
def _started(part: Part, log: Path) -> Iterator[bool]:
    """A head, and whether it has come up with its node."""
    with log.open("wb") as output:
        head = subprocess.Popen(
            part.command,
            env=child_environment(**part.environment),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    with last_will(["kill", "-KILL", "--", f"-{head.pid}"], dict(os.environ)):
        try:
            wait_until(lambda: HAS_STARTED in log.read_text() or head.poll() is not None)
            yield head.poll() is None
        finally:
            head.terminate()
            head.wait(timeout=120)
            with suppress(ProcessLookupError):
                os.killpg(head.pid, signal.SIGKILL)  # what one that failed has left, on the port of the next
