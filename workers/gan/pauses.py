"""Pauses: when all workers of a gang stop together between two reports, because one of them was told to leave."""

import time
from collections.abc import Callable

import torch

from workers.gan.worker_group import WorkerGroup

# All look together about this often, so that a long span between two reports keeps nobody from leaving in time.
LOOK_S = 2.0


class Paused(Exception):
    """Training has stopped between two reports, because a worker wanted it to."""


class Pauses:
    """Asks after some of the steps whether a worker wants to pause. All workers must ask after the same steps.

    Between two looks lie as many steps as take about LOOK_S, for a look makes the workers wait for one another.
    """

    def __init__(self, is_wanted: Callable[[], bool], group: WorkerGroup) -> None:
        """`is_wanted` is this worker's own wish."""
        self._is_wanted = is_wanted
        self._group = group
        self._steps = 0  # since the last look
        self._steps_between = 1
        self._looked_at = time.monotonic()

    def is_due(self) -> bool:
        """Whether to pause after this step: every worker gets the same answer."""
        self._steps += 1
        if self._steps < self._steps_between:
            return False
        now = time.monotonic()
        seen = torch.tensor([float(self._is_wanted()), now - self._looked_at], dtype=torch.float64)
        wish, mean_s = self._group.mean_of(seen)
        # Steps may become slower: never many more of them than lay between the last two looks.
        self._steps_between = max(1, min(4 * self._steps, round(self._steps * LOOK_S / max(1e-9, mean_s))))
        self._steps, self._looked_at = 0, now
        return wish > 0
