"""The proxy of the chaos runs, before a real Redis and a real store."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions
import pytest
import redis
from botocore.config import Config

from ganservice.settings import Settings
from tests.chaos.proxy import Proxy
from tests.chaos.trouble import BROKER_ANSWERS, STORE_ANSWERS, Trouble, Way
from tests.chaos.wire import RedisWire, StoreWire
from tests.integration.broker import Broker

PATIENCE_S, HASTE_S = 300.0, 0.3


@pytest.fixture
def broker_proxy(broker: Broker) -> Iterator[Proxy]:
    proxy = Proxy(broker.port, RedisWire)
    yield proxy
    proxy.close()


def connect(broker: Broker, proxy: Proxy, timeout_s: float) -> redis.Redis:
    """A client behind the proxy that tries nothing twice."""
    url = broker.admin_url.replace(f":{broker.port}/", f":{proxy.port}/")
    return redis.Redis.from_url(url, socket_timeout=timeout_s, retry=None)


@pytest.fixture
def client(broker: Broker, broker_proxy: Proxy, admin: redis.Redis) -> Iterator[redis.Redis]:
    """A client of an empty server that waits for answers."""
    admin.flushdb()
    with closing(connect(broker, broker_proxy, PATIENCE_S)) as client:
        yield client


@pytest.fixture
def hasty(broker: Broker, broker_proxy: Proxy) -> Iterator[redis.Redis]:
    """A client that waits for no answer."""
    with closing(connect(broker, broker_proxy, HASTE_S)) as client:
        yield client


@pytest.fixture
def store_proxy(store_settings: Settings) -> Iterator[Proxy]:
    port = urlsplit(store_settings.require_store()).port
    assert port
    proxy = Proxy(port, StoreWire)
    yield proxy
    proxy.close()


def connect_s3(settings: Settings, proxy: Proxy, timeout_s: float) -> Any:
    """A client behind the proxy that tries nothing twice."""
    assert settings.store_secret_key
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{proxy.port}",
        aws_access_key_id=settings.store_access_key,
        aws_secret_access_key=settings.store_secret_key.get_secret_value(),
        region_name=settings.store_region,
        config=Config(read_timeout=timeout_s, retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def s3(store_settings: Settings, store_proxy: Proxy) -> Any:
    """A client of the bucket that waits for answers."""
    return connect_s3(store_settings, store_proxy, PATIENCE_S)


@pytest.fixture
def hasty_s3(store_settings: Settings, store_proxy: Proxy) -> Any:
    """A client that waits for no answer."""
    return connect_s3(store_settings, store_proxy, HASTE_S)


def test_redis_passes_unchanged(client: redis.Redis, admin: redis.Redis) -> None:
    value = b"\\r\\n$*" * 100_000
    assert client.set("a", value)
    assert client.get("a") == value
    with client.pipeline(transaction=True) as pipeline:
        pipeline.set("b", 1)
        pipeline.incr("b")
        pipeline.get("b")
        assert pipeline.execute() == [True, 2, b"2"]
    assert admin.get("b") == "2"


@pytest.mark.parametrize("name", BROKER_ANSWERS)
def test_the_proxy_answers_as_redis_does(name: str, client: redis.Redis, broker_proxy: Proxy) -> None:
    client.set("a", "1")
    with broker_proxy.in_trouble(BROKER_ANSWERS[name]):
        with pytest.raises(redis.RedisError) as refusal:
            client.set("a", "2")
        assert BROKER_ANSWERS[name].answer.split(maxsplit=1)[1][:20] in str(refusal.value)
        # A client that comes anew is let in and refused in the same way.
        client.connection_pool.disconnect()
        with pytest.raises(redis.RedisError):
            client.set("a", "3")
    assert client.get("a") == b"1"


def test_a_read_only_redis_answers_what_is_read(client: redis.Redis, broker_proxy: Proxy) -> None:
    client.set("a", "1")
    with broker_proxy.in_trouble(BROKER_ANSWERS["readonly"]), client.pipeline(transaction=False) as pipeline:
        pipeline.get("a")
        pipeline.incr("a")
        pipeline.get("a")
        answers = pipeline.execute(raise_on_error=False)
    assert answers[0] == answers[2] == b"1"
    assert isinstance(answers[1], redis.RedisError)


def test_a_dropped_request_reaches_nobody(client: redis.Redis, hasty: redis.Redis, broker_proxy: Proxy) -> None:
    with broker_proxy.in_trouble(Trouble(Way.DROP_REQUESTS)), pytest.raises(redis.TimeoutError):
        hasty.set("a", "1")
    assert client.get("a") is None


def test_a_dropped_reply_hides_what_was_done(
    client: redis.Redis, broker_proxy: Proxy, admin: redis.Redis, eventually: Callable[..., Any]
) -> None:
    client.ping()
    failed: list[Exception] = []

    def set_a() -> None:
        try:
            client.set("a", "1")
        except redis.RedisError as error:
            failed.append(error)

    with broker_proxy.in_trouble(Trouble(Way.DROP_REPLIES)):
        waiting = threading.Thread(target=set_a)
        waiting.start()
        eventually(lambda: admin.get("a") == "1")
        eventually(lambda: broker_proxy.hits >= 2)  # the request and its reply
    waiting.join()  # what has lost bytes is reset
    assert isinstance(failed[0], redis.ConnectionError)
    assert client.get("a") == b"1"


@pytest.mark.parametrize("way", [Way.CUT, Way.REFUSE, Way.HALVE_REPLIES])
def test_a_cut_connection_is_an_error_of_connections(way: Way, client: redis.Redis, broker_proxy: Proxy) -> None:
    with broker_proxy.in_trouble(Trouble(way)), pytest.raises(redis.ConnectionError):
        client.get("a")
    assert client.ping()


def test_a_delay_only_delays(client: redis.Redis, broker_proxy: Proxy) -> None:
    with broker_proxy.in_trouble(Trouble(Way.DELAY, delay_s=0.01)):
        assert client.set("a", "1")
    assert broker_proxy.hits


def test_a_connection_that_waits_is_cut_too(
    client: redis.Redis, broker_proxy: Proxy, eventually: Callable[..., Any], admin: redis.Redis
) -> None:
    ends: list[Exception] = []

    def wait() -> None:
        try:
            client.blpop(["never"], timeout=int(PATIENCE_S))
        except redis.RedisError as error:
            ends.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: [each for each in admin.client_list() if each["cmd"] == "blpop"])
    with broker_proxy.in_trouble(Trouble(Way.CUT)):
        waiting.join()
    assert isinstance(ends[0], redis.ConnectionError)


def test_s3_passes_unchanged(s3: Any) -> None:
    body = bytes(range(256)) * 40_000
    s3.put_object(Bucket="gan", Key="unchanged/a", Body=body)
    assert s3.get_object(Bucket="gan", Key="unchanged/a")["Body"].read() == body
    listed = s3.list_objects_v2(Bucket="gan", Prefix="unchanged/")["Contents"]
    assert [entry["Key"] for entry in listed] == ["unchanged/a"]


@pytest.mark.parametrize("status", STORE_ANSWERS)
def test_the_proxy_answers_as_a_store_does(status: str, s3: Any, store_proxy: Proxy) -> None:
    s3.put_object(Bucket="gan", Key="chaos/b", Body=b"b")
    with store_proxy.in_trouble(STORE_ANSWERS[status]):
        for call, key, more in (
            (s3.put_object, "chaos/c", {"Body": b"c" * 100_000}),
            (s3.get_object, "chaos/b", {}),
            (s3.head_object, "chaos/b", {}),
        ):
            with pytest.raises(botocore.exceptions.ClientError) as refusal:
                call(Bucket="gan", Key=key, **more)
            assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == int(status)
    assert s3.get_object(Bucket="gan", Key="chaos/b")["Body"].read() == b"b"


@pytest.mark.parametrize("way", [Way.CUT, Way.REFUSE, Way.HALVE_REPLIES, Way.DROP_REQUESTS])
def test_a_store_that_is_cut_off(way: Way, s3: Any, hasty_s3: Any, store_proxy: Proxy) -> None:
    with store_proxy.in_trouble(Trouble(way)), pytest.raises(botocore.exceptions.BotoCoreError):
        (hasty_s3 if way is Way.DROP_REQUESTS else s3).put_object(Bucket="gan", Key="chaos/d", Body=b"d")
    s3.put_object(Bucket="gan", Key="chaos/d", Body=b"d")


def test_what_a_store_did_and_could_not_say_is_done(
    s3: Any, hasty_s3: Any, store_proxy: Proxy, eventually: Callable[..., Any]
) -> None:
    with store_proxy.in_trouble(Trouble(Way.DROP_REPLIES)), pytest.raises(botocore.exceptions.BotoCoreError):
        hasty_s3.put_object(Bucket="gan", Key="chaos/e", Body=b"e")
    eventually(lambda: s3.list_objects_v2(Bucket="gan", Prefix="chaos/e").get("Contents"))
    assert s3.get_object(Bucket="gan", Key="chaos/e")["Body"].read() == b"e"
