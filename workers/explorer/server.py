"""Server: hands a few things over HTTP to one browser, on loopback, and to nobody who does not know its address."""

import hmac
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any
from urllib.parse import parse_qsl

import psutil

from ganservice.errors import RequestError
from ganservice.plain_text import plain_line
from ganservice.proxies import is_loopback

LOOPBACK = "127.0.0.1"
# A browser that says nothing for so long is left.
SILENCE_S = 60.0
# Nothing comes from elsewhere and nothing is sent there; what is compiled is WebAssembly alone, no text.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Answer:
    """What is sent: bytes, their media type, and how they are packed, if they are."""

    content: bytes
    media_type: str
    packed: str | None = None


# Answers a query, by the names and values of its parameters. Raises RequestError.
Resource = Callable[[Mapping[str, str]], Answer]


@dataclass(frozen=True)
class Wanted:
    """An answer that somebody waits for."""

    make: Callable[[], Answer]
    answer: Future[Answer] = field(default_factory=Future)

    def fulfil(self) -> None:
        """Make it, unless nobody waits any more; or have whoever waits told why it is not to be had."""
        if not self.answer.set_running_or_notify_cancel():
            return
        try:
            self.answer.set_result(self.make())
        except Exception as error:  # noqa: BLE001 # raised where it is waited for
            self.answer.set_exception(error)


class PageServer(ThreadingHTTPServer):
    """Serves resources by their names, below an address that cannot be guessed. Raises OSError where it cannot listen.

    A name that another site gives to loopback is refused, lest that site's page asks under it (DNS rebinding).
    """

    daemon_threads = True

    def __init__(self, port: int, resources: Mapping[str, Resource]) -> None:
        """On a port, or with 0 on any that is free. The resource named by nothing is the page itself."""
        # Before the base class, which closes itself where it cannot listen.
        self._asked = SimpleQueue[Wanted | None]()
        self._answerer: threading.Thread | None = None
        self._has_ended = False
        super().__init__((LOOPBACK, port), _Handler)
        self._resources = resources
        self._token = secrets.token_urlsafe(24)
        self._once: set[str] = set()

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.server_port}/{self._token}/"

    def address_for_once(self) -> str:
        """An address that leads there the first time alone: for a command line, which other users can see."""
        word = secrets.token_urlsafe(24)
        self._once.add(word)
        return f"http://{LOOPBACK}:{self.server_port}/{word}"

    def start(self) -> None:
        """Serve in threads, until `shutdown`."""
        self._answerer = threading.Thread(target=self._answer_all, daemon=True)
        self._answerer.start()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def find(self, path: str) -> Resource | None:
        """The resource at a path of ours; None where there is none, or who asks does not know the address."""
        first, _, name = path.removeprefix("/").partition("/")
        return self._resources.get(name) if hmac.compare_digest(first.encode(), self._token.encode()) else None

    def answer(self, resource: Resource, query: str) -> Answer:
        """What a resource answers to a query. Raises RequestError."""
        wanted = Wanted(partial(resource, dict(parse_qsl(query))))
        self._asked.put(wanted)
        if self._has_ended:  # and perhaps nobody is there to answer
            wanted.answer.cancel()
        return wanted.answer.result()

    def _answer_all(self) -> None:
        while (wanted := self._asked.get()) is not None:
            if self._has_ended:
                wanted.answer.cancel()
            wanted.fulfil()

    def leads_to_page(self, path: str) -> bool:
        """Whether a path is the page's without its last slash, or leads there for once and does so now."""
        word = path.removeprefix("/")
        if hmac.compare_digest(word.encode(), self._token.encode()):
            return True
        if word not in self._once:
            return False
        self._once.discard(word)
        return True

    def server_close(self) -> None:
        """Listen no more, and answer no more, once what is being answered is.

        Until the thread that used torch is gone, as the system sees it, the process must not end: it would abort.
        """
        super().server_close()
        self._has_ended = True
        self._asked.put(None)
        if self._answerer is not None:
            self._answerer.join()
            while self._answerer.native_id in {thread.id for thread in psutil.Process().threads()}:
                time.sleep(0.01)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell what went wrong; not that we have ended, or a browser has left, as when a page is loaded again."""
        if not isinstance(sys.exception(), ConnectionError | CancelledError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = SILENCE_S

    def do_GET(self) -> None:
        """Answer."""
        path, _, query = self.path.partition("?")
        if not is_loopback(f"http://{self.headers.get('Host', '')}"):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "this server is asked by the name of loopback alone")
        elif self.server.leads_to_page(path):
            self._send(HTTPStatus.SEE_OTHER, Answer(b"", "text/plain"), {"Location": self.server.address})
        elif resource := self.server.find(path):
            try:
                answer = self.server.answer(resource, query)
            except RequestError as error:
                self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            else:
                self._send(HTTPStatus.OK, answer, {})
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "nothing is here; open the address that `ganctl explore` printed")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._send(status, Answer(f"{reason}\n".encode(), "text/plain; charset=utf-8"), {})

    def _send(self, status: HTTPStatus, answer: Answer, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(len(answer.content)))
        if answer.packed:
            self.send_header("Content-Encoding", answer.packed)
        for name, value in {**HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse as everything else is: what http.server finds wrong itself is HTML, without a policy."""
        del explain
        status = HTTPStatus(code)
        self.close_connection = True
        self._refuse(status, plain_line(message or status.phrase))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # its name in the base class
        """Say nothing: the terminal is the command's."""
