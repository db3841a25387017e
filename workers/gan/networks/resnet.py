"""Residual networks: SNGAN (Miyato et al. 2018, appendix B.4, tables 4 to 6) with projection (Miyato & Koyama 2018).

At 32 px with all widths 256 G, and with all widths 128 D, are those published for CIFAR-10, with latents of 128: G has
4,276,739 parameters and D 1,053,825. With spectral normalisation in G and self-attention they are of SAGAN's kind
(Zhang et al. 2019), on which BigGAN is built; they have not its latents in pieces for each block.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d
from torch.nn.utils.parametrizations import spectral_norm

from ganservice.recipe.networks.resnet import ResnetDiscriminator, ResnetGenerator, levels_of_discriminator
from ganservice.recipe.pyramid import levels_of
from workers.gan.networks.context import NetworkContext
from workers.gan.networks.initial import initialise


def build_generator(network: ResnetGenerator, context: NetworkContext) -> nn.Module:
    """The generator for the pictures of a context."""
    generator = initialise(_Generator(network, context), network.initial_weights, slope=0.0)
    return _normalised(generator) if network.spectral_norm else generator


def build_discriminator(network: ResnetDiscriminator, context: NetworkContext) -> nn.Module:
    """The discriminator for the pictures of a context."""
    discriminator = initialise(_Discriminator(network, context), network.initial_weights, slope=0.0)
    return _normalised(discriminator) if network.spectral_norm else discriminator


class _Generator(nn.Module):
    def __init__(self, network: ResnetGenerator, context: NetworkContext) -> None:
        super().__init__()
        widths = network.widths(context.shape[1:])[::-1]
        levels = levels_of(context.shape[1:])
        height, width = (side >> levels for side in context.shape[1:])
        self.start = nn.Linear(context.latent_size, widths[0] * height * width)
        self.seed = nn.Unflatten(1, (widths[0], height, width))
        self.blocks = nn.ModuleList()
        side, before = width, widths[0]
        if network.attention == side:
            self.blocks.append(_Attention(before))
        for after in widths[1:]:
            self.blocks.append(_UpBlock(before, after, context))
            side, before = 2 * side, after
            if network.attention == side:
                self.blocks.append(_Attention(after))
        self.norm = nn.BatchNorm2d(before)
        self.to_picture = nn.Conv2d(before, context.shape[0], 3, padding=1)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        maps = self.seed(self.start(latents))
        for block in self.blocks:
            maps = block(maps, labels)
        images: Tensor = self.to_picture(self.norm(maps).relu()).tanh()
        return images


class _Discriminator(nn.Module):
    def __init__(self, network: ResnetDiscriminator, context: NetworkContext) -> None:
        super().__init__()
        widths = network.widths(context.shape[1:])
        halvings = levels_of_discriminator(context.shape[1:])
        self.blocks = nn.ModuleList()
        before, side = context.shape[0], context.shape[2]
        for at, after in enumerate(widths):
            self.blocks.append(_DownBlock(before, after, halves=at < halvings, is_first=at == 0))
            before, side = after, side // 2 if at < halvings else side
            if network.attention == side and at < halvings:
                self.blocks.append(_Attention(after))
        self.logit = nn.Linear(before, 1)
        self.labels = nn.Embedding(context.classes, before) if context.classes is not None else None
        if self.labels is not None:
            nn.init.xavier_uniform_(self.labels.weight)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        maps = images
        for block in self.blocks:
            maps = block(maps)
        features = maps.relu().sum(dim=(2, 3))
        logits: Tensor = self.logit(features).flatten()
        if self.labels is not None and labels is not None:
            logits = logits + (self.labels(labels) * features).sum(dim=1)
        return logits


class _UpBlock(nn.Module):
    """BatchNorm, ReLU, doubling, 3x3, BatchNorm, ReLU, 3x3, beside a doubled 1x1."""

    def __init__(self, before: int, after: int, context: NetworkContext) -> None:
        super().__init__()
        self.norm_1 = _norm(before, context)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.norm_2 = _norm(after, context)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """[B, C, H, W] -> [B, C', 2 H, 2 W]."""
        inside = self.first(_doubled(self.norm_1(maps, labels).relu()))
        doubled: Tensor = self.second(self.norm_2(inside, labels).relu())
        return doubled + _doubled(self.shortcut(maps))


class _DownBlock(nn.Module):
    """ReLU, 3x3, ReLU, 3x3, halving, beside a 1x1 that is halved; the first begins at the picture, without its ReLU."""

    def __init__(self, before: int, after: int, *, halves: bool, is_first: bool) -> None:
        super().__init__()
        self._halves = halves
        self._is_first = is_first
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if halves or before != after else None

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / 2, W / 2], or of the same sides."""
        inside: Tensor = self.second(self.first(maps if self._is_first else maps.relu()).relu())
        beside = maps
        if self._is_first and self._halves:  # averages first: the same, for less
            beside = avg_pool2d(beside, 2)
        beside = beside if self.shortcut is None else self.shortcut(beside)
        if not self._halves:
            return inside + beside
        return avg_pool2d(inside, 2) + (beside if self._is_first else avg_pool2d(beside, 2))


class _PlainNorm(nn.Module):
    """BatchNorm that is the same for all labels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        del labels
        normalised: Tensor = self.norm(maps)
        return normalised


class _ConditionalNorm(nn.Module):
    """BatchNorm with a scale and a shift for each class (Dumoulin et al. 2017; Miyato & Koyama 2018)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.norm.weight.requires_grad_(False)
        self.norm.bias.requires_grad_(False)
        self.scale = nn.Embedding(classes, channels)
        self.shift = nn.Embedding(classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """[B, C, H, W], int64 [B] -> [B, C, H, W]."""
        scale, shift = (each(labels)[:, :, None, None] for each in (self.scale, self.shift))
        shifted: Tensor = self.norm(maps) * scale + shift
        return shifted


class _Attention(nn.Module):
    """Self-attention over the places of a map (Zhang et al. 2019, "SAGAN", section 3), as BigGAN computes it.

    Keys and values are max-pooled; its share in the result begins at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inside = max(1, channels // 8)
        self.query = nn.Conv2d(channels, inside, 1, bias=False)
        self.key = nn.Conv2d(channels, inside, 1, bias=False)
        self.value = nn.Conv2d(channels, max(1, channels // 2), 1, bias=False)
        self.out = nn.Conv2d(max(1, channels // 2), channels, 1, bias=False)
        self.share = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        del labels
        query = self.query(maps).flatten(2)
        key = max_pool2d(self.key(maps), 2).flatten(2)
        value = max_pool2d(self.value(maps), 2).flatten(2)
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=-1)  # [B, places, pooled places]
        seen = (value @ weights.transpose(1, 2)).unflatten(2, maps.shape[2:])
        attended: Tensor = self.out(seen)
        return maps + self.share * attended


def _norm(channels: int, context: NetworkContext) -> nn.Module:
    if context.classes is None:
        return _PlainNorm(channels)
    return _ConditionalNorm(channels, context.classes)


def _doubled(maps: Tensor) -> Tensor:
    return interpolate(maps, scale_factor=2.0, mode="nearest")


def _normalised(network: nn.Module) -> nn.Module:
    """The network with spectral normalisation of its layers; not of the scales and shifts of BatchNorm."""
    projection = getattr(network, "labels", None)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) or (module is projection and projection is not None):
            spectral_norm(module)
    return network
