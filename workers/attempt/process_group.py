"""One worker's part of an attempt: its threads, its device and its place in the process group."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import psutil
import torch
import torch.distributed as dist

from ganservice.errors import LeaseLost
from ganservice.job import Lease, Outcome, Reason
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from workers.attempt.rendezvous import Rendezvous
from workers.attempt.run import run_attempt
from workers.gan.precision import allow_tensor_float
from workers.gan.worker_group import PEER_TIMEOUT, WorkerGroup


def run_worker(
    settings: Settings,
    lease: Lease,
    rank: int,
    meeting_point: str,
    own_address: str,
    on_lost: Callable[[], None],
    leaving: threading.Event | None = None,
) -> None:
    """Meet the other workers at `meeting_point`, host:port, and run the attempt. Raises LeaseLost, of a worker without
    the GPUs that it holds too: the job is given back then.

    `own_address` is that of this machine in the cluster. `on_lost` and `leaving` are those of `run_attempt`.
    """
    resources = lease.spec.resources
    torch.set_num_threads(resources.cpus_per_worker)
    # Bit-identical resumes are promised on GPUs too.
    torch.backends.cudnn.deterministic = True
    device = torch.device("cuda" if resources.gpus_per_worker else "cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        _give_back(settings, lease, rank)
    allow_tensor_float(device)
    group = WorkerGroup(rank, resources.workers)
    with joined(group, meeting_point, own_address, device):
        run_attempt(settings, lease, group, device, on_lost, leaving)


def _give_back(settings: Settings, lease: Lease, rank: int) -> NoReturn:
    """End the attempt, which must not train on CPUs what asked for GPUs. Raises LeaseLost."""
    message = f"worker {rank} on {socket.gethostname()} holds GPUs and sees none: look at its driver, and at its torch"
    JobQueue(settings).finish(lease, Outcome(reason=Reason.NO_GPU, message=message))
    raise LeaseLost(f"attempt {lease.attempt} of {lease.job_id}: {message}")


@contextlib.contextmanager
def joined(group: WorkerGroup, meeting_point: str, own_address: str, device: torch.device) -> Iterator[None]:
    """Take this worker's place in the process group of its gang, and leave it at the end of the block."""
    if group.world_size == 1:
        yield
        return
    # Else they take the one that the machine's own name resolves to, which may be loopback.
    if interface := interface_of(own_address):
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = interface
    try:
        if device.type == "cuda":
            # Threads of NCCL ask their store all through a training, and would wait there for this process' Python.
            dist.init_process_group("nccl", init_method=f"tcp://{meeting_point}", **_place(group))
        else:
            _meet(group, meeting_point)
        yield
    finally:
        group.leave()


def _meet(group: WorkerGroup, meeting_point: str) -> None:
    host, _, port = meeting_point.rpartition(":")
    with contextlib.closing(Rendezvous((host, int(port)), group.is_first, PEER_TIMEOUT)) as meeting:
        dist.init_process_group("gloo", store=meeting, **_place(group))
        group.apart()
        group.any(False)  # before which none of them may have found all others


def _place(group: WorkerGroup) -> dict[str, Any]:
    return {"rank": group.rank, "world_size": group.world_size, "timeout": PEER_TIMEOUT}


def interface_of(address: str) -> str | None:
    """The network interface that has an address."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(interface.address == address for interface in addresses):
            return name
    return None
