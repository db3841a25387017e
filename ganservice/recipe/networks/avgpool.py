"""A GAN of convolutions between which the image is doubled or halved."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from ganservice.recipe.extent import KERNEL, Extent, joints, largest
from ganservice.recipe.image_size import Sides, image_size_of
from ganservice.recipe.network import INITIAL_WEIGHTS, InitialWeights, NetworkKind, PictureNetwork, Size, Widths


class _AvgPool(PictureNetwork):
    """The keys that G and D of an average-pooling GAN have in common."""

    free_keys: ClassVar[frozenset[str]] = frozenset({"initial_weights"})

    kind: Literal["avgpool"] = Field(
        description="Convolutions between which the image is doubled (G) or halved (D); its size must allow that."
    )
    initial_weights: InitialWeights = Field(default="normal", description=INITIAL_WEIGHTS)
    widths: Widths
    dense: Widths

    def _misfit_of_sides(self, sides: Sides) -> str | None:
        factor = 2 ** len(self.widths)
        if any(side % factor or side < 2 * factor for side in sides):
            return (
                f"widths: {len(self.widths)} blocks halve or double the image, so that its size must be a multiple "
                f"of {factor} from {2 * factor} on; found data.image_size {image_size_of(*sides)}"
            )
        return None


class AvgPoolGenerator(_AvgPool):
    """Dense layers, then 5x5 convolutions with BatchNorm and nearest-neighbour upsampling."""

    widths: Widths = Field(
        default=(256, 128, 64), description="Channels of each block, from the latent side on; each doubles the image."
    )
    dense: Widths = Field(default=(64, 512), description="Units of each dense layer before the blocks.")
    seed_channels: Size = Field(default=64, description="Channels of the first, smallest feature map.")

    @property
    def mixes_images(self) -> bool:
        """Its BatchNorm does."""
        return True

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """Dense layers, then convolutions up to the image."""
        del classes
        smallest = self.seed_channels * math.prod(side >> len(self.widths) for side in shape[1:])
        dense = joints((other_end, *self.dense, smallest))
        weights = dense + KERNEL * joints((self.seed_channels, *self.widths, shape[0]))
        return Extent(weights, largest((shape[0], *self.widths[::-1]), shape[1:]))


class AvgPoolDiscriminator(_AvgPool):
    """5x5 convolutions with BatchNorm and average pooling, then dense layers to one logit."""

    widths: Widths = Field(
        default=(64, 128, 256, 512),
        description="Channels of each block, from the image side on; each halves the image.",
    )
    dense: Widths = Field(default=(1024, 512, 128), description="Units of each dense layer after the blocks.")

    @property
    def mixes_images(self) -> bool:
        """Its BatchNorm does."""
        return True

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """Convolutions, then dense layers."""
        del classes
        smallest = self.widths[-1] * math.prod(side >> len(self.widths) for side in shape[1:])
        weights = KERNEL * joints((shape[0], *self.widths)) + joints((smallest, *self.dense, other_end))
        return Extent(weights, largest((shape[0], *self.widths), shape[1:]))


KIND = NetworkKind("workers.gan.networks.avgpool", AvgPoolGenerator, AvgPoolDiscriminator)
