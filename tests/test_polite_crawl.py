"""Retries and politeness of whole crawls, measured at the server (FAULTS L, N)."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.crawls import ask, asked, run, shorten
from tests.web import Answer, Request, Site, page

# --- retries


async def test_a_500_then_200_is_a_page(serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that may pass is tried again within the run; both attempts are in `fetches`, one page in `pages`."""
    shorten(monkeypatch)
    answers = iter([500, 502, page()])
    web = await serve(Site({"/": lambda _: next(answers)}))
    ending = await run(web, crawl_file)
    assert ending.state == "complete"
    assert ask(crawl_file, "SELECT status, attempt FROM fetches WHERE outcome <> 'robots'") == [
        (500, 1),
        (502, 2),
        (200, 3),
    ]
    assert ask(crawl_file, "SELECT count(*) FROM failures") == [(0,)]


async def test_n4_429_defers_the_whole_host(serve: Serve, crawl_file: Path) -> None:
    """After a 429 with Retry-After nothing more is sent to the host, in this run and in the next one."""
    busy = Answer(429, headers=(("Retry-After", "600"),))
    web = await serve(Site({"/": page("/1", "/2", "/3"), "/1": busy, "/2": busy, "/3": busy}))
    for _ in range(2):
        ending = await run(web, crawl_file)
        assert (ending.state, ending.counts.queued) == ("deferred", 3)
    assert len(asked(web)) == 2
    assert 590_000 < (ending.next_at or 0) - time.time() * 1000 < 601_000


async def test_n4_an_absurd_retry_after_does_not_end_the_crawl(serve: Serve, crawl_file: Path) -> None:
    """A Retry-After of 400 digits is a wait of a day."""
    web = await serve(Site({"/": Answer(503, headers=(("Retry-After", "9" * 300),))}))
    assert (await run(web, crawl_file)).state == "deferred"


async def test_a_dead_host_is_reported_and_unanswered(crawl_file: Path, serve: Serve) -> None:
    """Nobody listens: no page, nothing answered, and the URL waits for its robots.txt."""
    web = await serve(Site({}))
    ending = await run(web, crawl_file, f"http://127.0.1.9:{web.port}/")
    assert (ending.answered, ending.counts.pages, ending.counts.queued) == (False, 0, 1)


# --- politeness at the server


async def test_l1_l2_gaps_and_open_requests_at_the_server(serve: Serve, crawl_file: Path) -> None:
    """Two hosts, 100 connections: never two open on one, at least 0.99 × delay between two requests (L1), and the hosts
    do not wait for each other."""

    async def slow(_: Request) -> str:
        await asyncio.sleep(0.02)
        return page()

    table = {"/": page(*(f"/{n}" for n in range(12))), **{f"/{n}": slow for n in range(12)}}
    web = await serve(Site(table), Site(table))
    started = time.monotonic()
    await run(web, crawl_file, web.url(), web.url(host=2), delay=0.05)
    assert time.monotonic() - started < 2 * 14 * 0.05 + 1.5
    for host in ("127.0.1.1", "127.0.1.2"):
        times = [r.at for r in web.requests if r.host == host]
        assert len(times) == 14
        assert min(b - a for a, b in pairwise(times)) >= 0.99 * 0.05
        assert web.most[host] == 1


async def test_l3_a_sites_crawl_delay_holds(serve: Serve, crawl_file: Path) -> None:
    """A Crawl-delay longer than --delay is kept to the fraction, from robots.txt on."""
    web = await serve(
        Site({"/": page("/1", "/2"), "/1": page(), "/2": page()}, robots="User-agent: *\nCrawl-delay: 0.15\n")
    )
    await run(web, crawl_file, delay=0.01)
    times = [r.at for r in web.requests]
    assert min(b - a for a, b in pairwise(times[1:])) >= 0.99 * 0.15
    assert ask(crawl_file, "SELECT delay, crawl_delay FROM hosts") == [(0.15, 0.15)]


async def test_per_host_connections_are_used(serve: Serve, crawl_file: Path) -> None:
    """--per-host 4 without a delay: up to four at once, never five, over as many connections."""

    async def slow(_: Request) -> str:
        await asyncio.sleep(0.03)
        return page()

    web = await serve(Site({"/": page(*(f"/{n}" for n in range(16))), **{f"/{n}": slow for n in range(16)}}))
    ending = await run(web, crawl_file, per_host=4)
    assert web.most["127.0.1.1"] == 4
    assert ending.connections <= 4
    assert ending.reused == ending.requests - ending.connections
