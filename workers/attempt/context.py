"""The things a worker has at hand for the length of one attempt."""

import threading
from dataclasses import dataclass

import torch

from ganservice.artifacts import ArtifactStore
from ganservice.job import Lease
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from workers.attempt.heartbeat import Heartbeat
from workers.attempt.uploader import Uploader
from workers.gan.worker_group import WorkerGroup


@dataclass(frozen=True)
class WorkerContext:
    """The context of every worker of a gang."""

    settings: Settings
    lease: Lease
    store: ArtifactStore
    group: WorkerGroup
    device: torch.device
    leaving: threading.Event  # set when this worker's process is told to leave


@dataclass(frozen=True)
class LeaderContext(WorkerContext):
    """The context of the first worker, which has more, for it alone speaks with the queue and writes to the store."""

    queue: JobQueue
    heartbeat: Heartbeat
    uploader: Uploader
