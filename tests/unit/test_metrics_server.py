"""Who gets metrics from the exporter."""

import gzip
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr

from ganservice.metrics_server import basic_auth, serve
from ganservice.settings import Settings


@contextmanager
def metrics(password: str | None) -> Iterator[Callable[..., str]]:
    """Asks an exporter with a header, or none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = Settings(exporter_port=port, exporter_password=SecretStr(password) if password else None)
    server = serve(lambda: "answer 42.0\n", settings)

    def ask(header: str | None = None, *, packed: bool = False) -> str:
        headers = {"Authorization": header} if header else {}
        headers |= {"Accept-Encoding": "gzip"} if packed else {}
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers)) as got:
            assert got.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            body: bytes = got.read()
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
