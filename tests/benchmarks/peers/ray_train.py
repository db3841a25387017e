"""Ray Train: a function, run by a TorchTrainer with one worker; this process is a driver already."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from tests.benchmarks.peers.first_step import begin, moment_in
from tests.benchmarks.peers.ray_head import Head


def build(head: Head) -> Callable[[], float]:
    """Return what trains once and gives the time to the first step, s."""
    ray.init(address=head.address, log_to_driver=False, logging_level="ERROR")

    def seconds() -> float:
        folder = Path(tempfile.mkdtemp(dir=head.folder))
        submitted_at = time.time()
        TorchTrainer(
            lambda config: begin(config["file"]),
            train_loop_config={"file": str(folder / "moment")},
            scaling_config=ScalingConfig(num_workers=1, use_gpu=False),
            run_config=RunConfig(storage_path=str(folder)),
        ).fit()
        return moment_in(folder / "moment") - submitted_at

    return seconds
