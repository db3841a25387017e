"""A real Prometheus scrapes a real training: every panel of every dashboard has data, and every rule works."""

import json
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Stack
from tests.specs import JUDGING

Eventually = Callable[..., Any]
DASHBOARDS = sorted(Path("deploy/kubernetes/ganservice/files/dashboards").glob("*.json"))
Ask = Callable[[str], list[Any]]


def answers(stack: Stack, path: str, **arguments: str) -> Any:
    port = json.loads((stack.state_dir / "identity.json").read_text())["ports"]["prometheus"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}") as answer:
        return json.load(answer)["data"]


@pytest.fixture(scope="module")
def ask(stack: Stack) -> Ask:
    return lambda expression: list(answers(stack, "query", query=expression)["result"])


@pytest.fixture(scope="module")
def watched(
    stack: Stack, import_shapes: Callable[[str], str], ask: Ask, eventually: Eventually, tmp_path_factory: Any
) -> str:
    """A job that runs and has been evaluated twice, as Prometheus knows."""
    spec = {
        "name": "watched",
        "images": 10**9,
        "report_every_images": 3_200,
        "recipe": {
            "data": {"dataset": import_shapes("watched"), "image_size": 16, "channels": 1},
            "generator": {"kind": "mlp", "widths": [64]},
            "discriminator": {"kind": "mlp", "widths": [64]},
            "batch_size": 32,
        },
        "checkpoints": {"every_images": 32_000, "keep_last": 1},
        "evaluate": {"every_images": 32_000, "judging": JUDGING},
    }
    path = tmp_path_factory.mktemp("specs") / "watched.yaml"
    path.write_text(json.dumps(spec))
    job_id = stack.ok("submit", str(path))
    changes = f'changes(ganservice_job_quality_images{{job_id="{job_id}"}}[10m]) > 0'
    eventually(lambda: ask(changes), within_s=600)
    return job_id


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_a_dashboard_has_data(page: Path, ask: Ask, watched: str) -> None:
    variables = {"$jobs": watched, "$job": watched, "$protocol": ".*", "$__range": "1h"}
    for panel in json.loads(page.read_text())["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in variables.items():
                expression = expression.replace(name, value)
            # There is no GPU here to be busy.
            assert ask(expression) or "job_gpu_" in expression, f"{panel['title']}: {expression}"


def test_every_rule_is_evaluated_and_none_fires_without_cause(stack: Stack, watched: str) -> None:
    [group] = answers(stack, "rules")["groups"]
    rules = {rule["name"]: rule for rule in group["rules"]}
    assert {rule["health"] for rule in rules.values()} == {"ok"}
    assert len(rules) >= 17
    told = {alert["labels"]["alertname"] for alert in answers(stack, "alerts")["alerts"]}
    # Other tests of this stack fail jobs and kill servers on purpose, and this machine's disk is not ours to judge.
    of_others = {"JobsGivenUp", "RetriesBurning", "TrainingDiverged", "TrainingCollapsed"}
    assert told <= of_others | {"BrokerErrors", "StoreErrors", "DiskFilling"}
    assert not [a for a in answers(stack, "alerts")["alerts"] if a["labels"].get("job_id") == watched]
