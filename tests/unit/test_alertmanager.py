"""Who is told of which alert, by Alertmanager's own tool."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.rules import ALERTS

CONFIG = Path("deploy/alertmanager/alertmanager.yaml")
OURS = 'service = "ganservice"'
INHIBITIONS: list[dict[str, Any]] = yaml.safe_load(CONFIG.read_text())["inhibit_rules"]


def amtool(*arguments: str | Path) -> str:
    """What amtool says, where it finds nothing wrong."""
    assert shutil.which("amtool"), "these tests take amtool: install Debian's package prometheus-alertmanager"
    done = subprocess.run(["amtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def route(config: Path, *labels: str) -> str:
    """The receiver of an alert with these labels."""
    return amtool("config", "routes", "test", f"--config.file={config}", *labels)


@pytest.fixture
def filled_in(tmp_path: Path) -> Path:
    """The file with every example taken."""
    path = tmp_path / "alertmanager.yaml"
    text, count = re.subn(r"^( *)#\| ", r"\1", CONFIG.read_text(), flags=re.MULTILINE)
    assert count
    path.write_text(text)
    return path


def test_the_file_is_valid_as_it_is_and_with_every_example(filled_in: Path) -> None:
    amtool("check-config", CONFIG)
    amtool("check-config", filled_in)
    [ada, operator] = yaml.safe_load(filled_in.read_text())["receivers"]
    assert len(operator) > 4
    assert ada["email_configs"]


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=BrokerDown", "severity=critical"), "operator"),
        (("alertname=DiskFilling", "severity=warning"), "operator"),
        (("alertname=JobGivenUp", "severity=warning", "job_id=j", "user=bob"), "operator"),
        (("alertname=JobGivenUp", "severity=warning", "job_id=j", "user=ada"), "ada"),
    ],
)
def test_who_is_told(labels: tuple[str, ...], receiver: str, filled_in: Path) -> None:
    assert route(filled_in, "service=ganservice", *labels) == receiver


@pytest.mark.parametrize("label", ["severity=critical", "job_id=j", "user=ada"])
def test_in_an_alertmanager_that_serves_others_too_theirs_go_where_they_did(
    label: str, filled_in: Path, tmp_path: Path
) -> None:
    config = yaml.safe_load(filled_in.read_text())
    for each in config["route"]["routes"]:
        each.setdefault("receiver", config["route"]["receiver"])
    config["route"]["receiver"] = "theirs"
    config["receivers"].append({"name": "theirs"})
    shared = tmp_path / "shared.yaml"
    shared.write_text(yaml.safe_dump(config))
    assert route(shared, "alertname=TheirOwn", "service=theirs", label) == "theirs"
    assert route(shared, "alertname=TheirOwn", label) == "theirs"
    assert route(shared, "alertname=BrokerDown", "service=ganservice", label) != "theirs"
    assert route(shared, "alertname=DiskFilling", "service=ganservice", "severity=warning") == "operator"


def test_nothing_of_others_is_silenced_or_silences() -> None:
    for rule in INHIBITIONS:
        assert OURS in rule["source_matchers"], rule
        assert OURS in rule["target_matchers"], rule


def test_every_alert_that_is_named_is_there() -> None:
    matchers = [each for rule in INHIBITIONS for key in rule if key.endswith("matchers") for each in rule[key]]
    named = {name for each in matchers if each.startswith("alertname") for name in re.findall(r"\b[A-Z]\w+", each)}
    assert named <= set(ALERTS)
    assert {"BrokerDown", "StoreDown", "NoLeader", "ExporterDown", "NodesLost"} <= named
