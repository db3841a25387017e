"""Real brokers and a real store on loopback. A test that finds none fails: it is never skipped."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from ganservice.queue import JobQueue
from ganservice.settings import Settings
from tests.integration.broker import SERVERS, Broker, running
from tests.integration.store import Store


@pytest.fixture(scope="session")
def unused_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Valkey that answers, for as long as the tests run."""
    with running("valkey", tmp_path_factory.mktemp("valkey")) as broker:
        yield broker


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Redis that answers, for as long as the tests run."""
    with running("redis", tmp_path_factory.mktemp("redis")) as broker:
        yield broker


@pytest.fixture(params=SERVERS)
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each of the servers in turn: whatever takes a broker holds for both of them."""
    broker: Broker = request.getfixturevalue({"valkey": "valkey", "redis": "redis_server"}[request.param])
    return broker


@pytest.fixture
def admin(broker: Broker) -> Iterator[redis.Redis]:
    """The broker, behind the queue's back, with every right."""
    with closing(redis.Redis.from_url(broker.admin_url, decode_responses=True)) as client:
        yield client


@pytest.fixture
def settings(broker: Broker, admin: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty queue, whatever the environment of the tests says."""
    admin.flushdb()
    monkeypatch.setenv("GANSERVICE_STATE_DIR", str(tmp_path))
    return Settings(broker_url=broker.url, user="ada", lease_s=30.0, finished_ttl_s=3600.0)


@pytest.fixture
def dispatching(settings: Settings, broker: Broker) -> Settings:
    """The same for a dispatcher, with no more rights than it needs."""
    return broker.as_user("gan-dispatcher", settings)


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
