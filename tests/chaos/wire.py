"""Wires: how requests are told apart in the streams of Redis and of S3, and how each is answered."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass

import hiredis

from tests.chaos.trouble import Trouble

CHUNK_BYTES = 2**16
# What a connection begins with; a server that refuses all else still takes it.
GREETINGS = {b"AUTH", b"HELLO", b"CLIENT", b"SELECT", b"QUIT"}
# Of the commands that this project sends, those that only read, or begin and end a transaction of such.
READS = {
    b"PING", b"TIME", b"INFO", b"GET", b"EXISTS", b"HGETALL", b"HMGET", b"HVALS", b"HGET", b"ZRANGE", b"ZCARD",
    b"ZRANGEBYSCORE", b"XRANGE", b"XREAD", b"MULTI", b"EXEC", b"SCRIPT", b"ACL", b"CONFIG", b"ZSCORE", b"ZMSCORE",
    b"XREVRANGE", b"MGET", b"COMMAND", b"WATCH", b"UNWATCH", b"ZREVRANGE", b"SCAN", b"TYPE", b"SMEMBERS", b"XLEN",
}  # fmt: skip


@dataclass
class Request:
    """What a client asks: its name and what is read of it so far; `rest` are the bytes still to come."""

    name: bytes
    head: bytes
    rest_bytes: int = 0
    is_chunked: bool = False  # as much is still to come as its chunks say
    awaits_word: bool = False  # the client sends the rest only when it is told to


class Wire(ABC):
    """One connection's requests, as its client sends them."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.reader = reader

    @abstractmethod
    def requests(self) -> AsyncIterator[Request]:
        """The requests, until the client hangs up; the caller has read each to its end before it takes the next."""

    @abstractmethod
    def rest(self, request: Request) -> AsyncIterator[bytes]:
        """What is still to come of a request."""

    @abstractmethod
    def heard(self, data: bytes) -> None:
        """Take note of what the server says."""

    @abstractmethod
    async def answered(self) -> None:
        """Wait until the server has said all that it was asked."""

    @abstractmethod
    def answer(self, request: Request, trouble: Trouble) -> bytes | None:
        """What a server in this trouble says; None where it does what it was asked."""


class RedisWire(Wire):
    """RESP: each command an array, each reply a value; clients may send many before they read."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self._replies = hiredis.Reader()
        self._open = 0  # requests that nobody has answered yet

    async def requests(self) -> AsyncIterator[Request]:
        commands = hiredis.Reader()
        while data := await self.reader.read(CHUNK_BYTES):
            commands.feed(data)
            while (words := commands.gets()) is not False:
                self._open += 1
                yield Request(words[0].upper(), _array(words))

    async def rest(self, request: Request) -> AsyncIterator[bytes]:
        while request.rest_bytes:  # never: a command is read whole
            yield b""

    def heard(self, data: bytes) -> None:
        self._replies.feed(data)
        while self._replies.gets() is not False:
            self._open -= 1

    async def answered(self) -> None:
        # The one that is about to be answered is among them.
        while self._open > 1:
            await asyncio.sleep(0.001)

    def answer(self, request: Request, trouble: Trouble) -> bytes | None:
        if request.name in GREETINGS or (request.name in READS and not trouble.whole):
            return None
        self._open -= 1
        return f"-{trouble.answer}\r\n".encode()


def _array(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class StoreWire(Wire):
    """HTTP/1.1: a head, and a body as long as it says or in chunks; one request at a time."""

    async def requests(self) -> AsyncIterator[Request]:
        while not self.reader.at_eof():
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            lines = head.split(b"\r\n")
            fields = {
                name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
            }
            yield Request(
                lines[0].partition(b" ")[0],
                head,
                int(fields.get(b"content-length", 0)),
                fields.get(b"transfer-encoding", b"").lower() == b"chunked",
                fields.get(b"expect", b"").lower() == b"100-continue",
            )

    async def rest(self, request: Request) -> AsyncIterator[bytes]:
        left = request.rest_bytes
        while left:
            data = await self.reader.read(min(left, CHUNK_BYTES))
            if not data:
                return
            left -= len(data)
            yield data
        while request.is_chunked:
            size = await self.reader.readuntil(b"\r\n")
            length = int(size.partition(b";")[0], 16)
            yield size + await self.reader.readexactly(length + 2)
            request.is_chunked = length > 0

    def heard(self, data: bytes) -> None:
        del data

    async def answered(self) -> None:
        return

    def answer(self, request: Request, trouble: Trouble) -> bytes | None:
        status, code = trouble.answer.split()
        body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>chaos</Message></Error>'
        head = (
            f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        return (head + ("" if request.name == b"HEAD" else body)).encode()
