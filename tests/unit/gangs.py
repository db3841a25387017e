"""Two real workers on loopback: processes that stay for a whole file of tests, each told what to run."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch.distributed as dist

from workers.gan.worker_group import WorkerGroup

WORLD_SIZE = 2

Gang = Callable[..., list[Any]]


def meet(rank: int, rendezvous: str) -> None:
    """Take this process' place in a gang that meets by a file."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=WORLD_SIZE,
        timeout=timedelta(seconds=300),
    )


def _serve(rank: int, rendezvous: str, commands: Connection) -> None:
    meet(rank, rendezvous)
    while (command := commands.recv()) is not None:
        function, arguments = command
        try:
            commands.send(function(WorkerGroup(rank, WORLD_SIZE), *arguments))
        except Exception as error:  # noqa: BLE001 # the test that asked is sent it
            commands.send(error)
    WorkerGroup(rank, WORLD_SIZE).leave()


@contextmanager
def two_workers(rendezvous: Path) -> Iterator[Gang]:
    """Give gang(function, *arguments): what `function(group, *arguments)` returns in each worker."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(WORLD_SIZE)]
    workers = [
        context.Process(target=_serve, args=(rank, str(rendezvous), theirs), daemon=True)
        for rank, (_, theirs) in enumerate(pipes)
    ]

    def run(function: Callable[..., Any], *arguments: Any) -> list[Any]:
        for mine, _ in pipes:
            mine.send((function, arguments))
        answers = [mine.recv() if mine.poll(300) else TimeoutError() for mine, _ in pipes]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    for worker in workers:
        worker.start()
    try:
        yield run
    finally:
        for mine, _ in pipes:
            mine.send(None)
        for worker in workers:
            worker.join(20)
            worker.kill()
