"""Pictures in a terminal."""

import struct
import sys
import zlib
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ganservice.errors import DataInvalid
from ganservice.recipe import Sides
from workers.commands.half_blocks import half_blocks, show_picture
from workers.gan.grid import grid_png


def png(size: tuple[int, int]) -> bytes:
    stream = BytesIO()
    Image.new("RGB", size, (255, 0, 10)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("size", "columns", "lines", "expected"),
    [((4, 4), 80, 24, (4, 2)), ((160, 80), 80, 24, (80, 20)), ((40, 400), 80, 24, (4, 24)), ((3, 1), 80, 24, (3, 1))],
)
def test_a_picture_fits_into_a_terminal(
    size: tuple[int, int], columns: int, lines: int, expected: tuple[int, int]
) -> None:
    drawn = half_blocks(png(size), columns, lines).plain.splitlines()
    assert (max(map(len, drawn)), len(drawn)) == expected


def grid(rows: int, columns: int, sample_px: int) -> bytes:
    """A sample grid as trainings store it; each sample is as red as its column says and as green as its row."""
    samples = np.full((rows * columns, 3, sample_px, sample_px), -1.0, np.float32)
    for place in range(rows * columns):
        samples[place, 0] = place % columns / columns * 2 - 1
        samples[place, 1] = place // columns / rows * 2 - 1
    return grid_png(samples, columns)


@pytest.mark.parametrize(
    ("sample_px", "size", "columns", "rows"),
    [
        # At 80x24, above which lie the lines of text: two rows, or one that is larger.
        (28, (80, 16), 5, 2), (28, (80, 11), 3, 1), (28, (120, 28), 8, 4), (28, (200, 40), 8, 6),
        (8, (80, 16), 7, 3),  # as large as they are
        (128, (80, 16), 2, 1), (128, (200, 45), 4, 2),
        (28, (10, 4), 1, 1),
    ],
)  # fmt: skip
def test_of_a_grid_as_many_samples_are_shown_as_are_recognised(
    sample_px: int, size: tuple[int, int], columns: int, rows: int
) -> None:
    drawn = half_blocks(grid(8, 8, sample_px), *size, Sides(sample_px, sample_px))
    lines = drawn.plain.splitlines()
    assert max(map(len, lines)) <= size[0]
    assert len(lines) <= size[1]
    counts = Counter(str(span.style).partition(" on ")[0] for span in drawn.spans)
    # Those of gaps, and beside them, are few of a colour.
    whole = [tuple(map(int, colour[4:-1].split(","))) for colour, count in counts.items() if count >= 8]
    assert {(round(red / 32), round(green / 32)) for red, green, blue in whole if blue == 0} == {
        (column, row) for column in range(columns) for row in range(rows)
    }


def test_of_a_grid_of_oblongs_whole_ones_are_shown() -> None:
    samples = np.full((16, 1, 12, 40), -1.0, np.float32)
    lines = half_blocks(grid_png(samples, 4), 90, 20, Sides(40, 12)).plain.splitlines()
    assert (max(map(len, lines)), len(lines)) == (2 * 42 + 2, (2 * 14 + 2) // 2)


def test_what_is_transparent_is_drawn_on_white() -> None:
    stream = BytesIO()
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(stream, "PNG")
    assert {str(span.style) for span in half_blocks(stream.getvalue(), 80, 24).spans} == {
        "rgb(255,255,255) on rgb(255,255,255)"
    }


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"COLORTERM": "truecolor", "FORCE_COLOR": "1", "TERM": "xterm"}, True),
        ({"COLORTERM": "truecolor", "FORCE_COLOR": "1", "TERM": "xterm", "NO_COLOR": "1"}, False),
        ({}, False),
    ],
)
def test_a_picture_is_shown_where_the_terminal_has_its_colours(
    environment: dict[str, str], shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("COLORTERM", "FORCE_COLOR", "TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    show_picture(png((4, 4)))
    printed = capsys.readouterr()
    assert printed.out == "", "stdout is for the path of the picture"
    assert ("255;0;10" in printed.err) is shown


def test_a_terminal_without_the_letters_is_spared_the_picture(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with open(2, "w", encoding="ascii", errors="backslashreplace", closefd=False) as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        show_picture(png((4, 4)))
    assert capfd.readouterr().err == ""


def claimed(width: int, height: int) -> bytes:
    """A small PNG that claims to be of another size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    block = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return png((4, 4))[:8] + block + png((4, 4))[33:]


@pytest.mark.parametrize("size", [(8_000, 8_000), (10_000, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_too_large_a_picture_is_one_line(size: tuple[int, int]) -> None:
    with pytest.raises(DataInvalid, match="it has more than 32,000,000 pixels") as refused:
        half_blocks(claimed(*size), 80, 24)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"png", png((4, 4))[:40], png((40, 40))[:-20], claimed(0, 0), claimed(90, 90)])
def test_what_is_no_picture_is_one_line(data: bytes) -> None:
    with pytest.raises(DataInvalid, match="the picture is not shown: it is no whole PNG"):
        half_blocks(data, 80, 24)
