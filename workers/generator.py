"""A trained generator as programs and notebooks use it; `ganservice.load` opens one."""

import os
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganservice.arguments import checked, one_of
from ganservice.errors import RequestError
from ganservice.manifest import GeneratorManifest
from ganservice.settings import Settings
from workers.bundle import Bundle, open_bundle
from workers.gan.grid import to_pixels
from workers.gan.latent import lerp, slerp, walk
from workers.gan.randomness import fixed_latents
from workers.upscaling import Upscaler

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

# Of one call: all of them are in memory at once.
MAX_EXAMPLES = 100_000
# A class, by number or name; and what to draw: classes in turn, one class, or a class for each.
Label = int | str
Labels = (
    Annotated[Label | Sequence[Label], one_of("a class by name or number, or one for each", int, str, Sized)] | None
)
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Generator:
    """A generator in evaluation mode, on the CPU. The same seed gives the same pictures everywhere, but for rounding.

    Pictures come as uint8 [N, height, width, channels], 0 to 255, of 1, 3 or 4 (RGBA) channels, as Pillow and
    matplotlib take them; points of a mixture as float32 [N, 2].
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def __repr__(self) -> str:
        lineage, images = self.manifest.lineage, self.manifest.images
        return f"<Generator of {lineage.job_id}, {images:,} images trained>"

    @property
    def manifest(self) -> GeneratorManifest:
        """How it was made, what it scored, and the digests of its files."""
        return self._bundle.manifest

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self._bundle.folder

    @property
    def network(self) -> nn.Module:
        """The network itself: latents float32 [N, latent_size], and labels int64 [N] if it has classes, to pictures
        float32 [N, channels, height, width] in [-1, 1], or to points [N, 2]."""
        return self._bundle.generator

    @property
    def latent_size(self) -> int:
        """Numbers in one latent."""
        return self._bundle.latent_size

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class, by its number; none without conditioning."""
        return self._bundle.class_names

    @property
    def learned(self) -> tuple[str, ...]:
        """The names of the classes that a sample can be asked to be of: those that it learned."""
        return tuple(self.classes[label] for label in self._bundle.learned) if self.classes else ()

    @checked
    def sample(self, count: int = 64, *, seed: Seed = 0, labels: Labels = None) -> "NDArray[Any]":
        """Draw `count` pictures or points, the same as `ganctl sample` does for that seed.

        `labels` is a class, or one for each: an int is its number, a text its name, or its number where no class is
        called so. Without it a conditional generator draws the classes that it learned in turn.

        Raises:
            RequestError: it learned no such class, there are no classes, or `count` or `seed` is out of bounds.
        """
        if not 1 <= count <= MAX_EXAMPLES:
            raise RequestError(f"count: found {count}, expected 1 to {MAX_EXAMPLES:,}")
        return self._draw(fixed_latents(seed, count, self.latent_size), labels)

    @checked
    def interpolate(
        self,
        points: int = 2,
        steps: int = 10,
        *,
        seed: Seed = 0,
        label: Label | None = None,
        method: Literal["slerp", "lerp"] = "slerp",
    ) -> "NDArray[Any]":
        """Walk from each of `points` latents to the next in `steps`, along a circle or straight; a conditional one
        stays with one class, the first it learned unless `label` names it. (points - 1) * steps + 1 pictures or points.

        Raises:
            RequestError: as `sample`.
        """
        if points < 2 or steps < 1 or (points - 1) * steps >= MAX_EXAMPLES:
            raise RequestError(
                f"points, steps: found {points}, {steps}, expected at least 2 and 1, at most {MAX_EXAMPLES:,} in all"
            )
        stops = fixed_latents(seed, points, self.latent_size)
        path = walk(stops, steps, slerp if method == "slerp" else lerp)
        return self._draw(path, self._bundle.learned[0] if label is None and self.classes else label)

    def upscale(self, picture: "Image.Image") -> "Image.Image":
        """Enlarge a picture of Pillow's, in mode L, LA, RGB or RGBA, by a generator of super-resolution.

        Raises:
            RequestError: it is none such, or the picture is of another mode or too large.
        """
        return Upscaler(self._bundle).upscale(picture)

    def _draw(self, latents: Tensor, labels: Labels) -> "NDArray[Any]":
        made = self._bundle.make(latents, self._labels(labels, len(latents))).numpy()
        return to_pixels(made).transpose(0, 2, 3, 1).copy() if made.ndim == 4 else made

    def _labels(self, labels: Labels, count: int) -> tuple[Tensor, ...]:
        if labels is None or isinstance(labels, int | str):
            return self._bundle.labels(labels, count)
        if len(labels) != count:
            raise RequestError(f"labels: found {len(labels)}, expected one for each of {count}, or a single one")
        return (torch.tensor([self._bundle.class_number(label) for label in labels]),)


def open_generator(source: str | os.PathLike[str], settings: Settings | None = None) -> Generator:
    """As `ganservice.load`."""
    return Generator(open_bundle(os.fspath(source), settings=settings))
