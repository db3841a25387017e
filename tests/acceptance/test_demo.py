"""`make demo`, with a spec that takes seconds."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack
from tests.specs import write_spec

ROOT = Path(__file__).parents[2]
Demo = Callable[[], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def demo(stack: Stack, import_shapes: Callable[[str], str], tmp_path: Path) -> Demo:
    """Runs the demo with the stack and the interpreter of the tests."""
    data = {"dataset": import_shapes("demo"), "image_size": 16, "channels": 1}
    recipe = {
        "data": data, "latent_size": 16, "batch_size": 32,
        "generator": {"kind": "mlp", "widths": [32]}, "discriminator": {"kind": "mlp", "widths": [32]},
    }  # fmt: skip
    path = write_spec(tmp_path, "demo", images=1_280, recipe=recipe)

    def make() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "make", "demo", "--old-file=.venv/installed", f"RECIPE={path}", f"DEMO={tmp_path / 'made'}",
                f"GANCTL={sys.executable} -m ganservice.cli",
            ],
            env={**os.environ, **stack.environment, "COLORTERM": "truecolor", "FORCE_COLOR": "1", "TERM": "xterm"},
            cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip

    return make


def test_the_demo_ends_with_a_grid_a_page_and_a_distance_and_does_nothing_twice(
    demo: Demo, stack: Stack, tmp_path: Path
) -> None:
    done = demo()
    assert done.returncode == 0, done.stderr
    job_id = (tmp_path / "made" / "job").read_text().strip()
    assert f"{job_id} has succeeded" in done.stderr
    assert "▀" in done.stderr
    evaluation = stack.queue().evaluations(job_id)[0]
    assert f"Frechet distance:  {evaluation.quality:.4g} " in done.stdout
    for made in (f"{job_id}.png", f"{job_id}.html", f"{job_id}/manifest.json", f"{job_id}/generator.onnx"):
        assert (tmp_path / "made" / made).exists()
    submitted = stack.queue().totals()["submitted"]
    again = demo()
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert stack.queue().totals()["submitted"] == submitted, "nothing is trained or judged twice"


def test_a_demo_whose_job_was_cancelled_takes_it_up_again(demo: Demo, stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(path.read_text() + "seed: 1\n")
    job_id = stack.ok("submit", str(path), "--once")
    stack.ok("cancel", job_id, "--now")
    done = demo()
    assert done.returncode == 0, done.stderr
    assert f"{job_id} has succeeded" in done.stderr
