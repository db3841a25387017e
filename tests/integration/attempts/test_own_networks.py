"""A user's own networks all the way: from the folder beside a spec to a generator that runs without them."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ganservice.job import Reason, State
from ganservice.settings import Settings
from tests.integration.attempts.in_process import InProcess, serve
from tests.integration.broker import Broker
from tests.specs import SHORT

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLE = Path(__file__).parents[2] / "own_networks" / "my_networks"
OWN: dict[str, Any] = {
    "data": {"dataset": "own-shapes", "image_size": 16, "channels": 1},
    "code": "./my_networks",
    "generator": {"kind": "own", "function": "generator", "options": {"width": 4}},
    "discriminator": {"kind": "own", "function": "discriminator", "options": {"width": 4}},
    "conditioning": {"classes": 2},
    "latent_size": 8,
    "batch_size": 32,
    "precision": "fp32",
}
# Of the README of a bundle; neither this project nor the user's folder is there.
USE = """
import sys
sys.modules.update(dict.fromkeys(["ganservice", "workers", "torch", "my_networks"]))
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("bundle/generator.onnx")
latents = np.zeros((3, 8), np.float32)
(images,) = session.run(["images"], {"latents": latents, "labels": np.array([0, 1, 1])})
print(images.shape, abs(images[0] - images[1]).max() > 0, abs(images[1] - images[2]).max() == 0)
"""


@pytest.fixture(scope="module")
def service(
    valkey: Broker, fashion_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InProcess]:
    """One whose operator has users' own networks run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANSERVICE_OWN_CODE", "true")
        with serve(valkey, fashion_settings, tmp_path_factory.mktemp("state")) as service:
            yield service


@pytest.fixture(scope="module", autouse=True)
def _shapes(import_shapes: Callable[[str], str]) -> None:
    import_shapes("own-shapes")


@pytest.fixture
def spec(spec_file: Callable[..., str], tmp_path: Path) -> str:
    """A spec with the folder of networks beside it, which a test may change."""
    shutil.copytree(EXAMPLE, tmp_path / "my_networks")
    return spec_file("own", recipe=OWN, **SHORT)


