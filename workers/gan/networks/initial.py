"""The initial weights that papers and lessons ask for."""

from collections.abc import Callable

from torch import nn

Linear = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
STD = 0.02


def normal_weights(network: nn.Module) -> nn.Module:
    """Weights N(0, 0.02), those of BatchNorm N(1, 0.02), biases 0 (Radford et al. 2016, "DCGAN", section 4)."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, STD)
    return _initialised(network, lambda module: nn.init.normal_(module.weight, 0.0, STD))


def glorot_weights(network: nn.Module) -> nn.Module:
    """Weights uniform after Glorot & Bengio (2010), equation 16; biases 0: the defaults of Keras."""
    return _initialised(network, lambda module: nn.init.xavier_uniform_(module.weight))


def _initialised(network: nn.Module, initialise: Callable[[Linear], object]) -> nn.Module:
    for module in network.modules():
        if isinstance(module, Linear):
            initialise(module)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
