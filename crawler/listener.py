"""Answers peers on a socket: one request each, a few peers at a time, each within seconds. Nothing a peer does can hold up
or end the crawl."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

PEERS = 8  # at once; another is hung up on
LONGEST = 64 * 1024  # bytes of a request
PATIENCE = 5.0  # seconds for a request to come, and for its answer to be taken
LAST = 2.0  # seconds for answers that are being made when the listener closes

Answer = Callable[[bytes | None, socket.socket], Awaitable[bytes]]
"""Makes the answer to a request (None: it was longer than `LONGEST`) that came over a socket; b"": hang up."""


@asynccontextmanager
async def listening(sock: socket.socket, answer: Answer, end: bytes) -> AsyncIterator[None]:
    """Answer who connects to a bound socket, until the block ends. ``end``: the bytes that end a request."""
    peers: dict[asyncio.Task[None], bool] = {}  # whether its answer is being made

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(peers) >= PEERS:
            writer.transport.abort()
            return
        peers[task] = False
        try:
            async with asyncio.timeout(PATIENCE):
                request = await _request(reader, end)
            peers[task] = True
            writer.write(await answer(request, writer.get_extra_info("socket")))
            async with asyncio.timeout(PATIENCE):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            pass  # only `_wind_up` cancels; asyncio of Python 3.11 would report a cancelled task as an error
        finally:
            del peers[task]
            writer.transport.abort()

    start = asyncio.start_unix_server if sock.family == socket.AF_UNIX else asyncio.start_server
    server = await start(meet, sock=sock, limit=LONGEST)
    try:
        yield
    finally:
        server.close()
        await _wind_up(peers)


async def _request(reader: asyncio.StreamReader, end: bytes) -> bytes | None:
    try:
        return await reader.readuntil(end)
    except asyncio.LimitOverrunError:
        return None


async def _wind_up(peers: dict[asyncio.Task[None], bool]) -> None:
    """Answers that are being made may go out, everybody else is hung up on."""
    for task, answering in list(peers.items()):
        if not answering:
            task.cancel()
    if peers:
        tasks = list(peers)
        await asyncio.wait(tasks, timeout=LAST)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
