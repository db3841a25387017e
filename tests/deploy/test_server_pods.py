"""The commands and probes of the chart's servers, run as they are rendered; only their folders and ports are others."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from pydantic import SecretStr

from ganservice.leadership import Leadership
from ganservice.roles import NAMES, Role, acl_line, rights
from ganservice.settings import Settings
from ganservice.users import Users
from tests.conftest import wait_until
from tests.deploy.chart import containers, render
from tests.deploy.kubelet import succeeds, unused_ports
from tests.integration.broker import running, server_binary
from tests.integration.store import Store
from tests.integration.strangers import http_server
from tests.lifetime import bound

PASSWORDS = {role: f"of-{role}" for role in Role}
# As docs/operating.md has an operator fill in deploy/redis/users.acl.
USERS = "".join(
    f"user {name} on >{PASSWORDS[role]} {rights(role, name)}\n" for name, role in NAMES.items() if role is not Role.RAY
)
VARIABLES = {"REDIS_PASSWORD": "secret", "RAY_REDIS_PASSWORD": PASSWORDS[Role.RAY], "REDIS_USERS": USERS}


def within(container: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A container whose volumes are folders in this one."""
    text = json.dumps(container)
    for mount in container["volumeMounts"]:
        (folder / mount["mountPath"].lstrip("/")).mkdir(parents=True, exist_ok=True)
        text = re.sub(rf"(?<![\w/]){mount['mountPath']}\b", f"{folder}{mount['mountPath']}", text)
    moved: dict[str, Any] = json.loads(text)
    return moved


def program(path: Path, line: str) -> None:
    """A program that is one line for a shell."""
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


