"""Grids of pictures as PNG."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

GAP_PX = 2


def to_pixels(images: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Float [B, C, H, W] in [-1, 1] -> uint8 of the same shape."""
    pixels: npt.NDArray[np.uint8] = np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8)
    return pixels


def to_floats(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """uint8 [B, C, H, W] -> float in [-1, 1] of the same shape."""
    floats: npt.NDArray[np.float32] = pixels.astype(np.float32) / 127.5 - 1
    return floats


def grid_png(images: npt.NDArray[np.float32], columns: int) -> bytes:
    """Float [B, C, H, W] in [-1, 1], as one PNG, `columns` pictures wide, white between them; C 1, 3, or 4 for RGBA."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    shape = (channels, rows * (height + GAP_PX) + GAP_PX, columns * (width + GAP_PX) + GAP_PX)
    canvas = np.full(shape, 255, np.uint8)
    for index, pixels in enumerate(to_pixels(images)):
        top = GAP_PX + index // columns * (height + GAP_PX)
        left = GAP_PX + index % columns * (width + GAP_PX)
        canvas[:, top : top + height, left : left + width] = pixels
    picture = Image.fromarray(canvas[0] if channels == 1 else canvas.transpose(1, 2, 0))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
