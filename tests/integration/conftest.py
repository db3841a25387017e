"""Real brokers and a real store on loopback. A test that finds none fails: it is never skipped."""

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import boto3
import botocore.session
import pytest
import redis
from botocore.loaders import Loader, create_loader
from pydantic import SecretStr

from ganservice.artifacts import ArtifactStore
from ganservice.cli import ganctl
from ganservice.objects import ObjectStore
from ganservice.queue import JobQueue
from ganservice.roles import Role, acl_line
from ganservice.settings import Settings
from ganservice.users import UserRecord, Users
from tests.commands import Command, Said
from tests.integration.broker import SERVERS, Broker, running
from tests.integration.cluster import InMemoryCluster
from tests.integration.scraping import Scrape, scraper
from tests.integration.store import Store, as_role, empty
from workers.dispatch.dispatcher import Dispatcher

Submitter = Callable[[str], JobQueue]


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


@pytest.fixture(autouse=True)
def threads(eventually: Callable[..., object]) -> Iterator[None]:
    """No thread of the project outlives its test: what it asks, draws and waits for would be another test's."""
    before = set(threading.enumerate())

    def left() -> list[threading.Thread]:
        begun = set(threading.enumerate()) - before
        modules = {each: getattr(getattr(each, "_target", None), "__module__", None) or "" for each in begun}
        return [each for each in begun if modules[each].startswith(("ganservice", "workers"))]

    yield
    eventually(lambda: not left(), 60.0)


@pytest.fixture(scope="session")
def aws_models() -> Loader:
    """What boto3 brings in files, a megabyte of JSON for S3, read once and not anew for each test."""
    return create_loader()


@pytest.fixture(autouse=True)
def aws_session(aws_models: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials or profile of another test: boto3 remembers what the first client of a process found."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(botocore.session, "create_loader", lambda _: aws_models)


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
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that works for as long as the tests run."""
    store = Store(tmp_path_factory.mktemp("store"))
    try:
        store.start()
        yield store
    finally:
        store.kill()


@pytest.fixture(scope="session")
def store_settings(store_server: Store) -> Settings:
    """Settings of that store."""
    return store_server.settings


@pytest.fixture
def exporter_settings(settings: Settings, store_settings: Settings, broker: Broker) -> Settings:
    """Of the broker and the store, with the rights of an exporter."""
    names = ("store_url", "store_access_key", "store_secret_key")
    both = settings.model_copy(update={name: getattr(store_settings, name) for name in names})
    return as_role(Role.EXPORTER, broker.as_user("gan-exporter", both))


@pytest.fixture
def scrape(exporter_settings: Settings) -> Scrape:
    """Every sample of an exporter, by name and labels; it is the same exporter each time."""
    return scraper(exporter_settings)


@pytest.fixture(scope="session")
def shared_bucket(store_server: Store) -> Settings:
    """Settings of one bucket for all tests: each bucket takes volumes, of which the disk has room for some dozens."""
    url = f"{store_server.settings.require_store().rpartition('/')[0]}/b{secrets.token_hex(6)}"
    settings = store_server.settings.model_copy(update={"store_url": url})
    ObjectStore(settings).create_bucket()
    return settings


@pytest.fixture
def bucket(shared_bucket: Settings) -> Iterator[Settings]:
    """Settings of a bucket that has nothing in it but what the test puts there."""
    yield shared_bucket
    empty(shared_bucket)


@pytest.fixture
def store(bucket: Settings) -> ArtifactStore:
    """What jobs leave behind, in that bucket."""
    return ArtifactStore(bucket)


@pytest.fixture
def command(
    settings: Settings, bucket: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """A command of ganctl, in this process."""
    assert settings.broker_url
    assert bucket.store_secret_key
    monkeypatch.setenv("GANSERVICE_BROKER_URL", settings.broker_url.get_secret_value())
    monkeypatch.setenv("GANSERVICE_STORE_URL", bucket.require_store())
    monkeypatch.setenv("GANSERVICE_STORE_ACCESS_KEY", bucket.store_access_key or "")
    monkeypatch.setenv("GANSERVICE_STORE_SECRET_KEY", bucket.store_secret_key.get_secret_value())

    def run(*arguments: str) -> Said:
        ganctl.main([*arguments], standalone_mode=False)
        return Said(*capsys.readouterr())

    return run


@pytest.fixture
def submitter(settings: Settings, broker: Broker) -> Iterator[Submitter]:
    """submitter(name): the queue, as a user of Redis who may only look and ask, and is entered."""
    administrator = settings.model_copy(update={"broker_url": SecretStr(broker.admin_url)})
    with ExitStack() as stack:
        users = stack.enter_context(Users(administrator))

        def named(name: str) -> JobQueue:
            assert not users.grant(acl_line(name, Role.SUBMITTER, broker.password)), "there is no ACL file"
            stack.callback(users.revoke, name)
            users.put(name, UserRecord())
            return stack.enter_context(closing(JobQueue(broker.as_user(name, settings))))

        yield named


@pytest.fixture
def dispatcher(dispatching: Settings) -> Iterator[None]:
    """A dispatcher beside the test, of a cluster that has room for nothing."""
    stopping, leader = threading.Event(), Dispatcher(dispatching, InMemoryCluster(cpus=0))

    def dispatch() -> None:
        while not stopping.wait(0.01):
            leader.tick()

    thread = threading.Thread(target=dispatch)
    thread.start()
    yield
    stopping.set()
    thread.join()
