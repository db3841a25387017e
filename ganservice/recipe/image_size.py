"""The size of pictures, as specs and manifests have it: a number of pixels for squares, WIDTHxHEIGHT for others."""

from typing import Annotated, NamedTuple

from pydantic import StringConstraints

LEAST_SIDE, LARGEST_SIDE = 4, 256

Oblong = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,2}x[1-9][0-9]{0,2}$")]
ImageSize = int | str


class Sides(NamedTuple):
    """Pixels of the sides of a picture."""

    width: int
    height: int


def sides_of(image_size: ImageSize) -> Sides:
    """The sides of pictures of a size that was checked: 64 is 64 wide and high, 96x64 is wider than high."""
    if isinstance(image_size, int):
        return Sides(image_size, image_size)
    width, _, height = image_size.partition("x")
    return Sides(int(width), int(height))


def image_size_of(width: int, height: int) -> ImageSize:
    """The size of pictures with such sides."""
    return width if width == height else f"{width}x{height}"


def misfit(image_size: ImageSize) -> str | None:
    """Say what is wrong with a size that has the right form; None if nothing is."""
    sides = sides_of(image_size)
    if isinstance(image_size, str) and sides.width == sides.height:
        return f"found {image_size}, expected {sides.width}, as squares are written"
    if not LEAST_SIDE <= min(sides) <= max(sides) <= LARGEST_SIDE:
        return f"found {image_size}, expected sides of {LEAST_SIDE} to {LARGEST_SIDE} px"
    return None
