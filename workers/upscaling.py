"""Upscaling: pictures of any size, enlarged by a generator that learned to enlarge those of one."""

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ganservice.errors import RequestError
from ganservice.recipe import EnlargingGenerator
from workers.bundle import Bundle
from workers.gan.grid import to_floats, to_pixels

Pixels = NDArray[np.uint8]
# Sides of what is enlarged at once, px of the small picture: enough for cores to be busy, few enough for any memory.
TILE = 128
MODES = ("L", "LA", "RGB", "RGBA")


class Upscaler:
    """The generator of a bundle, for whole pictures; `factor` is how many times as wide and high it makes them."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises RequestError unless the generator enlarges pictures."""
        recipe = bundle.recipe
        task, network = recipe.super_resolution, recipe.generator
        if task is None or not isinstance(network, EnlargingGenerator):
            raise RequestError(
                f"the generator of {bundle.job_id} makes pictures of latents and enlarges none; "
                f"use `ganctl sample {bundle.job_id}`, or train one with recipe.super_resolution"
            )
        self.factor: int = task.factor
        self._generator = bundle.generator
        self._channels = bundle.pictures.channels
        self._reach = network.reach

    def upscale(self, picture: Image.Image) -> Image.Image:
        """A picture in Pillow's mode L, LA, RGB or RGBA, `factor` times as wide and high, in the same mode.

        By a generator of grey pictures each channel is enlarged by itself; one of colours is shown a grey picture in
        three equal channels, of whose enlargements the mean counts. Alpha that it did not learn is enlarged by bicubic
        interpolation. Raises RequestError as `check` does.
        """
        self.check(picture)
        bands = [np.asarray(band) for band in picture.split()]
        has_alpha = picture.mode.endswith("A")
        colours, alpha = np.stack(bands[: len(bands) - has_alpha]), bands[-1] if has_alpha else None
        if self._channels == 1:
            large = self._enlarged(colours[:, None])[:, 0]
            return self._picture(large, self._bicubic(alpha))
        shown = np.broadcast_to(colours, (3, *colours.shape[1:]))
        if self._channels == 4:
            opaque = np.full_like(colours[:1], 255) if alpha is None else alpha[None]
            shown = np.concatenate([shown, opaque])
        (large,) = self._enlarged(shown[None])
        made = large[:3]
        if len(colours) == 1:
            made = np.rint(made.mean(axis=0, keepdims=True)).astype(np.uint8)
        known = large[3] if self._channels == 4 and has_alpha else self._bicubic(alpha)
        return self._picture(made, known)

    def check(self, picture: Image.Image) -> None:
        """Raise RequestError of a picture in another mode, and of one that would have more pixels than Pillow opens."""
        if picture.mode not in MODES:
            raise RequestError(f"found a picture in mode {picture.mode}, expected {', '.join(MODES)}; convert it")
        width, height = (self.factor * side for side in picture.size)
        if width * height > (most := Image.MAX_IMAGE_PIXELS or 0):
            raise RequestError(f"would have {width:,} x {height:,} px, expected at most {most:,} pixels; cut it up")

    def _picture(self, colours: Pixels, alpha: Pixels | None) -> Image.Image:
        bands = [Image.fromarray(plane) for plane in colours]
        mode = "L" if len(bands) == 1 else "RGB"
        return Image.merge(mode, bands) if alpha is None else Image.merge(f"{mode}A", [*bands, Image.fromarray(alpha)])

    def _bicubic(self, plane: Pixels | None) -> Pixels | None:
        if plane is None:
            return None
        sides = (self.factor * plane.shape[1], self.factor * plane.shape[0])
        return np.asarray(Image.fromarray(plane).resize(sides, Image.Resampling.BICUBIC))

    @torch.no_grad()
    def _enlarged(self, pictures: Pixels) -> Pixels:
        """[B, C, h, w] -> [B, C, f h, f w], tile by tile: each is shown as far around it as the network reaches."""
        height, width = pictures.shape[2:]
        made = np.empty((*pictures.shape[:2], self.factor * height, self.factor * width), np.uint8)
        for top, left in product(range(0, height, TILE), range(0, width, TILE)):
            above, before = max(0, top - self._reach), max(0, left - self._reach)
            bottom, right = min(height, top + TILE), min(width, left + TILE)
            around = pictures[:, :, above : bottom + self._reach, before : right + self._reach]
            large = to_pixels(self._generator(torch.from_numpy(to_floats(around))).numpy())
            rows, columns = (
                slice(self.factor * (first - start), self.factor * (end - start))
                for first, end, start in ((top, bottom, above), (left, right, before))
            )
            place = (slice(self.factor * top, self.factor * bottom), slice(self.factor * left, self.factor * right))
            made[:, :, *place] = large[:, :, rows, columns]
        return made