def test_a_folder_of_networks_is_trained_killed_resumed_judged_fetched_and_needed_no_more(
    service: InProcess, spec: str, tmp_path: Path
) -> None:
    job_id = service.ok("submit", spec)
    shutil.rmtree(tmp_path / "my_networks")  # the store has what every attempt will run
    assert service.die_at(1_920, job_id, MemoryError("the machine is full")).state is State.QUEUED
    job = service.finish(job_id)
    assert (job.state, job.attempt, job.images) == (State.SUCCEEDED, 2, 3_840)
    code = service.store.get_spec(job_id).recipe.code
    assert code
    assert (code.folder, len(code.digest or "")) == ("my_networks", 64)
    assert f"my_networks ({code.digest})" in service.ok("show", job_id)

    judged = service.finish(service.ok("evaluate", job_id, "--samples", "100", "--measures", "frechet"))
    assert judged.state is State.SUCCEEDED, judged.message
    service.ok("fetch", job_id, "--into", "bundle", cwd=tmp_path)
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["lineage"]["code_digest"] == code.digest
    assert {"code.json", "generator.onnx"} <= set(manifest["files"])
    service.ok("sample", "bundle", "--class", "discs", cwd=tmp_path)
    used = subprocess.run([sys.executable, "-c", USE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert used.stdout.strip() == "(3, 1, 16, 16) True True", used.stderr


def test_what_is_fetched_runs_nobodys_code_unasked(
    service: InProcess, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.train(spec)
    service.ok("fetch", job_id, "--into", "bundle", cwd=tmp_path)
    service.ok("sample", "bundle", cwd=tmp_path)  # a job on this machine has run it
    elsewhere = {"GANSERVICE_CACHE_DIR": str(tmp_path / "cache")}
    for source in ("./bundle", job_id):
        refused = service.ganctl("sample", source, cwd=tmp_path, GANSERVICE_OWN_CODE="false", **elsewhere)
        assert refused.returncode == 2
        assert "(code.json) would run with your rights; set GANSERVICE_FOLDER_CODE=true" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    # Nor does one that the queue no longer knows say whose files these are.
    with monkeypatch.context() as patch:
        patch.setattr("workers.bundle._code_of", lambda *_: "0" * 64)
        assert service.ganctl("sample", job_id, cwd=tmp_path, **elsewhere).returncode == 2
    # An operator's leave for jobs is none for what a stranger sends in a folder.
    assert service.ganctl("sample", "./bundle", cwd=tmp_path, **elsewhere).returncode == 2
    assert not (tmp_path / "cache" / "code").exists()
    allowed = service.ganctl("sample", "./bundle", cwd=tmp_path, GANSERVICE_FOLDER_CODE="true", **elsewhere)
    assert allowed.returncode == 0, allowed.stderr


def test_an_operator_who_does_not_allow_it_runs_none(
    service: InProcess, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.ok("submit", spec)
    monkeypatch.setattr(service, "_settings", service.settings.model_copy(update={"own_code": False}))
    job = service.attempt(job_id)
    assert (job.state, job.reason) == (State.FAILED, Reason.NETWORK)
    assert "users' own networks are not run here" in str(job.message)


@pytest.mark.parametrize(
    ("sound", "broken", "told"),
    [
        ("from torch import cat", "import no_such_package\nfrom torch import cat", "ModuleNotFoundError"),
        (".tanh()", "", "generator: makes numbers up to"),
        ("logits if labels is None", "logits[:, None] if True", "expected [4]"),
    ],
)
def test_a_broken_one_is_refused_before_its_first_step_and_never_again(
    service: InProcess, spec: str, tmp_path: Path, sound: str, broken: str, told: str
) -> None:
    path = tmp_path / "my_networks" / "__init__.py"
    changed = path.read_text().replace(sound, broken)
    if not broken:
        changed = changed.replace("self.body(self.seed", "99 * self.body(self.seed")
    path.write_text(changed)
    tried = service.ganctl("submit", spec, "--dry-run")
    assert (tried.returncode, tried.stderr.count("\n")) == (2, 1)
    assert told in tried.stderr
    job = service.attempt(service.ok("submit", spec))
    assert (job.state, job.reason, job.images) == (State.FAILED, Reason.NETWORK, 0)
    assert told in str(job.message)
    assert not service.events(job.id, "progress")


def test_networks_that_no_graph_can_hold_are_published_without_one(
    service: InProcess, spec: str, tmp_path: Path
) -> None:
    path = tmp_path / "my_networks" / "__init__.py"
    path.write_text(
        path.read_text().replace(
            "return self.body(self.seed(self.start(inputs))).tanh()",
            "return self.body(self.seed(self.start(inputs))).tanh() if len(inputs) < 9_999 else inputs.nonexistent()",
        )
    )
    job_id = service.train(spec)
    assert service.job(job_id).state is State.SUCCEEDED
    service.ok("fetch", job_id, "--into", "bundle", cwd=tmp_path)
    assert not (tmp_path / "bundle" / "generator.onnx").exists()
    assert "could not be written as ONNX" in (tmp_path / "bundle" / "README.md").read_text()
    assert "the generator is published without generator.onnx" in service.ok("logs", job_id)
    service.ok("sample", "bundle", cwd=tmp_path)


def test_the_example_of_the_handbook_trains(service: InProcess, tmp_path: Path) -> None:
    page = (DOCS / "networks.md").read_text()
    code, asked = (re.findall(f"```{kind}\n(.*?)```", page, re.DOTALL)[0] for kind in ("python", "yaml"))
    (tmp_path / "my_networks").mkdir()
    (tmp_path / "my_networks" / "__init__.py").write_text(code)
    (tmp_path / "my.yaml").write_text(asked)
    assert len(code.splitlines()) <= 40
    job_id = service.train(str(tmp_path / "my.yaml"), "--set", "images=1280")
    assert service.job(job_id).state is State.SUCCEEDED, service.job(job_id).message


def test_the_plan_counts_the_networks_of_a_folder(service: InProcess, spec: str) -> None:
    plan = json.loads(service.ok("submit", spec, "--dry-run", "-o", "json"))
    embedding, seed, body = 2 * 8, 17 * 256, 9 * (16 * 8 + 8 * 4 + 4) + 8 + 4 + 1
    assert plan["sizes"]["parameters_g"] == embedding + seed + body
