"""Servers that say what a test wants to hear: in Redis' protocol, in HTTP, or nothing at all."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Respond = Callable[[list[bytes]], bytes]


@contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that has gone."""


@contextmanager
def resp_server(respond: Respond) -> Iterator[int]:
    """A server of Redis' protocol on loopback: the bytes that `respond` makes of each command. Gives the port.

    Nothing but b"" ends the connection instead.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int(self.rfile.readline()[1:])
                    words.append(self.rfile.read(size + 2)[:-2])
                answer = respond(words)
                if not answer:
                    return
                self.wfile.write(answer)

    server = _Server(("127.0.0.1", 0), Handler)
    with _served(server):
        yield server.server_address[1]


@contextmanager
def tcp_server(answer: bytes) -> Iterator[int]:
    """A server that answers whatever it hears with the same bytes and ends the connection. Gives the port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(answer)

    server = _Server(("127.0.0.1", 0), Handler)
    with _served(server):
        yield server.server_address[1]


@contextmanager
def silent_server() -> Iterator[int]:
    """A port on which connections are taken and nothing is ever said. Gives the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield listener.getsockname()[1]


@contextmanager
def http_server(
    status: int, body: bytes = b"", headers: dict[str, str] | None = None, sent_bytes: int | None = None
) -> Iterator[str]:
    """A server that answers every request alike, and of the body sends `sent_bytes` at most. Gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[:sent_bytes])
            self.close_connection = sent_bytes is not None

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 # names of http.server

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """Say nothing of a client that has gone."""

    server = Server(("127.0.0.1", 0), Handler)
    with _served(server):
        yield f"http://127.0.0.1:{server.server_port}"
