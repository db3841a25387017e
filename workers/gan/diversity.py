"""Diversity: whether samples differ from one another as real pictures do."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.gan.data.rows import Rows

# Pictures of each kind: enough to see a collapse, few enough to look at every report.
COUNT = 64
WIDTHS = (32, 64)
SIDE = 4


class Diversity:
    """The distance from a sample to its nearest other sample, in the mean, over the same of as many real pictures.

    1 for samples as unlike as real pictures, 0 for one picture again and again. Distances are those of features of
    a convolutional network with random weights, the same on every machine: trained features tell classes apart,
    random ones tell pictures apart (Saxe et al. 2011, "On Random Weights and Unsupervised Feature Learning").
    """

    def __init__(self, images: Rows) -> None:
        """`images` uint8 [N, C, H, W]: the training set."""
        rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:COUNT]
        real = images.take(rows).float() / 127.5 - 1
        self._layers = _random_layers(images.form[0])
        self._usual = _nearest(self._features(real))

    def of(self, samples: Tensor) -> float:
        """The diversity of samples float [B, C, H, W] in [-1, 1]."""
        return float(_nearest(self._features(samples)) / self._usual.clamp_min(1e-12))

    @torch.no_grad()
    def _features(self, pictures: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(self._layers(pictures), SIDE).flatten(1)


def _random_layers(channels: int) -> nn.Module:
    draws, layers, inputs = torch.Generator().manual_seed(0), [], channels
    for width in WIDTHS:
        layer = nn.Conv2d(inputs, width, 3, stride=2, padding=1, bias=False).requires_grad_(False)
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=draws) * (2 / (9 * inputs)) ** 0.5)
        layers += [layer, nn.LeakyReLU(0.2)]
        inputs = width
    return nn.Sequential(*layers)


def _nearest(features: Tensor) -> Tensor:
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    return distances.amin(dim=1).mean()
