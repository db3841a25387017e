"""A training whose checkpoints several networks judge."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ganservice.evaluation import best_of
from ganservice.job import Reason, State
from tests.integration.attempts.in_process import InProcess
from tests.integration.attempts.onnx_files import write_network
from tests.specs import JUDGING, write_judged_spec

pytestmark = pytest.mark.usefixtures("quick_bundles")


def test_further_judges_look_at_each_checkpoint_and_choose_nothing(
    service: InProcess, import_shapes: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.gan.evaluation.classifier.LEAST_STEPS", 30)
    sha256 = write_network(tmp_path / "own.onnx")
    put = service.ganctl("networks", "put", str(tmp_path / "own.onnx"))
    key = put.stdout.strip()
    assert key == f"networks/{sha256}.onnx"
    assert f"--network onnx --weights {key}" in put.stderr
    own = {"network": "onnx", "weights": {"source": key, "sha256": sha256}, "scaling": {"mean": [0.5], "std": [0.5]}}
    asked = {"every_images": 1_920, "judging": JUDGING, "also": ["pixels", own]}
    training = service.train(write_judged_spec(tmp_path, "several", import_shapes("several"), evaluate=asked))
    submitted = service.events(training, "evaluation_submitted")
    assert [(event.detail["images"], event.detail["network"]) for event in submitted] == [
        (images, network) for images in (1_920, 3_840) for network in ("classifier", "pixels", "onnx")
    ]
    # The further ones come first, and yet the first judge chooses.
    for event in reversed(submitted):
        assert service.finish(event.detail["job"]).state is State.SUCCEEDED
    evaluations = service.queue().evaluations(training)
    by_network = {(each.images, each.protocol.network): each for each in evaluations}
    assert len(by_network) == 6
    for (_, network), found in by_network.items():
        assert found.advisory == (network != "classifier")
        assert found.generator is None or network == "classifier"
        assert found.has_quality
        if found.advisory:
            assert list(found.measures) == [f"{network}_frechet_distance"]
    assert by_network[1_920, "onnx"].protocol.network_digest == sha256
    assert by_network[1_920, "onnx"].protocol.resize == "bilinear 16 x 16, less 0.5, over 0.5"
    best = best_of(evaluations)
    assert best
    assert best.protocol.network == "classifier"
    service.ok("fetch", training, "--into", "best", cwd=tmp_path)
    assert json.loads((tmp_path / "best" / "manifest.json").read_text())["chosen_by"] == "classifier_frechet_distance"
    # By hand, with more measures: of the pixels all but what takes classes.
    by_hand = service.ok("evaluate", training, "--network", "pixels", "-n", "200")
    assert service.finish(by_hand).state is State.SUCCEEDED
    [measured] = [each for each in service.queue().evaluations(training) if each.by == by_hand]
    assert {"pixels_precision", "pixels_kernel_distance", "pixels_support"} <= set(measured.measures)
    assert "pixels_score" not in measured.measures
    assert "best by classifier_frechet_distance" in service.ganctl("compare", training).stderr


def test_a_file_that_is_no_network_is_told_in_one_line(
    service: InProcess, import_shapes: Callable[[str], str], tmp_path: Path
) -> None:
    training = service.train(write_judged_spec(tmp_path, "bad", import_shapes("bad"), evaluate=None))
    (tmp_path / "bad.onnx").write_bytes(b"\xff" * 100)
    key = service.ok("networks", "put", str(tmp_path / "bad.onnx"))
    scaled = ("--mean", "0.5", "--std", "0.25")
    wrong = service.ok("evaluate", training, "--network", "onnx", "--weights", key, *scaled, "-n", "150")
    assert service.attempt(wrong).reason is Reason.DATA
    assert "is no file of ONNX" in (service.job(wrong).message or "")
    service.refused(2, "scaling: is for network: onnx", "evaluate", training, "--network", "pixels", *scaled)
    service.refused(2, "--weights and --sha256 are for --network", "evaluate", training, "--weights", key)
