"""The memory that bodies take: one connection's, and all of them together (FAULTS H1, X2)."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import brotli
import pytest

from crawler.api import run_async
from crawler.engine import Ending
from crawler.fetch import budget
from crawler.fetch.budget import SMALL, Budget
from crawler.fetch.http import Deadlines
from crawler.fetch.pool import FetchPool
from crawler.parse.pool import ParsePool
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import Extract, Outcome, Page, Visit
from crawler.visits import LARGE
from tests import hostile
from tests.conftest import Serve
from tests.hostile import OK, Hostile, Peer, response
from tests.web import Answer, Site, page

MIB = 1 << 20
LONG = Deadlines(total=10)


def _free(outcome: Outcome) -> Outcome:
    if outcome.share is not None:
        outcome.share.free()
    return outcome


def test_x2_the_oldest_body_always_goes_on() -> None:
    """Large bodies wait while the budget is used up; the oldest never waits, and its end lets another on."""
    ledger = Budget(500)
    old, young = ledger.hold(None, 300), ledger.hold(None, 199)
    assert not ledger.full(young)
    old = ledger.hold(old, 301)
    assert [ledger.full(one) for one in (old, young, None)] == [False, True, True]
    old.ended()
    assert [ledger.full(one) for one in (young, None)] == [False, True]
    old.free()
    assert (ledger.held, ledger.full(None)) == (199, False)
    young.free()
    assert ledger.held == 0


async def test_x2_bodies_wait_and_all_come_whole() -> None:
    """16 bodies of 2 MiB at once under a budget of 4 MiB: 12 MiB held at most, all of them whole."""
    ledger, most = Budget(4 * MIB), 0
    body = bytes(range(256)) * (2 * MIB // 256)

    async def one(pool: FetchPool, url: str) -> None:
        nonlocal most
        outcome = await pool.fetch(Visit(url, split(url)))
        most = max(most, ledger.held)
        await asyncio.sleep(0.005)  # it is being stored
        assert (outcome.body == body, outcome.truncated) == (True, None)
        _free(outcome)

    async with Hostile(hostile.raw(response(body))) as server:
        async with FetchPool(CrawlSpec(per_host=16), [split(server.url())], deadlines=LONG, budget=ledger) as pool:
            await asyncio.gather(*(one(pool, server.url(f"/{n}")) for n in range(16)))
    assert (most <= 12 * MIB, ledger.held) == (True, 0)


async def test_x2_a_bomb_waits_before_it_is_decoded() -> None:
    """While the budget is used up, ten kilobytes that would be ten megabytes wait; a compressed page of 250 kB does not."""
    ledger = Budget(MIB)
    ledger.hold(None, MIB)
    bomb, fair = (brotli.compress(b"page " * size) for size in (2_000_000, 50_000))
    coding = "Content-Encoding: br"
    async with Hostile(hostile.raw(response(bomb, coding))) as bad, Hostile(hostile.raw(response(fair, coding))) as good:
        seeds = [split(bad.url()), split(good.url())]
        async with FetchPool(CrawlSpec(), seeds, deadlines=Deadlines(total=0.5), budget=ledger) as pool:
            waits = asyncio.create_task(pool.fetch(Visit(bad.url(), seeds[0])))
            page = await pool.fetch(Visit(good.url(), seeds[1]))
            assert (len(page.body), page.truncated, ledger.held) == (250_000, None, MIB)
            assert ((await waits).body, ledger.held) == (b"", MIB)


def _sits_on(body: bytes) -> hostile.Fault:
    """Sends most of a large body and then a byte now and then."""

    async def fault(peer: Peer) -> None:
        await peer.asked()
        await peer.send(OK + b"Content-Length: 10000000\r\n\r\n" + body)
        while True:
            await peer.send(b"b")
            await asyncio.sleep(0.01)

    return fault


async def test_x2_hosts_that_sit_on_large_bodies_hold_up_no_page() -> None:
    """Eight hosts sit on all that the budget lets them have; small pages, compressed ones too, still come at once."""
    ledger, spec = Budget(2 * MIB), CrawlSpec(per_host=8)
    small = brotli.compress(b"page " * 4000)
    good = hostile.raw(response(small, "Content-Encoding: br"))
    async with Hostile(_sits_on(bytes(MIB))) as bad, Hostile(good) as server:
        seeds = [split(bad.url()), split(server.url())]
        async with FetchPool(spec, seeds, deadlines=LONG, budget=ledger) as pool:
            sitting = [asyncio.create_task(pool.fetch(Visit(bad.url(), seeds[0]))) for _ in range(8)]
            while ledger.held < ledger.limit:
                await asyncio.sleep(0.001)
            async with asyncio.timeout(3):
                for _ in range(20):
                    assert len((await pool.fetch(Visit(server.url(), seeds[1]))).body) == 20_000
            assert not any(one.done() for one in sitting)
            assert ledger.held < 2 * ledger.limit
            for one in sitting:
                one.cancel()
            await asyncio.gather(*sitting, return_exceptions=True)
    assert ledger.held == 0


async def test_x2_waiting_ends_with_the_total_deadline() -> None:
    """A body that finds no room in memory is cut at the total deadline, not by the minimum rate; its slot is free then."""
    ledger = Budget(MIB)
    taken = ledger.hold(None, 2 * MIB)
    taken.ended()
    deadlines = Deadlines(total=0.6, grace=0.05, window=0.05, rate=1 << 20)
    async with Hostile(hostile.raw(response(bytes(2 * MIB)))) as server:
        async with FetchPool(CrawlSpec(), [split(server.url())], deadlines=deadlines, budget=ledger) as pool:
            outcome = await pool.fetch(Visit(server.url(), split(server.url())))
    assert (outcome.truncated, outcome.elapsed_ms >= 500) == ("time", True)


async def test_x2_a_crawl_under_a_small_budget_ends_whole(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crawl of large pages with room for one of them at a time stores them all whole."""
    monkeypatch.setattr(budget.Budget.__init__, "__defaults__", (SMALL,))
    files = {f"/{n}": Answer(body=bytes([n]) * (2 * MIB), headers=(("Content-Type", "x/y"),)) for n in range(12)}
    web = await serve(Site({"/": page(*files), **files}))
    spec = CrawlSpec(seeds=(web.url(),), delay=0.0, per_host=6, per_ip=6, patience=0.2, parse_workers=0)
    async with asyncio.timeout(20):
        ending: Ending = await run_async(spec, crawl_file)
    assert (ending.state, ending.counts.pages, ending.counts.failures) == ("complete", 13, 0)


