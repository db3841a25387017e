"""GradientExchange: the mean gradients over the workers of a gang, exchanged while the others are still computed."""

from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import Parameter
from torch.utils.hooks import RemovableHandle

from ganservice.errors import NetworkInvalid
from workers.gan.worker_group import WorkerGroup

# The least that costs hardly more than all at once: over loopback 12 MiB take gloo 6.5 ms of a core in the place of
# 5.3, in buckets of a quarter three times as much. So the first goes out early, and little is left to wait for.
BUCKET_BYTES = 2**20


class GradientExchange:
    """The gradients of a network in flat buckets, in the reverse order of its weights: about that in which they come.

    A bucket is sent once its gradients are there and all buckets before it are sent. So every worker sends the same
    ones in the same order, whatever its network left out; and in a process group of their own, for what else is
    exchanged in a backward pass, such as BatchNorm's statistics, comes before a bucket on some and after it on others.
    Where no exchange may overtake another, all are sent after the pass.
    """

    def __init__(self, network: nn.Module, group: WorkerGroup) -> None:
        """Every worker of a gang does this at once."""
        group.apart()
        self._network = network
        self._group = group
        self._buckets: list[_Bucket] = []
        self._hooks: list[RemovableHandle] = []
        self._is_open = False  # to gradients, as they come
        self._sent: list[dist.Work] = []  # the first buckets

    def backward(self, loss: Tensor) -> None:
        """Take the last backward pass before a step, and leave of all gradients their means over the workers.

        Where some of them have none, as of a layer that a network leaves out by chance, theirs is 0.
        """
        if self._group.world_size == 1:
            loss.backward()
            return
        self._prepare()
        try:
            self._is_open = True
            loss.backward()
            self._is_open = False
            while len(self._sent) < len(self._buckets):
                self._send_next()
            for bucket, work in zip(self._buckets, self._sent, strict=True):
                work.wait()
                bucket.take_means(self._group.world_size)
        finally:
            self._is_open = False
            self._sent.clear()  # they would hold the connections to the others

    def _prepare(self) -> None:
        learned = [weight for weight in reversed(list(self._network.parameters())) if weight.requires_grad]
        if list(map(id, learned)) != [id(weight) for bucket in self._buckets for weight in bucket.weights]:
            self._arrange(learned)
        for bucket in self._buckets:
            bucket.awaited = set(bucket.weights)

    def _arrange(self, learned: list[Parameter]) -> None:
        """Fill buckets with these weights, which are seldom others than in the step before."""
        for hook in self._hooks:
            hook.remove()
        self._buckets = [_Bucket(weights) for weights in split(learned)]
        self._hooks = [
            weight.register_post_accumulate_grad_hook(partial(self._take, place))
            for place, bucket in enumerate(self._buckets)
            for weight in bucket.weights
        ]

    def _take(self, place: int, weight: Parameter) -> None:
        """Take note that the gradient of a weight in the bucket at `place` is there."""
        if not self._is_open:
            return
        if place < len(self._sent):
            raise NetworkInvalid(
                "a weight got its gradient in two parts, which several workers cannot exchange: where the network uses "
                "torch.utils.checkpoint, give it use_reentrant=False"
            )
        self._buckets[place].awaited.discard(weight)
        if not self._group.may_overtake:
            return
        while len(self._sent) < len(self._buckets) and not self._buckets[len(self._sent)].awaited:
            self._send_next()

    def _send_next(self) -> None:
        self._sent.append(self._buckets[len(self._sent)].send(self._group))


def split(weights: list[Parameter]) -> list[list[Parameter]]:
    """Weights in their order, in lists of at least BUCKET_BYTES that have one number format and device each."""
    buckets: list[list[Parameter]] = []
    room = 0  # bytes, in the last of them
    for weight in weights:
        alike = buckets and (weight.dtype, weight.device) == (buckets[-1][0].dtype, buckets[-1][0].device)
        if room <= 0 or not alike:
            buckets.append([])
            room = BUCKET_BYTES
        buckets[-1].append(weight)
        room -= weight.nbytes
    return buckets


class _Bucket:
    """Gradients that are exchanged together, and of each whether a worker has it."""

    def __init__(self, weights: list[Parameter]) -> None:
        self.weights = weights
        self.awaited: set[Parameter] = set()
        self._flat = weights[0].new_empty(sum(weight.numel() for weight in weights) + len(weights))
        *parts, self._flags = self._flat.split([*(weight.numel() for weight in weights), len(weights)])
        # In the memory layout of the weights, which that of their gradients is: nothing is turned around.
        self._means = [
            part.as_strided(weight.shape, torch.empty_like(weight, device="meta").stride())
            for part, weight in zip(parts, weights, strict=True)
        ]
        self._is_whole = False

    @torch.no_grad()
    def send(self, group: WorkerGroup) -> dist.Work:
        """Begin to add the gradients up over the workers."""
        gradients = [weight.grad for weight in self.weights]
        for gradient, sums in zip(gradients, self._means, strict=True):
            if gradient is None:
                sums.zero_()
            else:
                sums.copy_(gradient)
        self._is_whole = all(gradient is not None for gradient in gradients)
        if self._is_whole:
            self._flags.fill_(1)
        else:
            self._flags.copy_(torch.tensor([gradient is not None for gradient in gradients]))
        work: dist.Work = dist.all_reduce(self._flat, group=group.apart(), async_op=True)
        return work

    @torch.no_grad()
    def take_means(self, world_size: int) -> None:
        """Have the means of what was added up be the gradients; where no worker has one, there is none."""
        self._flat /= world_size
        # Where this worker has all, nobody's absence matters, and its device need not be waited for.
        shares = [1.0] * len(self.weights) if self._is_whole else self._flags.tolist()
        for weight, mean, share in zip(self.weights, self._means, shares, strict=True):
            weight.grad = mean if share else None
