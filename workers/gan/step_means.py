"""StepMeans: what the steps of a span came to, for its report."""

import math

import torch
from torch import Tensor

from ganservice.errors import Diverged
from workers.gan.worker_group import WorkerGroup

# What a report tells of both networks, by the names in Progress: first what a step of G returns, then one of D.
OF_NETWORKS = ("loss_g", "grad_norm_g", "loss_d", "grad_norm_d", "score_real", "score_fake")
# What it tells besides when D's logits stand for probabilities.
OF_PROBABILITIES = ("d_real", "d_fake", "value")


class StepMeans:
    """Sums over the steps since the last report. They stay on the device, so that no step waits for the host, and are
    read once per report."""

    def __init__(self, gives_probabilities: bool, device: torch.device, group: WorkerGroup) -> None:
        self._names = (*OF_NETWORKS, *(OF_PROBABILITIES if gives_probabilities else ()))
        self._sums = torch.zeros(len(self._names), device=device)
        self._group = group

    def add(self, of_generator: list[Tensor], of_discriminator: list[list[Tensor]]) -> None:
        """Add a step: the numbers of G's update, and those of each of D's, all scalars."""
        means_of_d = torch.stack([torch.stack(numbers) for numbers in of_discriminator]).mean(dim=0)
        self._sums += torch.cat([torch.stack(of_generator), means_of_d])

    def read(self, steps: int, images_seen: int) -> dict[str, float]:
        """The means over `steps` steps and all workers, by the names in Progress; the sums begin anew.

        Raises:
            Diverged: one of them is not finite.
        """
        means = self._sums / steps
        self._group.average(means)
        self._sums.zero_()
        values = dict(zip(self._names, means.tolist(), strict=True))
        wrong = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise Diverged(f"not finite in the {steps} steps before {images_seen} images: {', '.join(wrong)}")
        return values
