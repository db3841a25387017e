"""What a user learns of the worth of a generator, by evaluation jobs through the queue."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Stack
from tests.specs import CLASSES, JUDGING

Eventually = Callable[..., Any]
SpecFile = Callable[..., str]


@pytest.fixture(scope="module")
def training(stack: Stack, import_shapes: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A training that had a checkpoint and its end evaluated."""
    spec = {
        "name": "judged",
        "images": 3_840,
        "report_every_images": 640,
        "recipe": {
            "data": {"dataset": import_shapes("judged"), "image_size": 16, "channels": 1},
            "latent_size": 8,
            "generator": {"kind": "mlp", "widths": [64]},
            "discriminator": {"kind": "mlp", "widths": [64]},
            "conditioning": {"classes": 2},
            "batch_size": 32,
        },
        "checkpoints": {"every_images": 640, "keep_last": 1},
        "evaluate": {"every_images": 1_920, "judging": JUDGING},
    }
    path = tmp_path_factory.mktemp("specs") / "judged.yaml"
    path.write_text(json.dumps(spec))
    job_id = stack.ok("submit", str(path))
    stack.ok("wait", job_id)
    for event in stack.events(job_id, "evaluation_submitted"):
        stack.ok("wait", event.detail["job"])
    return job_id


def shown(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    evaluations: list[dict[str, Any]] = json.loads(stack.ok("show", job_id, "-o", "json"))["evaluations"]
    return evaluations


def as_asked(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """Without those of other protocols: tests come in any order, and one looks with other numbers of samples."""
    return [found for found in shown(stack, job_id) if found["protocol"]["samples"] == JUDGING["samples"]]


def test_a_training_is_judged_while_it_runs_and_the_best_generator_is_fetched(
    stack: Stack, training: str, tmp_path: Path
) -> None:
    evaluations = as_asked(stack, training)
    assert [found["images"] for found in evaluations] == [1_920, 3_840]
    assert len({json.dumps(found["protocol"]) for found in evaluations}) == 1
    assert evaluations[0]["class_accuracies"].keys() == set(CLASSES)
    # A checkpoint that was evaluated and was the best by then is still there.
    distances = {found["images"]: found["measures"]["classifier_frechet_distance"] for found in evaluations}
    best = min(distances, key=lambda images: distances[images])
    kept = {
        int(Path(key).stem)
        for key in json.loads(stack.ok("show", training, "-o", "json"))["artifacts"]
        if key.endswith(".pt")
    }
    assert {1_920, best, 3_840} <= kept

    fetched = json.loads(stack.ok("fetch", training, "--into", "best", "-o", "json", cwd=tmp_path))
    assert fetched["images"] == best
    assert fetched["evaluation"]["measures"]["classifier_frechet_distance"] == distances[best]
    last = json.loads(
        stack.ok("fetch", training, "--checkpoint", "final", "--into", "last", "-o", "json", cwd=tmp_path)
    )
    assert (last["images"], last["evaluation"]) == (3_840, None)
    assert "the best" in stack.ok("show", training)
    stack.ok("sample", "best", "-n", "4", "--class", "discs", cwd=tmp_path)

    # Both may have begun at once, and trained one each.
    said = [event.detail for found in evaluations for event in stack.events(found["by"], "classifier_trained")]
    assert said
    assert said[0]["accuracy"] > 0.9


def test_evaluating_the_best_again_keeps_its_generator(stack: Stack, training: str) -> None:
    before = {found["images"]: found for found in as_asked(stack, training)}
    measures = [f"--measures={measure}" for measure in JUDGING["measures"]]
    evaluation = stack.ok("evaluate", training, "--checkpoint", "best", "-n", "200", *measures, "--watch")
    # The classifier is in the store for all evaluations that follow.
    assert not stack.events(evaluation, "classifier_trained")
    after = {found["images"]: found for found in as_asked(stack, training)}
    [again] = [images for images in after if after[images]["by"] != before[images]["by"]]
    assert before[again]["generator"]
    assert after[again]["generator"] == before[again]["generator"]


def test_numbers_of_unlike_protocols_are_not_compared(stack: Stack, training: str, tmp_path: Path) -> None:
    stack.ok("fetch", training, "--checkpoint", "final", "--into", "other", cwd=tmp_path)
    judge = ("-n", "150", "--measures", "frechet", "--measures", "copying", "--watch")
    before = len(shown(stack, training))
    evaluation = stack.ok("evaluate", "other", *judge, cwd=tmp_path)
    found = shown(stack, training)
    assert len(found) == before + 1
    assert found[-1]["by"] == evaluation
    assert found[-1]["generator"] is None
    # A look aside changes nothing of what is best, so that a training compares with itself.
    assert "classifier_recall" in stack.ok("compare", training, training)

    listed = next(line for line in stack.ok("list").splitlines() if line.startswith(evaluation))
    assert f"of {training} at 3,840 images" in listed

    alone = stack.ok("submit", str(tmp_path / "other" / "recipe.yaml"), "--set", "evaluate=null", "--set", "images=640")
    stack.refused(1, f"{alone} was never evaluated", "compare", training, alone)
    stack.ok("wait", alone)
    stack.ok("evaluate", alone, "-n", "160", *judge[2:])
    stack.refused(2, "samples: 200 and 160", "compare", training, alone)
    # Under the protocol that both share they compare, whatever else each was judged by.
    stack.ok("evaluate", alone, *judge)
    assert "150 samples" in stack.ganctl("compare", training, alone).stderr


def test_mistakes_of_an_evaluation_are_one_line(stack: Stack, training: str, tmp_path: Path) -> None:
    stack.refused(1, "it keeps checkpoints at", "evaluate", training, "--checkpoint", "7")
    stack.refused(2, "expected final, best or a number", "evaluate", training, "--checkpoint", "last")
    stack.refused(2, "--weights: missing; a file or its URL", "evaluate", training, "--network", "inception_v3")
    stack.refused(2, "samples: ", "evaluate", training, "-n", "3")
    stack.refused(102, "neither the queue nor the store knows a job nobody", "evaluate", "nobody")
    stack.refused(102, "no job has the id or name nobody", "compare", "nobody")
    stack.refused(2, "there is no such folder", "evaluate", "./nobody")
    wrong = stack.ganctl(
        "evaluate", training, "--network", "inception_v3", "--weights", str(tmp_path / "none"), "--sha256", "0" * 64,
        "--watch",
    )  # fmt: skip
    assert wrong.returncode == 100
    assert f"{tmp_path / 'none'}: cannot be read" in wrong.stderr
