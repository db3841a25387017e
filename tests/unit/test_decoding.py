from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ganservice.errors import DataInvalid
from tests.unit.picture_files import of_values, packed, png_of_16_bits
from workers.gan.data import decoding
from workers.gan.data.decoding import Decoded, Mark, Range, Target, decode
from workers.gan.data.fitting import fitted

# A ramp of 12 bits, as a scanner for medicine gives it.
TWELVE_BITS = np.arange(4096, dtype=np.uint16).reshape(64, 64)
FULL = Range(0, 4095)


def decoded(content: bytes, size: int = 64, channels: Any = None, value_range: Range | None = None) -> Decoded:
    return decode("a picture", content, Target(size, channels, value_range))


def pixels(content: bytes, size: int = 64, channels: Any = None, value_range: Range | None = None) -> NDArray[np.uint8]:
    found = decoded(content, size, channels, value_range).pixels
    assert found is not None
    return found


def test_a_deep_picture_is_only_looked_at_until_its_range_is_known() -> None:
    found = decoded(of_values(TWELVE_BITS))
    assert found == Decoded(None, Mark.DEEP | Mark.GREY, 0, 4095)


def test_12_bits_in_files_of_16_keep_256_levels_of_grey() -> None:
    found = pixels(of_values(TWELVE_BITS), value_range=FULL)
    np.testing.assert_array_equal(found[0], np.rint(TWELVE_BITS / 4095 * 255))
    assert len(np.unique(found)) == 256


@pytest.mark.parametrize(
    "content",
    [
        of_values(TWELVE_BITS, "TIFF"),
        of_values(TWELVE_BITS.astype(">u2"), "TIFF"),
        of_values(TWELVE_BITS, "TIFF", compression="tiff_lzw"),
        of_values(TWELVE_BITS.astype(np.int32), "TIFF"),
        of_values(TWELVE_BITS.astype(np.float32), "TIFF"),
    ],
    ids=["16-bit", "big-endian", "packed", "32-bit", "float"],
)
def test_every_kind_of_deep_tiff_is_scaled_like_a_png(content: bytes) -> None:
    np.testing.assert_array_equal(pixels(content, value_range=FULL), pixels(of_values(TWELVE_BITS), value_range=FULL))


def test_a_narrow_range_far_from_zero_is_not_lost() -> None:
    values = TWELVE_BITS.astype(np.int32) + 2_000_000_000
    found = pixels(of_values(values, "TIFF"), value_range=Range(2_000_000_000, 2_000_004_095))
    np.testing.assert_array_equal(found, pixels(of_values(TWELVE_BITS), value_range=FULL))


def test_values_beyond_a_range_become_its_ends_and_are_marked() -> None:
    found = decoded(of_values(TWELVE_BITS), value_range=Range(1000, 2000))
    assert found.pixels is not None
    flat = found.pixels.reshape(-1)
    assert (flat[:1001] == 0).all()
    assert (flat[2000:] == 255).all()
    assert (found.marks & Mark.BEYOND, found.low, found.high) == (Mark.BEYOND, 0, 4095)
    assert not decoded(of_values(TWELVE_BITS), value_range=FULL).marks & Mark.BEYOND


def test_what_is_no_number_is_black_and_marked() -> None:
    values = TWELVE_BITS.astype(np.float32)
    values[0, :2] = np.nan, -np.inf
    found = decoded(of_values(values, "TIFF"), value_range=FULL)
    assert found.pixels is not None
    assert found.pixels[0, 0, :2].tolist() == [0, 0]
    assert (found.marks & Mark.BEYOND, found.low, found.high) == (Mark.BEYOND, 2, 4095)
    with pytest.raises(DataInvalid, match="a picture: has no value that is a number; expected a whole picture"):
        decoded(of_values(np.full((8, 8), np.nan, np.float32), "TIFF"))


def test_a_deep_picture_as_rgb_is_its_grey_three_times() -> None:
    grey = pixels(of_values(TWELVE_BITS), 32, None, FULL)
    np.testing.assert_array_equal(pixels(of_values(TWELVE_BITS), 32, 3, FULL), np.repeat(grey, 3, axis=0))


def test_one_value_everywhere_is_black() -> None:
    assert not pixels(of_values(np.full((8, 8), 700, np.uint16)), 8, None, Range(700, 700)).any()


def test_16_bits_in_colour_lose_the_lower_8_and_are_marked() -> None:
    found = decoded(png_of_16_bits(np.full((8, 8, 3), 4095, np.uint16)), 8)
    assert found.pixels is not None
    assert (found.pixels == 15).all()
    assert (found.marks, found.high) == (Mark.HALVED, 15)


# Shapes and alpha


def test_alpha_is_kept_where_it_is_asked_for_and_nothing_is_learned_of_what_it_hides() -> None:
    picture = Image.new("RGBA", (8, 8), (200, 100, 50, 128))
    picture.paste((10, 20, 30, 0), (0, 0, 4, 8))
    found = decode("a picture", packed(picture), Target(8, 4))
    assert found.pixels is not None
    assert (found.pixels.shape, found.marks) == ((4, 8, 8), Mark.TRANSPARENT)
    assert found.pixels[:, 3, 1].tolist() == [0, 0, 0, 0]
    assert found.pixels[:, 3, 6].tolist() == [200, 100, 50, 128]


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (packed(Image.new("L", (8, 8), 70)), 70), (packed(Image.new("RGB", (8, 8), (70, 70, 70))), 70),
        (of_values(np.full((8, 8), 4095, np.uint16)), 255),
    ],
    ids=["grey", "colour", "deep"],
)  # fmt: skip
def test_what_has_no_alpha_is_opaque(content: bytes, value: int) -> None:
    found = pixels(content, 8, 4, FULL)
    assert (found[:3] == value).all()
    assert (found[3] == 255).all()


