"""Specs and pictures that are learned in seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

CLASSES = ("bars", "discs")
JUDGING: dict[str, Any] = {"samples": 200, "measures": ["frechet", "manifolds", "classes", "birthdays"]}

# A checkpoint at each report, all of them kept.
SHORT: dict[str, Any] = {
    "images": 3_840,
    "report_every_images": 640,
    "checkpoints": {"every_images": 640, "keep_last": 20},
    "samples": {"every_images": 1_280, "rows": 2, "columns": 4},
}


def write_spec(folder: Path, name: str = "small", **changes: Any) -> str:
    """Write the spec of a small MLP GAN on real pictures; `changes` replace its top-level keys."""
    spec = {
        "name": name,
        "images": 32_000,
        "report_every_images": 640,
        "recipe": {
            "data": {"dataset": "fashion-mnist", "image_size": 28, "channels": 1},
            "latent_size": 32,
            "generator": {"kind": "mlp", "widths": [128]},
            "discriminator": {"kind": "mlp", "widths": [128], "dropout": 0.1},
            "batch_size": 32,
            "precision": "fp32",  # the same course on every machine
        },
        "checkpoints": {"every_images": 4_000},
        "samples": {"every_images": 16_000, "rows": 2, "columns": 4},
    } | changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(spec))
    return str(path)


def draw_shapes(folder: Path, name: str) -> None:
    """Draw 400 pictures of two classes that a classifier tells apart in seconds; others by another name."""
    draws = np.random.default_rng(list(name.encode()))
    y, x = np.mgrid[:16, :16]
    for index in range(400):
        left, top = draws.integers(4, 12, size=2)
        shape = np.abs(x - left) < 2 if index % 2 == 0 else (x - left) ** 2 + (y - top) ** 2 < 16
        path = folder / CLASSES[index % 2] / f"{index:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((shape * draws.integers(150, 255)).astype(np.uint8)).save(path)


def write_judged_spec(folder: Path, name: str, dataset: str, **changes: Any) -> str:
    """Write the spec of a short training on drawn shapes that has itself evaluated twice."""
    recipe = {
        "data": {"dataset": dataset, "image_size": 16, "channels": 1},
        "latent_size": 8,
        "generator": {"kind": "mlp", "widths": [64]},
        "discriminator": {"kind": "mlp", "widths": [64]},
        "conditioning": {"classes": 2},
        "batch_size": 32,
    }
    twice = {
        "images": 3_840,
        "checkpoints": {"every_images": 640, "keep_last": 1},
        "evaluate": {"every_images": 1_920, "judging": JUDGING},
    }
    return write_spec(folder, name, recipe=recipe, **twice | changes)
