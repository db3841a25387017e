"""load: a trained generator in a program, drawn from as `ganctl` does."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from ganservice import Client, load
from ganservice.errors import ArtifactMissing, DigestMismatch, JobNotFound, RequestError
from tests.integration.attempts.in_process import InProcess
from tests.specs import write_judged_spec, write_spec
from workers.bundle import open_bundle
from workers.generator import Generator

pytestmark = pytest.mark.usefixtures("quick_bundles")


@pytest.fixture(scope="module")
def shapes(service: InProcess, import_shapes: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job that has trained a conditional generator of bars and discs."""
    folder = tmp_path_factory.mktemp("specs")
    path = write_judged_spec(folder, "shapes", import_shapes("shapes"), images=640, evaluate=None)
    return service.train(path)


def test_a_sample_is_what_ganctl_draws(service: InProcess, shapes: str, tmp_path: Path) -> None:
    generator = load(shapes)
    pictures = generator.sample(5, seed=3)
    assert pictures.shape == (5, 16, 16, 1)
    assert pictures.dtype == np.uint8
    service.ok("sample", shapes, "-n", "5", "--seed", "3", "--arrays", "a.npz", "--into", "a.png", cwd=tmp_path)
    with np.load(tmp_path / "a.npz") as arrays:
        drawn = np.rint((arrays["images"] + 1) * 127.5).clip(0, 255).transpose(0, 2, 3, 1)
    assert np.array_equal(pictures, drawn)
    assert not np.array_equal(pictures, generator.sample(5, seed=4))
    assert np.array_equal(pictures[:2], generator.sample(2, seed=3))


def test_a_folder_and_a_name_and_a_handle_give_the_same(shapes: str, tmp_path: Path) -> None:
    with Client() as client:
        folder = client.fetch(shapes, tmp_path / "made")
        generators = [load(folder), load("shapes"), client.load(shapes), client.job(shapes).load()]
    expected = generators[0].sample(3)
    assert all(np.array_equal(each.sample(3), expected) for each in generators)
    assert generators[0].folder == folder
    assert generators[0].manifest.lineage.job_id == shapes
    assert repr(generators[0]) == f"<Generator of {shapes}, 640 images trained>"
    assert isinstance(generators[0].network, nn.Module)


def test_classes_are_asked_for_by_name_or_number(shapes: str) -> None:
    generator = load(shapes)
    assert generator.classes == ("bars", "discs")
    in_turn = generator.sample(4)
    assert np.array_equal(in_turn, generator.sample(4, labels=["bars", 1, "0", "discs"]))
    assert np.array_equal(generator.sample(4, labels="discs"), generator.sample(4, labels=1))
    assert not np.array_equal(in_turn, generator.sample(4, labels=1))


