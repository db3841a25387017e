"""The network of EDSR (Lim et al. 2017, "Enhanced Deep Residual Networks for Single Image Super-Resolution")."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from ganservice.recipe.extent import Extent
from ganservice.recipe.network import EnlargingGenerator, NetworkKind, Size

KERNEL = 3 * 3
# Of the largest factor, each of which doubles the picture.
DOUBLINGS = 2


class EdsrGenerator(EnlargingGenerator):
    """Residual blocks of two 3x3 convolutions at the size of the small picture, then pixel shuffle; what they make is
    added to the small picture enlarged by bicubic interpolation, as which an untrained one begins."""

    kind: Literal["edsr"] = Field(
        description="Residual blocks without normalisation and pixel shuffle (Lim et al. 2017; Shi et al. 2016)."
    )
    width: Size = Field(default=64, description="Channels of each feature map.")
    blocks: Annotated[int, Field(ge=1, le=64)] = Field(default=8, description="Residual blocks.")

    @property
    def reach(self) -> int:
        """A convolution before the blocks, two in each, one after; two at most while it is enlarged, and the last."""
        return 2 * self.blocks + 2 + DOUBLINGS + 1

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """Convolutions at the small size, and of four times the channels wherever they double it; by the factor 4."""
        del other_end, classes
        joints = 2 * self.blocks + 1 + 4 * DOUBLINGS
        weights = KERNEL * self.width * (joints * self.width + 2 * shape[0])
        return Extent(weights, self.width * shape[1] * shape[2])


KIND = NetworkKind("workers.gan.networks.edsr", EdsrGenerator)
