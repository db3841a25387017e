"""What a training learns: stored pictures, or points in the plane."""

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, Tag, model_validator

from ganservice.model import EachOnce, Model, PositiveNumber, Sha256, kind_or
from ganservice.recipe.image_size import LARGEST_SIDE, LEAST_SIDE, Oblong, Sides, misfit, sides_of

# Three pictures of ten classes each make a thousand.
MAX_CLASSES = 10_000

DataSetName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
# Grey, RGB, and RGB with alpha, how opaque each pixel is (RGBA).
Channels = Literal[1, 3, 4]
# No name of a folder is longer.
ClassName = Annotated[str, StringConstraints(max_length=255)]


class Pictures(Model):
    """Pictures of a data set in the store, at the size and with the channels that the networks expect."""

    examples: ClassVar = "images"  # as the output of a generator is called

    kind: Literal["pictures"] = Field(default="pictures", description="Stored pictures.")
    dataset: DataSetName = Field(description="Name of a data set in the store; `ganctl data list` prints them.")
    image_size: Annotated[int, Field(ge=LEAST_SIDE, le=LARGEST_SIDE)] | Oblong = Field(
        description="Width and height of a picture: 64, or WIDTHxHEIGHT, such as 96x64, where they differ."
    )
    channels: Channels = Field(description="1 for grey pictures, 3 for colour (RGB), 4 for colour and alpha (RGBA).")
    only: Annotated[tuple[ClassName, ...], Field(min_length=1, max_length=MAX_CLASSES), EachOnce()] | None = Field(
        default=None, description="Names of the classes whose pictures are learned; without it all are."
    )
    flip: bool = Field(default=False, description="Whether each picture is mirrored left to right half of the time.")
    digest: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the data set. Filled in at submission, so that every attempt trains on the same bytes.",
    )

    @property
    def title(self) -> str:
        """What is learned, in a few words."""
        return self.dataset

    @property
    def shape(self) -> tuple[int, ...]:
        """[C, H, W] of one picture."""
        return (self.channels, self.sides.height, self.sides.width)

    @property
    def sides(self) -> Sides:
        """Width and height of one picture."""
        return sides_of(self.image_size)

    @model_validator(mode="after")
    def _size_is_one(self) -> Self:
        if mistake := misfit(self.image_size):
            raise ValueError(f"image_size: {mistake}")
        return self


class Mixture(Model):
    """Points in the plane, drawn from equally likely round Gaussians on a ring or on a square grid.

    The ring of 8 and the grid of 25 are those of Srivastava et al. (2017), "VEEGAN", section 4.1.
    """

    examples: ClassVar = "points"

    kind: Literal["mixture"] = Field(description="Points of a mixture of Gaussians.")
    layout: Literal["ring", "grid"] = Field(description="Where the means of the Gaussians lie.")
    modes: Annotated[int, Field(ge=1, le=10_000)] = Field(
        description="Number of Gaussians; on a grid a square number, such as 25."
    )
    spread: PositiveNumber = Field(
        default=2.0, description="Radius of the ring, or distance between neighbours on the grid."
    )
    std: PositiveNumber = Field(description="Standard deviation of each Gaussian, in both directions.")
    points: Annotated[int, Field(ge=2, le=100_000_000)] = Field(
        default=100_000, description="Number of points in the training set, drawn once from the job's seed."
    )

    @property
    def title(self) -> str:
        """What is learned, in a few words."""
        return f"a {self.layout} of {self.modes} Gaussians"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        return (2,)

    @property
    def centres(self) -> list[tuple[float, float]]:
        """The mean of each Gaussian."""
        if self.layout == "ring":
            angles = [2 * math.pi * mode / self.modes for mode in range(self.modes)]
            return [(self.spread * math.cos(angle), self.spread * math.sin(angle)) for angle in angles]
        side = math.isqrt(self.modes)
        line = [self.spread * (place - (side - 1) / 2) for place in range(side)]
        return [(x, y) for y in line for x in line]

    @model_validator(mode="after")
    def _grid_is_square(self) -> Self:
        if self.layout == "grid" and math.isqrt(self.modes) ** 2 != self.modes:
            raise ValueError(f"modes: found {self.modes}, expected a square number for a grid, such as 25")
        return self


Data = Annotated[
    Annotated[Pictures, Tag("pictures")] | Annotated[Mixture, Tag("mixture")],
    kind_or("pictures"),
]