def test_where_alpha_ends_colours_do_not_run_out() -> None:
    """What a file has behind what is transparent, here white, is no part of the edge of what is not."""
    picture = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    picture.paste((200, 0, 0, 255), (0, 0, 15, 32))
    red, green, _, alpha = pixels(packed(picture), 8, 4).astype(int)
    seen = alpha > 16
    assert 0 < alpha[4, 3] < 255
    assert np.abs(red[seen] - 200).max() < 16  # as far as the filter rings
    assert green[seen].max() < 8


@pytest.mark.parametrize(("ground", "value"), [("white", 255), ("black", 0)])
def test_what_is_transparent_is_laid_on_the_ground_that_also_lies_around(ground: Any, value: int) -> None:
    picture = Image.new("RGBA", (8, 4), (90, 90, 90, 255))
    picture.paste((9, 9, 9, 0), (0, 0, 4, 4))
    found = decode("a picture", packed(picture), Target(8, 3, None, "pad", ground)).pixels
    assert found is not None
    assert [found[0, 0, 6], found[0, 4, 1], found[0, 4, 6]] == [value, value, 90]


def test_a_deep_picture_is_padded_once_it_is_scaled() -> None:
    wide = of_values(np.full((4, 8), 2000, np.uint16))
    found = decode("a picture", wide, Target(8, None, Range(2000, 3000), "pad")).pixels
    assert found is not None
    assert [found[0, 0, 0], found[0, 4, 0]] == [255, 0]


def test_around_a_deep_picture_that_is_padded_is_nothing_where_alpha_is_kept() -> None:
    found = decode("a picture", of_values(np.full((4, 8), 2000, np.uint16)), Target(8, 4, FULL, "pad")).pixels
    assert found is not None
    assert found[:, 0, 0].tolist() == [0, 0, 0, 0]
    assert found[3, 2:6].min() == 255


def test_a_picture_that_lies_on_its_side_has_the_shape_that_it_has_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.linear_gradient("L").resize((96, 64))
    content = packed(lying, "JPEG", exif=exif, quality=95)
    upright = decode("a picture", content, Target("64x96"))
    assert upright.pixels is not None
    assert (upright.pixels.shape, upright.marks) == ((1, 96, 64), Mark.GREY)
    np.testing.assert_allclose(upright.pixels[0], np.asarray(lying.rotate(-90, expand=True)), atol=4)
    assert decode("a picture", content, Target("96x64")).marks == Mark.GREY | Mark.MISSHAPEN | Mark.ENLARGED


@pytest.mark.parametrize(
    ("content", "marks"),
    [
        (packed(Image.new("RGB", (8, 8))), Mark(0)),
        (packed(Image.new("L", (8, 8))), Mark.GREY),
        (packed(Image.new("RGB", (9, 8))), Mark.MISSHAPEN),
        (packed(Image.new("RGB", (7, 7))), Mark.ENLARGED),
        (packed(Image.new("RGBA", (8, 8), (0, 0, 0, 254))), Mark.TRANSPARENT),
        (packed(Image.new("RGBA", (8, 8), (0, 0, 0, 255))), Mark(0)),
        (
            packed(Image.new("RGB", (8, 8)), "TIFF", save_all=True, append_images=[Image.new("RGB", (8, 8))]),
            Mark.FURTHER,
        ),
        (
            packed(Image.new("RGB", (8, 8)), "GIF", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]),
            Mark.FURTHER,
        ),
    ],
    ids=["plain", "grey", "oblong", "small", "transparent", "opaque", "pages", "frames"],
)
def test_marks_say_what_was_done(content: bytes, marks: Mark) -> None:
    assert decoded(content, 8).marks == marks


def noise(width: int, height: int) -> bytes:
    chance = np.random.default_rng(0)
    small = Image.fromarray(chance.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
    return packed(small.resize((width, height), Image.Resampling.BICUBIC), "JPEG", quality=95)


def test_a_large_jpeg_is_decoded_at_twice_the_size_and_looks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    content = noise(1024, 800)
    with_draft = pixels(content, 64)
    sizes = []

    def noted(picture: Image.Image, *how: Any) -> Image.Image:
        sizes.append(picture.size)
        return fitted(picture, *how)

    monkeypatch.setattr(decoding, "fitted", noted)
    pixels(content, 64)
    monkeypatch.setattr(Image.Image, "draft", lambda *_: None)
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda *_: None)
    whole = pixels(content, 64)
    assert sizes == [(256, 200), (1024, 800)]
    assert np.abs(with_draft.astype(int) - whole).mean() < 1


def test_a_small_jpeg_is_decoded_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    content = noise(248, 200)
    with_draft = pixels(content, 64)
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda *_: None)
    np.testing.assert_array_equal(pixels(content, 64), with_draft)
