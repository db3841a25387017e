"""The generator as files anyone can load: safetensors, ONNX and a README."""

import contextlib
import copy
import io
import logging
import re
import string
import tempfile
import warnings
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from ganservice.errors import DigestMismatch
from ganservice.manifest import GeneratorManifest, TensorSpec
from ganservice.mistakes import brief
from ganservice.plain_text import plain_line
from ganservice.recipe import Recipe
from workers.gan.data.decoding import MODES
from workers.gan.networks import build_generator
from workers.gan.randomness import noise_inputs

ONNX = "generator.onnx"
# Classes that a README names.
TOLD = 100
MARKS = re.compile(r"[\\`*_\[\]<>&!|#~]")


def generator_safetensors(generator: nn.Module) -> bytes:
    """The weights and BatchNorm statistics by name."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    return safetensors.torch.save(state)


def input_specs(recipe: Recipe) -> tuple[TensorSpec, ...]:
    """The inputs of the generator of a recipe; pictures are within [-1, 1], as the output is."""
    if recipe.super_resolution:
        return (TensorSpec(name="pictures", dtype="float32", shape=("N", recipe.data.shape[0], "h", "w")),)
    latents = TensorSpec(name="latents", dtype="float32", shape=("N", recipe.latent_size))
    labels = TensorSpec(name="labels", dtype="int64", shape=("N",))
    return (latents, labels) if recipe.conditioning else (latents,)


def output_spec(recipe: Recipe) -> TensorSpec:
    """The output of the generator of a recipe; images are within [-1, 1]."""
    shape: tuple[int | str, ...] = recipe.data.shape
    if task := recipe.super_resolution:
        shape = (shape[0], f"{task.factor}h", f"{task.factor}w")
    return TensorSpec(name=recipe.data.examples, dtype="float32", shape=("N", *shape))


def generator_onnx(generator: nn.Module, recipe: Recipe) -> bytes:
    """The generator as one ONNX file, with the inputs and the output that `input_specs` and `output_spec` tell."""
    # On a plain copy: the exporter must not touch the networks in training.
    plain = copy.deepcopy(generator).cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload] # as in trainer
    inputs, output = input_specs(recipe), output_spec(recipe)
    examples = (noise_inputs(recipe, seed=0, count=2), torch.zeros(2, dtype=torch.int64))
    sizes = {0: torch.export.Dim("n")}
    if recipe.super_resolution:
        sizes |= {2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / ONNX
        torch.onnx.export(
            plain,
            examples[: len(inputs)],
            str(path),
            input_names=[tensor.name for tensor in inputs],
            output_names=[output.name],
            dynamic_shapes=tuple(sizes for _ in inputs),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        return path.read_bytes()


def load_generator(recipe: Recipe, weights: Path) -> nn.Module:
    """A generator in evaluation mode with weights from a safetensors file. Raises DigestMismatch of what is none."""
    generator = build_generator(recipe)
    try:
        generator.load_state_dict(safetensors.torch.load_file(weights))
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        reason = brief(str(error))
        raise DigestMismatch(f"{weights}: does not hold the weights of its recipe: {reason}") from error
    return generator.eval().requires_grad_(False)


def bundle_readme(manifest: GeneratorManifest) -> bytes:
    """How to load the generator without this project."""
    data, against = manifest.spec.recipe.data, manifest.reservation
    pictures = manifest.spec.recipe.pictures
    templates = resources.files("workers.gan") / "bundle_readme"
    task = manifest.spec.recipe.super_resolution
    names = ("common", "enlargement" if task else data.examples)
    common, usage = (string.Template((templates / f"{name}.md").read_text()) for name in names)
    words = {
        "name": _markdown(manifest.name),
        # Between backticks, where nothing else is a mark.
        "job_id": plain_line(manifest.lineage.job_id).replace("`", "'"),
        "images": f"{manifest.images:,}",
        "learned": _markdown(data.title),
        "reservation": f"**Reservation: {_markdown(against)}.** Look at `samples.png` first.\n\n" if against else "",
        "inputs": "; ".join(_describe(tensor) for tensor in manifest.inputs),
        "output": _describe(manifest.output),
        "channels": " The fourth channel is alpha: -1 is transparent, 1 opaque." if data.shape[0] == 4 else "",
        "classes": _classes(manifest) if len(manifest.inputs) > 1 else "",
        "given": f"Made to enlarge pictures {task.factor} times." if task else "Latents are standard normal.",
        "mode": MODES[pictures.channels] if task and pictures else "",
        "latent_size": manifest.spec.recipe.latent_size,
        "feed": '{"latents": latents, "labels": labels}' if len(manifest.inputs) > 1 else '{"latents": latents}',
        "labels": f"\nlabels = np.array([{manifest.learned[0]}])" if len(manifest.inputs) > 1 else "",
    }
    return (common.substitute(words) + usage.substitute(words)).encode()


def _markdown(text: str) -> str:
    """A text that is no mark of Markdown and no HTML, whoever reads the README."""
    return MARKS.sub(r"\\\g<0>", plain_line(text))


def _classes(manifest: GeneratorManifest) -> str:
    """What labels mean, in a sentence; of those that were not learned the network makes nothing."""
    names = manifest.classes
    told = [f"{label} {_markdown(names[label])}" if label < len(names) else str(label) for label in manifest.learned]
    more = f" and {len(told) - TOLD} more, by `classes` in `manifest.json`" if len(told) > TOLD else ""
    return f" Labels that it learned: {', '.join(told[:TOLD])}{more}."


def _describe(tensor: TensorSpec) -> str:
    return f"`{tensor.name}`: {tensor.dtype}, {' x '.join(map(str, tensor.shape))}"


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
