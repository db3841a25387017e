"""Super-resolution as a user has it: trained, judged beside bicubic interpolation, fetched, and asked for pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganservice import load
from ganservice.errors import RequestError
from ganservice.evaluation import Evaluation
from ganservice.job import State
from tests.integration.attempts.in_process import InProcess
from tests.specs import draw_shapes, write_spec

pytestmark = pytest.mark.usefixtures("quick_bundles")
JUDGING = {"network": "pixels", "samples": 200, "split": "test", "measures": ["frechet", "reconstruction"]}
RECIPE: dict[str, Any] = {
    "data": {"dataset": "halved", "image_size": 16, "channels": 1},
    "super_resolution": {"factor": 2},
    "generator": {"kind": "edsr", "width": 8, "blocks": 1},
    "discriminator": {"kind": "mlp", "widths": [16]},
    "batch_size": 32,
}


@pytest.fixture(scope="module")
def enlarger(service: InProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job that learned to double drawings, evaluated by held-out ones."""
    folder = tmp_path_factory.mktemp("halved")
    for split in ("train", "test"):
        (folder / "set" / split).mkdir(parents=True)
        draw_shapes(folder / "set" / split, split)
    service.ok("data", "import", str(folder / "set"), "--name", "halved", "--size", "16")
    job_id = service.train(write_spec(folder, "enlarger", recipe=RECIPE, images=1_280, evaluate={"judging": JUDGING}))
    [event] = service.events(job_id, "evaluation_submitted")
    assert service.finish(event.detail["job"]).state is State.SUCCEEDED
    return job_id


def first_evaluation(service: InProcess, job_id: str) -> Evaluation:
    """The one that the training asked for; tests come in any order, and one asks for another."""
    [found] = [each for each in service.queue().evaluations(job_id) if each.protocol.samples == JUDGING["samples"]]
    return found


@pytest.fixture
def drawing(tmp_path: Path) -> str:
    """A picture of another size and mode than it learned."""
    Image.effect_noise((30, 21), 90).convert("RGBA").save(tmp_path / "drawing.png")
    return "drawing.png"


def test_it_is_judged_by_held_out_pictures_and_beside_bicubic_interpolation(service: InProcess, enlarger: str) -> None:
    found = first_evaluation(service, enlarger)
    assert set(found.measures) == {
        "pixels_frechet_distance", "pixels_frechet_distance_of_bicubic", "psnr", "ssim", "psnr_of_bicubic",
        "ssim_of_bicubic",
    }  # fmt: skip
    assert all(found.measures.values())
    assert (found.protocol.split, found.protocol.samples, found.protocol.real) == ("test", 200, 400)
    assert found.generator
    rows = {
        row.split()[0]: row.split()[1:] for row in service.ok("compare", enlarger).splitlines() if row.startswith("p")
    }
    assert [rows[name][0] for name in ("psnr", "pixels_frechet_distance")] == ["higher", "lower"]
    assert json.loads(service.ok("compare", enlarger, "-o", "json"))["better"]["ssim"] == "higher"


def test_of_more_than_there_are_all_are_enlarged_and_others_judge_too(service: InProcess, enlarger: str) -> None:
    job_id = service.ok("evaluate", enlarger, "--split=test", "--network=pixels", "--measures=reconstruction")
    assert service.finish(job_id).state is State.SUCCEEDED
    [found] = [each for each in service.queue().evaluations(enlarger) if each.by == job_id]
    assert found.protocol.samples == 400
    service.refused(2, "judging.split: found train, expected test", "evaluate", enlarger, "--network=pixels")


def test_the_grid_of_the_published_one_shows_the_pictures_of_the_training(service: InProcess, enlarger: str) -> None:
    found = first_evaluation(service, enlarger)
    published = service.store.objects.get(f"{found.generator}samples.png")
    assert published == service.store.objects.get(service.store.sample_grids(enlarger)[-1][1])


def test_pictures_are_enlarged_from_a_folder_and_from_a_job(
    service: InProcess, enlarger: str, drawing: str, tmp_path: Path
) -> None:
    done = service.ganctl("fetch", enlarger, "--into", "made", cwd=tmp_path)
    assert "next: ganctl upscale PICTURE --from made" in done.stderr
    assert service.ok("upscale", drawing, "--from", "made", "--into", "large", cwd=tmp_path) == "large/drawing-x2.png"
    told = service.ok("upscale", drawing, "--from", enlarger, "--into", "other", "-o", "json", cwd=tmp_path)
    assert json.loads(told)["pictures"] == ["other/drawing-x2.png"]
    with Image.open(tmp_path / "large" / "drawing-x2.png") as large:
        assert (large.size, large.mode) == ((60, 42), "RGBA")
    assert (tmp_path / "large" / "drawing-x2.png").read_bytes() == (tmp_path / "other" / "drawing-x2.png").read_bytes()


def test_nothing_is_written_where_one_picture_is_none(
    service: InProcess, enlarger: str, drawing: str, tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "drawing.png").write_bytes((tmp_path / drawing).read_bytes())
    (tmp_path / "drawing-x2.png").write_text("mine")
    for code, says, *arguments in (
        (2, "text.jpg: not a PNG", drawing, "text.jpg", "--into", "new"),
        (2, "another picture would be new/drawing-x2.png too", drawing, "sub/drawing.png", "--into", "new"),
        (1, "drawing-x2.png exists already; choose another folder", drawing),
        (2, "nothing.png: cannot be read", "nothing.png", "--into", "new"),
    ):
        service.refused(code, says, "upscale", *arguments, "--from", enlarger, cwd=str(tmp_path))
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "drawing-x2.png").read_text() == "mine"


@pytest.mark.parametrize("command", ["sample", "interpolate", "recover", "inpaint", "augment --into set"])
def test_what_takes_latents_is_refused(service: InProcess, enlarger: str, command: str, tmp_path: Path) -> None:
    name, *more = command.split()
    service.refused(2, "enlarges pictures and takes no latents", name, enlarger, *more, cwd=str(tmp_path))


def test_a_program_enlarges_pictures_too(enlarger: str) -> None:
    generator = load(enlarger)
    large = generator.upscale(Image.effect_noise((9, 5), 90))
    assert large.size == (18, 10)
    assert np.asarray(large).dtype == np.uint8
    with pytest.raises(RequestError, match="takes no latents"):
        generator.sample(1)
