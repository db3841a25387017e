"""Residual networks of the kind of SNGAN (Miyato et al. 2018) and BigGAN (Brock et al. 2019)."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field

from ganservice.recipe.extent import Extent
from ganservice.recipe.image_size import Sides
from ganservice.recipe.network import INITIAL_WEIGHTS, InitialWeights, NetworkKind, Size
from ganservice.recipe.pyramid import Pyramid, levels_of

ATTENTION = (
    "Side, in px, of the square map on which self-attention follows (Zhang et al. 2019, SAGAN); without it there is "
    "none."
)


def levels_of_discriminator(sides: Sequence[int]) -> int:
    """How often D halves the picture: of 32 px twice, as published for CIFAR-10, and else as often as G doubles it."""
    levels = levels_of(sides)
    return levels - 1 if levels == 3 else levels


class _Resnet(Pyramid):
    """The keys that G and D of a residual GAN have in common."""

    takes_labels: ClassVar[bool] = True
    free_keys: ClassVar[frozenset[str]] = frozenset({"initial_weights"})

    kind: Literal["resnet"] = Field(
        description="Residual blocks, with labels by conditional BatchNorm in G and by projection in D."
    )
    attention: Size | None = Field(default=None, description=ATTENTION)
    initial_weights: InitialWeights = Field(default="glorot", description=INITIAL_WEIGHTS)

    def _maps(self, sides: Sequence[int]) -> list[int]:
        """Sides of the square maps that self-attention may follow on, px."""
        raise NotImplementedError

    def _misfit_of_sides(self, sides: Sides) -> str | None:
        if misfit := super()._misfit_of_sides(sides):
            return misfit
        if self.attention is None:
            return None
        if sides.width != sides.height:
            return "attention: is for square images"
        maps = self._maps(sides)
        if not maps:
            return f"attention: found {self.attention}, but D halves no picture of {sides.width} px; leave it out"
        if self.attention not in maps:
            return f"attention: found {self.attention}, expected the side of a map: {', '.join(map(str, maps))}"
        return None

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """Two 3x3 convolutions and a 1x1 one for each block, and the dense layer."""
        widths = self.widths(shape[1:])
        pairs = [*pairwise(widths), (widths[-1], widths[-1]), (shape[0], widths[0])]
        weights = sum(10 * before * after + 9 * after * after + 9 * before * before for before, after in pairs)
        seed = math.prod(side >> levels_of(shape[1:]) for side in shape[1:])
        weights += other_end * widths[-1] * seed + 4 * sum(widths) * (1 + (classes or 0)) + 2 * max(widths) ** 2
        return Extent(weights, widths[0] * math.prod(shape[1:]))


class ResnetGenerator(_Resnet):
    """A dense layer, then blocks of BatchNorm, ReLU, nearest-neighbour doubling and two 3x3 convolutions; tanh."""

    spectral_norm: bool = Field(
        default=False, description="Whether every layer has spectral normalisation too, as in SAGAN and BigGAN."
    )

    @property
    def mixes_images(self) -> bool:
        """Its BatchNorm does."""
        return True

    def _maps(self, sides: Sequence[int]) -> list[int]:
        """All of them."""
        return [sides[0] >> level for level in range(levels_of(sides) + 1)]


class ResnetDiscriminator(_Resnet):
    """Blocks of ReLU and two 3x3 convolutions, halved by average pooling; a sum over the map, and one logit."""

    spectral_norm: bool = Field(
        default=True, description="Whether every layer has spectral normalisation (Miyato et al. 2018)."
    )

    def _maps(self, sides: Sequence[int]) -> list[int]:
        """Those after each halving."""
        return [sides[0] >> level for level in range(1, levels_of_discriminator(sides) + 1)]


KIND = NetworkKind("workers.gan.networks.resnet", ResnetGenerator, ResnetDiscriminator)
