"""What a training leaves behind, from the real graph to the last line of its log."""

import json
from collections.abc import Callable
from pathlib import Path

from ganservice.job import State
from tests.integration.attempts.in_process import InProcess
from tests.specs import SHORT


def test_what_is_published_is_what_was_trained(
    service: InProcess, spec_file: Callable[..., str], tmp_path: Path
) -> None:
    job_id = service.train(spec_file("short", **SHORT))
    job = service.job(job_id)
    assert (job.state, job.images, job.attempt) == (State.SUCCEEDED, 3_840, 1)
    fetched = json.loads(service.ok("fetch", job_id, "--into", "bundle", "-o", "json", cwd=tmp_path))["manifest"]
    assert fetched["images"] == 3_840
    assert set(fetched["files"]) | {"manifest.json"} == {path.name for path in (tmp_path / "bundle").iterdir()}
    assert {"generator.safetensors", "generator.onnx", "recipe.yaml", "metrics.jsonl", "samples.png"} <= set(
        fetched["files"]
    )
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["metrics"]["images"] == 3_840
    assert manifest["lineage"]["job_id"] == job_id
    lines = (tmp_path / "bundle" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["images"] for line in lines] == list(range(640, 3_841, 640))

    kinds = [json.loads(line)["kind"] for line in service.ok("events", job_id, "-o", "json").splitlines()]
    assert (kinds[:3], kinds[-1]) == (["submitted", "leased", "started"], "succeeded")
    assert "checkpoint at 3,840 images" in service.ok("logs", job_id)
    names = {Path(key).name for key in service.store.keys(job_id)}
    assert {"spec.yaml", "000000003840.pt", "000000001280.png", "000000003840.png", "000000003840.jsonl"} <= names
