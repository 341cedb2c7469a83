"""HS: a raw server that speaks HTTP badly, one coroutine a fault, and keeps a log of what it was asked.

    async with Hostile(cut_length) as server:
        ...  # fetch server.url("/a"); then look at server.requests and server.connections
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

OK = b"HTTP/1.1 200 OK\r\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its target exactly as on the wire, its headers in order, and the number of its connection."""

    target: str
    headers: tuple[tuple[str, str], ...]
    connection: int

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(slots=True)
class Peer:
    """One connection as a fault sees it."""

    server: Hostile
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int

    async def asked(self) -> Asked | None:
        """The next request, or None when the client has left."""
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        line, *rest = head[:-4].split("\r\n")
        pairs = tuple((key, value.strip()) for key, _, value in (one.partition(":") for one in rest))
        asked = Asked(line.split(" ")[1], pairs, self.number)
        self.server.requests.append(asked)
        return asked

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Ends the connection with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Waits for the client to leave."""
        while await self.reader.read(65_536):
            pass


Fault = Callable[[Peer], Awaitable[None]]


@dataclass(slots=True)
class Hostile:
    """Serves one fault on a loopback port. ``most``: how many connections were open at once."""

    fault: Fault
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    requests: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most: int = 0
    port: int = 0
    poisoned: int = 0  # answers sent that nobody asked for
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str = "/", host: str | None = None) -> str:
        return f"{'https' if self.tls else 'http'}://{host or self.host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await self.fault(Peer(self, reader, writer, self.connections))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.transport.abort() if self.tls else writer.close()


def response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A good response with a Content-Length."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers))
    return head.encode("latin-1") + b"\r\n" + body


def raw(data: bytes) -> Fault:
    """Answers the first request with these very bytes, then closes."""

    async def fault(peer: Peer) -> None:
        if await peer.asked():
            await peer.send(data)

    return fault


def held(data: bytes) -> Fault:
    """Answers with these bytes and then says nothing more, but stays."""

    async def fault(peer: Peer) -> None:
        if await peer.asked():
            await peer.send(data)
            await peer.gone()

    return fault


async def echo(peer: Peer) -> None:
    """Good manners: each answer carries its own request target; keep-alive."""
    while asked := await peer.asked():
        await peer.send(response(asked.target.encode()))


async def speaks_first(peer: Peer) -> None:
    """Answers before it is asked, as a plain server does to a TLS greeting."""
    await peer.send(response(b"", status="400 Bad Request"))
    await peer.gone()


async def silent(peer: Peer) -> None:
    """Takes the request and never answers."""
    await peer.asked()
    await peer.gone()


async def endless_1xx(peer: Peer) -> None:
    """H6."""
    await peer.asked()
    while True:
        await peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await asyncio.sleep(0.002)


async def drip_header(peer: Peer) -> None:
    """H7: a header that never ends, a byte at a time."""
    await peer.asked()
    await peer.send(OK + b"X: ")
    while True:
        await peer.send(b"a")
        await asyncio.sleep(0.002)


async def drip_body(peer: Peer) -> None:
    """H7: the first body byte at once, then one now and then."""
    await peer.asked()
    await peer.send(OK + b"Content-Length: 1000000\r\n\r\n")
    while True:
        await peer.send(b"b")
        await asyncio.sleep(0.01)


async def endless_chunks(peer: Peer) -> None:
    """H8."""
    await peer.asked()
    await peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await peer.send(b"4000\r\n" + b"c" * 0x4000 + b"\r\n")


def resets(data: bytes) -> Fault:
    """H9, N6: these bytes, then RST once they have been taken from the socket."""

    async def fault(peer: Peer) -> None:
        await peer.asked()
        await peer.send(data)
        await asyncio.sleep(0.02)  # RST overtakes data that the client has not read
        peer.reset()

    return fault


async def glued(peer: Peer) -> None:
    """H11: behind every answer, in the same packet, one that nobody asked for."""
    while asked := await peer.asked():
        await peer.send(response(asked.target.encode()) + response(b"poison"))


async def glued_late(peer: Peer) -> None:
    """H11: the unasked answer comes when the connection is back in the client's pool."""
    while asked := await peer.asked():
        await peer.send(response(asked.target.encode()))
        await asyncio.sleep(0.002)
        await peer.send(response(b"poison"))
        peer.server.poisoned += 1


async def hangs_up_when_reused(peer: Peer) -> None:
    """H19: answers one request; the second one on a connection finds it closed."""
    if asked := await peer.asked():
        await peer.send(response(asked.target.encode()))
        await peer.asked()
