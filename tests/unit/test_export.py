import copy
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from hypothesis import given
from PIL import Image
from torch import nn

from ganservice.errors import DigestMismatch, FormatTooNew
from ganservice.job import Progress
from ganservice.manifest import GeneratorManifest, Lineage, digests_of
from ganservice.plain_text import plain_line
from ganservice.recipe import MlpGenerator, Recipe
from ganservice.spec import TrainSpec
from tests.strangers_text import OBEYED, strangers_texts
from workers.gan.checkpoint import FORMAT, decode_checkpoint, encode_checkpoint, snapshot
from workers.gan.data.examples import Examples
from workers.gan.export import (
    ONNX,
    SYNTHESIS,
    bundle_readme,
    generator_onnx,
    generator_safetensors,
    input_specs,
    load_generator,
    output_spec,
    styles_spec,
)
from workers.gan.networks import build_generator
from workers.gan.networks.stylegan2 import StyleGenerator
from workers.gan.resolution import Bicubic
from workers.gan.sizes import network_sizes
from workers.gan.trainer import Trainer
from workers.gan.worker_group import WorkerGroup

PROGRESS = Progress(
    images=16, step=2, loss_g=1.0, loss_d=1.5, score_real=1.0, score_fake=-1.0, d_real=0.6, d_fake=0.4, value=-1.3,
    grad_norm_g=2.0, grad_norm_d=3.0, images_per_s=100.0, step_s=0.08,
)  # fmt: skip
DCGAN = {
    "generator": {"kind": "dcgan", "widths": (6, 4, 4)},
    "discriminator": {"kind": "dcgan", "widths": (4, 4, 6), "batch_norm": True},
}
RESNET = {
    "generator": {"kind": "resnet", "width": 4, "spectral_norm": True, "attention": 14},
    "discriminator": {"kind": "resnet", "width": 4},
}
R3GAN = {"generator": {"kind": "r3gan", "width": 8}, "discriminator": {"kind": "r3gan", "width": 8}}
STYLEGAN2 = {
    "generator": {"kind": "stylegan2", "width": 4, "w_size": 8},
    "discriminator": {"kind": "stylegan2", "width": 4},
}
MLP = {"generator": {"kind": "mlp", "widths": (16,)}, "discriminator": {"kind": "mlp", "widths": (16,)}}


def recipe(kind: dict[str, Any], channels: int = 1, size: int | str = 28, **more: Any) -> Recipe:
    data = {"dataset": "digits", "image_size": size, "channels": channels}
    return Recipe.model_validate({"data": data, "latent_size": 5, "batch_size": 8} | kind | more)


def trained(asked: Recipe, images: int = 16) -> Trainer:
    pixels = torch.randint(0, 256, (20, *asked.data.shape), dtype=torch.uint8)
    trainer = Trainer(asked, Examples(pixels, torch.arange(20) % 3), 0, torch.device("cpu"))
    list(trainer.train(images, images))
    return trainer


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    """An RGB DCGAN with some training behind it."""
    return trained(recipe(DCGAN, 3))


@pytest.fixture(scope="module")
def exported(trainer: Trainer) -> bytes:
    """Its generator as ONNX."""
    return generator_onnx(trainer.sampling_generator, recipe(DCGAN, 3))[ONNX]