async def test_h1_x2_large_bodies_hold_up_no_small_page(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 hosts' bodies of 1.5 MiB are with the parse workers, or wait for them, until a good host's 20 pages are all stored:
    one worker at most has a large one."""
    last, parse, now, most = asyncio.Event(), ParsePool.parse, 0, 0

    async def slow(pool: ParsePool, body: bytes, *rest: Any, **more: Any) -> Extract:
        nonlocal now, most
        if len(body) < LARGE:
            return await parse(pool, body, *rest, **more)
        now += 1
        most = max(most, now)
        await last.wait()
        now -= 1
        return Extract()

    async def stored(pages: list[Page]) -> None:
        if any(one.url.endswith("/19") for one in pages):
            last.set()

    monkeypatch.setattr(ParsePool, "parse", slow)
    good = {"/": page("/1"), **{f"/{n}": page(f"/{n + 1}") for n in range(1, 19)}, "/19": page()}
    web = await serve(Site(good), *[Site({"/": "<p>" * (LARGE // 2)})] * 30)
    seeds = tuple(f"http://127.0.1.{n}:{web.port}/" for n in range(31, 0, -1))
    options: dict[str, Any] = {"delay": 0.0, "patience": 0.2, "parse_workers": 2}
    async with asyncio.timeout(20):
        ending = await run_async(CrawlSpec(seeds=seeds, **options), crawl_file, on_pages=stored)
    assert (ending.state, most) == ("complete", 1)


# --- one connection


def _peak() -> int:
    """The most bytes this process has had in memory since `_forget`."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _forget() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _endless_zeros(coding: str) -> hostile.Fault:
    async def fault(peer: Peer) -> None:
        await peer.asked()
        await peer.send(OK + f"Content-Encoding: {coding}\r\n\r\n".encode())
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        while True:
            await peer.send(packer.compress(bytes(MIB)) + packer.flush(zlib.Z_SYNC_FLUSH))
            await asyncio.sleep(0)

    return fault


BOMBS: dict[str, Callable[[Peer], Awaitable[None]]] = {
    "gzip": _endless_zeros("gzip"),
    "br": hostile.raw(response(brotli.compress(bytes(256 * MIB), quality=5), "Content-Encoding: br")),
    "plain": hostile.endless_chunks,
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc/self/clear_refs (Linux)")
@pytest.mark.parametrize("kind", BOMBS)
async def test_h1_a_bomb_costs_32_mib_at_most(kind: str) -> None:
    """A gzip bomb without end, 256 MiB in a few bytes of brotli, an endless body: cut at 10 MiB, memory +32 MiB at most."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Hostile(BOMBS[kind]))
        pool = await stack.enter_async_context(FetchPool(CrawlSpec(), [split(server.url())], deadlines=LONG))
        visit = Visit(server.url(), split(server.url()))
        _forget()
        before = _peak()
        outcome = await pool.fetch(visit)
        assert (len(outcome.body), outcome.truncated) == (10 * MIB, "size")
        assert _peak() - before <= 32 * MIB
