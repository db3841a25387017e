"""The HTTP server of the exporter: metrics for whoever has the password, if there is one."""

import base64
import hmac
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from ganservice.settings import Settings

# The one user whom the exporter, and the Prometheus of an embedded stack, know.
METRICS_USER = "gan"
# A peer that says nothing for so long is left; a scrape takes less.
SILENCE_S = 60.0


def basic_auth(password: str) -> str:
    """The value of the header `Authorization` for our user (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{METRICS_USER}:{password}".encode()).decode()


def serve(registry: CollectorRegistry, settings: Settings) -> WSGIServer:
    """Serve the metrics of `registry` in a thread, until `shutdown` of what is returned. Raises OSError."""
    app = make_wsgi_app(registry)
    if settings.exporter_password:
        app = _only_with(basic_auth(settings.exporter_password.get_secret_value()), app)
    server = make_server(
        settings.exporter_host, settings.exporter_port, app, server_class=_Server, handler_class=_Handler
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _only_with(expected: str, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
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
