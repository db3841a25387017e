"""Rendezvous: where the workers of a gang learn each other's addresses, without anybody asking for a name."""

import contextlib
import json
import socket
import socketserver
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

# Between two attempts to reach the first worker, which may begin later, and between its looks for its own end.
LOOK_S = 0.05
# Of a request or an answer, all of which are addresses and counts; and how many of these are kept.
MOST_BYTES = 2**20
MOST_KEYS = 100_000
# For how long a request may take to come, and what it asks for to be there.
MOST_WAIT_S = 3_600.0
# After the time for which somebody waits, until his answer comes.
ANSWER_S = 10.0


class Rendezvous(Store):
    """Keys and values that the first worker keeps for all, as torch's process groups ask for them.

    That of torch, TCPStore, looks up the name of each address that it sees, even of a loopback's: where no name server
    answers, all workers wait for 20 s.
    """

    def __init__(self, address: tuple[str, int], is_first: bool, timeout: timedelta) -> None:
        """Every worker waits as long as `timeout` for the first one, and for any key."""
        super().__init__()
        self._address = address
        self._timeout_s = timeout.total_seconds()
        self._keeper = _Keeper(address) if is_first else None

    def close(self) -> None:
        """Keep nothing for anybody any more."""
        if self._keeper:
            self._keeper.shutdown()
            self._keeper.server_close()

    def set(self, key: str, value: bytes) -> None:  # type: ignore[override] # which is that of whoever calls torch's
        """Give a key a value, of which JSON has a character for each byte."""
        self._ask("set", key, value.decode("latin-1"))

    def get(self, key: str) -> bytes:
        """The value of a key, once there is one."""
        self.wait([key])
        value: str = self._ask("get", key)
        return value.encode("latin-1")

    def add(self, key: str, amount: int) -> int:
        """Add to a number, which begins at 0, and return it."""
        return int(self._ask("add", key, amount))

    def check(self, keys: Sequence[str]) -> bool:
        """Whether there are values of all these keys."""
        return bool(self._ask("wait", list(keys), 0))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Return once there are values of all these keys. Raises DistStoreError after `timeout`."""
        timeout_s = min(timeout.total_seconds() if timeout else self._timeout_s, MOST_WAIT_S)
        if not self._ask("wait", list(keys), timeout_s):
            raise dist.DistStoreError(f"other workers had not come to the meeting after {timeout_s:.0f} s")

    def _ask(self, *request: Any) -> Any:
        with self._reach() as connection:
            # The first worker waits that long at most before it answers; its machine may be gone without a word.
            connection.settimeout(self._timeout_s + ANSWER_S)
            try:
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("rb") as answers:
                    return json.loads(answers.readline(MOST_BYTES))
            except (OSError, ValueError) as error:
                raise dist.DistNetworkError(f"the first worker left the meeting: {error}") from error

    def _reach(self) -> socket.socket:
        until = time.monotonic() + self._timeout_s
        while True:
            try:
                left_s = max(LOOK_S, until - time.monotonic())
                return socket.create_connection(self._address, timeout=left_s)
            except OSError as error:
                if time.monotonic() > until:
                    raise dist.DistNetworkError(f"the first worker did not come to the meeting: {error}") from error
                time.sleep(LOOK_S)


class _Keeper(socketserver.ThreadingTCPServer):
    """What the first worker keeps, and answers to one request of each connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128  # all workers of a gang may come at once

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Request)
        self._values: dict[str, str] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self.serve_forever, args=(LOOK_S,), name="meeting", daemon=True).start()

    def answer(self, request: Any) -> Any:
        """Do as asked. Raises ValueError of what is no request."""
        with self._changed:
            match request:
                case ["set", str(key), str(value)]:
                    return self._put(key, value)
                case ["get", str(key)]:
                    return self._values[key]
                case ["add", str(key), int(amount)]:
                    return self._put(key, str(int(self._values.get(key, "0")) + amount))
                case ["wait", [*keys], int(timeout_s) | float(timeout_s)] if (
                    all(isinstance(key, str) for key in keys) and 0 <= timeout_s <= MOST_WAIT_S
                ):
                    return self._changed.wait_for(lambda: set(keys) <= self._values.keys(), timeout_s)
        raise ValueError(f"no request: {request!r:.80}")

    def _put(self, key: str, value: str) -> str:
        if key not in self._values and len(self._values) >= MOST_KEYS:
            raise ValueError(f"more than {MOST_KEYS:,} keys")
        self._values[key] = value
        self._changed.notify_all()
        return value


class _Request(socketserver.StreamRequestHandler):
    server: _Keeper
    timeout = MOST_WAIT_S

    def handle(self) -> None:
        """Answer it; what is none, of whoever knocks at the port, is let go."""
        with contextlib.suppress(OSError, ValueError, LookupError, RecursionError):
            answer = self.server.answer(json.loads(self.rfile.readline(MOST_BYTES)))
            self.wfile.write(json.dumps(answer).encode() + b"\n")
