"""Whole pictures of any size and kind, enlarged in tiles."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from ganservice.errors import DataInvalid, RequestError
from ganservice.recipe import Pictures, Recipe
from workers import upscaling
from workers.bundle import Bundle
from workers.gan.data.whole_picture import read_whole
from workers.gan.networks import build_generator
from workers.upscaling import Upscaler


@dataclass(frozen=True)
class Learned:
    """What an upscaler takes of a bundle."""

    recipe: Recipe
    generator: torch.nn.Module
    job_id: str = "tiny-abc"

    @property
    def pictures(self) -> Pictures:
        assert self.recipe.pictures
        return self.recipe.pictures


def upscaler(channels: int = 3, factor: int = 2, **changes: Any) -> Upscaler:
    """One whose network has random weights."""
    recipe = Recipe.model_validate(
        {
            "data": {"dataset": "noise", "image_size": 16, "channels": channels},
            "super_resolution": {"factor": factor},
            "generator": {"kind": "edsr", "width": 4, "blocks": 2},
            "discriminator": {"kind": "mlp"},
        }
        | changes
    )
    torch.manual_seed(0)
    generator = build_generator(recipe).eval().requires_grad_(False)
    for weight in generator.parameters():
        weight.add_(0.05 * torch.randn(weight.shape))
    return Upscaler(cast(Bundle, Learned(recipe, generator)))


def noise(mode: str, size: tuple[int, int] = (21, 13)) -> Image.Image:
    draws = np.random.default_rng(0)
    bands = [
        Image.fromarray(draws.integers(0, 256, size[::-1], dtype=np.uint8)) for _ in Image.new(mode, (1, 1)).getbands()
    ]
    return Image.merge(mode, bands)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("factor", [2, 4])
def test_a_picture_keeps_its_mode(mode: str, channels: int, factor: int) -> None:
    large = upscaler(channels, factor).upscale(noise(mode))
    assert (large.mode, large.size) == (mode, (21 * factor, 13 * factor))


@pytest.mark.parametrize("factor", [2, 4])
def test_tiles_make_the_picture_that_the_whole_makes(factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    enlarger, picture = upscaler(3, factor), noise("RGB", (70, 41))
    whole = enlarger.upscale(picture)
    monkeypatch.setattr(upscaling, "TILE", 16)
    tiled = np.abs(np.asarray(enlarger.upscale(picture)).astype(int) - np.asarray(whole))
    assert tiled.max() <= 1  # of what lies between two levels
    assert (tiled > 0).mean() < 0.001


def test_a_network_of_grey_pictures_enlarges_each_channel_by_itself() -> None:
    enlarger, picture = upscaler(1), noise("RGB")
    apart = [enlarger.upscale(band) for band in picture.split()]
    assert enlarger.upscale(picture).tobytes() == Image.merge("RGB", apart).tobytes()


def test_alpha_that_was_not_learned_is_interpolated() -> None:
    picture = noise("RGBA")
    large, learned = upscaler(3).upscale(picture), upscaler(4).upscale(picture)
    interpolated = picture.getchannel("A").resize((42, 26), Image.Resampling.BICUBIC)
    assert large.getchannel("A").tobytes() == interpolated.tobytes()
    assert large.convert("RGB").tobytes() == upscaler(3).upscale(picture.convert("RGB")).tobytes()
    assert learned.getchannel("A").tobytes() != interpolated.tobytes()


def test_too_large_a_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    upscaler().upscale(noise("L", (25, 10)))
    with pytest.raises(RequestError, match="would have 52 x 20 px, expected at most 1,000 pixels"):
        upscaler().upscale(noise("L", (26, 10)))


def test_a_generator_of_latents_enlarges_nothing() -> None:
    with pytest.raises(RequestError, match="the generator of tiny-abc makes pictures of latents and enlarges none"):
        upscaler(super_resolution=None, generator={"kind": "mlp"})


# Files


@pytest.mark.parametrize(
    ("mode", "suffix", "found"),
    [
        ("L", "png", "L"), ("LA", "png", "LA"), ("RGB", "png", "RGB"), ("RGBA", "png", "RGBA"), ("1", "png", "L"),
        ("P", "png", "RGB"), ("CMYK", "jpg", "RGB"), ("RGB", "webp", "RGB"), ("I;16", "png", "L"),
    ],
)  # fmt: skip
def test_a_file_is_read_in_the_mode_that_holds_what_it_shows(
    mode: str, suffix: str, found: str, tmp_path: Path
) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.new(mode, (6, 4)).save(path)
    whole = read_whole(path)
    assert (whole.mode, whole.size) == (found, (6, 4))


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    levels = np.array([[0, 128, 129, 65_535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert np.asarray(read_whole(tmp_path / "deep.png")).tolist() == [[0, 0, 1, 255]]


def test_a_picture_that_lies_on_its_side_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned to the left
    Image.new("RGB", (6, 4)).save(tmp_path / "side.jpg", exif=exif)
    assert read_whole(tmp_path / "side.jpg").size == (4, 6)


def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.new("F", (4, 4)).save(tmp_path / "deep.tiff")
    Image.new("RGB", (40, 40)).save(tmp_path / "bomb.png")
    noise("RGB").save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    says = {
        "text.png": "not a PNG",
        "half.png": "cannot be read",
        "deep.tiff": "has values of 32 bits",
        "bomb.png": "has more than 1,000 pixels, as a decompression bomb has; make it smaller or remove it",
        ".": "is no file",
        "nothing.png": "cannot be read \\(No such file or directory\\)",
        "\0": "cannot be read",
    }
    for name, words in says.items():
        with pytest.raises(DataInvalid, match=words) as caught:
            read_whole(tmp_path / name)
        assert "\n" not in str(caught.value)
