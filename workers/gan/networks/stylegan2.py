"""The networks of StyleGAN2 (Karras et al. 2020), with plain operators.

Weights are drawn from N(0, 1) and scaled as they are used, so that Adam moves all of them alike ("equalised learning
rate", Karras et al. 2018, section 4.1). As in StyleGAN2-ADA (Karras et al. 2020b), a label is embedded, normalised and
joined to the latent before the mapping, and D's features are projected on a map of it.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, linear

from ganservice.recipe.networks.stylegan2 import Stylegan2Discriminator, Stylegan2Generator
from ganservice.recipe.pyramid import levels_of
from workers.gan.networks.context import NetworkContext
from workers.gan.networks.resampling import Blur, Downsample, Upsample
from workers.gan.randomness import Draws

SLOPE = 0.2
GAIN = math.sqrt(2)  # of a LeakyReLU
EPS = 1e-8


def build_generator(network: Stylegan2Generator, context: NetworkContext) -> nn.Module:
    """The generator for the pictures of a context."""
    return StyleGenerator(network, context)


def build_discriminator(network: Stylegan2Discriminator, context: NetworkContext) -> nn.Module:
    """The discriminator for the pictures of a context."""
    return _Discriminator(network, context)


class StyleGenerator(nn.Module):
    """A generator whose two halves can be used apart: `styles` makes w of latents, `draw` pictures of these."""

    w_mean: Tensor

    def __init__(self, network: Stylegan2Generator, context: NetworkContext) -> None:
        super().__init__()
        self._draws = context.draws
        self._mixing = network.mixing
        self.w_size = network.w_size
        self.mapping = _Mapping(network, context)
        self.synthesis = _Synthesis(network, context)
        # Towards which styles are truncated: taken anew from fixed latents, as the statistics of BatchNorm are.
        self.register_buffer("w_mean", torch.zeros(network.w_size))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents float [B, latent_size], labels int64 [B] -> images; in evaluation mode within [-1, 1]."""
        return self.draw(self.layer_styles(latents, labels))

    def styles(self, latents: Tensor, labels: Tensor | None, psi: Tensor) -> Tensor:
        """Latents [B, latent_size], psi [B] -> w [B, w_size], nearer to their mean by psi.

        The truncation of Karras et al. (2019), "StyleGAN", appendix B: at 1 nothing is changed, at 0 all is the mean.
        """
        w: Tensor = self.mapping(latents, labels)
        return self.w_mean + psi.unsqueeze(1) * (w - self.w_mean)

    def layer_styles(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """A style for each layer, [B, layers, w_size]; in training some change to another latent's at some layer.

        Each picture changes by a chance of its own, where the published code changes all of a batch at one layer.
        """
        layers = self.synthesis.layers
        w: Tensor = self.mapping(latents, labels).unsqueeze(1).expand(-1, layers, -1)
        if not self.training or self._mixing == 0:
            return w
        count = len(latents)
        others = self.mapping(self._draws.noise((count, latents.shape[1])), labels).unsqueeze(1)
        chances = self._draws.uniform((count, 2))
        cut = 1 + (chances[:, :1] * (layers - 1)).floor()  # at the second layer, or at a later one
        cut = torch.where(chances[:, 1:] < self._mixing, cut, layers)
        is_own = torch.arange(layers, device=w.device) < cut
        return torch.where(is_own.unsqueeze(2), w, others)

    def draw(self, w: Tensor) -> Tensor:
        """Styles [B, w_size], or [B, layers, w_size], to images [B, C, H, W]."""
        if w.dim() == 2:
            w = w.unsqueeze(1).expand(-1, self.synthesis.layers, -1)
        images: Tensor = self.synthesis(w)
        return images if self.training else images.clamp(-1, 1)

    @property
    def modulation(self) -> Tensor:
        """The matrix by which w modulates the inputs of all convolutions, [their channels, w_size]."""
        maps = [module.affine for module in self.synthesis.modules() if isinstance(module, _Modulated)]
        return torch.cat([each.scaled_weight for each in maps])

    @torch.no_grad()
    def renew_w_mean(self, batches: Sequence[tuple[Tensor, ...]]) -> None:
        """Take the mean of w anew, over the latents and labels of `batches`."""
        self.w_mean.copy_(torch.cat([self.mapping(*batch) for batch in batches]).mean(dim=0))


class _Dense(nn.Module):
    """A dense layer of equalised learning rate."""

    def __init__(self, before: int, after: int, *, bias: float = 0.0, lr_share: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before) / lr_share)
        self.bias = nn.Parameter(torch.full((after,), bias / lr_share))
        self._scale = lr_share / math.sqrt(before)
        self._lr_share = lr_share

    @property
    def scaled_weight(self) -> Tensor:
        """The matrix as it is used, [after, before]."""
        return self.weight * self._scale

    def forward(self, values: Tensor) -> Tensor:
        """[B, before] -> [B, after]."""
        return linear(values, self.scaled_weight, self.bias * self._lr_share)


