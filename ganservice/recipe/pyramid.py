"""Pyramid: the feature maps of networks that double, or halve, the picture from level to level."""

from collections.abc import Sequence

from pydantic import Field

from ganservice.recipe.image_size import LARGEST_SIDE, Sides, image_size_of
from ganservice.recipe.network import PictureNetwork, Size

# The shorter side of the smallest map is one of these, px: 4 of 32, 64, 128 and 256 px, 7 of 28 px.
SEED_SIDES = range(4, 8)


def levels_of(sides: Sequence[int]) -> int:
    """How often a picture can be halved until its shorter side is one of a smallest map."""
    levels = 0
    while min(sides) >> levels > SEED_SIDES[-1]:
        levels += 1
    return levels


class Pyramid(PictureNetwork):
    """A network whose feature maps halve the picture to 4 to 7 px, each with twice the channels of the one before."""

    width: Size = Field(
        default=64,
        description=(
            "Channels of the map that is as large as the picture; one of half its side has twice as many, up to "
            "`max_width`."
        ),
    )
    max_width: Size = Field(default=256, description="Channels that no map has more of.")

    def widths(self, sides: Sequence[int]) -> list[int]:
        """Channels of each map, from that of the picture's own size to the smallest."""
        return [min(self.max_width, self.width << level) for level in range(levels_of(sides) + 1)]

    def _misfit_of_sides(self, sides: Sides) -> str | None:
        step, shorter = 2 ** levels_of(sides), min(sides)
        found = f"found data.image_size {image_size_of(*sides)}"
        if shorter < SEED_SIDES[0]:
            return f"kind: a {self.kind} makes images of at least {SEED_SIDES[0]} px on their shorter side, {found}"
        if all(side % step == 0 for side in sides):
            return None
        lower = Sides(*(side - side % step for side in sides))
        higher = Sides(*(-(-side // step) * step for side in sides))
        fitting = [image_size_of(*choice) for choice in (lower, higher) if max(choice) <= LARGEST_SIDE]
        return (
            f"kind: a {self.kind} halves images until their shorter side is {SEED_SIDES[0]} to {SEED_SIDES[-1]} px, "
            f"{found}; choose {' or '.join(map(str, fitting))}"
        )
