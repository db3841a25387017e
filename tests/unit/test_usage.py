import math

import pytest
import torch

from workers.attempt.usage import Usage, mean_usage
from workers.gan.worker_group import WorkerGroup


class NVMLError(Exception):
    """As that of NVIDIA's library, which has no other parent."""


def test_what_a_gpu_does_not_tell_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share of a GPU tells nothing of how busy it is; its library says so by an error of its own."""

    def unknown(_: object) -> int:
        raise NVMLError("not supported")

    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 5)
    monkeypatch.setattr(torch.cuda, "utilization", unknown)
    usage = Usage(torch.device("cuda"))
    *_, reserved, busy = usage.look().tolist()
    assert reserved == 5
    assert math.isnan(busy)


def test_a_cpu_tells_nothing_of_gpus() -> None:
    told = mean_usage(Usage(torch.device("cpu")), WorkerGroup())
    assert told["gpu_busy"] is told["gpu_memory_bytes"] is None
    assert told["memory_bytes"]