class _Convolution(nn.Module):
    """A convolution of equalised learning rate, halved afterwards if asked for."""

    def __init__(self, before: int, after: int, kernel: int, *, bias: bool = True, halves: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        self._scale = 1 / math.sqrt(before * kernel**2)
        self._kernel = kernel
        self.blur = Blur(border=2) if halves and kernel > 1 else None
        self.halve = Downsample() if halves and kernel == 1 else None

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H, W], or of half the sides."""
        weight = self.weight * self._scale
        if self.blur is not None:
            return conv2d(self.blur(maps), weight, self.bias, stride=2)
        if self.halve is not None:
            maps = self.halve(maps)
        return conv2d(maps, weight, self.bias, padding=self._kernel // 2)


class _Mapping(nn.Module):
    """Latents, and labels, to w: both normalised, then dense layers."""

    def __init__(self, network: Stylegan2Generator, context: NetworkContext) -> None:
        super().__init__()
        size, inputs = network.w_size, context.latent_size
        self.labels = None
        if context.classes is not None:
            self.labels, inputs = _Embedding(context.classes, size), inputs + size
        sizes = [inputs] + [size] * network.mapping_layers
        share = network.mapping_lr_share
        self.layers = nn.ModuleList(_Dense(before, after, lr_share=share) for before, after in pairwise(sizes))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """[B, latent_size], int64 [B] -> [B, w_size]."""
        values = _unit(latents)
        if self.labels is not None and labels is not None:
            values = torch.cat([values, _unit(self.labels(labels))], dim=1)
        for layer in self.layers:
            values = _active(layer(values))
        return values


class _Embedding(nn.Module):
    """A dense layer on labels that stand for one-hot vectors, of equalised learning rate."""

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, size))
        self.bias = nn.Parameter(torch.zeros(size))
        self._scale = 1 / math.sqrt(classes)

    def forward(self, labels: Tensor) -> Tensor:
        """int64 [B] -> [B, size]."""
        return self.weight[labels] * self._scale + self.bias


class _Modulated(nn.Module):
    """A convolution whose inputs are scaled by a style, and whose outputs back to one variance (section 2.2)."""

    def __init__(self, before: int, after: int, kernel: int, w_size: int, *, demodulates: bool = True) -> None:
        super().__init__()
        self.affine = _Dense(w_size, before, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self._demodulates = demodulates
        self._scale = 1 / math.sqrt(before * kernel**2)
        self._kernel = kernel

    def forward(self, maps: Tensor, w: Tensor, *, doubles: bool = False) -> Tensor:
        """[B, C, H, W], [B, w_size] -> [B, C', H, W]; doubled without a filter to [B, C', 2 H + 1, 2 W + 1]."""
        style: Tensor = self.affine(w)
        weight = self.weight * self._scale
        maps = maps * style[:, :, None, None]
        if doubles:
            maps = conv_transpose2d(maps, weight.transpose(0, 1), stride=2)
        else:
            maps = conv2d(maps, weight, padding=self._kernel // 2)
        if not self._demodulates:
            return maps
        # Of each output the standard deviation that inputs of variance 1 would give it, [B, C'].
        deviation = (style.square() @ weight.square().sum(dim=(2, 3)).t() + EPS).rsqrt()
        return maps * deviation[:, :, None, None]


class _Layer(nn.Module):
    """A modulated convolution, doubled if asked for, noise, a bias and a LeakyReLU."""

    noise: Tensor

    def __init__(
        self, before: int, after: int, sides: tuple[int, int], network: Stylegan2Generator, draws: Draws
    ) -> None:
        super().__init__()
        self._draws = draws
        self.convolution = _Modulated(before, after, 3, network.w_size)
        self.bias = nn.Parameter(torch.zeros(after, 1, 1))
        self.strength = nn.Parameter(torch.zeros(())) if network.noise else None
        # That of all samples.
        self.register_buffer("noise", torch.randn(1, 1, *sides) if network.noise else None)

    def forward(self, maps: Tensor, w: Tensor) -> Tensor:
        """[B, C, H, W], [B, w_size] -> [B, C', H, W]."""
        return self._finish(self.convolution(maps, w))

    def _finish(self, maps: Tensor) -> Tensor:
        if self.strength is not None:
            shape = (maps.shape[0], 1, *maps.shape[2:])
            maps = maps + self.strength * (self._draws.noise(shape) if self.training else self.noise)
        return _active(maps + self.bias)


class _DoublingLayer(_Layer):
    """A layer that doubles the map: a transposed convolution, then the filter."""

    def __init__(
        self, before: int, after: int, sides: tuple[int, int], network: Stylegan2Generator, draws: Draws
    ) -> None:
        super().__init__(before, after, sides, network, draws)
        self.blur = Blur(border=1, gain=4.0)

    def forward(self, maps: Tensor, w: Tensor) -> Tensor:
        """[B, C, H, W], [B, w_size] -> [B, C', 2 H, 2 W]."""
        return self._finish(self.blur(self.convolution(maps, w, doubles=True)))


class _ToPicture(nn.Module):
    """A modulated 1x1 convolution to the channels of a picture."""

    def __init__(self, before: int, channels: int, w_size: int) -> None:
        super().__init__()
        self.convolution = _Modulated(before, channels, 1, w_size, demodulates=False)
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, maps: Tensor, w: Tensor) -> Tensor:
        """[B, C, H, W], [B, w_size] -> [B, channels, H, W]."""
        picture: Tensor = self.convolution(maps, w) + self.bias
        return picture


