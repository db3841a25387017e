"""What the founding texts do with a GAN: condition it, walk and search in its latent space, continue it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganservice.job import State
from tests.integration.attempts.in_process import InProcess
from workers.gan.data.idx import read_idx

pytestmark = pytest.mark.usefixtures("quick_bundles")
SpecFile = Callable[..., str]
SEARCH = ("--steps", "20", "--restarts", "2")


@pytest.fixture(scope="module")
def bundle(service: InProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small conditional generator of garments, fetched."""
    folder = tmp_path_factory.mktemp("conditional")
    config = Path(__file__).parents[3] / "configs" / "fashion-cdcgan-lesson.yaml"
    small = (
        "images=2560", "report_every_images=640", "recipe.generator.widths=[32,16,8]",
        "recipe.discriminator.widths=[8,16,32]",
    )  # fmt: skip
    job_id = service.train(str(config), *(f"--set={change}" for change in small))
    service.ok("fetch", job_id, "--into", str(folder / "bundle"))
    return folder / "bundle"


def test_a_conditional_generator_draws_the_class_it_is_asked_for(service: InProcess, bundle: Path) -> None:
    with Image.open(bundle / "samples.png") as grid:
        assert grid.size == (10 * 30 + 2, 10 * 30 + 2)  # a row for each class
    folder = bundle.parent
    for name in ("Ankle boot", "9"):
        service.ok("sample", "bundle", "-n", "4", "--class", name, "--arrays", f"{name}.npz", cwd=folder)
    by_name, by_number = (np.load(folder / f"{name}.npz") for name in ("Ankle boot", "9"))
    assert by_name["labels"].tolist() == [9] * 4
    assert np.array_equal(by_name["images"], by_number["images"])
    service.refused(2, "one of: T-shirt/top, Trouser", "sample", str(bundle), "--class", "Cat")


def test_latents_are_drawn_within_a_truncation(service: InProcess, bundle: Path) -> None:
    given = ("sample", str(bundle), "-n", "4", "--truncation", "0.5")
    service.ok(*given, "--arrays", "narrow.npz", cwd=bundle.parent)
    with np.load(bundle.parent / "narrow.npz") as narrow:
        assert 0.4 < np.abs(narrow["latents"]).max() <= 0.5
    service.refused(2, "--truncation: is of latents that are drawn", *given, "--latents", "narrow.npz")


def test_a_walk_through_latent_space(service: InProcess, bundle: Path) -> None:
    walked = json.loads(
        service.ok(
            "interpolate", "bundle", "--points", "3", "--steps", "4", "--class", "Bag", "-o", "json", cwd=bundle.parent
        )
    )
    assert len(walked["latents"]) == 2 * 4 + 1
    with Image.open(bundle.parent / walked["picture"]) as picture:
        assert picture.size == (5 * 30 + 2, 2 * 30 + 2)
    ends = [walked["latent_lengths"][place] for place in (0, 4, 8)]
    assert min(ends) <= min(walked["latent_lengths"]) + 1e-4
    straight = json.loads(service.ok("interpolate", "bundle", "--method", "lerp", "-o", "json", cwd=bundle.parent))
    assert min(straight["latent_lengths"]) < min(straight["latent_lengths"][0], straight["latent_lengths"][-1])


def test_what_would_fill_the_memory_is_refused(service: InProcess, bundle: Path) -> None:
    walk = ("interpolate", str(bundle), "--points", "101", "--steps", "101")
    service.refused(2, "--steps: found 101 for each of 100 legs, expected at most 10,000 in all", *walk)
    np.save(bundle.parent / "many.npy", np.zeros((10_001, 100), np.float32))
    (bundle.parent / "lying.npy").write_bytes((bundle.parent / "many.npy").read_bytes()[:200])
    for name, says in (
        ("many", "found 10,001, expected at most 10,000"),
        ("lying", "its header announces 4,000,400 bytes"),
    ):
        service.refused(2, says, "sample", str(bundle), "--latents", str(bundle.parent / f"{name}.npy"))


def test_latents_are_searched_for_generated_and_real_pictures(service: InProcess, bundle: Path) -> None:
    made = json.loads(service.ok("recover", "bundle", "-n", "3", *SEARCH, "-o", "json", cwd=bundle.parent))
    assert list(made["success_rates"]) == ["0.1", "0.01", "0.001", "0.0001", "1e-05"]
    assert len(made["latents"]) == len(made["errors"]) == 3
    real = json.loads(service.ok("recover", "bundle", "-n", "3", "--real", *SEARCH, "-o", "json", cwd=bundle.parent))
    assert real["success_rates"] is None
    assert real["error_per_pixel"] > made["error_per_pixel"]
    with Image.open(bundle.parent / real["picture"]) as picture:
        assert picture.size == (3 * 30 + 2, 2 * 30 + 2)


