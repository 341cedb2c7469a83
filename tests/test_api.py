"""The library's face: crawl(), run(), errors, extractors (CONTRACT §3)."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import crawler
from crawler.spec import BadSpec
from storage import StoreLocked, StoreUnreadable
from tests.conftest import Serve
from tests.crawls import QUICK, TREE, ask, run, spec_of
from tests.web import Site, page


async def test_crawl_yields_pages_after_their_commit(serve: Serve, crawl_file: Path) -> None:
    """Each page that is yielded is in the file already, and all of them are yielded."""
    web = await serve(TREE)
    seen = []
    async for found in crawler.crawl([web.url()], store=crawl_file, **QUICK):
        assert ask(crawl_file, f"SELECT count(*) FROM pages WHERE url = '{found.url}'") == [(1,)]
        seen.append(found)
    assert sorted(p.url for p in seen) == sorted(u for (u,) in ask(crawl_file, "SELECT url FROM pages"))
    root = next(p for p in seen if p.url == web.url())
    assert (root.status, root.title, root.depth, root.mime) == (200, "A page", 0, "text/html")
    assert root.body == page("/a", "/b", "http://out.test/", "mailto:x@out.test").encode()
    assert {link.url for link in root.links} >= {web.url("/a"), web.url("/b")}


async def test_break_stops_a_crawl_cleanly(serve: Serve, crawl_file: Path) -> None:
    """After `break` nothing more is sent, the run is 'interrupted', and the same call goes on."""
    web = await serve(Site({"/": page(*(f"/{n}" for n in range(40))), **{f"/{n}": page() for n in range(40)}}))
    async with aclosing(
        crawler.crawl([web.url()], store=crawl_file, **{**QUICK, "delay": 0.02, "ip_delay": 0.0})
    ) as pages:
        async for _ in pages:
            break
    sent = len(web.requests)
    await asyncio.sleep(0.1)
    assert len(web.requests) == sent
    assert ask(crawl_file, "SELECT ending FROM runs") == [("interrupted",)]
    assert (await run(web, crawl_file)).counts.pages == 41


async def test_a_slow_loop_slows_the_crawl(serve: Serve, crawl_file: Path) -> None:
    """Pages that nobody takes are bounded in number: the crawl waits for its consumer."""
    web = await serve(Site({"/": page(*(f"/{n}" for n in range(1500))), **{f"/{n}": page() for n in range(1500)}}))
    held = asyncio.Event()
    async with aclosing(crawler.crawl([web.url()], store=crawl_file, **QUICK)) as pages:
        async for _ in pages:
            if not held.is_set():
                held.set()
                last = -1
                while last != len(web.requests):  # until the server is asked no more
                    last = len(web.requests)
                    await asyncio.sleep(0.4)
                assert last < 1200
                break


async def test_an_exception_in_the_loop_stops_the_crawl_and_is_the_loops(serve: Serve, crawl_file: Path) -> None:
    """The consumer's own exception comes out, and the file is whole and unlocked."""
    web = await serve(TREE)
    with pytest.raises(ZeroDivisionError):
        async with aclosing(crawler.crawl([web.url()], store=crawl_file, **QUICK)) as pages:
            async for _ in pages:
                1 / 0  # noqa: B018
    assert (await run(web, crawl_file)).state == "complete"


@pytest.mark.parametrize(
    ("seeds", "options", "said"),
    [
        (["ftp://127.0.1.1/"], {}, "seed"),
        (["http://"], {}, "seed"),
        (["https://example.org/"], {}, "contact"),
        (["http://127.0.1.1/"], {"dealy": 1}, "did you mean 'delay'"),
        (["http://127.0.1.1/"], {"delay": -1}, "delay"),
        (["http://127.0.1.1/"], {"delay": 1e300}, "delay: must be 1,000,000,000 s at most"),
        (["http://127.0.1.1/"], {"patience": 1e17}, "patience"),
        (["http://127.0.1.1/"], {"scope": "world"}, "scope"),
        (["http://127.0.1.1/"], {"include": ("(",)}, "include"),
        (["http://127.0.1.1/"], {"connections": 0}, "connections"),
        (["http://127.0.1.1/"], {"max_pages": "7"}, "max_pages"),
        (["http://127.0.1.1/"], {"proxy": "http://127.0.0.1:99999"}, "proxy"),
    ],
    ids=str,
)
async def test_a_bad_spec_is_said_before_anything_is_made(
    crawl_file: Path, seeds: list[str], options: dict[str, Any], said: str
) -> None:
    """BadSpec with the setting's name; no file, nothing sent."""
    with pytest.raises(BadSpec, match=said):
        async for _ in crawler.crawl(seeds, store=crawl_file, **options):
            raise AssertionError
    assert not crawl_file.exists()


async def test_store_errors_come_before_anything_is_sent(serve: Serve, crawl_file: Path) -> None:
    """A file that is no crawl, and one that is being crawled: 0 requests."""
    web = await serve(Site({"/": page("/1"), "/1": page()}))
    crawl_file.write_text("a letter")
    with pytest.raises(StoreUnreadable):
        await run(web, crawl_file)
    assert web.requests == []
    other = crawl_file.with_name("other.db")
    async with aclosing(crawler.crawl([web.url()], store=other, **{**QUICK, "delay": 0.3})) as pages:
        async for _ in pages:
            sent = len(web.requests)
            with pytest.raises(StoreLocked):
                await run(web, other)
            assert len(web.requests) == sent
            break


async def test_run_blocks_and_says_how_it_ended(serve: Serve, crawl_file: Path) -> None:
    """crawler.run(spec) for scripts."""
    web = await serve(TREE)
    ending = await asyncio.to_thread(crawler.run, spec_of(web), crawl_file)
    assert (ending.state, ending.counts.pages) == ("complete", 6)


EXTRACTOR = """
def words(tree, url):
    return {"words": len(tree.body.text().split()), "url": url}

def broken(tree, url):
    raise ValueError("no such thing")
"""


@pytest.mark.parametrize("workers", [0, 1])
async def test_a_users_extractor_writes_into_data(
    serve: Serve, crawl_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """module:function gets (tree, url), and what it gives is in pages.data and in Page.data; an exception in it is the
    page's own."""
    (tmp_path / f"mine{workers}.py").write_text(EXTRACTOR)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    web = await serve(Site({"/": "<title>t</title><body>one two three"}))
    data = [
        p.data
        async for p in crawler.crawl(
            [web.url()], store=crawl_file, **{**QUICK, "parse_workers": workers, "extractor": f"mine{workers}:words"}
        )
    ]
    assert [(d["words"], d["url"]) for d in data] == [(3, web.url())]
    assert ask(crawl_file, "SELECT json_extract(data, '$.words') FROM pages") == [(3,)]
    other = crawl_file.with_name("other.db")
    await run(web, other, parse_workers=workers, extractor=f"mine{workers}:broken")
    [(_title, parse)] = ask(other, "SELECT title, parse FROM pages")
    assert "ValueError" in parse
    sys.modules.pop(f"mine{workers}", None)
