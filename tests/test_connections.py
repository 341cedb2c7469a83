"""What a connection may do to the fetches on it, under both event loops (FAULTS H9, H11, X2)."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiohttp.connector import Connection

from crawler.fetch.budget import Budget
from crawler.fetch.http import Deadlines, Exchange
from crawler.fetch.pool import FetchPool
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import Fault, Outcome, Visit
from tests import hostile
from tests.hostile import Hostile, Peer

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return asyncio.run if request.param == "asyncio" else pytest.importorskip("uvloop").run


async def _fetched(server: Hostile, pool: FetchPool, path: str = "/") -> Outcome:
    return await pool.fetch(Visit(server.url(path), split(server.url(path))))


def _pool(server: Hostile, **options: Any) -> FetchPool:
    return FetchPool(CrawlSpec(), [split(server.url())], deadlines=Deadlines(total=3), **options)


def test_h11_a_server_that_speaks_first_is_dialled_once(run: Run) -> None:
    """A greeting of another protocol on a new connection: one dial and a protocol fault, not thousands until the deadline."""

    async def greets(peer: Peer) -> None:
        await peer.send(b"220 mail.example ESMTP\r\n")
        await peer.gone()

    async def main() -> None:
        async with Hostile(greets) as server, _pool(server) as pool:
            outcome = await _fetched(server, pool)
        assert (outcome.fault, server.connections) == (Fault.PROTOCOL, 1)
        assert "Bad status line" in outcome.reason

    run(main())


def test_h11_an_answer_before_the_request_is_the_last_of_its_connection(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers on being dialled ("503, busy") is heard, once: else each answer would be taken for the next request's."""

    async def busy(peer: Peer) -> None:
        await peer.send(hostile.response(b"", status="503 Busy"))
        late = await peer.asked()
        while late and await peer.asked():
            await peer.send(hostile.response(late.target.encode()))

    async def main() -> None:
        async with Hostile(busy) as server, _pool(server) as pool:
            connector = pool._connector
            assert connector is not None
            connect = connector.connect

            async def spoken_to(*args: Any) -> Connection:
                connection = await connect(*args)
                while connection.protocol not in pool._known and not connection.protocol.should_close:
                    await asyncio.sleep(0)
                return connection

            monkeypatch.setattr(connector, "connect", spoken_to)
            outcomes = [await _fetched(server, pool, f"/{n}") for n in range(3)]
        assert [outcome.status for outcome in outcomes] == [503] * 3
        assert server.connections == 3

    run(main())


def test_h9_a_broken_chunk_ends_its_body_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no chunk, behind one that is: the body is cut, and nobody waits 30 s for more of it."""

    async def main() -> None:
        answered = asyncio.Event()
        take = Exchange.take

        def taken(exchange: Exchange, chunk: bytes) -> bool:
            answered.set()
            return take(exchange, chunk)

        async def breaks(peer: Peer) -> None:
            await peer.asked()
            await peer.send(hostile.OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            await answered.wait()
            await peer.send(b"ZZ\r\n")
            await peer.gone()

        monkeypatch.setattr(Exchange, "take", taken)
        async with Hostile(breaks) as server, _pool(server) as pool:
            outcome = await _fetched(server, pool)
        assert (outcome.status, outcome.body, outcome.truncated) == (200, b"hello", "cut")

    run(main())


def test_h9_x2_a_body_that_breaks_while_it_waits_for_memory_is_no_bug(run: Run) -> None:
    """The broken chunk comes while the fetch waits for room: the body is cut, and the run does not end with code 70."""

    async def main() -> None:
        budget, gone = Budget(limit=1), asyncio.Event()
        others = budget.hold(None, 2)

        async def breaks(peer: Peer) -> None:
            await peer.asked()
            await peer.send(hostile.OK + b"Transfer-Encoding: chunked\r\n\r\n50000\r\n" + b"x" * 0x50000 + b"\r\n")
            while not budget._waiting:
                await asyncio.sleep(0)
            await peer.send(b"ZZ\r\n")
            await peer.gone()
            gone.set()

        async with Hostile(breaks) as server, _pool(server, budget=budget) as pool:
            fetching = asyncio.create_task(_fetched(server, pool))
            await gone.wait()
            others.free()
            outcome = await fetching
        assert (outcome.status, outcome.truncated) == (200, "cut")

    run(main())


def test_a_cancelled_fetch_passes_its_turn_on(run: Run) -> None:
    """Cancelled at whatever step, also between being called and going: the next in the queue is fetched."""

    async def main() -> None:
        async with Hostile(hostile.echo) as server:
            async with FetchPool(CrawlSpec(connections=1), [split(server.url())]) as pool:
                for steps in range(15):
                    fetches = [asyncio.create_task(_fetched(server, pool, f"/{steps}-{n}")) for n in range(3)]
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    fetches[0].cancel()
                    fetches[1].cancel()
                    async with asyncio.timeout(2):
                        assert (await fetches[2]).body == f"/{steps}-2".encode()
                    await asyncio.gather(*fetches, return_exceptions=True)

    run(main())


def test_x2_a_connection_keeps_nothing_of_the_page_that_opened_it(run: Run) -> None:
    """A thousand idle connections may not hold a thousand bodies: what a fetch took in is freed with its outcome."""

    async def main() -> None:
        async with Hostile(hostile.echo) as server, _pool(server) as pool:
            await asyncio.create_task(_fetched(server, pool))
            gc.collect()
            assert (server.open, [x for x in gc.get_objects() if isinstance(x, Exchange)]) == (1, [])

    run(main())