def run_onnx(model: bytes, latents: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(model)
    (images,) = session.run(["images"], {"latents": latents.numpy()})
    return torch.from_numpy(images)


# Files


def test_the_weights_load_into_a_generator_that_makes_the_same_pictures(trainer: Trainer, tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    path.write_bytes(generator_safetensors(trainer.sampling_generator))
    loaded = load_generator(recipe(DCGAN, 3), path)
    latents = torch.randn(4, 5)
    torch.testing.assert_close(loaded(latents), trainer.sample(latents))
    assert not any(module.training for module in loaded.modules())
    assert safetensors.torch.load_file(path).keys() == loaded.state_dict().keys()


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_onnx_makes_the_pictures_of_torch_for_any_number_of_latents(
    trainer: Trainer, exported: bytes, count: int
) -> None:
    latents = torch.randn(count, 5)
    torch.testing.assert_close(run_onnx(exported, latents), trainer.sample(latents), rtol=0, atol=1e-5)


def test_onnx_is_one_valid_file_with_named_ends(exported: bytes) -> None:
    model = onnx.load_from_string(exported)
    onnx.checker.check_model(model, full_check=True)
    assert ([end.name for end in model.graph.input], [end.name for end in model.graph.output]) == (
        ["latents"],
        ["images"],
    )
    assert not any(tensor.external_data for tensor in model.graph.initializer)


@pytest.mark.parametrize("group", [WorkerGroup(), WorkerGroup(0, 2)], ids=["alone", "gang"])
def test_a_generator_of_any_kind_is_exported(group: WorkerGroup) -> None:
    for kind in (DCGAN, MLP, RESNET, R3GAN):
        generator = build_generator(recipe(kind), group=group).eval()
        latents = torch.randn(3, 5)
        with torch.no_grad():
            torch.testing.assert_close(
                run_onnx(generator_onnx(generator, recipe(kind))[ONNX], latents), generator(latents), rtol=0, atol=1e-5
            )


@pytest.mark.parametrize("more", [{}, {"conditioning": {"classes": 3}}], ids=["plain", "conditional"])
def test_the_styles_of_a_generator_are_in_its_onnx_and_can_be_truncated(more: dict[str, Any]) -> None:
    asked = recipe(STYLEGAN2, **more)
    trainer = trained(asked, 64)
    generator = trainer.sampling_generator
    assert isinstance(generator, StyleGenerator)
    files = generator_onnx(generator, asked)
    assert files.keys() == {ONNX, SYNTHESIS}
    labels = (torch.tensor([0, 1, 2]),) if more else ()
    feed = {"latents": torch.randn(3, 5), **({"labels": labels[0]} if labels else {}), "psi": torch.tensor([1.0, 0, 0])}
    session = onnxruntime.InferenceSession(files[ONNX])
    images, styles = session.run(["images", "w"], {name: values.numpy() for name, values in feed.items()})
    with torch.no_grad():
        whole = generator(feed["latents"], *labels)
        truncated = generator.draw(generator.styles(feed["latents"], labels[0] if labels else None, feed["psi"]))
    torch.testing.assert_close(torch.from_numpy(images), truncated, rtol=0, atol=1e-5)
    torch.testing.assert_close(truncated[0], whole[0], rtol=0, atol=1e-5)
    assert (truncated[1] - whole[1]).abs().max() > 1e-4
    torch.testing.assert_close(truncated[1], truncated[2])  # the picture of the mean style
    torch.testing.assert_close(torch.from_numpy(styles[1]), generator.w_mean)
    (drawn,) = onnxruntime.InferenceSession(files[SYNTHESIS]).run(["images"], {"w": styles})
    torch.testing.assert_close(torch.from_numpy(drawn), truncated, rtol=0, atol=1e-5)


def test_exporting_changes_nothing(trainer: Trainer, capfd: pytest.CaptureFixture[str]) -> None:
    def everything(network: nn.Module) -> list[Any]:
        tensors = [*network.state_dict(keep_vars=True).items()]
        flags = [module.training for module in network.modules()]
        return [[(name, id(t), t.stride(), t.requires_grad) for name, t in tensors], flags]

    networks = (trainer.generator, trainer.discriminator, trainer.sampling_generator)
    before, random = [everything(network) for network in networks], torch.get_rng_state()
    state = snapshot([network.state_dict() for network in networks])
    generator_onnx(trainer.sampling_generator, recipe(DCGAN, 3))
    generator_safetensors(trainer.sampling_generator)
    assert [everything(network) for network in networks] == before
    for network, then in zip(networks, state, strict=True):
        assert all(torch.equal(value, then[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert capfd.readouterr() == ("", "")


# The README


CONDITIONAL: dict[str, Any] = {"conditioning": {"classes": 3}}
MIXTURE: dict[str, Any] = {"data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.02}}


@given(strangers_texts)
def test_no_name_in_the_readme_is_a_mark_of_markdown(text: str) -> None:
    asked = recipe(MLP)
    hostile = asked.model_copy(update={"data": asked.data.model_copy(update={"dataset": text})})
    manifest = manifest_of(hostile, name=text, job_id=text)
    lines = bundle_readme(manifest).decode().splitlines()
    unmarked = re.compile(r"(?<!\\)(?:\\\\)*[`*_\[\]<>&!|#~]")
    assert not unmarked.search(lines[0].removeprefix("# "))
    assert not (set(OBEYED) - {"\n"}) & set("".join(lines))
    _, job_id, rest = lines[2].split("`", 2)
    assert job_id == plain_line(text).replace("`", "'")
    assert not unmarked.search(rest)
    assert len(lines) == len(bundle_readme(manifest_of(asked)).decode().splitlines())


def test_the_readme_tells_of_a_reservation() -> None:
    sound = manifest_of(recipe(MLP))
    against = sound.model_copy(update={"reservation": "collapsed: its samples were all alike"})
    line = "**Reservation: collapsed: its samples were all alike.** Look at `samples.png` first.\n\n"
    readme = bundle_readme(against).decode()
    assert readme.replace(line, "") == bundle_readme(sound).decode()
    assert readme.index(line) < readme.index("| file |")


def of_classes(*counts: int, only: tuple[str, ...] | None = None) -> GeneratorManifest:
    """The manifest of a conditional generator that learned so many pictures of each class, or said no numbers."""
    data = {"dataset": "digits", "image_size": 28, "channels": 1, "only": only}
    sound = manifest_of(recipe(MLP, data=data, **CONDITIONAL))
    return sound.model_copy(update={"classes": ("circle", "b*r", "disc"), "class_counts": counts})


def test_a_generator_tells_which_classes_it_learned() -> None:
    assert of_classes(5, 0, 2).learned == (0, 2)
    # Of earlier releases the recipe tells, as far as it does.
    assert of_classes(only=("disc", "b*r")).learned == (1, 2)
    assert of_classes().learned == (0, 1, 2)
    assert of_classes(0, 0, 0).learned == of_classes(4, 4).learned == (0, 1, 2)


def test_the_readme_asks_for_a_class_that_was_learned_and_names_all_of_them() -> None:
    readme = bundle_readme(of_classes(0, 7, 9)).decode()
    assert "labels = np.array([1], np.int64)" in readme
    assert r"Labels that it learned: 1 b\*r, 2 disc." in readme
    assert "circle" not in readme
    assert "Labels" not in bundle_readme(manifest_of(recipe(MLP))).decode()


def manifest_of(asked: Recipe, name: str = "tiny", job_id: str = "tiny-abc") -> GeneratorManifest:
    lineage = Lineage(job_id=job_id, attempt=1, resumed_images=0, data_digest=None, seed=0, versions={})
    return GeneratorManifest(
        files=digests_of({ONNX: b""}), name=name, created_at=0.0, images=12_345, metrics=PROGRESS,
        inputs=input_specs(asked), output=output_spec(asked), styles=styles_spec(asked), classes=(), lineage=lineage,
        spec=TrainSpec(name="tiny", images=64, recipe=asked),
    )  # fmt: skip


def run_readme(readme: str, asked: Recipe, folder: Path) -> str:
    """Run the code of a README beside an untrained generator, without this project and torch. What it prints."""
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    blocked = "import sys; sys.modules.update(dict.fromkeys(['ganservice', 'workers', 'torch']))\n"
    for name, data in generator_onnx(build_generator(asked).eval(), asked).items():
        (folder / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocked + code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


ENLARGING: dict[str, Any] = MLP | {
    "generator": {"kind": "edsr", "width": 4, "blocks": 1},
    "super_resolution": {"factor": 2},
    "latent_size": 0,
}


def test_onnx_enlarges_pictures_of_any_size_as_torch_does() -> None:
    trainer = trained(recipe(ENLARGING, 3))
    session = onnxruntime.InferenceSession(
        generator_onnx(trainer.sampling_generator, recipe(ENLARGING, 3))["generator.onnx"]
    )
    for count, height, width in ((1, 14, 14), (3, 9, 31), (2, 1, 2)):
        pictures = torch.rand(count, 3, height, width) * 2 - 1
        (images,) = session.run(["images"], {"pictures": pictures.numpy()})
        assert images.shape == (count, 3, 2 * height, 2 * width)
        torch.testing.assert_close(torch.from_numpy(images), trainer.sample(pictures), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4])
def test_the_code_of_the_readme_enlarges_a_picture_without_this_project(tmp_path: Path, channels: int) -> None:
    asked = recipe(ENLARGING, channels)
    readme = bundle_readme(manifest_of(asked)).decode()
    assert f"Inputs: `pictures`: float32, N x {channels} x h x w. Made to enlarge pictures 2 times." in readme
    assert f"Output: `images`: float32, N x {channels} x 2h x 2w." in readme
    mode = {1: "L", 4: "RGBA"}[channels]
    small = Image.effect_noise((20, 11), 90).convert(mode)
    small.save(tmp_path / "small.png")
    run_readme(readme, asked, tmp_path)
    with Image.open(tmp_path / "large.png") as large:
        assert (large.size, large.mode) == ((40, 22), mode)
        made = torch.from_numpy(np.array(large)).view(22, 40, channels)
    given = torch.from_numpy(np.array(small)).view(1, 11, 20, channels).permute(0, 3, 1, 2) / 127.5 - 1
    (expected,) = (Bicubic(2)(given) + 1) * 127.5  # as which an untrained one begins
    torch.testing.assert_close(made.float(), expected.permute(1, 2, 0), rtol=0, atol=0.51)


@pytest.mark.parametrize(
    ("asked", "inputs", "output"),
    [
        (recipe(MLP), "`latents`: float32, N x 5", "`images`: float32, N x 1 x 28 x 28"),
        (recipe(MLP, 3), "`latents`: float32, N x 5", "`images`: float32, N x 3 x 28 x 28"),
        (recipe(DCGAN, 4, "36x28"), "`latents`: float32, N x 5", "`images`: float32, N x 4 x 28 x 36"),
        (recipe(MLP, **CONDITIONAL), "`latents`: float32, N x 5; `labels`: int64, N", "`images`: float32"),
        (recipe(MLP, **MIXTURE), "`latents`: float32, N x 5", "`points`: float32, N x 2"),
        (recipe(STYLEGAN2), "`latents`: float32, N x 5; `psi`: float32, N", "`images`: float32"),
    ],
    ids=["grey", "rgb", "alpha", "conditional", "points", "styles"],
)
def test_the_code_of_the_readme_runs_without_this_project(
    tmp_path: Path, asked: Recipe, inputs: str, output: str
) -> None:
    readme = bundle_readme(manifest_of(asked)).decode()
    assert f"Inputs: {inputs}. Latents are standard normal. Output: {output}" in readme
    assert "job `tiny-abc`, 12,345 images of" in readme
    printed = run_readme(readme, asked, tmp_path)
    if "points" in output:
        assert printed.count("[") == 6  # five points in one array
        return
    with Image.open(tmp_path / "picture.png") as picture:
        channels, height, width = asked.data.shape
        assert (picture.size, picture.mode) == ((width, height), {1: "L", 3: "RGB", 4: "RGBA"}[channels])
    assert ("The fourth channel is alpha: -1 is transparent, 1 opaque." in readme) == (channels == 4)


def test_the_readme_of_a_generator_without_onnx_says_what_takes_its_place() -> None:
    files = digests_of({"generator.safetensors": b"", "code.json": b""})
    readme = bundle_readme(manifest_of(recipe(MLP)).model_copy(update={"files": files})).decode()
    assert "onnx" not in readme.replace("written as ONNX", "").lower()
    assert "| `code.json` | the Python files of the network" in readme
    assert "GANSERVICE_FOLDER_CODE=true" in readme


# Checkpoints


def test_a_checkpoint_holds_no_pickled_objects(trainer: Trainer) -> None:
    data = encode_checkpoint(trainer.state_dict(), [PROGRESS])
    loaded = torch.load(io.BytesIO(data), weights_only=True)
    assert loaded["trainer"]["images_seen"] == 16
    assert json.loads(json.dumps(loaded["history"])) == [PROGRESS.model_dump()]
    assert decode_checkpoint(data)[1] == [PROGRESS]


def packed_again(data: bytes, compression: int, *, shares_bytes: bool = False) -> bytes:
    """The entries of a zip in another one, which may unpack to far more than its length."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w", compression) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
        if shares_bytes:  # many names for the bytes of the largest entry
            largest = max(target.infolist(), key=lambda entry: entry.file_size)
            for number in range(1_000):
                alias = copy.copy(largest)
                alias.filename = alias.orig_filename = f"{largest.filename}{number}"
                target.filelist.append(alias)
    return buffer.getvalue()


def test_packing_again_damages_nothing(trainer: Trainer) -> None:
    data = encode_checkpoint(trainer.state_dict(), [PROGRESS])
    assert decode_checkpoint(packed_again(data, zipfile.ZIP_STORED))[1] == [PROGRESS]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"not a checkpoint",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-100],
        lambda data: b"\x00" * 1000 + data[1000:],
        lambda data: packed_again(data, zipfile.ZIP_DEFLATED),
        lambda data: packed_again(data, zipfile.ZIP_STORED, shares_bytes=True),
    ],
    ids=["empty", "text", "half", "short", "zeroed", "deflated", "overlapping"],
)
def test_damaged_bytes_are_no_checkpoint(trainer: Trainer, damage: Any) -> None:
    data = encode_checkpoint(trainer.state_dict(), [PROGRESS])
    with pytest.raises(DigestMismatch, match=r"^the checkpoint cannot be read: \w+$"):
        decode_checkpoint(damage(data))


@pytest.mark.parametrize("number", [2, 300, 70_000])
def test_a_checkpoint_of_a_later_version_is_named_without_looking_into_it(number: int) -> None:
    buffer = io.BytesIO()
    torch.save({"format": number, "trainer": Path("/tmp"), "history": "another form"}, buffer)  # noqa: S108
    with pytest.raises(FormatTooNew, match=rf"has format {number}, this version .* reads up to format {FORMAT};"):
        decode_checkpoint(buffer.getvalue())


def test_a_checkpoint_with_code_in_it_is_refused() -> None:
    buffer = io.BytesIO()
    torch.save({"format": 1, "trainer": Path("/tmp"), "history": []}, buffer)  # noqa: S108 # never opened
    with pytest.raises(DigestMismatch):
        decode_checkpoint(buffer.getvalue())


# The plan


@pytest.mark.parametrize(("kind", "freeze_d"), [("dcgan", 0), ("mlp", 0), ("mlp", 1)])
def test_the_plan_knows_the_size_of_a_checkpoint(spec: TrainSpec, kind: str, freeze_d: int) -> None:
    wide = {
        "generator": {"kind": "dcgan", "widths": (128, 64, 32)},
        "discriminator": {"kind": "dcgan", "widths": (32, 64, 128), "batch_norm": True},
    }
    default = {"generator": {"kind": "mlp"}, "discriminator": {"kind": "mlp"}}
    asked = recipe(wide if kind == "dcgan" else default, latent_size=100, batch_size=4, freeze_d=freeze_d)
    sizes = network_sizes(spec.model_copy(update={"recipe": asked}))
    data = encode_checkpoint(trained(asked, 4).state_dict(), [PROGRESS])
    assert sizes["checkpoint_bytes"] == pytest.approx(len(data), rel=0.03)


def test_the_plan_makes_no_weights(spec: TrainSpec) -> None:
    # Of more weights than a spec may have: a copy is not looked at.
    enormous = spec.recipe.model_copy(update={"generator": MlpGenerator(kind="mlp", widths=(2**16, 2**16, 2**16))})
    sizes = network_sizes(spec.model_copy(update={"recipe": enormous}))
    assert sizes["parameters_g"] > 2**33


def test_the_plan_counts_every_parameter(spec: TrainSpec) -> None:
    assert network_sizes(spec)["parameters_g"] == 100 * 16 + 16 + 16 * 64 + 64
