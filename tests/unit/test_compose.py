"""What is read of Compose files and Dockerfiles, and what `deploy/start` makes."""

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ganservice.roles import NAMES, Role, acl_line, store_actions
from tests.compose.composefile import Mount, env_file, read_compose_file
from tests.compose.dockerfile import read_dockerfile

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = """
x-shared: &shared
  image: shared:1
  read_only: true
  environment: &variables {A: "1"}
services:
  one:
    <<: *shared
    command: [sh, -c, "echo $$HOME ${SAID:-nothing}"]
    environment: {<<: *variables, B: "${SAID}"}
    env_file: [one.env]
    volumes: ["data:/data", "./one.conf:/etc/one.conf:ro"]
    depends_on: {two: {condition: service_healthy}}
    stop_grace_period: 2m5s
    cap_drop: [ALL]
  two:
    <<: *shared
    command: echo "one word"
    ports: ["${AT:-127.0.0.1}:80:8080"]
    healthcheck: {test: [CMD, "true"]}
volumes: {data: }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "one.env").write_text("# a comment\nC=3\nA=0\n")
    (tmp_path / ".env").write_text("AT=10.0.0.1\nSAID=by a file\n")
    (tmp_path / "compose.yaml").write_text(FILE)
    return tmp_path / "compose.yaml"


def test_a_compose_file_is_read_with_all_that_it_refers_to(file: Path) -> None:
    services = read_compose_file(file, {"SAID": "something"})
    one, two = services["one"], services["two"]
    assert one.command == ["sh", "-c", "echo $HOME something"]
    assert one.environment == {"C": "3", "A": "1", "B": "something"}
    assert one.mounts == [
        Mount("data", "/data", True, False),
        Mount(str(file.parent / "one.conf"), "/etc/one.conf", False, True),
    ]
    assert one.depends_on == {"two": "service_healthy"}
    assert (one.stop_grace_s, one.drops_capabilities, one.read_only) == (125.0, True, True)
    assert two.command == ["echo", "one word"]
    assert two.ports == [("10.0.0.1", 80, 8080)]
    assert two.stop_grace_s == 10.0


def test_what_is_not_modelled_is_refused(file: Path) -> None:
    file.write_text(FILE.replace("cap_drop:", "cap_add:"))
    with pytest.raises(ValueError, match="cap_add"):
        read_compose_file(file, {})
    file.write_text(FILE.replace("one.env", "none.env"))
    with pytest.raises(ValueError, match=r"none\.env"):
        read_compose_file(file, {})


def test_a_dockerfile_is_read(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "ARG BASE=python:1\nFROM ${BASE} AS build\nARG KIND=a\n# a comment\n"
        "RUN python -m venv /opt/ganservice \\\n    && /opt/ganservice/bin/pip install --index \"x/${KIND}\" '.[one]'\n"
        'FROM ${BASE}\nRUN useradd gan\nENV PATH=/v/bin:$PATH \\\n    A=1\nUSER 10001\nCMD ["run"]\n'
    )
    found = read_dockerfile(tmp_path / "Dockerfile", {"KIND": "b"})
    assert (found.base, found.user, found.command) == ("python:1", "10001", ["run"])
    assert found.installs == [["--index", "x/b", ".[one]"]]
    assert found.runs == ["useradd gan"]
    assert found.environment["PATH"].startswith("/v/bin:/usr/local/bin")
    (tmp_path / "Dockerfile").write_text("FROM a\nVOLUME /data\n")
    with pytest.raises(ValueError, match="VOLUME"):
        read_dockerfile(tmp_path / "Dockerfile", {})


# deploy/start


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """A copy of deploy/ as it is fresh from a checkout."""
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets", ".env", "kubernetes"))
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    return tmp_path / "deploy"


def start(deploy: Path, *arguments: str) -> str:
    """Run it by the shell of Debian; what it would have asked of Docker."""
    environment = {"PATH": f"{deploy.parent}:{os.environ['PATH']}"}
    command = ["dash", str(deploy / "start"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, umask=0o022)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_arguments_go_where_docker_takes_them(deploy: Path) -> None:
    assert start(deploy, "--profile", "gpu") == "compose --profile gpu up --detach --build"
    cpus = {name: int(value) for name, value in env_file(deploy / ".env").items()}
    assert sum(cpus.values()) <= max(2, len(os.sched_getaffinity(0)))
    assert min(cpus.values()) > 0


def test_passwords_are_drawn_once_and_shown_to_nobody_else(deploy: Path) -> None:
    start(deploy)
    made = contents(deploy / "secrets")
    start(deploy)
    assert contents(deploy / "secrets") == made
    assert stat.S_IMODE((deploy / "secrets").stat().st_mode) == 0o700
    readable = {path.name for path in (deploy / "secrets").rglob("*") if path.stat().st_mode & 0o077}
    assert readable == {"redis.conf", "s3.json", "store-inner.key", "store-inner.pem", "grafana", "alertmanager.yaml"}
    passwords = list(env_file(deploy / "secrets/passwords").values())
    assert len(set(passwords)) == len(passwords)
    assert all(len(password) >= 20 for password in passwords)


def test_a_password_whose_line_is_deleted_is_drawn_anew(deploy: Path) -> None:
    start(deploy)
    file = deploy / "secrets/passwords"
    before = env_file(file)
    file.write_text("")
    start(deploy)
    after = env_file(file)
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values())


def test_what_each_role_has_opens_what_is_its_own(deploy: Path) -> None:
    start(deploy)
    # As `deploy/user` makes one.
    people = {"anna": Role.SUBMITTER, "bert": Role.READER, "cleo": Role.OPERATOR}
    for name, role in people.items():
        (deploy / f"secrets/users/{name}.env").write_text(
            "GANSERVICE_STORE_ACCESS_KEY=a\nGANSERVICE_STORE_SECRET_KEY=b\n"
        )
        (deploy / f"secrets/users/{name}.acl").write_text(acl_line(name, role, "password") + "\n")
    start(deploy)
    secrets = deploy / "secrets"
    lines = [line.split() for line in (secrets / "redis.conf").read_text().splitlines() if line.startswith("user ")]
    users = {name: password for _, name, _, password, *_ in lines}
    assert set(users) == {*NAMES, *people}
    assert not [password for password in users.values() if password.endswith("_PASSWORD")]
    identities = json.loads((secrets / "s3.json").read_text())["identities"]
    keys = {each["name"]: each["credentials"][0] for each in identities}
    may = {each["name"]: each["actions"] for each in identities}
    for identity, role in (
        ("dispatcher", Role.WORKER), ("exporter", Role.EXPORTER), ("user-anna", Role.SUBMITTER),
        ("user-bert", Role.READER), ("user-cleo", Role.OPERATOR),
    ):  # fmt: skip
        assert may[identity] == store_actions(role, "gan")
    assert keys["user-anna"] == {"accessKey": "a", "secretKey": "b"}
    for name, user in (("dispatcher", "gan-dispatcher"), ("exporter", "gan-exporter"), ("operator", "gan")):
        settings = env_file(secrets / f"{name}.env")
        password = users[user].removeprefix(">")
        assert settings["GANSERVICE_BROKER_URL"] == f"redis://{user}:{password}@redis:6379/0"
        assert settings["GANSERVICE_STORE_ACCESS_KEY"] == keys[name]["accessKey"]
        assert settings["GANSERVICE_STORE_SECRET_KEY"] == keys[name]["secretKey"]
    workers = env_file(secrets / "dispatcher.env")["GANSERVICE_WORKER_BROKER_URL"]
    assert workers == f"redis://gan-worker:{users['gan-worker'].removeprefix('>')}@redis:6379/0"
    assert set(env_file(secrets / "ray.env")) == {"RAY_AUTH_TOKEN"}
    assert env_file(secrets / "head.env")["RAY_REDIS_PASSWORD"] == users["ray"].removeprefix(">")


def test_the_secrets_of_release_0_1_0_stay_valid(deploy: Path) -> None:
    secrets = deploy / "secrets"
    secrets.mkdir()
    (secrets / "ganservice.env").write_text(
        "GANSERVICE_BROKER_URL=redis://:old@redis:6379/0\nGANSERVICE_STORE_ACCESS_KEY=key\n"
        "GANSERVICE_STORE_SECRET_KEY=secret\nRAY_AUTH_TOKEN=token\n"
    )
    (secrets / "head.env").write_text("RAY_REDIS_PASSWORD=ray\n")
    (secrets / "grafana").write_text("seen")
    (secrets / "alertmanager.yaml").write_text("filled in")
    start(deploy)
    passwords = env_file(secrets / "passwords")
    assert (passwords["REDIS_ADMIN"], passwords["REDIS_RAY"], passwords["RAY_TOKEN"]) == ("old", "ray", "token")
    assert (passwords["STORE_OPERATOR_ACCESS"], passwords["STORE_OPERATOR_SECRET"]) == ("key", "secret")
    assert (secrets / "grafana").read_text() == "seen"
    assert (secrets / "alertmanager.yaml").read_text() == "filled in"
    assert not (secrets / "ganservice.env").exists()


# deploy/compose.yaml


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return found


def test_every_service_is_held_to_what_it_needs() -> None:
    for name, service in services().items():
        assert {"mem_limit", "cpus", "pids_limit", "logging"} <= set(service), name
        assert service["init"], name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_every_folder_of_a_volume_is_its_users_in_the_image(deploy: Path) -> None:
    start(deploy)
    ours = [service for service in read_compose_file(deploy / "compose.yaml", {}).values() if service.dockerfile]
    volumes = [(service, mount) for service in ours for mount in service.mounts if mount.is_volume]
    assert volumes
    for service, mount in volumes:
        assert service.dockerfile
        made = re.findall(r"install -d -o gan -g gan (.*)", " ".join(read_dockerfile(service.dockerfile, {}).runs))
        assert mount.target in " ".join(made).split(), (service.name, mount.target)


def test_what_is_published_is_published_on_loopback() -> None:
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert published
    for port in published:
        assert port.startswith(("127.0.0.1:", "${PUBLISH_ON:-127.0.0.1}:"))


def test_only_what_sees_gpus_asks_for_them() -> None:
    for name, service in services().items():
        has_gpus = "NVIDIA_VISIBLE_DEVICES" in service.get("environment", {})
        assert has_gpus == (name == "gpu-worker")
    for path in (DEPLOY / "images").iterdir():
        assert "NVIDIA_VISIBLE_DEVICES" not in path.read_text()


def test_outside_images_are_named_by_digest() -> None:
    texts = [service["image"] for service in services().values() if "build" not in service]
    texts += [read_dockerfile(path, {}).base for path in (DEPLOY / "images").iterdir()]
    for text in texts:
        assert text.startswith("ganservice-") or len(text.partition("@sha256:")[2]) == 64, text


def test_both_images_stand_on_one_python() -> None:
    [base] = {read_dockerfile(path, {}).base for path in (DEPLOY / "images").iterdir()}
    assert base.startswith("python:3.11.")
