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
INHIBITIONS: list[dict[str, Any]] = yaml.safe_load(CONFIG.read_text())["inhibit_rules"]


def amtool(*arguments: str | Path) -> str:
    """What amtool says, where it finds nothing wrong."""
    assert shutil.which("amtool"), "these tests take amtool: install Debian's package prometheus-alertmanager"
    done = subprocess.run(["amtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


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
    assert amtool("config", "routes", "test", f"--config.file={filled_in}", *labels) == receiver


def test_every_alert_that_is_named_is_there() -> None:
    matchers = [each for rule in INHIBITIONS for key in rule if key.endswith("matchers") for each in rule[key]]
    named = {name for each in matchers if each.startswith("alertname") for name in re.findall(r"\b[A-Z]\w+", each)}
    assert named <= set(ALERTS)
    assert {"BrokerDown", "StoreDown", "NoLeader", "ExporterDown", "NodesLost"} <= named
