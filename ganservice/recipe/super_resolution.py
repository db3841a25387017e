"""Super-resolution: a recipe whose generator enlarges pictures instead of making them of latents."""

from typing import Literal

from pydantic import Field

from ganservice.model import Model, PositiveNumber
from ganservice.recipe.data import Data, Pictures
from ganservice.recipe.image_size import Sides, image_size_of
from ganservice.recipe.network import EnlargingGenerator, Network


class SuperResolution(Model):
    """G enlarges pictures that were made small; see [super-resolution](super-resolution.md)."""

    factor: Literal[2, 4] = Field(description="How many times as wide and as high as a small picture a large one is.")
    reconstruction: PositiveNumber = Field(
        default=10.0,
        description=(
            "Weight, in what G minimises, of the mean absolute difference between an enlarged picture and the real "
            "one, of pixels in [-1, 1]; the adversarial loss weighs 1."
        ),
    )

    def small_sides(self, sides: Sides) -> Sides:
        """The sides of the small picture that a picture of `sides` becomes."""
        return Sides(sides.width // self.factor, sides.height // self.factor)

    def misfit(self, data: Data) -> str | None:
        """Say what is wrong with making `data` small, beginning with the key; None if nothing is."""
        if not isinstance(data, Pictures):
            return "super_resolution: is for pictures; found data.kind: mixture"
        if any(side % self.factor for side in data.sides):
            found = image_size_of(*data.sides)
            return (
                f"super_resolution.factor: found {self.factor}, which does not divide data.image_size {found}; choose "
                "one that divides both sides"
            )
        return None


def misfit_of_task(generator: Network, task: SuperResolution | None) -> str | None:
    """Say why a generator does not do what its recipe is about, beginning with the key; None if it does."""
    enlarges = isinstance(generator, EnlargingGenerator)
    if task and not enlarges:
        return (
            f"generator.kind: found {generator.kind}, which makes pictures of latents; with super_resolution expected "
            "one that enlarges pictures, such as edsr"
        )
    if enlarges and task is None:
        return (
            f"super_resolution: is missing, for a generator of kind {generator.kind} enlarges pictures: {{factor: 2}}"
        )
    return None
