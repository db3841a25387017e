"""BatchNorm over the global batch of a gang, on any device."""

from collections.abc import Callable, Iterable
from typing import Literal, cast

import torch
import torch.distributed.nn.functional as dist_functional
from torch import Tensor, nn

from workers.gan.worker_group import WorkerGroup

# Makes the BatchNorm of one layer from its channels, eps and momentum.
MakeBatchNorm = Callable[[int, float, float], nn.BatchNorm2d]
# torch's defaults
EPS = 1e-5
MOMENTUM = 0.1


def batch_norm_for(choice: Literal["synchronised", "local"], group: WorkerGroup) -> MakeBatchNorm:
    """How to make the BatchNorm of one layer, given its channels, eps and momentum."""
    if choice == "local" or group.world_size == 1:
        return nn.BatchNorm2d
    return lambda channels, eps, momentum: SynchronisedBatchNorm(channels, eps, momentum, group.world_size)


@torch.no_grad()
def renew_statistics(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Take the statistics of all BatchNorm anew: their means over `batches` of the network's inputs.

    They are the "standing statistics" of Brock et al. (2019), "BigGAN". A network without BatchNorm is left alone.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # by which every batch counts as much as any other
        norm.train()
    for batch in batches:
        network(*batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """BatchNorm (Ioffe & Szegedy 2015) whose statistics are those of all workers' images together.

    torch.nn.SyncBatchNorm does the same on GPUs only. Every worker must hold equally many images.
    Its state is that of nn.BatchNorm2d, so a checkpoint suits any number of workers.
    """

    def __init__(self, channels: int, eps: float, momentum: float, world_size: int) -> None:
        super().__init__(channels, eps, momentum)
        self._share = momentum  # of the newest batch in the running statistics
        self._world_size = world_size

    def forward(self, images: Tensor) -> Tensor:
        """Float [B, C, H, W] -> the same shape, normalised per channel."""
        if not self.training:
            return super().forward(images)
        # In fp32 also under autocast, and in two passes: E[x^2] - E[x]^2 would lose digits.
        values = images.float() if images.element_size() < 4 else images
        mean = self._over_workers(values.mean(dim=(0, 2, 3)))
        centred = values - mean[:, None, None]
        variance = self._over_workers(centred.square().mean(dim=(0, 2, 3)))
        self._track(mean, variance, count=images.numel() // images.shape[1] * self._world_size)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(images.dtype)

    def _over_workers(self, values: Tensor) -> Tensor:
        # The differentiable all_reduce: its backward adds up the workers' gradients.
        summed: Tensor = dist_functional.all_reduce(values)
        return summed / self._world_size

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        tracked = (self.running_mean, self.running_var, self.num_batches_tracked)
        running_mean, running_var, batches = (cast(Tensor, buffer) for buffer in tracked)
        running_mean.lerp_(mean, self._share)
        running_var.lerp_(variance * count / (count - 1), self._share)
        batches += 1
