"""PX: a TCP proxy that makes the way between crawler and server faulty; its faults are toxiproxy's toxics.

    async with Proxy(("127.0.0.1", server.port), limit_data(40)) as proxy:
        ...  # fetch from proxy.host:proxy.port

A toxic takes what the server sends and passes it on, or not; when it returns, the connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

CHUNK = 65_536


@dataclass(slots=True)
class Sink:
    """The client's end of a connection."""

    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Toxic = Callable[[asyncio.StreamReader, Sink], Awaitable[None]]


async def clean(source: asyncio.StreamReader, sink: Sink) -> None:
    """Passes everything on."""
    while data := await source.read(CHUNK):
        await sink.send(data)


def latency(seconds: float) -> Toxic:
    """Each piece comes so much later."""

    async def toxic(source: asyncio.StreamReader, sink: Sink) -> None:
        while data := await source.read(CHUNK):
            await asyncio.sleep(seconds)
            await sink.send(data)

    return toxic


def bandwidth(rate: float) -> Toxic:
    """So many bytes a second."""

    async def toxic(source: asyncio.StreamReader, sink: Sink) -> None:
        while data := await source.read(1 + int(rate / 100)):
            await sink.send(data)
            await asyncio.sleep(len(data) / rate)

    return toxic


def slow_close(seconds: float) -> Toxic:
    """The end comes late."""

    async def toxic(source: asyncio.StreamReader, sink: Sink) -> None:
        await clean(source, sink)
        await asyncio.sleep(seconds)

    return toxic


def timeout(seconds: float | None = None) -> Toxic:
    """Nothing comes; the connection is closed after so long, or never."""

    async def toxic(source: asyncio.StreamReader, sink: Sink) -> None:
        await asyncio.sleep(seconds if seconds is not None else 3600)

    return toxic


def reset_peer(after: int = 0) -> Toxic:
    """So many bytes, then RST once they have arrived."""

    async def toxic(source: asyncio.StreamReader, sink: Sink) -> None:
        if after:
            await limit_data(after)(source, sink)
            await asyncio.sleep(0.02)  # RST overtakes what has not been read
        sink.reset()

    return toxic


def slicer(size: int, seconds: float = 0.0) -> Toxic:
    """In pieces of so many bytes, with a pause between them."""

    async def toxic(source: asyncio.StreamReader, sink: Sink) -> None:
        while data := await source.read(size):
            await sink.send(data)
            await asyncio.sleep(seconds)

    return toxic


def limit_data(size: int) -> Toxic:
    """The connection is closed behind so many bytes."""

    async def toxic(source: asyncio.StreamReader, sink: Sink) -> None:
        left = size
        while left and (data := await source.read(left)):
            left -= len(data)
            await sink.send(data)

    return toxic


def half_open(size: int) -> Toxic:
    """So many bytes, then silence on a connection that stays open."""

    async def toxic(source: asyncio.StreamReader, sink: Sink) -> None:
        await limit_data(size)(source, sink)
        await asyncio.sleep(3600)

    return toxic


@dataclass(slots=True)
class Proxy:
    """Stands at a port of ``host`` before ``target``; ``toxic`` may be changed, and holds for connections from then on."""

    target: tuple[str, int]
    toxic: Toxic = clean
    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
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

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        source, upstream = await asyncio.open_connection(*self.target)
        up = asyncio.create_task(self._pump(reader, upstream))
        try:
            await self.toxic(source, Sink(writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            up.cancel()
            upstream.transport.abort()
            writer.close()
            self._tasks.discard(task)

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                upstream.write(data)
                await upstream.drain()
            upstream.write_eof()
