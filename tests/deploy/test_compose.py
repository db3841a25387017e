"""Docker Compose without an engine: the services of deploy/compose.yaml as processes in namespaces of their own.

Their commands, environments, users, volumes, checks of health and signals are the file's; the packages of our images
are what their Dockerfiles install. What an engine would still have to show: docs/operating.md says it.
"""

import contextlib
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.commands import Done
from tests.compose.composefile import env_file
from tests.compose.image import brought_by_pip, installed
from tests.compose.project import Project
from tests.lifetime import bound

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HANDBOOK = ROOT / "docs" / "operating.md"
# No package brings it to these tests.
ABSENT = ("grafana",)
# A few seconds instead of an hour.
SHORT = ("--set", "images=6400", "--set", "report_every_images=640", "--set", "checkpoints.every_images=640")
# In the place of `docker`: it has the test do what it is asked, and says and returns what comes of it.
DOCKER = """#!%s
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect(%r)
    asked.sendall((json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n").encode())
    code, out, err = json.loads(asked.makefile().readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""
LEADER = """
from ganservice.leadership import Leadership
from ganservice.settings import Settings
print(getattr(Leadership(Settings()).leader(), "owner", ""))
"""

# Prints the first message that tells of the alert it is given; a busy machine has alerts of its own.
RECEIVER = """
import http.server, sys
messages = []
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        messages.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()
server = http.server.HTTPServer(("172.30.0.1", 8080), Receiver)
while not messages or sys.argv[1] not in messages[-1]:
    server.handle_request()
print(messages[-1], flush=True)
"""


class Handbook:
    """A checkout with deploy/, and its scripts as an operator runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("deploy", "configs", "ganservice/prometheus"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("secrets", ".env"))
        programs = folder / "programs"
        programs.mkdir()
        (programs / "docker").write_text(DOCKER % (sys.executable, str(folder / "docker")))
        (programs / "docker").chmod(0o755)
        self._environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
        self._asked = socket.socket(socket.AF_UNIX)
        self._asked.bind(str(folder / "docker"))
        self._asked.listen()
        self.project: Project | None = None

    def say(self, command: str) -> Done:
        """Give a command of the handbook in the checkout; `docker` is the project here."""
        with subprocess.Popen(
            ["dash", "-c", command], cwd=self.folder, env=self._environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            while process.poll() is None:
                if select.select([self._asked], [], [], 0.05)[0]:
                    self._answer()
            assert process.stdout
            assert process.stderr
            return Done(process.returncode, process.stdout.read(), process.stderr.read())

    def _answer(self) -> None:
        connection, _ = self._asked.accept()
        with connection, connection.makefile("rw") as file:
            words, environment = json.loads(file.readline())
            if self.project is None:
                variables = {"CPU_WORKER_CPUS": "2"}
                with (self.folder / "deploy/secrets/ray.env").open("a") as ray:
                    # Ray runs actors at niceness 15: beside other tests they would get a thirtieth of a core.
                    ray.write("RAY_worker_niceness=0\nOMP_NUM_THREADS=1\n")
                file_of_services = self.folder / "deploy/compose.yaml"
                self.project = Project(file_of_services, self.folder / "run", variables, ROOT, ABSENT)
            done = self.project.docker(words, environment)
            file.write(json.dumps([done.returncode, done.stdout, done.stderr]) + "\n")

    def close(self) -> list[str]:
        """End everything. Returns the containers that had to be killed."""
        self._asked.close()
        return self.project.down() if self.project else []

    @property
    def commands(self) -> list[str]:
        """What docs/operating.md has an operator type, once the services are up."""
        [block] = re.findall(r"^```sh\n((?:deploy/ganctl .*\n)+)```", HANDBOOK.read_text(), re.MULTILINE)
        return str(block).splitlines()


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handbook]:
    """Everything up by `deploy/start`, and Fashion-MNIST in the store; at the end nothing is left."""
    handbook = Handbook(tmp_path_factory.mktemp("compose"))
    # As an operator fills it in, and `deploy/start` must leave it.
    (handbook.folder / "deploy/secrets").mkdir()
    template = (handbook.folder / "deploy/alertmanager/alertmanager.yaml").read_text()
    receiver = "    webhook_configs: [{url: 'http://172.30.0.1:8080/'}]\n"
    (handbook.folder / "deploy/secrets/alertmanager.yaml").write_text(template + receiver)
    try:
        done = handbook.say("deploy/start")
        assert done.returncode == 0, done.stderr
        [fetch] = [command for command in handbook.commands if "data get" in command]
        done = handbook.say(fetch)
        assert done.returncode == 0, done.stderr
        yield handbook
    finally:
        killed = handbook.close()
    assert killed == [], "these had to be killed at the end of their time"
    assert handbook.project
    assert handbook.project.processes() == []


@pytest.fixture
def project(handbook: Handbook) -> Project:
    assert handbook.project
    return handbook.project