class _Synthesis(nn.Module):
    """From a constant on, two layers a level, of each level a picture that is doubled and added to the next's."""

    def __init__(self, network: Stylegan2Generator, context: NetworkContext) -> None:
        super().__init__()
        widths = network.widths(context.shape[1:])[::-1]
        levels = levels_of(context.shape[1:])
        height, width = (side >> levels for side in context.shape[1:])
        self.constant = nn.Parameter(torch.randn(widths[0], height, width))
        sizes = [(height << level, width << level) for level in range(levels + 1)]
        make = (network, context.draws)
        self.first = _Layer(widths[0], widths[0], sizes[0], *make)
        self.doubling = nn.ModuleList(
            _DoublingLayer(before, after, size, *make)
            for (before, after), size in zip(pairwise(widths), sizes[1:], strict=True)
        )
        self.following = nn.ModuleList(
            _Layer(after, after, size, *make) for after, size in zip(widths[1:], sizes[1:], strict=True)
        )
        self.pictures = nn.ModuleList(_ToPicture(each, context.shape[0], network.w_size) for each in widths)
        self.upsample = Upsample()
        self.layers = 2 * levels + 2  # that take a style, the last picture among them

    def forward(self, w: Tensor) -> Tensor:
        """[B, layers, w_size] -> [B, channels, H, W]; a level's picture shares the style of the layer that follows."""
        count = w.shape[0]  # len() would fix it in an ONNX file
        maps = self.first(self.constant.expand(count, -1, -1, -1), w[:, 0])
        picture: Tensor = self.pictures[0](maps, w[:, 1])
        for at, (doubling, following) in enumerate(zip(self.doubling, self.following, strict=True)):
            maps = following(doubling(maps, w[:, 2 * at + 1]), w[:, 2 * at + 2])
            picture = self.upsample(picture) + self.pictures[at + 1](maps, w[:, 2 * at + 3])
        return picture


