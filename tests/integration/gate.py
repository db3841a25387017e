"""A gate before a real store: it passes requests on, or answers them as a store in trouble does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from ganservice.settings import Settings


class Gate(ThreadingHTTPServer):
    """Open at first. Shut with a status it answers with that; a full store (507) still reads."""

    def __init__(self, store: Settings) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        url = urlsplit(store.require_store())
        self.store_address = url.netloc
        self.settings = store.model_copy(update={"store_url": f"http://127.0.0.1:{self.server_port}{url.path}"})
        self.status: int | None = None
        self._refused: set[str] | None = None  # where each request is refused once: those that were

    def shut(self, status: int) -> None:
        """Answer requests with this status from now on."""
        self.status = status

    def open(self) -> None:
        """Pass requests on from now on."""
        self.status, self._refused = None, None

    def refuse_each_once(self) -> None:
        """Refuse each request from now on the first time that it is made."""
        self._refused = set()

    def status_of(self, command: str, path: str) -> int | None:
        """What a request is answered with; None where it is passed on."""
        request, refused = f"{command} {path}", self._refused
        if refused is not None and request not in refused:
            refused.add(request)
            return 403
        return self.status if self.status != 507 or command in ("PUT", "POST") else None

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that has gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gate

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if status := self.server.status_of(self.command, self.path):
            return self._send(status, {}, b"")
        store = HTTPConnection(self.server.store_address, timeout=60)
        try:
            store.request(self.command, self.path, body, dict(self.headers))
            answer = store.getresponse()
            return self._send(answer.status, dict(answer.getheaders()), answer.read())
        except OSError:  # it is away: so is the gate
            self.close_connection = True
        finally:
            store.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 # names of http.server

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = next((value for name, value in headers.items() if name.lower() == "content-length"), None)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def gate_before(store: Settings) -> Iterator[Gate]:
    """A gate before a store, for as long as the block runs."""
    with Gate(store) as gate:
        thread = threading.Thread(target=gate.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield gate
        gate.shutdown()
        thread.join()
