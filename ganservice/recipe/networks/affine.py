"""The one generator whose density is known in closed form."""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from ganservice.recipe.data import Data, Mixture
from ganservice.recipe.extent import Extent
from ganservice.recipe.network import Network, NetworkKind


class AffineGenerator(Network):
    """G(z) = A z + b: the one generator whose density is known in closed form. For points in the plane only."""

    kind: Literal["affine"] = Field(description="A single linear layer, for points in the plane.")

    def misfit(self, data: Data) -> str | None:
        """Its density is known in the plane."""
        return None if isinstance(data, Mixture) else "kind: an affine generator makes points of a mixture, no pictures"

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """One matrix."""
        del classes
        image = math.prod(shape)
        return Extent(other_end * image, image)


KIND = NetworkKind("workers.gan.networks.affine", AffineGenerator)
