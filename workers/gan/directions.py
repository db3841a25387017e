"""Directions along which pictures change most, in closed form: of latents, or of the styles of a style generator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from workers.gan.networks.stylegan2 import StyleGenerator

# As torch's functions are called, whoever calls them: modules, functions or methods of tensors.
ACTIVATIONS = (
    "celu", "elu", "gelu", "hardswish", "hardtanh", "leaky_relu", "mish", "prelu", "relu", "relu6", "rrelu", "selu",
    "sigmoid", "silu", "softplus", "tanh",
)  # fmt: skip


@dataclass(frozen=True)
class Directions:
    """Unit vectors at right angles to each other, those of most effect first.

    `effects` [K] are the shares of what all directions together change, at most 1 in all.
    """

    vectors: Tensor  # [K, latent_size], or [K, w_size]
    effects: Tensor


@torch.no_grad()
def find_directions(generator: nn.Module, latent_size: int, labels: tuple[Tensor, ...], count: int) -> Directions:
    """The right singular vectors of the affine map from latents to the first activation, at most `count` of them.

    From Shen & Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs" (SeFa), whose matrix is that of the
    first layer alone. Here it is of all layers that come before an activation: a conditional generator has two in a
    row, and BatchNorm scales what an activation gets. `labels` are one label, int64 [1], or nothing; which one matters
    only where BatchNorm scales by class, as in a `resnet`. The generator is in evaluation mode.

    Of a style generator they are directions of w, by the maps from w that modulate all its layers, as in the paper.
    """
    if isinstance(generator, StyleGenerator):
        return _of_matrix(generator.modulation.T, count)
    probes = torch.cat([torch.zeros(1, latent_size), torch.eye(latent_size)])
    reached = _before_activation(generator, (probes, *(label.expand(len(probes)) for label in labels)))
    return _of_matrix(reached[1:] - reached[0], count)


def _of_matrix(matrix: Tensor, count: int) -> Directions:
    """The directions of a linear map, [inputs, outputs]."""
    matrix = matrix.double()
    # The eigenvectors of M'M are the right singular vectors of M, and there are only latent_size of them.
    squares, columns = torch.linalg.eigh(matrix @ matrix.T)
    kept = min(count, *matrix.shape)
    vectors, squares = columns.T.flip(0)[:kept], squares.flip(0).clamp_min(0)
    # A vector and its negative are one direction: which way is up must not depend on the machine.
    ups = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True)).sign()
    effects = squares / squares.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return Directions((ups * vectors).float(), effects[:kept].float())


def _before_activation(generator: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """What the first activation is given, [B, features]; nothing behind it is computed."""

    try:
        with _UntilActivation():
            output: Tensor = generator(*inputs)
    except _Reached as reached:
        return reached.features
    return output.flatten(1)


class _UntilActivation(TorchFunctionMode):
    """Goes as far as the first activation."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        if func.__name__.strip("_") in ACTIVATIONS:
            raise _Reached(args[0].flatten(1))
        return func(*args, **(kwargs or {}))


class _Reached(Exception):
    """The first activation."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features
