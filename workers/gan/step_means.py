"""StepMeans: what the steps of a span came to, for its report."""

import math
from typing import Any

import torch
from torch import Tensor

from ganservice.errors import Diverged
from workers.gan.worker_group import WorkerGroup

# What a report tells of both networks, by the names in Progress: first what a step of G returns, then one of D.
OF_NETWORKS = ("loss_g", "grad_norm_g", "loss_d", "grad_norm_d", "score_real", "score_fake")
# The first so many of these are of G.
OF_G = 2
# What it tells besides when D's logits stand for probabilities.
OF_PROBABILITIES = ("d_real", "d_fake", "value")
# What it tells last, whatever the loss.
OF_ACCURACY = ("d_accuracy_real", "d_accuracy_generated")


class StepMeans:
    """Sums over the steps since the last report. They stay on the device, so that no step waits for the host, and are
    read once per report."""

    def __init__(self, gives_probabilities: bool, device: torch.device, group: WorkerGroup) -> None:
        self._names = (*OF_NETWORKS, *(OF_PROBABILITIES if gives_probabilities else ()), *OF_ACCURACY)
        self._known = len(self._names)  # of them, those that were counted all through the span
        self.sums = torch.zeros(len(self._names), device=device)
        self._steps = 0
        self._group = group

    def add_generator(self, numbers: list[Tensor]) -> None:
        """Add those of G's update in a step, all scalars."""
        self.sums[:OF_G] += torch.stack(numbers)

    def add_discriminator(self, numbers: list[Tensor], share: float) -> None:
        """Add those of one of D's updates in a step, all scalars, as the `share` of them that it is."""
        self.sums[OF_G:] += share * torch.stack(numbers)

    def count_step(self) -> None:
        """Take note that the numbers of a step have been added, by whatever way."""
        self._steps += 1

    def read(self, images_seen: int) -> dict[str, float]:
        """The means over the steps and all workers, by the names in Progress; the sums begin anew.

        Raises:
            Diverged: one of them is not finite.
        """
        means, steps = self.sums / self._steps, self._steps
        self._group.average(means)
        known, self._known = self._known, len(self._names)
        self.sums.zero_()
        self._steps = 0
        return self._checked(means[:known], steps, images_seen)

    def gather(self, images_seen: int) -> dict[str, Any]:
        """What `go_on` takes, of all workers. Every worker calls it. Raises Diverged as `read` does."""
        sums = self._group.gather(self.sums)
        sums = sums[:, : self._known]
        self._checked(sums.mean(dim=0) / self._steps, self._steps, images_seen)
        return {"steps": self._steps, "sums": sums}

    def go_on(self, gathered: dict[str, Any]) -> None:
        """Go on with the sums of another training at the same place. Raises ValueError of what are none."""
        sums, self._steps = gathered["sums"], gathered["steps"]
        if not isinstance(self._steps, int) or self._steps < 1:
            raise ValueError(f"found {self._steps!r:.40} steps of a span, expected 1 at least")
        self._known = sums.shape[1]
        # An older version did not count the last of them.
        if len(self._names) - self._known not in (0, len(OF_ACCURACY)):
            raise ValueError(f"found {self._known} sums of a span, expected {len(self._names)}")
        # As many workers as then take up what was each one's own; others the mean.
        own = sums[self._group.rank] if len(sums) == self._group.world_size else sums.mean(dim=0)
        self.sums[: self._known].copy_(own)

    def _checked(self, means: Tensor, steps: int, images_seen: int) -> dict[str, float]:
        values = dict(zip(self._names[: len(means)], means.tolist(), strict=True))
        wrong = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise Diverged(f"not finite in the {steps} steps before {images_seen} images: {', '.join(wrong)}")
        return values