def test_hidden_halves_are_filled_in_and_known_ones_kept(service: InProcess, bundle: Path) -> None:
    found = json.loads(
        service.ok("inpaint", "bundle", "-n", "2", "--hide", "left", *SEARCH, "-o", "json", cwd=bundle.parent)
    )
    with Image.open(bundle.parent / found["picture"]) as picture:
        rows = np.asarray(picture)
    assert rows.shape == (3 * 30 + 2, 2 * 30 + 2)
    given, completed = rows[2:30, 2:30], rows[62:90, 2:30]
    assert np.array_equal(given[:, 14:], completed[:, 14:])
    assert not np.array_equal(given[:, :14], completed[:, :14])


def test_a_labelled_set_is_written_as_pictures_and_as_idx(service: InProcess, bundle: Path) -> None:
    service.ok("augment", "bundle", "--per-class", "3", "--into", "set", cwd=bundle.parent)
    folder = bundle.parent / "set"
    labels, images = read_idx(folder / "train-labels-idx1-ubyte"), read_idx(folder / "train-images-idx3-ubyte")
    assert labels.tolist() == [label for label in range(10) for _ in range(3)]
    assert images.shape == (30, 28, 28)
    with Image.open(folder / "Trouser" / "00002.png") as picture:
        assert np.array_equal(np.asarray(picture), images[5])
    service.refused(1, "exists already", "augment", str(bundle), "--into", str(folder))


def test_a_chain_of_jobs_counts_on_and_tells_where_it_comes_from(
    service: InProcess, spec_file: SpecFile, tmp_path: Path
) -> None:
    """Text 004's "continued" runs counted from zero again, without the optimisers, from other runs than they said."""
    short: dict[str, Any] = {"report_every_images": 640, "checkpoints": {"every_images": 640, "keep_last": 5}}
    whole = service.train(spec_file("whole", images=2560, **short))
    first = service.train(spec_file("first", images=1280, **short))
    second = service.train(spec_file("second", images=2560, **short), "--from", f"{first}@final")
    third = service.train(
        spec_file("third", images=3200, **short), "--from", f"{second}@1920", "--set", "recipe.optimiser_d.lr=5e-5"
    )
    assert [service.events(job_id, "started")[0].detail["images"] for job_id in (second, third)] == [1280, 1920]
    submitted = service.events(third, "submitted")[0].detail
    assert submitted["continues"] == second
    assert submitted["changes"]["recipe.optimiser_d.lr"] == [0.0002, 5e-05]

    lineage = service.ok("show", third).split("lineage\n")[1].split("\n\n")[0]
    assert lineage.index(first) < lineage.index(f"-> {second}") < lineage.index(f"-> {third}")
    assert "recipe.optimiser_d.lr: 0.0002 -> 5e-05" in lineage
    service.ok("fetch", third, "--into", "bundle", cwd=tmp_path)
    told = [json.loads(line) for line in (tmp_path / "bundle" / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in told] == [640, 1280, 1920, 2560, 3200]
    assert told[-1]["epochs"] == 3200 / 60_000

    # One run of the whole length comes to the same generator, bit by bit.
    assert service.weights(whole) == service.weights(second)

    anew = service.train(spec_file("anew", images=640, **short), "--from", first, "--weights-only")
    assert service.events(anew, "started")[0].detail["images"] == 0
    other = (spec_file("other", images=9999, **short), "--from", first, "--set", "recipe.latent_size=33")
    service.refused(2, "recipe.latent_size: 32 there, 33 here", "submit", *other)


def test_other_networks_begin_with_the_weights_that_fit(service: InProcess, spec_file: SpecFile) -> None:
    short: dict[str, Any] = {"images": 640, "report_every_images": 640}
    first = service.train(spec_file("first", **short))
    other = (spec_file("other", **short), "--from", first, "--weights-only", "--set", "recipe.latent_size=33")
    told = service.ok("submit", *other, "--dry-run")
    line = next(line for line in told.splitlines() if line.startswith("generator.") and "33" in line)
    assert line.endswith("there; begins at random")
    assert "discriminator: takes " in told
    document = json.loads(service.ok("submit", *other, "--dry-run", "-o", "json"))
    assert line in document["transfer"]

    job_id = service.train(*other)
    [event] = service.events(job_id, "transferred")
    assert 0 < event.detail["share_g"] < event.detail["share_d"] == 1
    assert line in service.ok("logs", job_id)
    assert f"from {first} weights that fit, counting anew" in service.ok("show", job_id)
    frozen = (*other, "--set", "recipe.freeze_d=1000", "--dry-run")
    service.refused(2, "recipe.freeze_d: found 1000, but D has ", "submit", *frozen)


def test_a_gan_in_the_plane_counts_its_modes(service: InProcess) -> None:
    config = Path(__file__).parents[3] / "configs" / "ring2d.yaml"
    job_id = service.train(str(config), "--set", "images=25600", "--set", "report_every_images=12800")
    progress = service.job(job_id).progress
    assert progress
    assert service.job(job_id).state is State.SUCCEEDED
    assert progress.modes is not None
    assert 0 <= progress.modes <= 8
    assert "modes" in service.ok("show", job_id)
    service.refused(2, f"the generator of {job_id} makes points in the plane", "recover", job_id)
    service.refused(2, f"the generator of {job_id} knows no classes", "sample", job_id, "--class", "1")
