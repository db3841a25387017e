"""The generator as files anyone can load: safetensors, ONNX and a README."""

import contextlib
import copy
import io
import logging
import re
import string
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from ganservice.errors import DigestMismatch, NetworkInvalid
from ganservice.manifest import CODE, GeneratorManifest, TensorSpec
from ganservice.mistakes import brief
from ganservice.plain_text import plain_line
from ganservice.recipe import Recipe
from ganservice.recipe.networks.stylegan2 import Stylegan2Generator
from workers.gan.data.decoding import MODES
from workers.gan.networks import build_generator
from workers.gan.networks.stylegan2 import StyleGenerator
from workers.gan.networks.truncation import Synthesis, Truncated, TruncatedOfClass

ONNX = "generator.onnx"
# Of a style generator, what draws pictures of w.
SYNTHESIS = "synthesis.onnx"
ONNX_FILES = {
    ONNX: "the generator, for any ONNX runtime",
    SYNTHESIS: "the half of it that makes pictures of styles",
}
# Sides that may be any, as the exporter sees them.
LETTERS: dict[int | str, int] = {"N": 2, "h": 8, "w": 8}
# Classes that a README names.
TOLD = 100
STYLES = (
    " `psi` draws the styles `w` towards their mean: 1 leaves them as they are, 0.7 trades variety for likeness. They "
    "are an output too, and `synthesis.onnx` makes pictures of `w`."
)
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
    psi = TensorSpec(name="psi", dtype="float32", shape=("N",))
    return (latents, *([labels] if recipe.conditioning else []), *([psi] if styles_spec(recipe) else []))


def styles_spec(recipe: Recipe) -> TensorSpec | None:
    """The styles of a style generator, its second output; None of any other."""
    network = recipe.generator
    if not isinstance(network, Stylegan2Generator):
        return None
    return TensorSpec(name="w", dtype="float32", shape=("N", network.w_size))


def output_spec(recipe: Recipe) -> TensorSpec:
    """The output of the generator of a recipe; images are within [-1, 1]."""
    shape: tuple[int | str, ...] = recipe.data.shape
    if task := recipe.super_resolution:
        shape = (shape[0], f"{task.factor}h", f"{task.factor}w")
    return TensorSpec(name=recipe.data.examples, dtype="float32", shape=("N", *shape))


def generator_onnx(generator: nn.Module, recipe: Recipe) -> dict[str, bytes]:
    """The generator as ONNX, by the name of each file.

    `generator.onnx` has the inputs and outputs that `input_specs`, `output_spec` and `styles_spec` tell; beside a style
    generator lies `synthesis.onnx`, which draws pictures of w.
    """
    # On a plain copy: the exporter must not touch the networks in training.
    plain = copy.deepcopy(generator).cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload] # as in trainer
    inputs, output, styles = input_specs(recipe), output_spec(recipe), styles_spec(recipe)
    if not isinstance(plain, StyleGenerator) or styles is None:
        return {ONNX: _onnx(plain, inputs, (output,))}
    truncated = TruncatedOfClass(plain) if recipe.conditioning else Truncated(plain)
    return {ONNX: _onnx(truncated, inputs, (output, styles)), SYNTHESIS: _onnx(Synthesis(plain), (styles,), (output,))}


def _onnx(network: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bytes:
    examples = tuple(
        torch.zeros([int(LETTERS.get(side, side)) for side in each.shape], dtype=getattr(torch, each.dtype))
        for each in inputs
    )
    sizes = tuple(
        {axis: torch.export.Dim(side.lower()) for axis, side in enumerate(each.shape) if isinstance(side, str)}
        for each in inputs
    )
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / ONNX
        program = torch.onnx.export(
            network,
            examples,
            str(path),
            input_names=[tensor.name for tensor in inputs],
            output_names=[tensor.name for tensor in outputs],
            dynamic_shapes=sizes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        shapes = [tensor.shape for tensor in program.model.graph.inputs] if program else []
        if any(shape is None or isinstance(shape[0], int) for shape in shapes):
            raise NetworkInvalid("its ONNX graph takes one number of latents only; expected `x.shape[0]`, not `len(x)`")
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
    templates = resources.files("workers.gan") / "bundle_readme"
    task, pictures = manifest.spec.recipe.super_resolution, manifest.spec.recipe.pictures
    usage = "own" if ONNX not in manifest.files else "enlargement" if task else data.examples
    texts = [string.Template((templates / f"{name}.md").read_text()) for name in ("common", usage)]
    words = {
        "name": _markdown(manifest.name),
        # Between backticks, where nothing else is a mark.
        "job_id": plain_line(manifest.lineage.job_id).replace("`", "'"),
        "images": f"{manifest.images:,}",
        "learned": _markdown(data.title),
        "reservation": f"**Reservation: {_markdown(against)}.** Look at `samples.png` first.\n\n" if against else "",
        "onnx": "".join(f"| `{name}` | {what} |\n" for name, what in ONNX_FILES.items() if name in manifest.files),
        "code": f"\n| `{CODE}` | the Python files of the network, its maker's own |" if CODE in manifest.files else "",
        "inputs": "; ".join(_describe(tensor) for tensor in manifest.inputs),
        "output": _describe(manifest.output),
        "channels": " The fourth channel is alpha: -1 is transparent, 1 opaque." if data.shape[0] == 4 else "",
        "classes": _classes(manifest) if manifest.spec.recipe.conditioning else "",
        "styles": STYLES if manifest.styles else "",
        "given": f"Made to enlarge pictures {task.factor} times." if task else "Latents are standard normal.",
        "mode": MODES[pictures.channels] if task and pictures else "",
        "latent_size": manifest.spec.recipe.latent_size,
        "feed": "{" + ", ".join(f'"{tensor.name}": {tensor.name}' for tensor in manifest.inputs) + "}",
        "more": _more_inputs(manifest),
    }
    return "".join(text.substitute(words) for text in texts).encode()


def _more_inputs(manifest: GeneratorManifest) -> str:
    """The lines of code that make what is fed beside latents."""
    labels = f"labels = np.array([{', '.join(map(str, manifest.learned[:1]))}], np.int64)"
    lines = {"labels": labels, "psi": "psi = np.ones(1, np.float32)"}
    return "".join("\n" + lines[tensor.name] for tensor in manifest.inputs if tensor.name in lines)


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
