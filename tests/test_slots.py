"""How long a hostile host may hold what others need: a slot of the pool, a thread of the resolver (FAULTS H6, H7, H8, X7)."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from crawler.fetch.http import Deadlines, Watch
from crawler.fetch.pool import FetchPool
from crawler.fetch.resolver import Resolver, Timings
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import Outcome, Visit
from tests import hostile
from tests.hostile import OK, Hostile, Peer

SCALE = 0.02  # of the real deadlines: 60 s become 1.2
DEFAULT = Deadlines()
SCALED = Deadlines(DEFAULT.total * SCALE, DEFAULT.connect * SCALE, DEFAULT.first_byte * SCALE, DEFAULT.grace * SCALE,
                   DEFAULT.window * SCALE, DEFAULT.rate / SCALE)  # fmt: skip


async def _fetch(pool: FetchPool, url: str) -> Outcome:
    return await pool.fetch(Visit(url, split(url)))


async def _keeps_the_rate(peer: Peer) -> None:
    """A body without end, just fast enough."""
    await peer.asked()
    await peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await peer.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await asyncio.sleep(0.008)


SITTERS = [hostile.endless_1xx, hostile.drip_header, hostile.silent, hostile.drip_body, _keeps_the_rate,
           hostile.held(OK), hostile.held(OK + b"Content-Length: 9\r\n\r\n"), hostile.held(b"HTTP/1.1 200")]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SITTERS)))
async def test_h6_h7_h8_a_slot_is_free_in_time(number: int) -> None:
    """Whatever a host does, its slot is free 61 s after it was taken (here 60 s are 1.2): the next fetch then has it."""
    assert DEFAULT.total + Watch.TICK <= 61
    spec = CrawlSpec(connections=1)
    async with Hostile(SITTERS[number]) as bad, Hostile(hostile.echo) as good:
        async with FetchPool(spec, [split(bad.url()), split(good.url())], deadlines=SCALED) as pool:
            sitting = asyncio.create_task(_fetch(pool, bad.url()))
            while not bad.requests:
                await asyncio.sleep(0.001)
            began = time.monotonic()
            assert (await _fetch(pool, good.url())).status == 200
            assert time.monotonic() - began < SCALED.total + 0.3  # and a tick
            assert sitting.done()


async def test_h7_64_drips_beside_a_good_host() -> None:
    """64 hosts that drip: all are cut off, and a good host answers 100 requests meanwhile, more than 90 % as fast."""
    async with AsyncExitStack() as stack:
        drips = [await stack.enter_async_context(Hostile(_drip)) for _ in range(64)]
        good = await stack.enter_async_context(Hostile(_in_a_moment))
        seeds = [split(server.url()) for server in (*drips, good)]
        pool = await stack.enter_async_context(FetchPool(CrawlSpec(), seeds, deadlines=Deadlines(total=2)))

        async def rate() -> float:
            began = time.monotonic()
            for _ in range(25):
                assert (await _fetch(pool, good.url())).status == 200
            return 25 / (time.monotonic() - began)

        alone = max([await rate() for _ in range(2)])
        dripping = [asyncio.create_task(_fetch(pool, server.url())) for server in drips]
        while sum(len(server.requests) for server in drips) < 64:
            await asyncio.sleep(0.001)
        beside = max([await rate() for _ in range(3)])
        assert not any(one.done() for one in dripping)
        assert {one.truncated for one in await asyncio.gather(*dripping)} == {"time"}
    assert beside > 0.9 * alone


async def _drip(peer: Peer) -> None:
    await peer.asked()
    await peer.send(OK + b"Content-Length: 1000000\r\n\r\n")
    while True:
        await peer.send(b"b")
        await asyncio.sleep(0.2)


async def _in_a_moment(peer: Peer) -> None:
    while asked := await peer.asked():
        await asyncio.sleep(0.01)
        await peer.send(hostile.response(asked.target.encode()))


async def test_x7_a_thousand_dead_names_do_not_slow_live_ones() -> None:
    """While 1,000 new names hang (here 5 s are 0.25 s), hosts that have answered before are looked up again 10 % slower
    at most, and in at most 160 threads."""
    timings = Timings(deadline=0.25, patience=0.025, wait=30)
    ended = threading.Event()

    def ask(host: str) -> Any:
        if host.startswith("dead"):
            ended.wait(timings.deadline * 2)  # as getaddrinfo does: it gives up long after we have
            raise OSError("no answer")
        time.sleep(0.01)
        return [(0, 0, 0, "", ("8.8.8.8", 0))]

    async def rate(resolver: Resolver) -> float:
        now[0] += 1000.0  # what was known is to be asked again
        began = time.monotonic()
        for n in range(30):
            await resolver.lookup(f"live{n}.test")
        return 30 / (time.monotonic() - began)

    now = [0.0]
    resolver = Resolver(getaddrinfo=ask, timings=timings, clock=lambda: now[0])
    before = threading.active_count()
    await rate(resolver)
    alone = max([await rate(resolver) for _ in range(2)])
    dead = [asyncio.create_task(resolver.lookup(f"dead{n}.test")) for n in range(1000)]
    await asyncio.sleep(timings.patience * 2)  # the first of them are known to be slow
    beside = max([await rate(resolver) for _ in range(3)])
    assert sum(not one.done() for one in dead) > 500
    assert threading.active_count() - before <= 160
    for one in dead:
        one.cancel()
    await asyncio.gather(*dead, return_exceptions=True)
    ended.set()
    await resolver.close()
    assert beside > 0.9 * alone
