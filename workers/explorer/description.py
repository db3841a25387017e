"""Description: all that the page of the explorer is told of a generator, besides its file of ONNX."""

from typing import Any

import torch

from ganservice.plain_text import plain_line
from workers.bundle import Bundle
from workers.gan.directions import find_directions
from workers.gan.randomness import fixed_latents

# Pictures of a seed among which to choose, the first of as many as `sample` draws unless asked for another number: by
# how many are drawn at once, the last numbers of the last one differ.
SHOWN = 24
SAMPLE = 64
# Directions that have a slider.
DIRECTIONS = 8


def describe(bundle: Bundle) -> dict[str, Any]:
    """What the page is told, as JSON has it; texts are plain, and classes those that the generator learned.

    Raises:
        RequestError: it makes points, no pictures.
    """
    pictures, manifest = bundle.pictures, bundle.manifest
    label = (torch.tensor(bundle.learned[:1]),) if bundle.recipe.conditioning else ()
    directions = find_directions(bundle.generator, bundle.latent_size, label, DIRECTIONS)
    channels, height, width = pictures.shape
    return {
        "job": plain_line(bundle.job_id),
        "about": plain_line(f"{manifest.images:,} images of {pictures.title}"),
        "reservation": plain_line(manifest.reservation) if manifest.reservation else None,
        "channels": channels,
        "height": height,
        "width": width,
        "classes": [{"label": each, "name": plain_line(bundle.class_names[each])} for each in _learned(bundle)],
        "latent_size": bundle.latent_size,
        "has_styles": manifest.styles is not None,
        "shown": SHOWN,
        "directions": [
            {"vector": vector, "effect": effect}
            for vector, effect in zip(directions.vectors.tolist(), directions.effects.tolist(), strict=True)
        ],
    }


def latents_of(bundle: Bundle, seed: int, truncation: float | None) -> bytes:
    """The first `SHOWN` latents of what `sample` draws by a seed, float32 [SHOWN, latent_size], little-endian."""
    latents = fixed_latents(seed, SAMPLE, bundle.latent_size, truncation)
    return latents[:SHOWN].numpy().astype("<f4").tobytes()


def _learned(bundle: Bundle) -> tuple[int, ...]:
    return bundle.learned if bundle.recipe.conditioning else ()