class _Discriminator(nn.Module):
    def __init__(self, network: Stylegan2Discriminator, context: NetworkContext) -> None:
        super().__init__()
        widths = network.widths(context.shape[1:])
        levels = levels_of(context.shape[1:])
        self.from_picture = _Convolution(context.shape[0], widths[0], 1)
        self.blocks = nn.Sequential(*(_HalvingBlock(before, after) for before, after in pairwise(widths)))
        last, seed = widths[-1], math.prod(side >> levels for side in context.shape[1:])
        self.differences = _Differences(network.group) if network.group > 1 else None
        self.mix = _Convolution(last + (self.differences is not None), last, 3)
        self.dense = _Dense(last * seed, last)
        self.labels = _LabelMap(context.classes, last) if context.classes is not None else None
        self.out = _Dense(last, 1 if self.labels is None else last)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        maps = self.blocks(_active(self.from_picture(images)))
        if self.differences is not None:
            maps = self.differences(maps)
        features: Tensor = self.out(_active(self.dense(_active(self.mix(maps)).flatten(1))))
        if self.labels is not None and labels is not None:
            logits: Tensor = (features * self.labels(labels)).sum(dim=1) / math.sqrt(features.shape[1])
            return logits
        return features.flatten()


class _HalvingBlock(nn.Module):
    """Two 3x3 convolutions, the second halved, beside a halved 1x1; their sum keeps the variance."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = _Convolution(before, before, 3)
        self.second = _Convolution(before, after, 3, halves=True)
        self.shortcut = _Convolution(before, after, 1, bias=False, halves=True)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / 2, W / 2]."""
        inside, beside = _active(self.second(_active(self.first(maps)))), self.shortcut(maps)
        halved: Tensor = (inside + beside) * math.sqrt(0.5)
        return halved


class _Differences(nn.Module):
    """One more channel: the standard deviation over groups of pictures, as a mean over all else (Karras et al. 2018).

    Neighbours in a batch are a group, so that a gang whose workers hold whole groups finds what one worker would.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self._group = group

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C + 1, H, W]."""
        group = self._group if len(maps) % self._group == 0 else len(maps)
        groups = maps.unflatten(0, (-1, group))
        deviation = (groups.var(dim=1, unbiased=False) + EPS).sqrt().mean(dim=(1, 2, 3))
        plane = deviation.repeat_interleave(group)[:, None, None, None].expand(-1, 1, *maps.shape[2:])
        return torch.cat([maps, plane], dim=1)


class _LabelMap(nn.Module):
    """Labels to what D's features are projected on: an embedding, normalised, then dense layers as of the mapping."""

    LAYERS, LR_SHARE = 8, 0.01

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        self.embedding = _Embedding(classes, size)
        self.layers = nn.ModuleList(_Dense(size, size, lr_share=self.LR_SHARE) for _ in range(self.LAYERS))

    def forward(self, labels: Tensor) -> Tensor:
        """int64 [B] -> [B, size]."""
        values = _unit(self.embedding(labels))
        for layer in self.layers:
            values = _active(layer(values))
        return values


def _active(values: Tensor) -> Tensor:
    return GAIN * leaky_relu(values, SLOPE)


def _unit(values: Tensor) -> Tensor:
    """Each row at a root mean square of 1."""
    return values * (values.square().mean(dim=1, keepdim=True) + EPS).rsqrt()
