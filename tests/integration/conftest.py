"""A real broker and a real store on loopback. A test that finds none fails: it is never skipped."""

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import redis

from ganservice import cli
from ganservice.embedded.parts import broker_binary
from ganservice.queue import JobQueue
from ganservice.settings import SETTINGS_FILE, Settings
from tests.conftest import wait_until
from tests.integration.attempts import InProcess
from tests.integration.store import Store
from tests.lifetime import bound
from tests.specs import draw_shapes, write_spec

# A directive is to reach a training of seconds before its end.
HEARTBEAT_S = 0.05


@dataclass(frozen=True)
class Broker:
    """Where the broker of this test session listens."""

    port: int
    password: str

    @property
    def url(self) -> str:
        return self.url_by(self.port)

    def url_by(self, port: int) -> str:
        """The same broker, reached through another port of this machine."""
        return f"redis://:{self.password}@127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def unused_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Valkey that answers, for as long as the tests run."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Broker(listener.getsockname()[1], secrets.token_hex(16))
    folder = tmp_path_factory.mktemp("broker")
    command = f"--bind 127.0.0.1 --port {found.port} --requirepass {found.password} --appendonly yes"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            bound([broker_binary(), *command.split(), "--dir", str(folder), "--save", ""]), stdout=log, stderr=log
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    try:
        with closing(redis.Redis.from_url(found.url)) as client:
            wait_until(answers)
        yield found
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture
def admin(broker: Broker) -> Iterator[redis.Redis]:
    """The broker, behind the queue's back."""
    with closing(redis.Redis.from_url(broker.url, decode_responses=True)) as client:
        yield client


@pytest.fixture
def settings(broker: Broker, admin: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty queue, whatever the environment of the tests says."""
    admin.flushdb()
    monkeypatch.setenv("GANSERVICE_STATE_DIR", str(tmp_path))
    return Settings(broker_url=broker.url, lease_s=30.0, finished_ttl_s=3600.0)


@pytest.fixture
def queue(settings: Settings) -> Iterator[JobQueue]:
    """A client of the empty queue."""
    with closing(JobQueue(settings)) as client:
        yield client


@pytest.fixture(scope="session")
def store_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a store that works for as long as the tests run."""
    store = Store(tmp_path_factory.mktemp("store"))
    try:
        store.start()
        yield store.settings
    finally:
        store.kill()


@pytest.fixture(scope="session")
def fashion_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a store that holds Fashion-MNIST, for as long as the tests run."""
    folder = tmp_path_factory.mktemp("pictures")
    store = Store(folder)
    try:
        store.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GANSERVICE_STATE_DIR", str(folder))
            # One that is set keeps downloads from one run of the tests to the next.
            patch.setenv("GANSERVICE_CACHE_DIR", os.environ.get("GANSERVICE_CACHE_DIR", str(folder / "cache")))
            patch.setattr(sys, "argv", ["ganctl", "data", "get", "fashion-mnist"])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        assert not ended.value.code
        yield store.settings.model_copy(update={"cache_dir": folder / "cache"})
    finally:
        store.kill()


@pytest.fixture(scope="module")
def service(
    broker: Broker, fashion_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InProcess]:
    """The service of one module of tests: its queue is empty at first, its store has Fashion-MNIST."""
    with closing(redis.Redis.from_url(broker.url)) as admin:
        admin.flushdb()
    state_dir = tmp_path_factory.mktemp("state")
    assert fashion_settings.store_secret_key
    values = {
        "broker_url": broker.url,
        "store_url": fashion_settings.store_url,
        "store_access_key": fashion_settings.store_access_key,
        "store_secret_key": fashion_settings.store_secret_key.get_secret_value(),
        "cache_dir": str(fashion_settings.cache_dir),
        "heartbeat_s": HEARTBEAT_S,
    }
    (state_dir / SETTINGS_FILE).write_text(json.dumps(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANSERVICE_STATE_DIR", str(state_dir))
        yield InProcess(Settings())


@pytest.fixture(scope="module")
def import_shapes(service: InProcess, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Imports a data set of two classes that a classifier tells apart in seconds, drawn by its name."""

    def draw_and_import(name: str) -> str:
        folder = tmp_path_factory.mktemp(name)
        draw_shapes(folder, name)
        return service.ok("data", "import", str(folder), "--name", name, "--size", "16")

    return draw_and_import


@pytest.fixture
def spec_file(tmp_path: Path) -> Callable[..., str]:
    """Writes the spec of a small MLP GAN on real pictures; keyword arguments replace its top-level keys."""
    return partial(write_spec, tmp_path)