def train(handbook: Handbook) -> str:
    """Train by the handbook's own command, shortly. Returns what it says."""
    [submit] = [command for command in handbook.commands if "submit" in command]
    done = handbook.say(f"{submit} {' '.join(SHORT)}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_images_hold_the_versions_that_are_pinned(project: Project) -> None:
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    for name, lacks in (("head", {"pytest"}), ("dispatcher", {"torch", "pytest", "numpy"})):
        image = project.image(project.services[name])
        found = {package: version.partition("+")[0] for package, version in installed(image).items()}
        assert "ganservice" in brought_by_pip(image)
        assert not lacks & set(found)
        assert {package: pinned[package] for package in found if package in pinned}.items() <= found.items()
        assert {"ray", "boto3", "pydantic"} <= set(found)


def test_the_first_commands_of_the_handbook_work(handbook: Handbook) -> None:
    assert "fashion-mnist" in handbook.say("deploy/ganctl data list").stdout
    assert "succeeded" in train(handbook)


def test_a_user_submits_from_the_machine_with_a_password_and_a_key_of_his_own(
    handbook: Handbook, project: Project
) -> None:
    done = handbook.say("deploy/user add anna")
    assert done.returncode == 0, done.stderr
    project.await_health("store")
    settings = env_file(handbook.folder / "deploy/secrets/users/anna.env")

    def ganctl(*words: str) -> Done:
        return project.on_the_machine(sys.executable, "-m", "ganservice.cli", *words, **settings)

    assert "fashion-mnist" in ganctl("data", "list").stdout
    submitted = ganctl("submit", str(ROOT / "configs/fashion-mlp.yaml"), *SHORT)
    assert submitted.returncode == 0, submitted.stderr
    job_id = submitted.stdout.strip()
    assert job_id in ganctl("list", "--user", "anna").stdout
    assert ganctl("cancel", job_id).returncode == 0
    # What he holds is a submitter's: who may do what is not for him to write.
    assert ganctl("users", "add", "eve").returncode != 0
    assert handbook.say("deploy/user remove anna").returncode == 0
    project.await_health("store")
    assert ganctl("list").returncode != 0


def test_the_second_dispatcher_takes_over_from_one_that_is_killed(
    handbook: Handbook, project: Project, eventually: Callable[..., Any]
) -> None:
    def leader() -> str:
        done = project.containers["exporter-1"].execute(["python", "-c", LEADER])
        return done.stdout.partition(":")[0].strip()

    first = eventually(leader)
    project.containers[first].kill()
    eventually(lambda: leader() not in ("", first))
    assert "succeeded" in train(handbook)
    project.containers[first].restart()


def test_a_worker_leaves_within_its_time(project: Project) -> None:
    worker = project.containers["cpu-worker-1"]
    assert worker.stop(), "it had to be killed"
    worker.restart()


def test_no_secret_is_on_a_command_line_and_each_role_has_its_own(handbook: Handbook, project: Project) -> None:
    passwords = env_file(handbook.folder / "deploy/secrets/passwords")
    shown = " ".join(" ".join(process.cmdline()) for process in project.processes() if process.status() != "zombie")
    # Ray knows no other way.
    assert [name for name, password in passwords.items() if password in shown] == ["REDIS_RAY"]
    seen = {container.service.name: set(container.environment) for container in project.containers.values()}
    assert {name for name, variables in seen.items() if "RAY_AUTH_TOKEN" in variables} == {
        "head", "cpu-worker", "dispatcher",
    }  # fmt: skip
    assert {name for name, variables in seen.items() if "GANSERVICE_BROKER_URL" in variables} == {
        "bucket", "dispatcher", "exporter",
    }  # fmt: skip


def test_nothing_runs_as_root_and_nothing_writes_its_root_folder(project: Project) -> None:
    for process in project.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            assert process.uids().effective != 0, process.cmdline()
    for name in ("redis-1", "store-1", "head-1", "exporter-1", "prometheus-1"):
        done = project.containers[name].execute(["touch", "/written"])
        assert "Read-only file system" in done.stderr, name


def test_an_alert_reaches_the_receiver_that_was_filled_in(project: Project, eventually: Callable[..., Any]) -> None:
    for name in ("prometheus", "alertmanager"):
        project.await_health(name)

    def known() -> str:
        return project.on_the_machine("wget", "-q", "-O", "-", "http://127.0.0.1:9090/api/v1/alertmanagers").stdout

    eventually(lambda: "http://alertmanager:9093/api/v2/alerts" in known())
    command = project.network.command(sys.executable, "-c", RECEIVER, "BrokerDown")
    with subprocess.Popen(bound(command), stdout=subprocess.PIPE, text=True) as receiver:
        done = project.on_the_machine(
            "amtool", "--alertmanager.url=http://127.0.0.1:9093", "alert", "add", "BrokerDown", "severity=critical"
        )
        assert done.returncode == 0, done.stderr
        assert receiver.stdout
        told = [alert["labels"] for alert in json.loads(receiver.stdout.readline())["alerts"]]
    assert {"alertname": "BrokerDown", "severity": "critical"}.items() <= next(
        labels.items() for labels in told if labels["alertname"] == "BrokerDown"
    )
