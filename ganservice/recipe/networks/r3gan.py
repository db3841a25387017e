"""The networks of R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!")."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ganservice.recipe.extent import Extent
from ganservice.recipe.network import NetworkKind, Size
from ganservice.recipe.pyramid import Pyramid, levels_of


class _R3gan(Pyramid):
    """The keys that G and D of an R3GAN have in common."""

    takes_labels: ClassVar[bool] = True

    kind: Literal["r3gan"] = Field(
        description="Residual blocks of grouped convolutions without normalisation (Huang et al. 2024, section 4)."
    )
    blocks: Annotated[int, Field(ge=1, le=32)] = Field(default=2, description="Residual blocks for each map.")
    expansion: Annotated[int, Field(ge=1, le=16)] = Field(
        default=2, description="How many times the channels of its map a block has inside."
    )
    group_width: Size = Field(
        default=16, description="Channels of each group of the 3x3 convolutions, a divisor of those inside each block."
    )

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """Blocks at every level, a 1x1 convolution to or from the picture, and a basis at the other end."""
        widths = self.widths(shape[1:])
        seed = math.prod(side >> levels_of(shape[1:]) for side in shape[1:])
        weights = shape[0] * widths[0] + widths[-1] * (seed + other_end + 1)
        weights += sum(before * after for before, after in pairwise(widths))
        for width in widths:
            inside = width * self.expansion
            weights += self.blocks * inside * (2 * width + 9 * self.group_width + 2)
        if classes:
            weights += (classes + widths[-1]) * max(other_end, widths[-1])
        places = [math.prod(side >> level for side in shape[1:]) for level in range(len(widths))]
        features = max(width * count for width, count in zip(widths, places, strict=True))
        return Extent(weights, self.expansion * features)

    @model_validator(mode="after")
    def _groups_are_whole(self) -> Self:
        for key, width in (("width", self.width), ("max_width", self.max_width)):
            if width * self.expansion % self.group_width:
                raise ValueError(
                    f"group_width: found {self.group_width}, expected a divisor of {key} * expansion = "
                    f"{width * self.expansion}"
                )
        return self


class R3ganGenerator(_R3gan):
    """A learned basis weighed by the latent, then residual blocks and upsampling; numbers beyond [-1, 1] are clipped
    where pictures are drawn, not where it is trained."""


class R3ganDiscriminator(_R3gan):
    """Residual blocks and downsampling, then a learned basis and a linear map to one logit."""


KIND = NetworkKind("workers.gan.networks.r3gan", R3ganGenerator, R3ganDiscriminator)
