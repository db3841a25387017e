"""Pictures with alpha that are no squares: imported, learned, judged, published, and all that is made of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ganservice
from ganservice.job import State
from tests.integration.attempts.in_process import InProcess
from tests.integration.attempts.onnx_files import write_network
from tests.specs import write_judged_spec

pytestmark = pytest.mark.usefixtures("quick_bundles")

WIDTH, HEIGHT = 24, 16
CLASSES = ("bars", "discs")


def draw(folder: Path) -> None:
    """Draw 200 pictures of two classes on nothing, some of which are no 24 px wide or 16 high."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for index in range(200):
        left, top = 6 + index % 12, 4 + index % 8
        shape = np.abs(x - left) < 3 if index % 2 == 0 else (x - left) ** 2 + (y - top) ** 2 < 16
        planes = [np.full_like(x, 40 * channel + index) for channel in range(3)] + [255 * shape]
        path = folder / CLASSES[index % 2] / f"{index:03d}.png"
        path.parent.mkdir(exist_ok=True)
        picture = Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))
        (picture.resize((40, 40)) if index < 5 else picture).save(path)


@pytest.fixture(scope="module")
def stickers(service: InProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The data set of such pictures."""
    folder = tmp_path_factory.mktemp("drawn")
    draw(folder)
    words = ["--size", f"{WIDTH}x{HEIGHT}", "--channels", "4", "--fit", "pad"]
    done = service.ganctl("data", "import", str(folder), "--name", "stickers", *words)
    assert (
        "alpha: 200 of 200 pictures are transparent in part, such as bars/000.png: their alpha is kept" in done.stderr
    )
    assert (
        "shapes: 5 of 200 pictures are of other proportions than 24 wide and 16 high, such as bars/000.png: around "
        "each lies nothing, transparent" in done.stderr
    )
    return "stickers"


@pytest.fixture(scope="module")
def trained(service: InProcess, stickers: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A training of them by class, to be judged by the classifier, by pixels and by a network of colours."""
    folder = tmp_path_factory.mktemp("specs")
    sha256 = write_network(folder / "colours.onnx", channels=3)
    key = service.ok("networks", "put", str(folder / "colours.onnx"))
    colours = {"network": "onnx", "weights": {"source": key, "sha256": sha256}}
    path = write_judged_spec(
        folder, "stickers", stickers, images=640,
        evaluate={"every_images": 640, "judging": {"samples": 200, "measures": ["frechet", "classes"]}},
    )  # fmt: skip
    changes = {
        "recipe.data.image_size": f"{WIDTH}x{HEIGHT}", "recipe.data.channels": 4,
        "recipe.augment": ["colour", "translation", "cutout"], "evaluate.also": ["pixels", colours],
        "recipe.generator": {"kind": "dense_dcgan", "widths": [16, 8, 8]},
        "recipe.discriminator": {"kind": "dense_dcgan", "widths": [8, 16]},
    }  # fmt: skip
    options = [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    job_id = service.train(path, *options)
    assert service.job(job_id).state is State.SUCCEEDED
    return job_id


def test_grids_and_samples_have_the_shape_and_the_alpha_of_what_was_learned(
    service: InProcess, trained: str, tmp_path: Path
) -> None:
    service.ok("cp", f"{trained}:grid", str(tmp_path / "grid.png"))
    with Image.open(tmp_path / "grid.png") as grid:
        assert (grid.mode, grid.size) == ("RGBA", (4 * (WIDTH + 2) + 2, 2 * (HEIGHT + 2) + 2))
    service.ok("fetch", trained, "--into", "bundle", cwd=tmp_path)
    service.ok("sample", "bundle", "-n", "3", "--into", "samples.png", cwd=tmp_path)
    with Image.open(tmp_path / "samples.png") as samples:
        assert (samples.mode, samples.size) == ("RGBA", (3 * (WIDTH + 2) + 2, HEIGHT + 4))
    assert ganservice.load(tmp_path / "bundle").sample(2).shape == (2, HEIGHT, WIDTH, 4)
    service.ok("augment", "bundle", "--per-class", "1", "--into", "more", cwd=tmp_path)
    with Image.open(tmp_path / "more" / "discs" / "00000.png") as picture:
        assert (picture.mode, picture.size) == ("RGBA", (WIDTH, HEIGHT))
    for words in (["recover", "bundle", "--real"], ["inpaint", "bundle", "--hide", "centre"]):
        service.ok(*words, "-n", "1", "--steps", "1", "--restarts", "1", "--into", "found.png", cwd=tmp_path)
        with Image.open(tmp_path / "found.png") as found:
            assert (found.mode, found.width) == ("RGBA", WIDTH + 4)


def test_what_a_set_holds_is_told_with_its_sheet(service: InProcess, stickers: str, tmp_path: Path) -> None:
    told = service.ganctl("data", "show", stickers, "--sheet", str(tmp_path / "sheet.png")).stdout
    assert f"4 x {WIDTH} x {HEIGHT} px (channels, width, height)" in told
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert (sheet.mode, sheet.width) == ("RGBA", 10 * (WIDTH + 2) + 2)
    assert f"4x{WIDTH}x{HEIGHT}" in service.ok("data", "list")
    shown = json.loads(service.ok("data", "show", "stickers", "-o", "json"))["data_set"]
    assert (shown["image_size"], shown["channels"], shown["format"]) == (f"{WIDTH}x{HEIGHT}", 4, 2)


def test_every_judge_sees_them(service: InProcess, trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.gan.evaluation.classifier.LEAST_STEPS", 30)
    submitted = service.events(trained, "evaluation_submitted")
    for event in submitted:
        assert service.finish(event.detail["job"]).state is State.SUCCEEDED
    found = service.queue().evaluations(trained)
    assert {each.protocol.network for each in found} == {"classifier", "pixels", "onnx"}
    assert all(each.has_quality for each in found)


def test_a_spec_of_another_shape_is_refused(service: InProcess, stickers: str, tmp_path: Path) -> None:
    path = write_judged_spec(tmp_path, "other", stickers, evaluate=None)
    for size, channels, says in (
        (f"{HEIGHT}x{WIDTH}", 4, "recipe.data.image_size: found 16x24, but the data set stickers has 24x16"),
        (f"{WIDTH}x{HEIGHT}", 3, "recipe.data.channels: found 3, but the data set stickers has 4"),
    ):
        words = ("--set", f"recipe.data.image_size={size}", "--set", f"recipe.data.channels={channels}")
        service.refused(2, says, "submit", path, *words)
