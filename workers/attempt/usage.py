"""The share of its machine that a worker uses, between one look and the next."""

import math
import time

import psutil
import torch
from torch import Tensor

from workers.gan.worker_group import WorkerGroup


class Usage:
    """What this process uses of CPU and memory, and of the GPU it computes on."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._process = psutil.Process()
        self._looked_at, self._cpu_s = time.monotonic(), self._cpu_time_s()

    def look(self) -> Tensor:
        """CPUs kept busy since the last look, bytes of memory, bytes of GPU memory, share of time the GPU is busy;
        float64 [4], NaN for what cannot be known."""
        now, cpu_s = time.monotonic(), self._cpu_time_s()
        cpus = (cpu_s - self._cpu_s) / max(1e-9, now - self._looked_at)
        self._looked_at, self._cpu_s = now, cpu_s
        return torch.tensor([cpus, self._process.memory_info().rss, *self._of_gpu()], dtype=torch.float64)

    def _cpu_time_s(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    def _of_gpu(self) -> tuple[float, float]:
        if self.device.type != "cuda":
            return math.nan, math.nan
        reserved = torch.cuda.max_memory_reserved(self.device)
        try:
            busy = torch.cuda.utilization(self.device) / 100
        # Without NVIDIA's library, driver or rights, or where it knows no such share: it has errors of its own.
        except Exception:  # noqa: BLE001
            busy = math.nan
        return float(reserved), busy


def mean_usage(usage: Usage, group: WorkerGroup) -> dict[str, float | int | None]:
    """Add up what all workers use, by field of Progress; every worker calls this at each report."""
    mean = usage.look().to(usage.device)
    group.average(mean)
    cpus, memory, gpu_memory, gpu_busy = (None if math.isnan(value) else value for value in mean.tolist())
    workers = group.world_size
    return {
        "used_cpus": None if cpus is None else cpus * workers,
        "memory_bytes": None if memory is None else round(memory * workers),
        "gpu_memory_bytes": None if gpu_memory is None else round(gpu_memory * workers),
        "gpu_busy": gpu_busy,
    }
