"""How runs end, and what the next one makes of it: the cases in which a crawl once did not end, or forgot."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

import pytest

import crawler
from crawler.api import add_seeds, run_async
from crawler.frontier import supply
from crawler.progress import Snapshot
from crawler.spec import BadSpec, CrawlSpec
from tests.conftest import Serve
from tests.crawls import QUICK, ask, run
from tests.web import Answer, Site, Web, page, redirect

BUSY = Answer(429, headers=(("Retry-After", "3600"),))


async def test_n4_a_blocked_host_with_a_long_queue_ends_the_run(serve: Serve, crawl_file: Path) -> None:
    """600 URLs of a host that wants an hour: deferred after the patience, however many of them are in hand."""
    web = await serve(Site({f"/{n}": BUSY for n in range(600)}))
    ending = await run(web, crawl_file, *(web.url(f"/{n}") for n in range(600)))
    assert (ending.state, ending.counts.queued) == ("deferred", 600)


async def test_r3_an_unreachable_robots_with_a_long_queue_ends_the_run(serve: Serve, crawl_file: Path) -> None:
    """600 URLs behind a robots.txt that answers 503: deferred; the second run says so too, and was answered before."""
    web = await serve(Site({"/robots.txt": 503}))
    seeds = [web.url(f"/{n}") for n in range(600)]
    for _ in range(2):
        ending = await run(web, crawl_file, *seeds)
        assert (ending.state, ending.answered) == ("deferred", True)


async def test_r6_a_robots_redirect_to_a_blocked_host_ends_the_run(serve: Serve, crawl_file: Path) -> None:
    """What waits for a host that wants an hour is deferred, and the store is not asked again and again."""
    web = await serve(Site({"/": page()}), Site({"/": BUSY}))
    first = Site({"/robots.txt": redirect(web.url("/x", host=2)), "/": page()})
    other = await serve(first)
    await run(web, crawl_file, web.url(host=2), allow_private=("127.0.1.0/24",))
    ending = await run(web, crawl_file, web.url(host=2), other.url(), allow_private=("127.0.1.0/24",))
    assert ending.state == "deferred"


async def test_a_full_bench_lets_live_hosts_in(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More dead hosts than the workbench holds do not keep the live ones out."""
    monkeypatch.setattr(supply, "HOSTS_IN_HAND", 4)
    dead, live = Site({"/robots.txt": 503}), Site({"/": page()})
    web = await serve(*[dead] * 6, *[live] * 3)
    ending = await run(web, crawl_file, *(web.url(host=k) for k in range(1, 10)))
    assert (ending.state, ending.counts.pages) == ("deferred", 3)


async def test_added_seeds_readmit_what_their_absence_refused(serve: Serve, crawl_file: Path) -> None:
    """`add` widens the scope like a seed that was there from the start."""
    web = await serve(Site({"/": Answer(body=b"")}), Site({"/y": page(), "/x": page()}))
    linking = await serve(Site({"/": page(web.url("/x", host=2))}))
    await run(web, crawl_file, linking.url())
    assert ask(crawl_file, "SELECT reason FROM skipped") == [("scope",)]
    await add_seeds(CrawlSpec(seeds=(web.url("/y", host=2),)), crawl_file)
    await run(web, crawl_file, linking.url())
    assert sorted(u[-1] for (u,) in ask(crawl_file, "SELECT url FROM pages")) == ["/", "x", "y"]


async def test_a_break_as_the_last_statement_closes_the_run(serve: Serve, crawl_file: Path) -> None:
    """`asyncio.run` cancels everything at its end: what was fetched is kept, and the run has its ending."""
    web = await serve(Site({"/": page("/a", "/b"), "/a": page(), "/b": page()}))

    async def main() -> None:
        async for _ in crawler.crawl([web.url()], store=crawl_file, **QUICK):
            break

    await asyncio.to_thread(asyncio.run, main())
    assert ask(crawl_file, "SELECT ending FROM run WHERE ended_at IS NOT NULL") == [("interrupted",)]
    assert (await run(web, crawl_file, web.url())).counts.pages == 3


async def test_l3_the_crawl_delay_holds_from_the_first_page_on(serve: Serve, crawl_file: Path) -> None:
    """The delay counts from the robots.txt request that told it."""
    web = await serve(Site({"/": page("/a"), "/a": page()}, robots="User-agent: *\nCrawl-delay: 0.6"))
    await run(web, crawl_file, web.url(), delay=0.05)
    at = [request.at for request in web.requests]
    assert min(b - a for a, b in itertools.pairwise(at)) >= 0.99 * 0.6


async def test_l6_the_token_is_that_of_the_user_agent(serve: Serve, crawl_file: Path) -> None:
    """Who calls himself MyBot obeys MyBot's rules."""
    web = await serve(Site({"/": page()}, robots="User-agent: MyBot\nDisallow: /\n\nUser-agent: poolcrawl\nAllow: /"))
    ending = await run(web, crawl_file, web.url(), user_agent="MyBot/1.0")
    assert (ending.counts.pages, ending.counts.skipped) == (0, 1)


async def test_a_failing_progress_view_is_no_secret(serve: Serve, crawl_file: Path) -> None:
    """What the caller's function raises ends the run and is raised."""
    web = await serve(Site({"/": page()}))

    def show(_: Snapshot) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await run_async(CrawlSpec(seeds=(web.url(),), **QUICK), crawl_file, on_progress=show)
    assert caught.group_contains(ZeroDivisionError)


async def test_l5_a_file_with_public_seeds_needs_a_contact(serve: Serve, crawl_file: Path) -> None:
    """Not only this command's seeds count, but all that the file holds."""
    web = await serve(Site({"/": page()}))
    await run(web, crawl_file, web.url())
    await add_seeds(CrawlSpec(seeds=("https://example.org/",), contact="me@example.org"), crawl_file)
    sent = len(web.requests)
    with pytest.raises(BadSpec, match="contact"):
        await run(web, crawl_file, web.url())
    assert len(web.requests) == sent


async def test_l7_a_nofollow_refusal_names_its_page(serve: Serve, crawl_file: Path) -> None:
    """`found_on` of a refused URL is the page that linked to it."""
    web = await serve(Site({"/": Answer(body=b'<a rel="nofollow" href="/x">x</a>')}))
    await run(web, crawl_file, web.url())
    assert ask(crawl_file, "SELECT reason, found_on FROM skipped") == [("nofollow", web.url())]


async def test_lifted_limits_readmit(serve: Serve, crawl_file: Path) -> None:
    """A raised --max-pages-per-host and --robots ignore bring back what they had refused."""
    web = await serve(Site({"/": page("/a", "/b"), "/a": page(), "/b": page()}, robots="User-agent: *\nDisallow: /b"))
    assert (await run(web, crawl_file, web.url(), max_pages_per_host=1)).counts.pages == 1
    assert (await run(web, crawl_file, web.url())).counts.pages == 2
    assert (await run(web, crawl_file, web.url(), robots="ignore")).counts.pages == 3


async def test_the_callers_exception_handler_is_restored(serve: Serve, crawl_file: Path) -> None:
    """A crawl in somebody's loop leaves their handler as it was."""
    web: Web = await serve(Site({"/": page()}))
    loop = asyncio.get_running_loop()
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: seen.append(context))
    began = time.monotonic()
    await run(web, crawl_file, web.url())
    loop.call_exception_handler({"message": "mine"})
    assert [context["message"] for context in seen] == ["mine"]
    assert time.monotonic() - began < 5


