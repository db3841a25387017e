"""Description: all that the page of the explorer is told of a generator, besides its files of ONNX."""

from typing import Any

import torch
from torch import Tensor

from ganservice.plain_text import plain_line
from workers.bundle import Bundle
from workers.gan.directions import find_directions
from workers.gan.export import ONNX, SYNTHESIS
from workers.gan.networks.own import told
from workers.gan.networks.stylegan2 import StyleGenerator
from workers.gan.randomness import fixed_latents

# Pictures of a seed among which to choose, the first of as many as `sample` draws unless asked for another number: by
# how many are drawn at once, the last numbers of the last one differ.
SHOWN = 24
SAMPLE = 64
# Directions that have a slider.
DIRECTIONS = 8
# Styles by whose spread it is told how far a slider goes.
SPREAD = 1_000


def describe(bundle: Bundle) -> dict[str, Any]:
    """What the page is told, as JSON has it; texts are plain, and classes those that the generator learned.

    Raises:
        RequestError: it makes points, no pictures.
    """
    pictures, manifest = bundle.pictures, bundle.manifest
    channels, height, width = pictures.shape
    return {
        "job": plain_line(bundle.job_id),
        "about": plain_line(f"{manifest.images:,} images of {pictures.title}"),
        "reservation": plain_line(manifest.reservation) if manifest.reservation else None,
        "channels": channels,
        "height": height,
        "width": width,
        "classes": [{"label": each, "name": plain_line(bundle.class_names[each])} for each in labels_of(bundle)],
        "latent_size": bundle.latent_size,
        "has_styles": manifest.styles is not None,
        "shown": SHOWN,
        "graphs": graphs_of(bundle),
        "directions": len(directions_of(bundle, next(iter(labels_of(bundle)), None))),
    }


def graphs_of(bundle: Bundle) -> list[str]:
    """The names of the files of ONNX that the page runs: the whole, and of a style generator what draws of styles."""
    return [ONNX, SYNTHESIS] if bundle.manifest.styles else [ONNX]


def directions_of(bundle: Bundle, label: int | None) -> list[dict[str, Any]]:
    """The directions of most effect for a class, or for all, each with its share of what all of them change.

    They are of latents, or of styles where there are such; as long as the standard deviation of these along them.
    """
    labels = () if label is None else (torch.tensor([label]),)
    with told(f"{plain_line(bundle.job_id)}: its directions"):
        found = find_directions(bundle.generator, bundle.latent_size, labels, DIRECTIONS)
    vectors = found.vectors
    if isinstance(bundle.generator, StyleGenerator):
        vectors = _spread(bundle.generator, bundle, vectors)[:, None] * vectors
    return [
        {"vector": vector, "effect": effect}
        for vector, effect in zip(vectors.tolist(), found.effects.tolist(), strict=True)
    ]


@torch.no_grad()
def _spread(generator: StyleGenerator, bundle: Bundle, vectors: Tensor) -> Tensor:
    """Standard deviations of styles along vectors [K, w_size], [K], over all classes in turn."""
    latents = fixed_latents(0, SPREAD, bundle.latent_size)
    styles: Tensor = generator.mapping(latents, *bundle.labels(None, SPREAD))
    return (styles @ vectors.T).std(dim=0)


def latents_of(bundle: Bundle, seed: int, truncation: float | None) -> bytes:
    """The first `SHOWN` latents of what `sample` draws by a seed, float32 [SHOWN, latent_size], little-endian."""
    latents = fixed_latents(seed, SAMPLE, bundle.latent_size, truncation)
    return latents[:SHOWN].numpy().astype("<f4").tobytes()


def labels_of(bundle: Bundle) -> tuple[int, ...]:
    """The labels of the classes that it learned; none of a generator that takes none."""
    return bundle.learned if bundle.recipe.conditioning else ()
