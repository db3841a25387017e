"""What is in deploy/ passes the validators of those who will read it. Run by `make check-deploy`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from tests.deploy.chart import CHART, VALUES, pods, render, values_of

DEPLOY = Path("deploy")
# The oldest that Chart.yaml allows and the newest that the validator knows.
KUBERNETES = ("1.27", "1.34")
# Kinds of operators, whose schemas are not Kubernetes' own.
OF_OPERATORS = ("RayCluster", "ServiceMonitor", "PrometheusRule")


def run(*command: str | Path) -> None:
    tool = Path(sys.executable).parent / str(command[0])
    done = subprocess.run([str(tool), *map(str, command[1:])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", params=VALUES)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Everything the chart makes with some values."""
    return render(values_of(request.param))


@pytest.fixture
def compose_file(tmp_path: Path) -> Path:
    """A copy of compose.yaml beside the files that it names and `deploy/start` would make."""
    file = tmp_path / "compose.yaml"
    shutil.copy(DEPLOY / "compose.yaml", file)
    for service in yaml.safe_load(file.read_text())["services"].values():
        for name in service.get("env_file", []):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
    return file


@pytest.mark.parametrize("profiles", [(), ("gpu", "tools")])
def test_compose_takes_the_compose_file(compose_file: Path, profiles: tuple[str, ...]) -> None:
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    run("docker-compose", "-f", compose_file, *chosen, "config", "-q")
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose_file)


def test_arguments_of_start_are_options_of_compose(compose_file: Path) -> None:
    run("docker-compose", "-f", compose_file, "--profile", "gpu", "up", "--detach", "--build", "--help")


@pytest.mark.parametrize("image", ["control", "worker"])
def test_images_follow_the_rules_of_dockerfiles(image: str) -> None:
    run("hadolint", DEPLOY / "images" / f"{image}.Dockerfile")


def test_the_chart_is_sound() -> None:
    for name in VALUES:
        found = helm.lint(CHART, values_of(name), strict=True)
        assert found["errors"] == []
        assert [message for message in found["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_every_object(objects: list[dict[str, Any]], version: str) -> None:
    assert objects
    for found in objects:
        if found["kind"] not in OF_OPERATORS:
            kubernetes_validate.validate(found, version, strict=True)


def test_no_object_holds_a_secret_and_no_pod_runs_as_root(objects: list[dict[str, Any]]) -> None:
    assert not [found for found in objects if found["kind"] == "Secret"]
    for pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["resources"]["limits"]["memory"]
            for variable in container.get("env", []):
                if any(word in variable["name"] for word in ("KEY", "TOKEN", "PASSWORD", "BROKER_URL", "USERS")):
                    assert "secretKeyRef" in variable["valueFrom"]


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ({}, "gan-redis:6379"),
        ({"redis": {"enabled": False}}, None),
        ({"redis": {"enabled": False}, "ray": {"redis": {"address": "rediss://h:6380"}}}, "rediss://h:6380"),
    ],
)
def test_where_the_ray_head_keeps_its_memory(values: dict[str, Any], address: str | None) -> None:
    [cluster] = [each for each in render(values) if each["kind"] == "RayCluster"]
    expected = {
        "redisAddress": address,
        "redisUsername": {"value": "ray"},
        "redisPassword": {"valueFrom": {"secretKeyRef": {"name": "ganservice", "key": "ray-redis-password"}}},
    }
    assert cluster["spec"].get("gcsFaultToleranceOptions") == (expected if address else None)


@pytest.fixture(params=["as it lies there", "packed"])
def chart_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The chart, or the archive that users may install: what is a link in one is a file in the other."""
    return CHART if request.param == "as it lies there" else Path(helm.package(CHART, destination=tmp_path))


def test_what_monitoring_brings(chart_path: Path) -> None:
    values = {"monitoring": {"operator": True, "dashboards": True}}
    with helm.Chart.load(chart_path) as chart:
        [text] = [text for path, text in chart.render(values=values, name="gan").items() if "monitoring" in path]
    found = [each for each in yaml.safe_load_all(text) if each]
    kinds = [each["kind"] for each in found]
    assert kinds == ["ServiceMonitor", "PrometheusRule", "PrometheusRule", "ConfigMap", "ConfigMap", "ConfigMap"]
    for rules, name in zip(found[1:3], ("recording", "rules"), strict=True):
        assert rules["spec"] == yaml.safe_load(Path(f"ganservice/prometheus/{name}.yaml").read_text())
    for config in found[3:]:
        [(name, dashboard)] = config["data"].items()
        assert json.loads(dashboard) == json.loads((CHART / "files" / "dashboards" / name).read_text())


def test_every_yaml_file_is_tidy() -> None:
    files = [path for path in DEPLOY.rglob("*.yaml") if "templates" not in path.parts and "secrets" not in path.parts]
    off = dict.fromkeys(("document-start", "comments", "braces"), "disable")
    rules = {"extends": "default", "rules": {"line-length": {"max": 160}} | off}
    run("yamllint", "--strict", "-d", json.dumps(rules), *files)
