"""A crawl that is stopped, run again, or given other settings and seeds goes on as it should."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from crawler import stop as stopping
from crawler.api import add_seeds, finished, run_async
from crawler.stop import Stop
from tests.conftest import Serve
from tests.crawls import TREE, ask, asked, paths, run, spec_of
from tests.web import Request, Site, page


async def test_a_stopped_crawl_goes_on_where_it_was(serve: Serve, crawl_file: Path) -> None:
    """After a clean stop the same call fetches the rest, and nothing twice."""
    stop = Stop()

    async def tenth(_: Request) -> str:
        stop.ask()
        return page()

    site: Any = {"/": page(*(f"/{n}" for n in range(30))), **{f"/{n}": page() for n in range(30)}}
    web = await serve(Site({**site, "/9": tenth}))
    ending = await run_async(spec_of(web, delay=0.02, ip_delay=0.0), crawl_file, stop=stop)
    assert ending.state == "interrupted"
    assert 0 < ending.counts.pages < 31
    assert (await run(web, crawl_file)).state == "complete"
    assert Counter(asked(web, robots=True)) == Counter(["/robots.txt", *web.handlers[0]])  # type: ignore[misc]


async def test_d5_a_hanging_server_holds_a_stop_for_the_grace_only(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first stop a fetch that never ends is given up when the grace is over (8 s, here 0.3); it stays queued,
    and nothing new was asked for."""
    assert stopping.GRACE <= 8.0
    monkeypatch.setattr(stopping, "GRACE", 0.3)
    reached = asyncio.Event()

    async def hang(_: Request) -> str:
        reached.set()
        await asyncio.sleep(999)
        raise AssertionError

    web = await serve(Site({"/": page("/hang", "/next"), "/hang": hang, "/next": page()}))
    stop = Stop()
    crawling = asyncio.create_task(run_async(spec_of(web), crawl_file, stop=stop))
    await asyncio.wait_for(reached.wait(), 5)
    started = time.monotonic()
    stop.ask()
    ending = await asyncio.wait_for(crawling, 5)
    assert 0.25 < time.monotonic() - started < 1.5
    assert (ending.state, ending.counts.pages, ending.counts.queued) == ("interrupted", 1, 2)
    assert asked(web) == ["/", "/hang"]


async def test_the_same_command_on_a_finished_crawl_sends_nothing(serve: Serve, crawl_file: Path) -> None:
    """`finished` says so, and even a run would send nothing."""
    web = await serve(TREE)
    await run(web, crawl_file)
    sent = len(web.requests)
    assert finished(spec_of(web), crawl_file)
    assert not finished(spec_of(web, "/", "/new"), crawl_file)
    assert not finished(spec_of(web, max_depth=3), crawl_file)
    assert (await run(web, crawl_file)).state == "complete"
    assert len(web.requests) == sent


async def test_a_raised_max_depth_readmits_what_depth_refused(serve: Serve, crawl_file: Path) -> None:
    """And nothing that was fetched is fetched again."""
    web = await serve(TREE)
    for depth, found in ((0, ["/"]), (1, ["/", "/a", "/b"]), (None, ["/", "/a", "/a/1", "/a/1/x", "/a/2", "/b"])):
        await run(web, crawl_file, max_depth=depth)
        assert paths(web, crawl_file) == found
    assert max(Counter(asked(web)).values()) == 1
    assert ask(crawl_file, "SELECT count(*) FROM skipped WHERE reason = 'depth'") == [(0,)]


async def test_a_wider_scope_readmits_and_a_narrower_one_refuses(serve: Serve, crawl_file: Path) -> None:
    """A changed scope, include or exclude judges again what was refused or is still queued."""
    site = Site({"/": page("/1")})
    web = await serve(site, Site({"/": page("/x"), "/x": page()}))
    site["/1"] = page(web.url(host=2))
    await run(web, crawl_file, exclude=("/x",))
    assert ask(crawl_file, "SELECT reason FROM skipped") == [("scope",)]
    await run(web, crawl_file, scope="any", exclude=("/x",))
    assert ask(crawl_file, "SELECT url, reason FROM skipped") == [(web.url("/x", host=2), "exclude")]
    await run(web, crawl_file, scope="any")
    assert ask(crawl_file, "SELECT count(*) FROM pages") == [(4,)]
    assert ask(crawl_file, "SELECT count(*) FROM skipped") == [(0,)]


async def test_new_seeds_join_and_widen_the_scope(serve: Serve, crawl_file: Path) -> None:
    """A seed that is added, by a run or by `add`, is fetched, and so is what lies around it, refused before or not."""
    home = Site({"/": page()})
    web = await serve(home, Site({"/": page(), "/x": page()}), Site({"/": page()}))
    home["/"] = page(web.url("/x", host=2))
    await run(web, crawl_file)
    assert ask(crawl_file, "SELECT count(*) FROM skipped WHERE reason = 'scope'") == [(1,)]
    assert await add_seeds(spec_of(web, web.url(host=3)), crawl_file) == 1
    await run(web, crawl_file, web.url(), web.url(host=2))
    fetched = {u for (u,) in ask(crawl_file, "SELECT url FROM pages")}
    assert {web.url(), web.url(host=2), web.url(host=3)} <= fetched


async def test_a_new_seed_readmits_what_its_absence_refused(serve: Serve, crawl_file: Path) -> None:
    """With host 2 among the seeds, a link to it that scope refused before belongs to the crawl."""
    home = Site({})
    web = await serve(home, Site({"/": page(), "/x": page()}))
    home["/"] = page(web.url("/x", host=2))
    await run(web, crawl_file)
    await run(web, crawl_file, web.url(), web.url(host=2))
    assert web.url("/x", host=2) in {u for (u,) in ask(crawl_file, "SELECT url FROM pages")}


async def test_x4_a_file_written_with_the_clock_a_year_ahead_goes_on(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """URLs found while the wall clock was ahead are due at once, not in a year."""
    web = await serve(TREE)
    real = time.time_ns
    monkeypatch.setattr("crawler.clock.time.time_ns", lambda: real() + 365 * 86_400 * 10**9)
    await run(web, crawl_file, max_pages=1)
    monkeypatch.setattr("crawler.clock.time.time_ns", real)
    async with asyncio.timeout(5):
        ending = await run_async(spec_of(web), crawl_file)
    assert ending.counts.queued == 0
