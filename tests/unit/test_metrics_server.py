"""Who gets metrics from the exporter."""

import gzip
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast
from urllib.parse import urlencode

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import SecretStr

from ganservice.metrics_server import basic_auth, serve
from ganservice.settings import Settings


@contextmanager
def metrics(password: str | None, text: str = "answer 42.0\n") -> Iterator[Callable[..., str]]:
    """Asks an exporter with a header, or none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = Settings(exporter_port=port, exporter_password=SecretStr(password) if password else None)
    server = serve(lambda: text, settings)

    def ask(header: str | None = None, *, packed: bool = False, query: str = "", method: str = "GET") -> str:
        headers = {"Authorization": header} if header else {}
        headers |= {"Accept-Encoding": "gzip"} if packed else {}
        url = f"http://127.0.0.1:{port}/metrics{query}"
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method)) as got:
            assert got.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            body: bytes = got.read()
            if method == "HEAD":
                assert body == b""
                return str(got.headers["Content-Length"])
            return (gzip.decompress(body) if packed else body).decode()

    try:
        yield ask
    finally:
        server.shutdown()
        server.server_close()


def test_without_a_password_all_are_answered() -> None:
    with metrics(None) as ask:
        assert ask() == ask(packed=True) == "answer 42.0\n"


@pytest.mark.parametrize("header", [None, "Basic", "Basic Z2FuOg==", basic_auth("wrong"), "Bearer secret", "Basic ä"])
def test_with_one_nobody_else_is(header: str | None) -> None:
    with metrics("secret") as ask:
        assert "answer 42.0" in ask(basic_auth("secret"))
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(header)


def test_who_asks_for_the_head_is_told_how_long_the_answer_is() -> None:
    with metrics(None, "answer 42.0\n") as ask:
        assert ask(method="HEAD") == "12"
        with pytest.raises(urllib.error.HTTPError, match="405") as refused:
            ask(method="POST")
        with refused.value as answer:
            assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "names", [["up"], ["a_total", "up"], ["wait_bucket"], ["wait_sum", "wait_count"], ["none"], ["wait", "b"]]
)
def test_of_samples_that_are_named_no_other_is_told_as_the_client_library_has_it(names: list[str]) -> None:
    registry = CollectorRegistry()
    Gauge("up", "Whether it is \\ there.", registry=registry).set(1)
    counter = Counter("a", "A counter.", ["b"], registry=registry)
    for label in ("x y", "{", "# HELP up", "line\nup 2"):
        counter.labels(label).inc()
    Histogram("wait", "A wait.", buckets=(1, 2), registry=registry).observe(1.5)
    with metrics(None, generate_latest(registry).decode()) as ask:
        told = ask(query="?" + urlencode([("name[]", name) for name in names]))
        expected = generate_latest(cast(CollectorRegistry, registry.restricted_registry(names))).decode()
        assert sorted(told.splitlines()) == sorted(expected.splitlines()), "the metrics are in no order there"
