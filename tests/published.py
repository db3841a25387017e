"""Generators that nobody has trained, in folders as `ganctl fetch` brings them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganservice.manifest import MANIFEST, WEIGHTS, GeneratorManifest, Lineage, digests_of
from ganservice.recipe import Recipe
from ganservice.spec import TrainSpec
from tests.integration.bundles import PROGRESS
from workers.gan.export import generator_onnx, generator_safetensors, input_specs, output_spec, styles_spec
from workers.gan.networks import build_generator

Graph = Callable[[nn.Module, Recipe], dict[str, bytes]]


def write_generator(
    folder: Path,
    keys: dict[str, Any],
    job_id: str = "tiny-1",
    classes: tuple[str, ...] = (),
    graph: Graph | None = generator_onnx,
) -> Path:
    """Write a generator whose recipe has these keys, of random weights, in whose pictures are all greys and colours.

    `graph` makes its files of ONNX; without it there are none.
    """
    recipe = Recipe.model_validate({"discriminator": {"kind": "mlp"}, "latent_size": 8, **keys})
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        generator = build_generator(recipe).eval()
        for weights in generator.parameters():
            weights.copy_(torch.randn(weights.shape) * (1.5 / weights[0].numel() ** 0.5 if weights.ndim > 1 else 0.8))
    files = {WEIGHTS: generator_safetensors(generator)} | (graph(generator, recipe) if graph else {})
    manifest = GeneratorManifest(
        files=digests_of(files), name="tiny", created_at=1.5, images=64, metrics=PROGRESS, inputs=input_specs(recipe),
        output=output_spec(recipe), styles=styles_spec(recipe), classes=classes,
        spec=TrainSpec(name="tiny", images=64, recipe=recipe),
        lineage=Lineage(job_id=job_id, attempt=1, resumed_images=0, data_digest=None, seed=0, versions={}),
    )  # fmt: skip
    folder.mkdir()
    for name, content in (files | {MANIFEST: manifest.to_json()}).items():
        (folder / name).write_bytes(content)
    return folder
