"""Pictures of every number of channels and of all proportions, from files through a data set and networks to files."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import click
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from ganservice.manifest import DataManifest
from ganservice.recipe import Channels, Pictures, Recipe, Sides, image_size_of, sides_of
from workers.attempt.stored_data import split_in
from workers.commands.data_import import Size
from workers.commands.image_storage import manifest_of
from workers.gan.data.decoding import Target
from workers.gan.data.folder_source import FolderSource
from workers.gan.data.import_options import Options
from workers.gan.data.importing import import_pictures
from workers.gan.data.layout import Layout, PictureFile
from workers.gan.grid import GAP_PX, grid_png
from workers.gan.networks import build_networks
from workers.gan.randomness import Draws
from workers.gan.worker_group import WorkerGroup

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
NETWORKS: list[Any] = [
    {"kind": "mlp", "widths": (8,)},
    {"kind": "dense_dcgan"},
    {"kind": "avgpool", "widths": (4,), "dense": (8,)},
]
# What all of these make.
SIDE = st.integers(2, 10).map(lambda quarter: 4 * quarter)
CHANNELS = st.sampled_from(get_args(Channels))
FITS = st.sampled_from(["crop", "pad", "stretch"])


def imported(folder: Path, channels: Channels, sides: Sides, fit: Any) -> DataManifest:
    """A set of three pictures, of other sizes and kinds than it asks for."""
    files, target = folder / "files", Target(image_size_of(*sides), channels, fit=fit)
    files.mkdir()
    for number, (mode, size) in enumerate([("RGBA", (30, 20)), ("L", (9, 50)), ("RGB", sides)]):
        Image.effect_noise(size, 90).convert(mode).save(files / f"{number}.png")
    layout = Layout([PictureFile(path.name, "train", None) for path in sorted(files.iterdir())], (), [])
    return manifest_of(import_pictures(FolderSource(files), layout, Options(target), folder), "noise")


@settings(max_examples=20, deadline=None)
@given(channels=CHANNELS, width=SIDE, height=SIDE, fit=FITS, network=st.sampled_from(NETWORKS))
def test_pictures_keep_their_shape_from_files_to_files(
    channels: Channels, width: int, height: int, fit: str, network: Any
) -> None:
    with TemporaryDirectory() as folder:
        manifest = imported(Path(folder), channels, Sides(width, height), fit)
        manifest = DataManifest.from_json(manifest.to_json())
        rows = split_in(Path(folder), manifest, "train").images
        real = rows.first(3)
    assert real.shape == (3, channels, height, width)
    data = Pictures(dataset="noise", image_size=manifest.image_size, channels=manifest.channels)
    assert data.shape == manifest.shape == (channels, height, width)
    recipe = Recipe.model_validate({"data": data, "generator": network, "discriminator": network, "latent_size": 4})
    draws = Draws(0, torch.device("cpu"), WorkerGroup())
    draws.begin_step(0)
    generator, discriminator = build_networks(recipe, 0, draws)
    images = generator(torch.randn(3, 4))
    assert images.shape == real.shape
    assert discriminator(torch.cat([images, real / 127.5 - 1])).shape == (6,)
    with Image.open(io.BytesIO(grid_png(images.detach().numpy(), 3))) as grid:
        assert grid.mode == MODES[channels]
        assert grid.size == (3 * (width + GAP_PX) + GAP_PX, height + 2 * GAP_PX)


def test_a_grid_shows_each_picture_with_its_own_alpha() -> None:
    images = np.zeros((2, 4, 3, 5), np.float32)
    images[0, 3], images[1, 3] = -1, 1
    with Image.open(io.BytesIO(grid_png(images, 2))) as grid:
        assert [grid.getpixel((GAP_PX, GAP_PX)), grid.getpixel((2 * GAP_PX + 5, GAP_PX))] == [
            (128, 128, 128, 0), (128, 128, 128, 255)
        ]  # fmt: skip


@given(width=st.integers(4, 256), height=st.integers(4, 256))
def test_a_size_is_written_in_one_way(width: int, height: int) -> None:
    size = image_size_of(width, height)
    assert isinstance(size, int) == (width == height)
    assert sides_of(size) == (width, height)
    assert Pictures(dataset="x", image_size=size, channels=3).sides == (width, height)


@pytest.mark.parametrize("size", ["8x8", "8x300", "3x8", "08x9", "8x9x7", "8X9", "8", "", 3, 257, 8.5])
def test_another_way_is_refused(size: Any) -> None:
    with pytest.raises(ValidationError):
        Pictures(dataset="x", image_size=size, channels=3)


@pytest.mark.parametrize(
    ("word", "size"), [("64", 64), ("96x64", "96x64"), ("64x64", 64), ("4x256", "4x256"), ("064x32", "64x32")]
)
def test_a_size_may_be_given_as_a_word(word: str, size: int | str) -> None:
    assert Size().convert(word, None, None) == size


@pytest.mark.parametrize(
    "word", ["0", "3", "257", "64x300", "64x", "x64", "x", "", "64 x 64", "64x64x3", "-8x8", "\u00b2", "9" * 99]
)
def test_a_word_that_is_no_size_is_told(word: str) -> None:
    with pytest.raises(click.BadParameter, match=f"found {word}, expected"):
        Size().convert(word, None, None)
