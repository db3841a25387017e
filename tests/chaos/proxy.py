"""A TCP proxy before a server, through which all of its traffic passes and which can be told to treat it badly."""

import asyncio
import contextlib
import secrets
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from tests.chaos.trouble import NONE, Trouble, Way
from tests.chaos.wire import CHUNK_BYTES, Request, StoreWire, Wire

Result = TypeVar("Result")

HOST = "127.0.0.1"
# Below the range from which systems take ports for outgoing connections, and beside that of the embedded stack.
PORTS = range(12_000, 20_000)
# Closing a socket that lingers for no time sends RST.
NO_LINGER = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on `port`, and passes what it hears to `server_port`; its loop runs in a thread of its own."""

    def __init__(self, server_port: int, wire: type[Wire]) -> None:
        self._server_port = server_port
        self._wire = wire
        self.trouble = NONE
        self.hits = 0  # requests and replies that met with trouble
        self._links: set[Link] = set()
        self._listener: asyncio.Server | None = None
        self.port = _free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()
        self._call(self._listen())

    def set(self, trouble: Trouble) -> None:
        """Treat all traffic like this from now on."""
        self._call(self._set(trouble))

    @contextlib.contextmanager
    def in_trouble(self, trouble: Trouble) -> Iterator[None]:
        """Treat traffic like this inside the block."""
        self.set(trouble)
        try:
            yield
        finally:
            self.set(NONE)

    def close(self) -> None:
        """Reset all connections and stop."""
        self._call(self._set(Trouble(Way.REFUSE)))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, what: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout=60)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, HOST, self.port, limit=2**20)

    async def _set(self, trouble: Trouble) -> None:
        self.trouble = trouble
        for link in list(self._links):
            # What has lost bytes can never be right again.
            if link.has_lost or trouble.way in (Way.CUT, Way.REFUSE):
                self.hits += 1
                await link.reset()
        if trouble.way is Way.REFUSE and self._listener:
            self._listener.close()
            self._listener = None
        elif trouble.way is not Way.REFUSE and self._listener is None:
            await self._listen()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self, self._wire(reader), writer)
        self._links.add(link)
        try:
            await link.run(self._server_port)
        finally:
            self._links.discard(link)


class Link:
    """One client's connection, and ours to the server for it."""

    def __init__(self, proxy: Proxy, wire: Wire, client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._wire = wire
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.has_lost = False

    async def run(self, server_port: int) -> None:
        """Pass bytes both ways until one side hangs up."""
        try:
            reader, self._server = await asyncio.open_connection(HOST, server_port)
            self._tasks = [asyncio.create_task(self._up()), asyncio.create_task(self._down(reader))]
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        except OSError:  # the server is away: its client is told by a reset, as by the server's own machine
            self._client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        finally:
            await self._end()

    async def reset(self) -> None:
        """End both connections by RST."""
        for writer in filter(None, (self._client, self._server)):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            writer.transport.abort()
        await self._end()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for writer in filter(None, (self._client, self._server)):
            writer.close()

    async def _up(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async for request in self._wire.requests():
                trouble = self._proxy.trouble
                if trouble.way is not Way.PASS:
                    self._proxy.hits += 1
                match trouble.way:
                    case Way.CUT:
                        await self.reset()
                    case Way.DROP_REQUESTS:
                        await self._swallow()
                    case Way.ANSWER:
                        if not await self._answer(request, trouble):
                            await self._forward(request)
                        elif isinstance(self._wire, StoreWire):
                            return
                    case _:
                        await asyncio.sleep(trouble.delay_s)
                        await self._forward(request)

    async def _forward(self, request: Request) -> None:
        assert self._server
        self._server.write(request.head)
        async for data in self._wire.rest(request):
            self._server.write(data)
            await self._server.drain()
        await self._server.drain()

    async def _answer(self, request: Request, trouble: Trouble) -> bool:
        """Answer in the server's place, and say whether that was to be done."""
        await self._wire.answered()
        answer = self._wire.answer(request, trouble)
        if answer is None:
            return False
        if not request.awaits_word:
            async for _ in self._wire.rest(request):
                pass
        self._client.write(answer)
        await self._client.drain()
        return True

    async def _swallow(self) -> None:
        self.has_lost = True  # the proxy resets us when the trouble is over
        while await self._wire.reader.read(CHUNK_BYTES):
            pass

    async def _down(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                self._wire.heard(data)
                trouble = self._proxy.trouble
                match trouble.way:
                    case Way.DROP_REPLIES:
                        self.has_lost = True
                        self._proxy.hits += 1
                    case Way.HALVE_REPLIES:
                        self._proxy.hits += 1
                        self._client.write(data[: len(data) // 2])
                        await self._client.drain()
                        await self.reset()
                    case _:
                        if not self.has_lost:
                            self._client.write(data)
                            await self._client.drain()


def _free_port() -> int:
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return port
