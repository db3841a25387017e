"""The kernel distance of two sets of features: the squared maximum mean discrepancy of a cubic kernel."""

import torch
from torch import Tensor

from workers.gan.evaluation.blocks import ON_CPU, Blocks, slices

# Features in a block: the kernel matrices of one block are held at once, three of BLOCK x BLOCK in float64.
BLOCK = 1_000


def kernel_distance(
    real: Tensor, generated: Tensor, block: int = BLOCK, blocks: Blocks = ON_CPU
) -> tuple[float, float]:
    """Return the mean over disjoint blocks of the unbiased estimate, and its standard error (NaN of a single block).

    Features [N, D] and [M, D]; the kernel is (x y / D + 1)^3 (Binkowski et al. 2018, "Demystifying MMD GANs", the
    Kernel Inception Distance where the features are Inception's). Features beyond the last whole block do not count,
    unless there is no whole one. Raises ValueError for fewer than two of either.
    """
    size = min(block, len(real), len(generated))
    if size < 2:
        raise ValueError("an unbiased estimate takes at least two features of each kind")
    count = min(len(real), len(generated)) // size
    estimates = []
    for rows in slices(count * size, size):
        blocks.move()
        estimates.append(_squared_discrepancy(blocks.moved(real[rows]), blocks.moved(generated[rows])))
    found = torch.stack(estimates)
    error = (found.std() / count**0.5).item() if count > 1 else float("nan")
    return found.mean().item(), error


def _squared_discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased estimate: without the kernel of any feature with itself (Gretton et al. 2012, lemma 6)."""
    return _within(x) + _within(y) - 2 * _kernel(x, y).mean()


def _within(x: Tensor) -> Tensor:
    """Return the mean kernel of two different features."""
    kernel = _kernel(x, x)
    return (kernel.sum() - kernel.diagonal().sum()) / (len(x) * (len(x) - 1))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
