"""What a user does with jobs, from submit to the pictures."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from PIL import Image

from ganservice.job import Health, State
from tests.acceptance.conftest import Stack

Eventually = Callable[..., Any]
SpecFile = Callable[..., str]

WITHOUT_THIS_PROJECT = """
import sys
import numpy, onnxruntime
arrays = numpy.load("arrays.npz")
session = onnxruntime.InferenceSession("generator/generator.onnx")
(images,) = session.run(["images"], {"latents": arrays["latents"]})
assert not {"ganservice", "workers", "torch"} & set(sys.modules)
print(abs(images - arrays["images"]).max())
"""


def test_from_submit_to_pictures_without_this_project(stack: Stack, tmp_path: Path) -> None:
    """The whole way of the README, with the recipe of `make demo`, shortened."""
    config = Path(__file__).parents[2] / "configs" / "fashion-dcgan.yaml"
    changes = ("images=3200", "report_every_images=640", "samples.every_images=1600", "resources.cpus_per_worker=1")
    shorter = [f"--set={change}" for change in changes]
    done = stack.ganctl("submit", str(config), *shorter, "--watch")
    assert done.returncode == 0, done.stderr
    job_id = done.stdout.strip()
    assert "3,200 of 3,200 images" in done.stderr

    stack.ok("fetch", job_id, "--into", "generator", cwd=tmp_path)
    assert stack.ok("sample", "generator", "-n", "9", "--arrays", "arrays.npz", cwd=tmp_path) == "generator-samples.png"
    with Image.open(tmp_path / "generator-samples.png") as picture:
        assert picture.size == (8 * 30 + 2, 2 * 30 + 2)

    manifest = json.loads((tmp_path / "generator" / "manifest.json").read_text())
    assert manifest["metrics"]["images"] == 3200
    final = stack.ok(
        "sample", "generator", "--seed", str(manifest["lineage"]["seed"]), "--into", "final.png", cwd=tmp_path
    )
    # The picture of the bundle is of the very weights in it, not of some step before.
    with Image.open(tmp_path / final) as drawn, Image.open(tmp_path / "generator" / "samples.png") as published:
        assert np.abs(np.asarray(drawn, np.int16) - np.asarray(published, np.int16)).max() <= 1

    script = subprocess.run(
        [sys.executable, "-c", WITHOUT_THIS_PROJECT], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert float(script.stdout) < 1e-4

    kinds = [json.loads(line)["kind"] for line in stack.ok("events", job_id, "-o", "json").splitlines()]
    assert kinds[:3] == ["submitted", "leased", "started"]
    assert kinds[-1] == "succeeded"
    assert "checkpoint at 3,200 images" in stack.ok("logs", job_id)
    shown = json.loads(stack.ok("show", job_id, "--artifacts", "-o", "json"))
    names = {Path(key).name for key in shown["artifacts"]}
    assert {"spec.yaml", "000000003200.pt", "000000003200.png", "000000003200.jsonl", "manifest.json"} <= names


def test_two_workers_reach_the_weights_of_one(stack: Stack, spec_file: SpecFile) -> None:
    changes = {"images": 3_200, "report_every_images": 320}
    pair = stack.ok("submit", spec_file("pair", resources={"workers": 2}, **changes))
    alone = stack.ok("submit", spec_file("alone", **changes))
    for job_id in (pair, alone):
        stack.ok("wait", job_id)
    theirs, mine = (safetensors.torch.load(stack.weights(job_id)) for job_id in (pair, alone))
    # Float sums in another order, amplified over 100 steps of Adam; the weights themselves are about 0.1.
    difference = max((theirs[name] - mine[name]).abs().max().item() for name in mine)
    assert difference < 1e-3
    assert difference > 0  # else the pair did not share the work at all


def test_a_cancelled_job_stops_after_a_checkpoint_and_retry_goes_on_from_it(
    stack: Stack, spec_file: SpecFile, eventually: Eventually
) -> None:
    job_id = stack.ok("submit", spec_file("stopped", images=10**9))
    eventually(lambda: stack.job(job_id).images > 0)
    stack.ok("cancel", job_id)
    assert stack.ganctl("wait", job_id).returncode == 103
    stopped_at = stack.job(job_id).checkpoint
    assert stopped_at
    stack.ok("retry", job_id)
    eventually(lambda: stack.job(job_id).images > stopped_at.images)
    assert stack.ganctl("wait", job_id, "--timeout", "0").returncode == 101
    stack.ok("cancel", job_id, "--now")
    assert stack.ganctl("wait", job_id).returncode == 103
    eventually(lambda: not stack.workers())


def test_a_loss_that_is_not_finite_sends_a_training_back(stack: Stack, spec_file: SpecFile) -> None:
    path = spec_file(
        "lost", images=12_800, report_every_images=640, checkpoints={"every_images": 640, "keep_last": 20},
        health={"action": "rollback", "max_rollbacks": 1},
    )  # fmt: skip
    job_id = stack.ok("submit", path, "--set", "recipe.optimiser_d.lr=1e30")
    assert stack.ganctl("wait", job_id).returncode == 100
    job = stack.job(job_id)
    assert (job.state, job.health, job.attempt) == (State.FAILED, Health.DIVERGED, 2)
    assert "not finite" in job.rollbacks[0].why
