"""Inception-v3 as the field measures with it: the network of December 2015, with its own resize and scaling.

Szegedy et al. (2016), "Rethinking the Inception Architecture for Computer Vision"; the layers' names are those of the
weights file `weights-inception-2015-12-05-6726825d.pth` that public FID tools share.
"""

import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ganservice.mistakes import brief
from workers.gan.checkpoint import check_packed_nothing

INCEPTION_SIZE = 299
FEATURES = 2048

Kernel = int | tuple[int, int]
# Convolutions one after the other, (width, kernel); two in one place split the branch.
Chain = list[list[tuple[int, Kernel]]]


class _Convolution(nn.Module):
    def __init__(self, inputs: int, width: int, kernel: Kernel, *, stride: int = 1, pad: bool = True) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if pad else (0, 0)
        self.conv = nn.Conv2d(inputs, width, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=1e-3)

    def forward(self, images: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(images)))


class _Mixed(nn.Module):
    """Branches side by side, joined by channels; the last one pools.

    A branch is a chain of (width, kernel); several pairs in one place split it. With stride 2 each chain ends in a
    convolution of that stride without padding, and the pooling branch has no convolution.
    """

    def __init__(self, inputs: int, branches: dict[str, Chain], pool: str, pool_width: int) -> None:
        super().__init__()
        self._pool = pool
        self._chains: list[list[list[str]]] = []
        stride = 1 if pool_width else 2
        for name, chain in branches.items():
            names, width_before = [], inputs
            for place, layers in enumerate(chain, start=1):
                last = place == len(chain)
                here = []
                for letter, (width, kernel) in zip(["a", "b"] if len(layers) > 1 else [""], layers, strict=True):
                    here.append(f"branch{name}" + (f"_{place}{letter}" if len(chain) > 1 else ""))
                    own_stride = stride if last else 1
                    layer = _Convolution(width_before, width, kernel, stride=own_stride, pad=own_stride == 1)
                    self.add_module(here[-1], layer)
                names.append(here)
                width_before = layers[0][0]
            self._chains.append(names)
        if pool_width:
            self.branch_pool = _Convolution(inputs, pool_width, 1)

    def forward(self, images: Tensor) -> Tensor:
        outputs = []
        for chain in self._chains:
            values = images
            for (name,) in chain[:-1]:
                values = self.get_submodule(name)(values)
            outputs += [self.get_submodule(name)(values) for name in chain[-1]]
        if self._pool == "average":
            outputs.append(self.branch_pool(functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)))
        elif self._pool == "maximum":
            outputs.append(self.branch_pool(functional.max_pool2d(images, 3, 1, 1)))
        else:
            outputs.append(functional.max_pool2d(images, 3, 2))
        return torch.cat(outputs, dim=1)


def _mixed_5(inputs: int, pool_width: int) -> _Mixed:
    branches: dict[str, Chain] = {
        "1x1": [[(64, 1)]],
        "5x5": [[(48, 1)], [(64, 5)]],
        "3x3dbl": [[(64, 1)], [(96, 3)], [(96, 3)]],
    }
    return _Mixed(inputs, branches, "average", pool_width)


def _mixed_6(width: int) -> _Mixed:
    long: list[Kernel] = [(7, 1), (1, 7), (7, 1)]
    branches: dict[str, Chain] = {
        "1x1": [[(192, 1)]],
        "7x7": [[(width, 1)], [(width, (1, 7))], [(192, (7, 1))]],
        "7x7dbl": [[(width, 1)], *([(width, kernel)] for kernel in long), [(192, (1, 7))]],
    }
    return _Mixed(768, branches, "average", 192)


def _mixed_7(inputs: int, pool: str) -> _Mixed:
    sides: list[tuple[int, Kernel]] = [(384, (1, 3)), (384, (3, 1))]
    branches: dict[str, Chain] = {
        "1x1": [[(320, 1)]],
        "3x3": [[(384, 1)], sides],
        "3x3dbl": [[(448, 1)], [(384, 3)], sides],
    }
    return _Mixed(inputs, branches, pool, 192)


class Inception(nn.Module):
    """Pictures uint8 [B, 3, H, W] -> features float32 [B, 2048] and logits float32 [B, 1008]."""

    def __init__(self) -> None:
        super().__init__()
        narrowing: dict[str, Chain] = {"3x3": [[(384, 3)]], "3x3dbl": [[(64, 1)], [(96, 3)], [(96, 3)]]}
        last: dict[str, Chain] = {
            "3x3": [[(192, 1)], [(320, 3)]],
            "7x7x3": [[(192, 1)], [(192, (1, 7))], [(192, (7, 1))], [(192, 3)]],
        }
        self.layers = nn.Sequential(
            OrderedDict(
                Conv2d_1a_3x3=_Convolution(3, 32, 3, stride=2, pad=False),
                Conv2d_2a_3x3=_Convolution(32, 32, 3, pad=False),
                Conv2d_2b_3x3=_Convolution(32, 64, 3),
                maxpool1=nn.MaxPool2d(3, 2),
                Conv2d_3b_1x1=_Convolution(64, 80, 1),
                Conv2d_4a_3x3=_Convolution(80, 192, 3, pad=False),
                maxpool2=nn.MaxPool2d(3, 2),
                Mixed_5b=_mixed_5(192, 32),
                Mixed_5c=_mixed_5(256, 64),
                Mixed_5d=_mixed_5(288, 64),
                Mixed_6a=_Mixed(288, narrowing, "halve", 0),
                Mixed_6b=_mixed_6(128),
                Mixed_6c=_mixed_6(160),
                Mixed_6d=_mixed_6(160),
                Mixed_6e=_mixed_6(192),
                Mixed_7a=_Mixed(768, last, "halve", 0),
                Mixed_7b=_mixed_7(1280, "average"),
                # The network that was published takes the maximum here, unlike the paper.
                Mixed_7c=_mixed_7(2048, "maximum"),
            )
        )
        self.fc = nn.Linear(FEATURES, 1008)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means of the last feature maps, and logits without bias, as the Inception Score has them."""
        features = self.layers((resize(pictures.float(), INCEPTION_SIZE) - 128) / 128).mean(dim=(2, 3))
        return features, features @ self.fc.weight.T


def load_inception(path: Path) -> Inception:
    """Load the network with the weights of a state dict. Raises ValueError when the file holds anything else."""
    try:
        if zipfile.is_zipfile(path):  # the file that was published is older than torch's archives
            with path.open("rb") as file:
                check_packed_nothing(file)
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = Inception()
        network.load_state_dict({name if name.startswith("fc.") else f"layers.{name}": w for name, w in state.items()})
    except Exception as error:  # whatever a foreign file makes the reader raise
        reason = brief(str(error))
        raise ValueError(f"{path}: is not the weights of Inception-v3 for FID: {reason}") from error
    return network.eval().requires_grad_(False)


def resize(pictures: Tensor, size: int) -> Tensor:
    """Resize [B, C, H, W] to [B, C, size, size], bilinear as in TensorFlow 1: pixels lie at their upper left corner."""
    rows, columns = (_interpolation(side, size).to(pictures) for side in pictures.shape[2:])
    return rows @ pictures @ columns.T


def _interpolation(inputs: int, outputs: int) -> Tensor:
    """The matrix [outputs, inputs] of linear interpolation along one side."""
    at = torch.arange(outputs) * (inputs / outputs)
    below = at.long().clamp_max(inputs - 1)
    above = (below + 1).clamp_max(inputs - 1)
    share = (at - below)[:, None]
    return (1 - share) * torch.eye(inputs)[below] + share * torch.eye(inputs)[above]
