"""The generator as files anyone can load: safetensors, ONNX and a README."""

import contextlib
import copy
import io
import logging
import string
import tempfile
import warnings
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from ganservice.manifest import GeneratorManifest
from ganservice.recipe import Recipe
from workers.gan.networks import build_generator

WEIGHTS = "generator.safetensors"
ONNX = "generator.onnx"


def generator_safetensors(generator: nn.Module) -> bytes:
    """The weights and BatchNorm statistics by name."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    return safetensors.torch.save(state)


def generator_onnx(generator: nn.Module, latent_size: int) -> bytes:
    """The generator as one ONNX file: `latents` float32 [N, latent_size] -> `images` float32 [N, C, H, W]."""
    # On a plain copy: the exporter must not touch the networks in training.
    plain = copy.deepcopy(generator).cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload] # as in trainer
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / ONNX
        torch.onnx.export(
            plain,
            (torch.zeros(2, latent_size),),
            str(path),
            input_names=["latents"],
            output_names=["images"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        return path.read_bytes()


def load_generator(recipe: Recipe, weights: Path) -> nn.Module:
    """A generator in evaluation mode with weights from a safetensors file."""
    generator = build_generator(recipe)
    generator.load_state_dict(safetensors.torch.load_file(weights))
    return generator.eval().requires_grad_(False)


def bundle_readme(manifest: GeneratorManifest) -> bytes:
    """How to load the generator without this project."""
    recipe = manifest.spec.recipe
    template = resources.files("workers.gan").joinpath("bundle_readme.md").read_text()
    return (
        string.Template(template)
        .substitute(
            name=manifest.name,
            job_id=manifest.lineage.job_id,
            images=f"{manifest.images:,}",
            dataset=recipe.data.dataset,
            latent_size=recipe.latent_size,
            channels=recipe.data.channels,
            size=recipe.data.image_size,
        )
        .encode()
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints and warns about its own affairs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
