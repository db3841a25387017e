"""A real broker and a real store on loopback. A test that finds none fails: it is never skipped."""

import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from ganservice.embedded.parts import broker_binary
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from tests.conftest import wait_until
from tests.integration.store import Store
from tests.lifetime import bound


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
    command += " --enable-debug-command local"  # for DEBUG LOADAOF, a restart without the wait
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
