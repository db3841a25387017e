"""How the workers of a gang find each other."""

import multiprocessing
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.preload import build
from workers.attempt.process_group import interface_of, joined
from workers.gan.worker_group import WorkerGroup

LOOPBACK = "127.0.0.1"
NAMES = Path(__file__).with_name("names.c")


def test_an_interface_is_known_by_its_address() -> None:
    [loopback] = [
        name for name, addresses in psutil.net_if_addrs().items() if any(a.address == LOOPBACK for a in addresses)
    ]
    assert interface_of(LOOPBACK) == loopback


@pytest.mark.parametrize("address", ["192.0.2.1", ""])
def test_no_interface_has_an_address_of_another_machine(address: str) -> None:
    assert interface_of(address) is None  # RFC 5737 keeps 192.0.2.0/24 for documentation


def meet(rank: int, meeting_point: str, answer: Any) -> None:
    """As a worker does before its attempt."""
    group = WorkerGroup(rank, 2)
    with joined(group, meeting_point, LOOPBACK, torch.device("cpu")):
        answer.send(group.first_says(f"rank {rank}"))


def test_workers_meet_without_asking_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no name server answers, each question would keep all of them waiting for 10 s."""
    look_ups = tmp_path / "look-ups"
    monkeypatch.setenv("LOOK_UPS", str(look_ups))
    monkeypatch.setenv("LD_PRELOAD", str(build(NAMES, tmp_path)))
    with socket.create_server((LOOPBACK, 0)) as listener:
        meeting_point = f"{LOOPBACK}:{listener.getsockname()[1]}"
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    workers = [
        context.Process(target=meet, args=(rank, meeting_point, theirs), daemon=True)
        for rank, (_, theirs) in enumerate(pipes)
    ]
    for worker in workers:
        worker.start()
    try:
        answers = [mine.recv() if mine.poll(110) else "none" for mine, _ in pipes]
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    assert answers == ["rank 0", "rank 0"]
    assert not look_ups.exists() or look_ups.read_text() == ""
