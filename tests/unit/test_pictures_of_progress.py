import io

import numpy as np
import pytest
from PIL import Image

from ganservice.job import Progress
from workers.gan.curves import curves_png, metrics_jsonl
from workers.gan.grid import grid_png, to_pixels


def opened(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    picture.load()
    return picture


def report(step: int) -> Progress:
    return Progress(
        images=8 * step, step=step, loss_g=1.0 / step, loss_d=1.5, score_real=1.0, score_fake=-1.0,
        d_real=0.6, d_fake=0.4, value=-1.3, grad_norm_g=2.0, grad_norm_d=3.0, images_per_s=100.0, step_s=0.08,
    )  # fmt: skip


# Grids


def test_pixels_span_the_whole_range_and_no_more() -> None:
    values = np.array([-2, -1, -0.999, 0, 1, 1.1], np.float32)
    assert to_pixels(values).tolist() == [0, 0, 0, 128, 255, 255]


def test_every_pixel_survives_the_way_to_a_float_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_pixels(pixels.astype(np.float32) / 127.5 - 1), pixels)


def test_a_grid_is_pixel_exact() -> None:
    images = np.stack([np.full((1, 1, 2), value, np.float32) for value in (-1, 0, 1 / 255)])
    w, a, b, c = 255, 0, 128, 128
    assert np.asarray(opened(grid_png(images, columns=2))).tolist() == [
        [w, w, w, w, w, w, w, w, w, w],
        [w, w, w, w, w, w, w, w, w, w],
        [w, w, a, a, w, w, b, b, w, w],
        [w, w, w, w, w, w, w, w, w, w],
        [w, w, w, w, w, w, w, w, w, w],
        [w, w, c, c, w, w, w, w, w, w],
        [w, w, w, w, w, w, w, w, w, w],
        [w, w, w, w, w, w, w, w, w, w],
    ]


def test_a_grid_in_colour_keeps_its_channels_in_order() -> None:
    images = np.array([-1, 0, 1], np.float32).reshape(1, 3, 1, 1)
    picture = opened(grid_png(images, columns=1))
    assert (picture.mode, picture.size, picture.getpixel((2, 2))) == ("RGB", (5, 5), (0, 128, 255))


@pytest.mark.parametrize(("count", "columns", "size"), [(64, 8, (242, 242)), (1, 8, (242, 32)), (9, 8, (242, 62))])
def test_a_grid_has_as_many_rows_as_it_needs(count: int, columns: int, size: tuple[int, int]) -> None:
    picture = opened(grid_png(np.zeros((count, 1, 28, 28), np.float32), columns))
    assert (picture.mode, picture.size) == ("L", size)


# Curves and lines


@pytest.mark.parametrize("steps", [1, 2, 100])
def test_curves_are_a_picture_of_any_history(steps: int) -> None:
    picture = opened(curves_png([report(step) for step in range(1, steps + 1)], "tiny-abc"))
    assert picture.width == 1000
    assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_curves_of_different_histories_differ() -> None:
    assert curves_png([report(1), report(2)], "a") != curves_png([report(1), report(3)], "a")
    assert curves_png([report(1), report(2)], "a") != curves_png([report(1), report(2)], "a", joins=[1])


def test_metrics_are_one_json_object_a_line() -> None:
    history = [report(step) for step in (1, 2, 3)]
    text = metrics_jsonl(history).decode()
    assert text.endswith("}\n")
    assert [Progress.model_validate_json(line) for line in text.splitlines()] == history
    assert metrics_jsonl([]) == b""
