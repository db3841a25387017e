"""BatchNorm over the global batch of a gang, on any device."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from workers.gan.worker_group import WorkerGroup

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def synchronise(network: nn.Module, group: WorkerGroup) -> nn.Module:
    """Have each BatchNorm of a network be over the global batch of a gang, and return the network."""
    kinds = {nn.BatchNorm1d: SynchronisedBatchNorm1d, nn.BatchNorm2d: SynchronisedBatchNorm}
    for parent in list(network.modules()):
        for name, norm in parent.named_children():
            if isinstance(norm, NORMS) and type(norm) in kinds:
                setattr(parent, name, kinds[type(norm)](norm, group))
    return network


def has_statistics(network: nn.Module) -> bool:
    """Whether a network has a BatchNorm, whose statistics are to be taken anew wherever weights are averaged."""
    return bool(_norms(network))


@torch.no_grad()
def renew_statistics(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Take the statistics of all BatchNorm anew: their means over `batches` of the network's inputs.

    They are the "standing statistics" of Brock et al. (2019), "BigGAN". A network without BatchNorm is left alone.
    """
    norms = _norms(network)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # by which every batch counts as much as any other
    with batch_statistics(network):
        for batch in batches:
            network(*batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Each BatchNorm of a network in evaluation normalises what it is given by that alone, and takes note of it."""
    norms = _norms(network)
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for norm in norms:
            norm.eval()


def _norms(network: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, NORMS)]


class _Sum(torch.autograd.Function):
    """The sum over the workers. Its gradient is the sum of theirs, of which there is a gradient again."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        del ctx
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        summed: Tensor = _Sum.apply(*gradients)  # type: ignore[no-untyped-call]
        return summed


class _Synchronised(nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 # the one base of all BatchNorm that torch has
    """BatchNorm (Ioffe & Szegedy 2015) whose statistics are those of all workers' images together.

    torch.nn.SyncBatchNorm does the same on GPUs only. Every worker must hold equally many images.
    Its state is that of torch's BatchNorm, so a checkpoint suits any number of workers.
    """

    def __init__(self, plain: nn.BatchNorm1d | nn.BatchNorm2d, group: WorkerGroup) -> None:
        """One that goes on from a plain one's state."""
        super().__init__(plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats)
        self.load_state_dict(plain.state_dict())
        for own, known in zip(self.parameters(), plain.parameters(), strict=True):
            own.requires_grad_(known.requires_grad)
        self._group = group

    def forward(self, images: Tensor) -> Tensor:
        """Float [B, C, ...] -> the same shape, normalised per channel."""
        if not self.training:
            return super().forward(images)
        others = [axis for axis in range(images.dim()) if axis != 1]
        shape = [1, -1] + [1] * (images.dim() - 2)
        # In fp32 also under autocast, and in two passes: E[x^2] - E[x]^2 would lose digits.
        values = images.float() if images.element_size() < 4 else images
        own_mean = values.mean(dim=others)
        centred = values - own_mean.view(shape)
        # In one exchange: the variance over all is the mean one within workers and that of their means (Chan et al.
        # 1979, "Updating formulae and a pairwise algorithm for computing sample variances").
        means, variances = self._of_workers(torch.stack([own_mean, centred.square().mean(dim=others)])).unbind(1)
        mean = means.mean(dim=0)
        variance = variances.mean(dim=0) + (means - mean).square().mean(dim=0)
        self._track(mean, variance, count=images.numel() // images.shape[1] * self._group.world_size)
        scale, shift = torch.rsqrt(variance + self.eps), own_mean - mean
        if self.affine:
            scale = scale * self.weight
        shift = shift * scale
        if self.affine:
            shift = shift + self.bias
        return (centred * scale.view(shape) + shift.view(shape)).to(images.dtype)

    def _of_workers(self, values: Tensor) -> Tensor:
        """The values of all workers, [...] -> [world_size, ...]: the sum of what each has in its place, and zeros."""
        ranks = torch.arange(self._group.world_size, device=values.device)
        is_own = (ranks == self._group.rank).view(-1, *[1] * values.dim())
        gathered: Tensor = _Sum.apply(is_own * values)  # type: ignore[no-untyped-call]
        return gathered

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if not self.track_running_stats:
            return
        tracked = (self.running_mean, self.running_var, self.num_batches_tracked)
        running_mean, running_var, batches = (cast(Tensor, buffer) for buffer in tracked)
        batches += 1
        # Of the newest batch in the running statistics.
        share = 1 / int(batches) if self.momentum is None else self.momentum
        running_mean.lerp_(mean, share)
        running_var.lerp_(variance * count / (count - 1), share)


class SynchronisedBatchNorm(_Synchronised, nn.BatchNorm2d):
    """That of images [B, C, H, W]."""


class SynchronisedBatchNorm1d(_Synchronised, nn.BatchNorm1d):
    """That of rows of numbers [B, C] or [B, C, L]."""
