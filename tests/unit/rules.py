"""The alerts that the project ships, and what Prometheus' own tool says of them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

RULES = Path("ganservice/prometheus/rules.yaml").absolute()
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
# Of one job are those that name it.
OF_JOBS = [name for name, rule in ALERTS.items() if "group_left (name, user" in rule["expr"]]
# What is always there; a case may say otherwise.
ALWAYS = {
    'ganservice_job_info{job_id="j", name="n", user="ada", kind="train"}': "1x1000",
    "ganservice_lease_seconds": "30x1000",
    "ganservice_stall_limit_seconds": "1800x1000",
}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What promtool says."""
    assert shutil.which("promtool"), "these tests take promtool: install Debian's package prometheus"
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


def labels_of(name: str, at: str, series: dict[str, str], folder: Path) -> list[str]:
    """The labels of each alert of that name that fires at a time, of series with a value a minute."""
    return re.findall(r"Labels:\{(alertname=.*)\}", _told(name, at, series, folder))


def summaries_of(name: str, at: str, series: dict[str, str], folder: Path) -> list[str]:
    """The summary of each of them."""
    return re.findall(r'summary="(.*?)"\}', _told(name, at, series, folder))


def _told(name: str, at: str, series: dict[str, str], folder: Path) -> str:
    """What promtool says where the alert shall be silent, of each one that is not."""
    case = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": key, "values": values} for key, values in (ALWAYS | series).items()],
                # That it is silent is what is told to be wrong.
                "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": []}],
            }
        ],
    }
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump(case))
    done = promtool("test", "rules", path)
    told = done.stdout + done.stderr
    assert (done.returncode == 0) != ("Labels:{alertname=" in told), told
    return told
