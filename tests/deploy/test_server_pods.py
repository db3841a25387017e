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

from ganservice.leadership import Leadership
from ganservice.settings import Settings
from tests.conftest import wait_until
from tests.deploy.chart import containers, render
from tests.deploy.kubelet import succeeds, unused_ports
from tests.integration.broker import running, server_binary
from tests.integration.store import Store
from tests.lifetime import bound

VARIABLES = {"BROKER_URL": "redis://:secret@gan-redis:6379/0", "RAY_REDIS_PASSWORD": "of-ray", "REDIS_USERS": ""}


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

    @property
    def configuration(self) -> Path:
        """The file that its command writes."""
        return self._folder / "run" / "redis" / "redis.conf"

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
    address = f"redis://:secret@127.0.0.1:{pod.ports['redis']}/0"
    with pod.run() as process, closing(redis.Redis.from_url(address)) as client:
        for probe in ("readinessProbe", "livenessProbe"):
            assert pod.passes(probe)
        client.set("key", "kept")
        process.send_signal(signal.SIGTERM)
        # A shell in its place would leave this unanswered until it is killed, or end of the signal.
        assert process.wait(timeout=60) == 0
    with pod.run(), closing(redis.Redis.from_url(address)) as client:
        assert client.get("key") == b"kept"
    assert stat.S_IMODE(pod.configuration.stat().st_mode) == 0o600


def test_redis_knows_rays_user_and_those_of_the_secret(tmp_path: Path) -> None:
    users = "user reader on >of-reader resetchannels ~* -@all +@read +ping\nuser other on >of-other -@all +ping"
    pod = RedisPod(tmp_path, "valkey", VARIABLES | {"REDIS_USERS": users}, {})
    with pod.run():
        for name, password in (("ray", "of-ray"), ("reader", "of-reader"), ("other", "of-other")):
            address = f"redis://{name}:{password}@127.0.0.1:{pod.ports['redis']}/0"
            with closing(redis.Redis.from_url(address)) as client, pytest.raises(redis.exceptions.NoPermissionError):
                client.set("key", "value")


def test_an_address_with_a_user_names_the_same_password(tmp_path: Path) -> None:
    pod = RedisPod(tmp_path, "valkey", VARIABLES | {"BROKER_URL": "redis://default:secret@gan-redis:6379/0"}, {})
    with pod.run():
        assert pod.passes("readinessProbe")
    assert "\nrequirepass secret\n" in f"\n{pod.configuration.read_text()}"


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
        address = f"rediss://:secret@localhost:{pod.ports['redis-tls']}/0?ssl_ca_certs={certificate}"
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
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert succeeds(container[probe], {"s3": port}), probe
    finally:
        store.kill()
    assert not succeeds(container["livenessProbe"], {"s3": port})


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
