"""What a user learns of the worth of a generator, by evaluation jobs through the queue."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.conftest import Stack
from tests.specs import CLASSES, write_judged_spec


def test_a_training_is_judged_while_it_runs_and_the_best_generator_is_fetched(
    stack: Stack, import_shapes: Callable[[str], str], tmp_path: Path
) -> None:
    training = stack.ok("submit", write_judged_spec(tmp_path, "judged", import_shapes("judged")))
    stack.ok("wait", training)
    for event in stack.events(training, "evaluation_submitted"):
        stack.ok("wait", event.detail["job"])
    shown = json.loads(stack.ok("show", training, "--artifacts", "-o", "json"))
    evaluations = shown["evaluations"]
    assert [found["images"] for found in evaluations] == [1_920, 3_840]
    assert len({json.dumps(found["protocol"]) for found in evaluations}) == 1
    assert evaluations[0]["class_accuracies"].keys() == set(CLASSES)
    # A checkpoint that was evaluated and was the best by then is still there.
    distances = {found["images"]: found["measures"]["classifier_frechet_distance"] for found in evaluations}
    best = min(distances, key=lambda images: distances[images])
    kept = {int(Path(key).stem) for key in shown["artifacts"] if key.endswith(".pt")}
    assert {1_920, best, 3_840} <= kept

    fetched = json.loads(stack.ok("fetch", training, "--into", "best", "-o", "json", cwd=tmp_path))["manifest"]
    assert fetched["images"] == best
    assert fetched["evaluation"]["measures"]["classifier_frechet_distance"] == distances[best]
    last = json.loads(
        stack.ok("fetch", training, "--checkpoint", "final", "--into", "last", "-o", "json", cwd=tmp_path)
    )["manifest"]
    assert (last["images"], last["evaluation"]) == (3_840, None)
    assert "the best" in stack.ok("show", training)
    stack.ok("sample", "best", "-n", "4", "--class", "discs", cwd=tmp_path)

    # Both may have begun at once, and trained one each.
    said = [event.detail for found in evaluations for event in stack.events(found["by"], "classifier_trained")]
    assert said
    assert said[0]["accuracy"] > 0.9
