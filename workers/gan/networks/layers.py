"""The layers of a discriminator, counted from the picture on, and which of its weights learn."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn import Parameter

from ganservice.errors import NetworkInvalid
from workers.gan.networks.labelled import LabelledDiscriminator
from workers.gan.networks.shapes import Packed


def layers(discriminator: nn.Module) -> list[list[Parameter]]:
    """The weights of each layer, in the order in which the network has its modules.

    A layer is a module that holds weights: a convolution, a dense layer or, as a whole, a block of several; what only
    has others in a row, as `nn.Sequential`, is none. A normalisation belongs to the layer before it; what is called
    `labels`, as in all networks here, to none.
    """
    body = discriminator
    while isinstance(body, LabelledDiscriminator | Packed):
        body = body.body
    found: list[list[Parameter]] = []
    seen: set[Parameter] = set()
    for module in _modules_in(body):
        weights = [weight for weight in module.parameters() if weight not in seen]
        seen.update(weights)
        if not weights:
            continue
        if found and all(weight.dim() <= 1 for weight in weights):
            found[-1] += weights
        else:
            found.append(weights)
    return found


def _modules_in(network: nn.Module) -> Iterator[nn.Module]:
    for name, module in network.named_children():
        if isinstance(module, nn.Sequential | nn.ModuleList):
            yield from _modules_in(module)
        elif name != "labels":
            yield module


def freeze(discriminator: nn.Module, count: int) -> None:
    """Have the first `count` layers learn nothing (Mo et al. 2020, "Freeze the Discriminator").

    Raises:
        NetworkInvalid: nothing would be left that learns.
    """
    found = layers(discriminator) if count else []
    if count and count >= len(found):
        raise NetworkInvalid(
            f"recipe.freeze_d: found {count}, but D has {len(found)} layers, of which at least one has to learn; "
            f"choose at most {max(0, len(found) - 1)}"
        )
    for layer in found[:count]:
        for weight in layer:
            weight.requires_grad_(False)
    if count and not any(weight.requires_grad for weight in discriminator.parameters()):
        raise NetworkInvalid(f"recipe.freeze_d: found {count}, but no layer of D behind those learns; choose less")


@contextmanager
def without_gradients(network: nn.Module) -> Iterator[None]:
    """Have no weight of a network get a gradient that nobody would use; then those get one again that did before."""
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learned:
            weight.requires_grad_(True)
