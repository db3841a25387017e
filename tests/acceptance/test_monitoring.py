"""A real Prometheus scrapes a real training: every panel of every dashboard has data, and every rule works."""

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.prometheus import Prometheus
from deploy.grafana.tiles import panels_of, tiles
from ganservice.embedded.home import Home
from ganservice.metrics_server import basic_auth
from tests.acceptance.conftest import Stack
from tests.listeners import answers_strangers, is_private, ports_of, sockets_of
from tests.specs import JUDGING, write_judged_spec
from tests.unit.dashboards import PAGES

Eventually = Callable[..., Any]
# There is no GPU here, no alert need fire, no attempt need have failed, the spec asks for no kernel distance, and the
# data set holds no pictures out: tests/integration/test_dashboards.py has all.
NOTHING_HERE = {
    "Alerts", "GPUs", "GPUs busy", "GPU memory", "Retries by reason", "Kernel distance",
    "Gap between learned and held-out pictures", "Probability of each augmentation",
}  # fmt: skip
Ask = Callable[[str], list[Any]]


def get(stack: Stack, part: str, path: str) -> str:
    port = Home(stack.state_dir).identity().ports[part]
    password = (stack.state_dir / "metrics-password").read_text()
    headers = {"Authorization": basic_auth(password)}
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/{path}", headers=headers)) as answer:
        return str(answer.read().decode())


def answers(stack: Stack, path: str, **arguments: str) -> Any:
    return json.loads(get(stack, "prometheus", f"api/v1/{path}?{urllib.parse.urlencode(arguments)}"))["data"]


@pytest.fixture(scope="module")
def ask(stack: Stack) -> Ask:
    return lambda expression: list(answers(stack, "query", query=expression)["result"])


@pytest.fixture(scope="module")
def watched(
    stack: Stack, import_shapes: Callable[[str], str], ask: Ask, eventually: Eventually, tmp_path_factory: Any
) -> str:
    """A job that runs and has been evaluated twice, as Prometheus knows."""
    path = write_judged_spec(
        tmp_path_factory.mktemp("specs"), "watched", import_shapes("watched"), images=10**9, report_every_images=3_200,
        checkpoints={"every_images": 32_000, "keep_last": 1}, evaluate={"every_images": 32_000, "judging": JUDGING},
    )  # fmt: skip
    job_id = stack.ok("submit", path)
    changes = f'changes(ganservice_job_quality_images{{job_id="{job_id}"}}[10m]) > 0'
    eventually(lambda: ask(changes), within_s=600)
    return job_id


@pytest.fixture
def prometheus(stack: Stack) -> Prometheus:
    """That of the stack, now."""
    port = Home(stack.state_dir).identity().ports["prometheus"]
    return Prometheus(
        f"http://127.0.0.1:{port}", time.time(), 3600, scrape_s=5, password=stack.state_dir / "metrics-password"
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_panel_of_a_dashboard_has_data(name: str, prometheus: Prometheus, watched: str, ask: Ask) -> None:
    [protocol] = [found["metric"]["protocol"] for found in ask(f'ganservice_job_protocol{{job_id="{watched}"}}')]
    # By default a page shows the protocol that most jobs have, which may be that of other tests.
    values = prometheus.values(PAGES[name], {"job": watched, "protocol": protocol})
    for panel in panels_of(PAGES[name]):
        assert any(prometheus.ask(panel, values).values()) or panel["title"] in NOTHING_HERE, panel["title"]


def test_the_page_of_a_job_says_that_it_is_well(prometheus: Prometheus, watched: str) -> None:
    values = prometheus.values(PAGES["job"], {"job": watched})
    stats = {panel["title"]: panel for panel in panels_of(PAGES["job"]) if panel["type"] == "stat"}
    told = {title: str(tiles(panel, prometheus.ask(panel, values), time.time())[0]) for title, panel in stats.items()}
    assert told["State"] == "running (green)"
    assert (told["Reports"], told["Heartbeat"], told["Device"]) == ("as usual (green)", "beats (green)", "CPUs (plain)")
    assert told["Quality"] != "not evaluated (grey)"


def test_every_rule_is_evaluated_and_none_fires_without_cause(stack: Stack, watched: str) -> None:
    rules = [rule for group in answers(stack, "rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert len([rule for rule in rules if rule["type"] == "alerting"]) >= 33
    alerts = [alert["labels"] for alert in answers(stack, "alerts")["alerts"] if alert["state"] == "firing"]
    # Other tests of this stack fail jobs and kill servers on purpose, and this machine's disk is not ours to judge.
    of_service = {alert["alertname"] for alert in alerts if "job_id" not in alert}
    assert of_service <= {"RetriesBurning", "BrokerErrors", "StoreErrors", "DiskFilling"}
    # How well so small a training does is not ours to judge either.
    of_watched = {alert["alertname"] for alert in alerts if alert.get("job_id") == watched}
    assert of_watched <= {"TrainingCollapsed", "SuspectHealth", "QualityFalling"}
    assert not [alert for alert in alerts if "job_id" in alert and "name" not in alert]
    # Both commands ask this Prometheus, with its password.
    document = json.loads(stack.ganctl("doctor", "-o", "json").stdout)
    assert "alerts" not in {part["part"] for part in document["parts"]}
    assert stack.ganctl("list").returncode == 0


def test_the_exporter_shows_a_running_job(stack: Stack, watched: str) -> None:
    text = get(stack, "exporter", "metrics")
    samples = {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    for name in (
        "images", "trained_images_total", "images_per_second", "step_seconds", "checkpoint_seconds",
        "checkpoint_bytes", "heartbeat_age_seconds", "attempts", "progress_ratio",
    ):  # fmt: skip
        assert np.isfinite(samples[f"ganservice_job_{name}", frozenset({watched})]), name
    assert 0 < samples["ganservice_job_discriminator_probability", frozenset({watched, "real"})] < 1
    assert samples["ganservice_jobs", frozenset({"running"})] >= 1  # an evaluation may run beside it
    assert samples["ganservice_outcomes_total", frozenset({"succeeded"})] >= 0


def test_no_part_of_a_stack_answers_another_user_of_the_machine(stack: Stack, watched: str) -> None:
    assert watched  # while a gang runs, whose processes listen too
    processes = stack.processes()
    answering = {port: name for port, name in ports_of(processes).items() if answers_strangers(port)}
    assert answering == {}
    assert [path for path in sockets_of(processes) if not is_private(path)] == []