class RedisPod:
    """The container of Redis as a process: a folder in place of its volumes, and programs that take its ports."""

    def __init__(self, folder: Path, server: str, variables: dict[str, str], values: dict[str, Any]) -> None:
        [container] = containers(render(values), "redis")
        self._container = within(container, folder)
        port, tls_port = unused_ports(2)
        self.ports = {"redis": port, "redis-tls": tls_port}
        self._folder = folder
        programs = folder / "bin"
        programs.mkdir(exist_ok=True)
        moved = f"--bind 127.0.0.1 --port {port}" + (f" --tls-port {tls_port}" if "tls-port" in str(container) else "")
        program(programs / "valkey-server", f'exec {server_binary(server)} "$@" {moved}')
        program(programs / "valkey-cli", f'exec {shutil.which("redis-cli")} -p {port} "$@"')
        self._environment = os.environ | variables | {"PATH": f"{programs}:{os.environ['PATH']}"}

    def address(self, user: str = "default", password: str = VARIABLES["REDIS_PASSWORD"]) -> str:
        """Where a user reaches it; the default user may do everything."""
        return f"redis://{user}:{password}@127.0.0.1:{self.ports['redis']}/0"

    def passes(self, name: str) -> bool:
        """Whether one of its probes succeeds."""
        return succeeds(self._container[name], self.ports, self._environment)

    @contextmanager
    def run(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Its first process, once the probe lets it begin."""
        process = subprocess.Popen(bound(self._container["command"]), env=self._environment, stdout=subprocess.DEVNULL)

        def has_begun() -> bool:
            assert process.poll() is None
            return self.passes("startupProbe")

        try:
            wait_until(has_begun)
            yield process
        finally:
            process.kill()
            process.wait(timeout=60)


@pytest.mark.parametrize("server", ["valkey", "redis"])
def test_redis_hears_sigterm_itself_and_forgets_nothing(server: str, tmp_path: Path) -> None:
    pod = RedisPod(tmp_path, server, VARIABLES, {})
    with pod.run() as process, closing(redis.Redis.from_url(pod.address())) as client:
        for probe in ("readinessProbe", "livenessProbe"):
            assert pod.passes(probe)
        client.set("key", "kept")
        process.send_signal(signal.SIGTERM)
        # A shell in its place would leave this unanswered until it is killed, or end of the signal.
        assert process.wait(timeout=60) == 0
    with pod.run(), closing(redis.Redis.from_url(pod.address())) as client:
        assert client.get("key") == b"kept"
    for file in [*(tmp_path / "run" / "redis").iterdir(), tmp_path / "data" / "users.acl"]:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def lets_in(address: str) -> bool:
    """Whether Redis takes a password, and lets its user do no more than it should."""
    with closing(redis.Redis.from_url(address)) as client:
        try:
            client.ping()
        except redis.exceptions.AuthenticationError:
            return False
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.flushall()
        return True


@pytest.mark.parametrize("server", ["valkey", "redis"])
def test_redis_knows_a_user_of_each_role(server: str, tmp_path: Path) -> None:
    pod = RedisPod(tmp_path, server, VARIABLES, {})
    with pod.run():
        for name, role in NAMES.items():
            assert lets_in(pod.address(name, PASSWORDS[role])), name
        assert not lets_in(pod.address("default", "another"))
        assert not lets_in(pod.address("nobody", "secret"))


def test_redis_keeps_whom_an_operator_has_entered_and_forgets_old_passwords(tmp_path: Path) -> None:
    pod = RedisPod(tmp_path, "valkey", VARIABLES, {})
    with pod.run(), Users(Settings(broker_url=SecretStr(pod.address()))) as users:
        assert users.grant(acl_line("ada", Role.SUBMITTER, "of-ada")), "it is kept in the ACL file"
    changed = VARIABLES | {"REDIS_USERS": USERS.replace(PASSWORDS[Role.READER], "changed")}
    pod = RedisPod(tmp_path, "valkey", changed, {})
    with pod.run():
        assert lets_in(pod.address("ada", "of-ada"))
        assert lets_in(pod.address("gan-reader", "changed"))
        assert not lets_in(pod.address("gan-reader", PASSWORDS[Role.READER]))


def test_redis_forgets_whom_an_operator_takes_out_of_the_secret(tmp_path: Path) -> None:
    """He kept his access, with a password that had leaked."""
    with RedisPod(tmp_path, "valkey", VARIABLES, {}).run():
        pass
    fewer = VARIABLES | {"REDIS_USERS": "".join(line for line in USERS.splitlines(True) if "gan-reader" not in line)}
    pod = RedisPod(tmp_path, "valkey", fewer, {})
    with pod.run(), Users(Settings(broker_url=SecretStr(pod.address()))) as users:
        assert not lets_in(pod.address("gan-reader", PASSWORDS[Role.READER]))
        assert lets_in(pod.address("gan-exporter", PASSWORDS[Role.EXPORTER]))
        assert users.grant(acl_line("gan-reader", Role.READER, "new")), "as an operator enters him since"
    with pod.run():
        assert lets_in(pod.address("gan-reader", "new"))


@pytest.mark.parametrize("server", ["valkey", "redis"])
def test_redis_has_bounds_for_what_it_holds(server: str, tmp_path: Path) -> None:
    pod = RedisPod(tmp_path, server, VARIABLES, {"redis": {"maxmemory": "300mb"}})
    with pod.run(), closing(redis.Redis.from_url(pod.address(), decode_responses=True)) as client:
        assert client.config_get("maxmemory*")["maxmemory"] == str(300 << 20)
        assert client.config_get("maxmemory*")["maxmemory-clients"] == "20%"


def test_users_reach_redis_by_tls(tmp_path: Path) -> None:
    pod = RedisPod(tmp_path, "redis", VARIABLES, {"access": {"redis": {"tlsSecret": "redis-tls"}}})
    certificate, key = (tmp_path / "run" / "tls" / f"tls.{ending}" for ending in ("crt", "key"))
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key,
            "-out", certificate,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    with pod.run():
        address = f"rediss://gan:of-operator@localhost:{pod.ports['redis-tls']}/0?ssl_ca_certs={certificate}"
        with closing(redis.Redis.from_url(address)) as client:
            assert client.ping()
        with closing(redis.Redis(port=pod.ports["redis-tls"])) as client, pytest.raises(redis.ConnectionError):
            client.ping()


@pytest.mark.parametrize("more", ["", '{"name":"reader","credentials":[],"actions":["Read:gan"]}'])
def test_the_store_takes_the_shells_place_and_knows_all_identities(more: str, tmp_path: Path) -> None:
    [container] = containers(render({}), "store")
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "weed", "echo $$ $*")
    keys = {"ACCESS_KEY": "access", "SECRET_KEY": "secret", "IDENTITIES": more}
    environment = os.environ | keys | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    with subprocess.Popen(
        within(container, tmp_path)["command"], env=environment, stdout=subprocess.PIPE, text=True
    ) as shell:
        said, _ = shell.communicate(timeout=60)
    assert said.startswith(f"{shell.pid} ")
    assert not {"access", "secret"} & set(said.split())
    config = tmp_path / "tmp" / "s3.json"
    assert [each["name"] for each in json.loads(config.read_text())["identities"]] == ["gan", "reader"][
        : 1 + bool(more)
    ]
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_a_store_that_answers_passes_its_probes(tmp_path: Path) -> None:
    [container] = containers(render({}), "store")
    store = Store(tmp_path)
    try:
        store.start()
        port = int(store.settings.require_store().rpartition("/")[0].rpartition(":")[2])
        for probe in ("readinessProbe", "livenessProbe"):
            assert succeeds(container[probe], {"s3": port}), probe
        # Of this store the inner parts ask for a certificate: another stands for them.
        for volumes, has_begun in ((b'[{"Racks":[{"DataNodes":[{"Url":"127.0.0.1:8080"}]}]}]', True), (b"null", False)):
            with http_server(200, b'{"Topology":{"DataCenters":%b}}' % volumes) as master:
                [*shell, asks] = container["startupProbe"]["exec"]["command"]
                asks = asks.replace("http://127.0.0.1:9333", master).replace(":8333/", f":{port}/")
                assert succeeds({"exec": {"command": [*shell, asks]}}, {}) is has_begun
    finally:
        store.kill()
    assert not succeeds(container["livenessProbe"], {"s3": port})


def test_a_store_has_begun_in_the_chart_when_it_is_well_in_compose() -> None:
    """Where its inner parts are real, and it is started again."""
    [container] = containers(render({}), "store")
    store = yaml.safe_load(Path("deploy/compose.yaml").read_text())["services"]["store"]
    assert container["startupProbe"]["exec"]["command"][-1] == store["healthcheck"]["test"][-1]


def test_a_dispatcher_has_begun_when_redis_has_seen_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [container] = containers(render({}), "dispatcher")
    monkeypatch.setenv("GANSERVICE_STATE_DIR", str(tmp_path / "state"))
    with running("valkey", tmp_path) as broker:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        variables = {"GANSERVICE_BROKER_URL": broker.url, "PATH": path}
        assert not succeeds(container["startupProbe"], {}, variables)
        with Leadership(Settings(broker_url=broker.url)) as leadership:
            leadership.lead()
        assert succeeds(container["startupProbe"], {}, variables)
