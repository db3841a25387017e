"""Pictures of any shape as pictures of one size."""

import numpy as np
import pytest
from PIL import Image

from ganservice.recipe import Sides
from workers.gan.data.fitting import Fit, Ground, fitted, is_enlarged

RED = (255, 0, 0)


def oblong() -> Image.Image:
    """Red in the middle third of a picture that is three times as wide as high, blue beside it."""
    picture = Image.new("RGB", (48, 16), "blue")
    picture.paste(RED, (16, 0, 32, 16))
    return picture


def test_a_crop_takes_the_centre_at_any_proportion() -> None:
    square = np.asarray(fitted(oblong(), Sides(16, 16)))
    assert (square == RED).all()
    wide = np.asarray(fitted(oblong(), Sides(32, 16)))
    assert (wide.shape, wide[8, 16].tolist()) == ((16, 32, 3), list(RED))
    assert wide[8, 2].tolist() == wide[8, -2].tolist() == [0, 0, 255]


def test_a_stretched_picture_is_whole() -> None:
    pixels = np.asarray(fitted(oblong(), Sides(12, 12), "stretch"))
    assert [pixels[6, column].argmax() for column in (1, 5, 10)] == [2, 0, 2]


@pytest.mark.parametrize(
    ("mode", "colour", "ground", "around"),
    [
        ("L", 100, "white", 255), ("L", 100, "black", 0), ("RGB", RED, "white", (255, 255, 255)),
        ("RGB", RED, "black", (0, 0, 0)), ("RGBA", (*RED, 255), "white", (0, 0, 0, 0)), ("F", 9.5, "white", 255.0),
    ],
)  # fmt: skip
def test_a_padded_picture_is_whole_in_the_middle_of_its_ground(
    mode: str, colour: float | tuple[int, ...], ground: Ground, around: float | tuple[int, ...]
) -> None:
    whole = fitted(Image.new(mode, (20, 10), colour), Sides(8, 12), "pad", ground)
    assert (whole.size, whole.mode) == ((8, 12), mode)
    rows = [whole.getpixel((3, row)) for row in range(12)]
    assert rows == [around] * 4 + [colour] * 4 + [around] * 4


def test_a_line_is_padded_to_a_line() -> None:
    whole = np.asarray(fitted(Image.new("L", (1000, 1), 7), Sides(8, 8), "pad"))
    assert (whole == 7).sum() == 8


@pytest.mark.parametrize(
    ("own", "fit", "enlarged"),
    [
        ((8, 20), "crop", True), ((8, 20), "stretch", True), ((8, 20), "pad", False), ((8, 10), "pad", True),
        ((9, 12), "crop", False), ((20, 8), "pad", False),
    ],
)  # fmt: skip
def test_what_lacks_pixels_is_enlarged(own: tuple[int, int], fit: Fit, enlarged: bool) -> None:
    assert is_enlarged(Sides(*own), Sides(9, 12), fit) == enlarged
