"""Serves a table of answers on loopback with asyncio alone, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus

from crawler.demo.site import Answer, Table, web

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")  # macOS has the first only


class Web:
    """The demo's web while it is served."""

    def __init__(self) -> None:
        self.table: Table = {}
        self.hosts: list[str] = []
        self.port = 0
        self.asked: Counter[tuple[str, str]] = Counter()  # by host and path
        self._arrival = asyncio.Event()

    @property
    def seeds(self) -> list[str]:
        return [f"http://{host}:{self.port}/" for host in self.hosts]

    async def seen(self, requests: int) -> None:
        """Wait until it was asked so often."""
        while self.asked.total() < requests:
            self._arrival.clear()
            await self._arrival.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: requests in, answers out, until the peer hangs up."""
        host = writer.get_extra_info("sockname")[0]
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode("ascii", "replace")
                self.asked[host, path] += 1
                self._arrival.set()
                writer.write(_encode(self.table.get((host, path), Answer(404, "No such page."))))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, IndexError):
            pass  # hung up, or no HTTP
        finally:
            writer.close()


def _encode(answer: Answer) -> bytes:
    body = answer.body.encode()
    lines = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        f"Content-Type: {answer.mime}",
        f"Content-Length: {len(body)}",
        *([f"Location: {answer.location}"] if answer.location else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


@asynccontextmanager
async def serving(port: int = 0, addresses: Sequence[str] = ADDRESSES) -> AsyncIterator[Web]:
    """The demo's web on one port (0: a free one) of each of these addresses that the machine has. Raises OSError."""
    served = Web()
    served.port = port
    async with AsyncExitStack() as stack:
        for address in addresses:
            try:
                server = await asyncio.start_server(served.serve, address, served.port)
            except OSError:
                if not served.hosts:
                    raise  # not even the first
                continue
            stack.callback(server.close)
            served.port = server.sockets[0].getsockname()[1]
            served.hosts.append(address)
        served.table = web(served.hosts, served.port)
        yield served
