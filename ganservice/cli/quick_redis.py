"""Reads from Redis without its library, which takes longer to import than a shell that completes may take in all."""

import socket
from collections.abc import Iterator, Sequence
from typing import BinaryIO
from urllib.parse import SplitResult, unquote, urlsplit

Answer = str | int | list["Answer"] | None
Command = tuple[str | int, ...]
DEFAULT_PORT = 6379


class QuickRedis:
    """One connection to Redis at a `redis://` URL. Whatever goes wrong raises OSError or ValueError."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme != "redis" or not parts.hostname:
            raise ValueError("only redis:// is read like this")
        self._socket = socket.create_connection((parts.hostname, parts.port or DEFAULT_PORT), timeout_s)
        self._stream: BinaryIO = self._socket.makefile("rb")
        try:
            self.ask(list(_greeting(parts)))
        except (OSError, ValueError):
            self.close()
            raise

    def close(self) -> None:
        """End the connection."""
        self._stream.close()
        self._socket.close()

    def ask(self, commands: Sequence[Command]) -> list[Answer]:
        """The answers to several commands, which are sent together."""
        self._socket.sendall(b"".join(part for command in commands for part in _encoded(command)))
        return [self._answer() for _ in commands]

    def _answer(self) -> Answer:
        line = self._stream.readline()
        kind, text = line[:1], line[1:].strip()
        if kind == b"+":
            return _text(text)
        if kind == b":":
            return int(text)
        if kind == b"$":
            return None if int(text) < 0 else _text(self._stream.read(int(text) + 2)[:-2])
        if kind == b"*":
            return [self._answer() for _ in range(int(text))]
        raise ValueError(f"Redis says {_text(line)!r:.80}")


def _greeting(url: SplitResult) -> Iterator[Command]:
    """What is said first: who we are, and which database is meant."""
    if url.password is not None:
        user = (unquote(url.username),) if url.username else ()
        yield ("AUTH", *user, unquote(url.password))
    if database := url.path.strip("/"):
        yield ("SELECT", database)


def _encoded(command: Command) -> Iterator[bytes]:
    yield b"*%d\r\n" % len(command)
    for part in command:
        data = str(part).encode()
        yield b"$%d\r\n%s\r\n" % (len(data), data)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