@pytest.fixture(scope="module")
def discs(service: InProcess, import_shapes: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job that has trained a generator of bars and discs on discs alone."""
    path = write_judged_spec(
        tmp_path_factory.mktemp("specs"), "only-discs", import_shapes("only-discs"), images=640, evaluate=None
    )
    return service.train(path, "--set", "recipe.data.only=[discs]")


def test_what_was_not_learned_is_never_drawn(service: InProcess, discs: str, tmp_path: Path) -> None:
    generator = load(discs)
    assert (generator.classes, generator.learned) == (("bars", "discs"), ("discs",))
    assert generator.manifest.class_counts == (0, 200)
    assert np.array_equal(generator.sample(4), generator.sample(4, labels="discs"))
    assert np.array_equal(generator.interpolate(), generator.interpolate(label=1))
    with pytest.raises(RequestError, match=f"bars: the generator of {discs} did not learn it; it learned: discs"):
        generator.sample(2, labels=["discs", "bars"])
    service.refused(2, "did not learn it", "sample", discs, "--class", "0", cwd=str(tmp_path))
    service.ok("interpolate", discs, cwd=tmp_path)
    service.ok("recover", discs, "--real", "-n", "1", "--steps", "1", cwd=tmp_path)
    done = service.ganctl("augment", discs, "--per-class", "2", "--into", "set", "-o", "json", cwd=tmp_path)
    assert json.loads(done.stdout)["classes"] == {"discs": 2}
    assert "2 pictures of 1 classes; 1 it did not learn" in done.stderr
    assert [folder.name for folder in (tmp_path / "set").iterdir() if folder.is_dir()] == ["discs"]
    with Image.open(io.BytesIO(service.store.objects.get(service.store.sample_grids(discs)[-1][1]))) as grid:
        assert grid.height < 2 * 18  # a row of one class


def test_a_number_is_a_number_where_names_are_numbers_too(shapes: str) -> None:
    bundle = open_bundle(shapes)
    bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"classes": ("1", "2")}))
    generator = Generator(bundle)
    assert [bundle.class_number(each) for each in (0, 1, "0", "1", "2")] == [0, 1, 0, 0, 1]
    assert np.array_equal(generator.sample(2, labels=[0, 1]), generator.sample(2, labels=["1", "2"]))
    assert np.array_equal(generator.sample(2, labels=1), generator.sample(2, labels="2"))
    with pytest.raises(RequestError, match="2: expected a number below 2, or one of: 1, 2"):
        generator.sample(2, labels=2)


def test_a_walk_among_names_that_are_numbers_stays_with_the_first_that_was_learned(
    service: InProcess, discs: str, tmp_path: Path
) -> None:
    service.ok("fetch", discs, "--into", "made", cwd=tmp_path)
    path = tmp_path / "made" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": ["1", "2"]}))
    service.ok("interpolate", "made", cwd=tmp_path)


def test_a_walk_leads_from_one_sample_to_the_next(shapes: str) -> None:
    generator = load(shapes)
    walk = generator.interpolate(3, steps=4, seed=1, label="discs")
    assert walk.shape == (9, 16, 16, 1)
    stops = generator.sample(3, seed=1, labels="discs")
    assert np.abs(walk[::4].astype(int) - stops).max() <= 1
    assert generator.interpolate(method="lerp").shape == (11, 16, 16, 1)


@pytest.mark.parametrize(
    ("count", "labels", "says"),
    [
        (0, None, "count: found 0, expected 1 to 100,000"),
        (2, "cats", "cats: expected a number below 2, or one of: bars, discs"),
        (2, [0], "labels: found 1, expected one for each of 2"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(shapes: str, count: int, labels: str | list[int] | None, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        load(shapes).sample(count, labels=labels)
    with pytest.raises(RequestError, match="points, steps: found 1, 10"):
        load(shapes).interpolate(1)


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda generator: generator.sample(1.5), "count: found 1.5, expected a valid integer"),
        (lambda generator: generator.sample(seed=-1), "seed: found -1, expected greater than or equal to 0"),
        (lambda generator: generator.sample(labels=1.5), "labels: found 1.5, expected a class by name or number"),
        (lambda generator: generator.sample(2, labels=[1.5, None]), "1.5: expected a number below 2"),
        (
            lambda generator: generator.interpolate(method="foo"),
            "method: found \"foo\", expected 'slerp' or 'lerp'",
        ),
    ],
)
def test_a_wrong_argument_is_one_line(shapes: str, draw: Callable[[Generator], object], says: str) -> None:
    with pytest.raises(RequestError) as caught:
        draw(load(shapes))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_points_come_as_they_are(service: InProcess, tmp_path: Path) -> None:
    recipe = {
        "data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.1},
        "latent_size": 4,
        "generator": {"kind": "mlp", "widths": [16]},
        "discriminator": {"kind": "mlp", "widths": [16]},
        "batch_size": 32,
    }
    generator = load(service.train(write_spec(tmp_path, "ring", recipe=recipe, images=640)))
    assert generator.sample(5).shape == (5, 2)
    assert generator.sample(5).dtype == np.float32
    assert (generator.classes, generator.latent_size) == ((), 4)
    with pytest.raises(RequestError, match="knows no classes"):
        generator.sample(2, labels=0)


def test_a_folder_without_a_manifest_leaves_its_name_to_the_job(
    service: InProcess, shapes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (shapes, "nobody"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert load(shapes).manifest.lineage.job_id == shapes
    service.ok("evaluate", shapes, "-n", "100", cwd=tmp_path)
    with pytest.raises(ArtifactMissing, match=r"nobody: holds no manifest\.json"):
        load("nobody")
    service.refused(1, "nobody: holds no manifest.json", "evaluate", "nobody")


def test_what_is_no_generator_is_one_line(shapes: str, tmp_path: Path) -> None:
    with pytest.raises(JobNotFound):
        load("nobody")
    with pytest.raises(RequestError, match="is no folder"):
        load(tmp_path / "none")
    with pytest.raises(ArtifactMissing, match=r"holds no manifest\.json"):
        load(tmp_path)
    with Client() as client:
        folder = client.fetch(shapes, tmp_path / "made")
    (folder / "generator.safetensors").write_bytes(b"other")
    with pytest.raises(DigestMismatch, match="is not the file that was published"):
        load(folder)
