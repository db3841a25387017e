"""The initial weights that papers and lessons ask for."""

import math
from collections.abc import Callable
from typing import assert_never

from torch import nn

from ganservice.recipe import InitialWeights

Linear = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
STD = 0.02


def initialise(network: nn.Module, choice: InitialWeights, slope: float) -> nn.Module:
    """Give a network the initial weights of a recipe's choice, and return it; `slope` is that of its LeakyReLU."""
    match choice:
        case "normal":
            return normal_weights(network)
        case "glorot":
            return glorot_weights(network)
        case "he":
            return he_weights(network, slope)
    assert_never(choice)


def normal_weights(network: nn.Module) -> nn.Module:
    """Weights N(0, 0.02), those of BatchNorm N(1, 0.02), biases 0 (Radford et al. 2016, "DCGAN", section 4)."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, STD)
    return _initialised(network, lambda module: nn.init.normal_(module.weight, 0.0, STD))


def glorot_weights(network: nn.Module) -> nn.Module:
    """Weights uniform after Glorot & Bengio (2010), equation 16; biases 0: the defaults of Keras."""
    return _initialised(network, lambda module: nn.init.xavier_uniform_(module.weight))


def he_weights(network: nn.Module, slope: float) -> nn.Module:
    """Weights N(0, 2 / ((1 + slope^2) inputs)), biases 0 (He et al. 2015, "Delving Deep into Rectifiers", equation 15).

    The inputs of a number are those that are added up for it: of a transposed convolution, with a stride of s, only
    one in s^2 of its kernel reaches each pixel. For a first layer, of a picture of one pixel, that is more than there
    are; BatchNorm follows it.
    """
    gain = math.sqrt(2 / (1 + slope**2))
    return _initialised(network, lambda module: nn.init.normal_(module.weight, 0.0, gain / math.sqrt(_inputs(module))))


def _inputs(module: Linear) -> float:
    match module:
        case nn.Linear():
            return module.in_features
        case nn.Conv2d():
            return module.in_channels * math.prod(module.kernel_size)
        case nn.ConvTranspose2d():
            return module.in_channels * math.prod(module.kernel_size) / math.prod(module.stride)
    assert_never(module)


def _initialised(network: nn.Module, fill: Callable[[Linear], object]) -> nn.Module:
    for module in network.modules():
        if isinstance(module, Linear):
            fill(module)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
