"""GANs of linear layers."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from ganservice.model import Share
from ganservice.recipe.extent import Extent, joints
from ganservice.recipe.network import Network, NetworkKind, Widths


class MlpGenerator(Network):
    """Linear layers of the given widths, LeakyReLU between; tanh at the end for pictures."""

    kind: Literal["mlp"] = Field(description="A multi-layer perceptron.")
    widths: Widths = Field(default=(128, 256, 512), description="Units of each hidden layer, from the latent side on.")

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """From latents to all numbers of an image."""
        del classes
        image = math.prod(shape)
        return Extent(joints((other_end, *self.widths, image)), max(*self.widths, image))


class MlpDiscriminator(Network):
    """Linear layers of the given widths, LeakyReLU and dropout between, one logit at the end."""

    free_keys: ClassVar[frozenset[str]] = frozenset({"dropout"})

    kind: Literal["mlp"] = Field(description="A multi-layer perceptron.")
    widths: Widths = Field(default=(512, 256, 128), description="Units of each hidden layer, from the image side on.")
    dropout: Share = Field(default=0.3, description="Share of units that are dropped after each hidden layer.")

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """From all numbers of an image to a logit."""
        del classes
        image = math.prod(shape)
        return Extent(joints((image, *self.widths, other_end)), max(*self.widths, image))


KIND = NetworkKind("workers.gan.networks.mlp", MlpGenerator, MlpDiscriminator)
