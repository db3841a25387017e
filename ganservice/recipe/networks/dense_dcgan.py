"""A DCGAN that begins and ends with a dense layer, as Keras lessons build it."""

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ganservice.model import Share
from ganservice.recipe.extent import KERNEL, Extent, joints, largest
from ganservice.recipe.image_size import Sides, image_size_of
from ganservice.recipe.network import INITIAL_WEIGHTS, InitialWeights, NetworkKind, PictureNetwork, Size


class _DenseDcgan(PictureNetwork):
    """The keys that G and D of a dense DCGAN have in common."""

    free_keys: ClassVar[frozenset[str]] = frozenset({"initial_weights", "dropout"})

    kind: Literal["dense_dcgan"] = Field(
        description="A DCGAN with a dense layer at its latent side, for any multiple of 4 px."
    )
    initial_weights: InitialWeights = Field(default="glorot", description=INITIAL_WEIGHTS)

    def _misfit_of_sides(self, sides: Sides) -> str | None:
        if any(side % 4 for side in sides):
            found = image_size_of(*sides)
            return f"kind: a dense_dcgan makes images of a multiple of 4 px, found data.image_size {found}"
        return None


class DenseDcganGenerator(_DenseDcgan):
    """A dense layer up to a quarter of the size, then 5x5 transposed convolutions; BatchNorm and LeakyReLU between."""

    widths: Annotated[tuple[Size, ...], Field(min_length=3, max_length=3)] = Field(
        default=(256, 128, 64), description="Channels of the three hidden layers, from the latent side on."
    )

    @property
    def mixes_images(self) -> bool:
        """Its BatchNorm does."""
        return True

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """A dense layer, then convolutions up to the image."""
        del classes
        return _extent(self.widths[::-1], shape, other_end)


class DenseDcganDiscriminator(_DenseDcgan):
    """Two strided 5x5 convolutions with LeakyReLU and dropout, then a dense layer to one logit."""

    widths: Annotated[tuple[Size, ...], Field(min_length=2, max_length=2)] = Field(
        default=(64, 128), description="Channels of the two convolutions, from the image side on."
    )
    dropout: Share = Field(default=0.3, description="Share of units that are dropped after each convolution.")

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """Convolutions, then a dense layer."""
        del classes
        return _extent(self.widths, shape, other_end)


def _extent(maps: Sequence[int], shape: Sequence[int], other_end: int) -> Extent:
    """Of a dense layer between a quarter of the image and the other end; `maps` from the image on."""
    dense = other_end * maps[-1] * math.prod(side // 4 for side in shape[1:])
    return Extent(dense + KERNEL * joints((shape[0], *maps)), largest((shape[0], *maps), shape[1:]))


KIND = NetworkKind("workers.gan.networks.dense_dcgan", DenseDcganGenerator, DenseDcganDiscriminator)
