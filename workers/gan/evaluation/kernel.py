"""The kernel distance of two sets of features: the squared maximum mean discrepancy of a cubic kernel."""

import torch
from torch import Tensor

from workers.gan.evaluation.neighbours import Move

# Features in a block: the kernel matrices of one block are held at once, three of BLOCK x BLOCK in float64.
BLOCK = 1_000


def kernel_distance(
    real: Tensor, generated: Tensor, block: int = BLOCK, move: Move = lambda: None
) -> tuple[float, float]:
    """Return the mean over disjoint blocks of the unbiased estimate, and its standard error (NaN of a single block).

    Features [N, D] and [M, D]; the kernel is (x y / D + 1)^3 (Binkowski et al. 2018, "Demystifying MMD GANs", the
    Kernel Inception Distance where the features are Inception's). Features beyond the last whole block do not count,
    unless there is no whole one. Raises ValueError for fewer than two of either.
    """
    size = min(block, len(real), len(generated))
    if size < 2:
        raise ValueError("an unbiased estimate takes at least two features of each kind")
    blocks = min(len(real), len(generated)) // size
    estimates = []
    for first in range(0, blocks * size, size):
        move()
        estimates.append(_squared_discrepancy(real[first : first + size], generated[first : first + size]))
    found = torch.stack(estimates)
    error = (found.std() / blocks**0.5).item() if blocks > 1 else float("nan")
    return found.mean().item(), error


def _squared_discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased estimate: without the kernel of any feature with itself (Gretton et al. 2012, lemma 6)."""
    within = sum((_kernel(z, z).sum() - _kernel(z, z).diagonal().sum()) / (len(z) * (len(z) - 1)) for z in (x, y))
    return within - 2 * _kernel(x, y).mean()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3
