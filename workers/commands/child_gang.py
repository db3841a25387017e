"""ChildGang: the workers of one attempt as child processes on this machine, that may be killed at any moment."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Self

from ganservice.errors import LeaseLost
from ganservice.job import Lease
from ganservice.settings import Settings

LOOPBACK = "127.0.0.1"


def nothing() -> None:
    """Prepare nothing."""


class ChildGang:
    """The workers of one attempt, each a process of its own; they meet at a port of loopback and end with this one."""

    def __init__(self, settings: Settings, lease: Lease, prepare: Callable[[], None] = nothing) -> None:
        """Start them. Each calls `prepare`, a function that can be imported by name, before anything else."""
        # One process imports torch, once, and its compiler, which comes with the first optimiser; all workers begin as
        # copies of it.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["workers.attempt.process_group", "torch._dynamo"])
        meeting_point, resources = f"{LOOPBACK}:{_free_port()}", lease.spec.resources
        self._processes = [
            context.Process(
                target=_work,
                args=(settings, lease, rank, meeting_point, _visible_gpus(rank, resources.gpus_per_worker), prepare),
                name=f"{lease.job_id}/{lease.attempt}/{rank}",
            )
            for rank in range(resources.workers)
        ]

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End them by SIGKILL, of which no process is told."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()

    def ends_within(self, timeout_s: float) -> bool:
        """Whether the first worker, which speaks for all, ends within so many seconds."""
        return bool(multiprocessing.connection.wait([self._processes[0].sentinel], timeout_s))


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


def _visible_gpus(rank: int, per_worker: int) -> str:
    """The GPUs of one worker, as CUDA_VISIBLE_DEVICES names them."""
    places = range(rank * per_worker, (rank + 1) * per_worker)
    ours = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = ours.split(",") if ours else None
    return ",".join(names[place] if names else str(place) for place in places)


def _work(  # what a process is started with
    settings: Settings,
    lease: Lease,
    rank: int,
    meeting_point: str,
    visible_gpus: str,
    prepare: Callable[[], None],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for who started this
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    if visible_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpus
    prepare()
    from workers.attempt.process_group import run_worker

    run_worker(settings, lease, rank, meeting_point, LOOPBACK, on_lost=_end)


def _end() -> None:
    # Whatever this thread of the training is deep in must not write a thing once it returns.
    os._exit(LeaseLost.exit_code)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
