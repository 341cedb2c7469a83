"""How a host has been answering decides how it is asked: at the server, and in the file (FAULTS L3, N3-N5, U4)."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from crawler.cli.status import facts
from crawler.cli.summary import describe
from crawler.frontier import politeness
from storage import open_reader
from tests.conftest import Serve
from tests.crawls import ask, run
from tests.web import Answer, Request, Site, page


async def test_l3_a_crawl_delay_of_an_hour_skips_the_host_aloud(serve: Serve, crawl_file: Path) -> None:
    """Nothing but robots.txt is asked for; its URLs are skipped as `robots`, and detail, `hosts`, summary and status
    name the Crawl-delay."""
    web = await serve(Site({"/": page()}, robots="User-agent: *\nCrawl-delay: 3600"))
    ending = await run(web, crawl_file, web.url())
    assert [r.path for r in web.requests] == ["/robots.txt"]
    ((reason, detail),) = ask(crawl_file, "SELECT reason, detail FROM skipped")
    ((trouble,),) = ask(crawl_file, "SELECT trouble FROM hosts")
    assert (reason, detail.startswith("Crawl-delay: 3600 s"), trouble) == ("robots", True, detail)
    with open_reader(crawl_file) as reader:
        assert f"trouble: 127.0.1.1: {detail}" in describe(ending, crawl_file, reader)
        assert facts(reader)["trouble"] == {"127.0.1.1": detail}


async def test_an_empty_body_alone_in_its_batch_is_stored(serve: Serve, crawl_file: Path) -> None:
    """An empty robots.txt and an empty page are bodies of 0 bytes, and end no run."""
    web = await serve(Site({"/": Answer()}, robots=""))
    assert (await run(web, crawl_file, web.url())).state == "complete"
    assert ask(crawl_file, "SELECT size FROM fetches") == [(0,), (0,)]


async def test_n4_429_without_retry_after_waits_longer_each_time(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request of the host before the block ends, whatever the URL; doubling over two runs, gone with the first page."""
    monkeypatch.setattr(politeness, "THROTTLED_FIRST", 0.2)
    monkeypatch.setitem(
        politeness.RETRY, "http_429", politeness.RETRY["http_429"].__class__(9, (0.01,), politeness.Charge.HOST)
    )
    busy = itertools.chain([True] * 3, itertools.repeat(False))

    def answer(request: Request) -> Answer | str:
        return Answer(429) if next(busy) else page()

    web = await serve(Site({"/a": answer, "/b": answer}))
    await run(web, crawl_file, web.url("/a"), web.url("/b"), patience=0.1)
    assert ask(crawl_file, "SELECT throttled, trouble FROM host WHERE name <> ''")[0][0] >= 1
    await run(web, crawl_file, web.url("/a"), web.url("/b"))
    at = [r.at for r in web.requests if r.path != "/robots.txt"]
    gaps = [b - a for a, b in itertools.pairwise(at)]
    assert all(gap >= 0.99 * least for gap, least in zip(gaps[:3], (0.2, 0.4, 0.8), strict=True))
    assert ask(crawl_file, "SELECT throttled, trouble FROM host WHERE name <> ''") == [(0, None)]


async def test_n5_a_host_that_breaks_down_is_slowed(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a delay of 0 and everything a 500: from the eleventh answer on each gap is twice the last."""
    monkeypatch.setattr(politeness, "SLOWED_LEAST", 0.1)
    web = await serve(Site({f"/{n}": 500 for n in range(13)}, robots=""))
    await run(web, crawl_file, *(web.url(f"/{n}") for n in range(13)), patience=2.0, max_time=4.0)
    at = [r.at for r in web.requests][1:]
    gaps = [b - a for a, b in itertools.pairwise(at)]
    assert max(gaps[:9]) < 0.2 <= gaps[10] * 1.01
    assert gaps[11] >= 0.99 * 0.4
    assert "server errors" in ask(crawl_file, "SELECT trouble FROM hosts")[0][0]
