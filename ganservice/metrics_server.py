"""The HTTP server of the exporter: metrics for whoever has the password, if there is one."""

import base64
import gzip
import hmac
import re
import threading
from collections.abc import Callable, Collection, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ganservice.settings import Settings

# The one user whom the exporter, and the Prometheus of an embedded stack, know.
METRICS_USER = "gan"
# A peer that says nothing for so long is left; a scrape takes less.
SILENCE_S = 60.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Samples are so alike that the fastest way of packing them makes them a tenth.
PACKING = 1
# What ends the name of a sample.
SAMPLE_NAME = re.compile(r"[{ ]")

App = Callable[..., Iterable[bytes]]


def basic_auth(password: str) -> str:
    """The value of the header `Authorization` for our user (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{METRICS_USER}:{password}".encode()).decode()


def serve(text: Callable[[], str], settings: Settings) -> WSGIServer:
    """Answer with this text of metrics in a thread, until `shutdown` of what is returned. Raises OSError."""
    app = _telling(text)
    if settings.exporter_password:
        app = _only_with(basic_auth(settings.exporter_password.get_secret_value()), app)
    server = make_server(
        settings.exporter_host, settings.exporter_port, app, server_class=_Server, handler_class=_Handler
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _telling(text: Callable[[], str]) -> App:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            start_response("405 Method Not Allowed", [("Allow", "GET, HEAD")])
            return [b""]
        names = frozenset(parse_qs(environ.get("QUERY_STRING", "")).get("name[]", ()))
        headers, body = [("Content-Type", CONTENT_TYPE)], (only(names, text()) if names else text()).encode()
        if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            headers.append(("Content-Encoding", "gzip"))
            body = gzip.compress(body, PACKING)
        start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
        return [body] if method == "GET" else []

    return answer


def only(names: Collection[str], text: str) -> str:
    """Of a text of metrics the samples of these names, each metric with its head; the parameter `name[]` is that of
    Prometheus' client libraries."""
    kept, head = list[str](), list[str]()
    for line in text.splitlines(keepends=True):
        if line.startswith("#"):
            head = [*head, line] if line.startswith("# TYPE") else [line]
        elif SAMPLE_NAME.split(line, maxsplit=1)[0] in names:
            kept += [*head, line]
            head = []
    return "".join(kept)


def _only_with(expected: str, app: App) -> App:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if hmac.compare_digest(environ.get("HTTP_AUTHORIZATION", "").encode(), expected.encode()):
            return app(environ, start_response)
        start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="ganservice"')])
        return [b"the exporter asks for its password, GANSERVICE_EXPORTER_PASSWORD\n"]

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = SILENCE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # its name in the base class
        """Say nothing: there is a request every few seconds."""
