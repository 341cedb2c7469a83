"""`crawler reextract`: new selectors on stored bodies, in the parse workers, without a request."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from crawler.api import run_async
from crawler.reextract import reextract
from storage import open_reader
from storage.lock import FileLock
from tests.commands import Done, sh
from tests.conftest import Serve
from tests.crawls import ask, run, spec_of
from tests.web import Answer, Site, Web

DATA = "SELECT url, title, data FROM pages ORDER BY url"
SLOW = """def extract(tree, url):
    while "slow" in url:
        pass
    return {"url": url, "big": url.rpartition("/")[2]}
"""


def shop(count: int) -> Site:
    links = "".join(f'<a href="/{n}">{n}</a>' for n in range(1, count))
    pages = {f"/{n}": f"<title>Item {n}</title><span class=price>{n}.50</span>" for n in range(1, count)}
    return Site({"/": f"<title>Shop</title>{links}", **pages})


async def said(file: Path, *arguments: object) -> Done:
    """`crawler reextract`, which has a loop of its own."""
    return await asyncio.to_thread(sh, "reextract", file, *arguments)


async def crawled(serve: Serve, file: Path, site: Site, **options: Any) -> Web:
    web = await serve(site)
    await run(web, file, **options)
    web.requests.clear()
    return web


async def test_new_fields_of_stored_pages(serve: Serve, crawl_file: Path) -> None:
    """Each page has the fields as a crawl with these selectors would have found them; nothing is sent, no visit is added, and
    the crawl goes on with them."""
    web = await crawled(serve, crawl_file, shop(250))
    fetches = ask(crawl_file, "SELECT id, url, at, outcome, status, size FROM fetches")
    fields = ("--extract", "price=span.price::text", "--extract", "links[]=a::text")
    done = await said(crawl_file, *fields, "--json")
    assert (done.code, json.loads(done.out)["pages"], json.loads(done.out)["kept"]) == (0, 250, {}), done.err
    fresh = crawl_file.with_name("fresh.db")
    await run_async(spec_of(web, extract={"price": "span.price::text", "links": ["a::text"]}), fresh)
    assert ask(crawl_file, DATA) == ask(fresh, DATA)
    assert json.loads(ask(crawl_file, "SELECT data FROM pages WHERE url LIKE '%/7'")[0][0])["price"] == "7.50"
    assert ask(crawl_file, "SELECT id, url, at, outcome, status, size FROM fetches") == fetches
    with open_reader(crawl_file) as reader:
        last = reader.run()
        assert last is not None
        assert (last.ending, last.requests, last.spec["extract"]) == (
            "reextracted", 0, {"price": "span.price::text", "links": ["a::text"]})


async def test_where_chooses_pages(serve: Serve, crawl_file: Path) -> None:
    """Only pages of which the condition over `pages` is true; SQL that cannot be run is exit 2."""
    await crawled(serve, crawl_file, shop(5))
    assert (await said(crawl_file, "--extract", "price=span.price::text", "--where", "url LIKE '%/3'")).code == 0
    assert ask(crawl_file, "SELECT title FROM pages WHERE data->>'price' = '3.50'") == [("Item 3",)]
    assert ask(crawl_file, "SELECT count(*) FROM pages WHERE data->>'price' IS NOT NULL") == [(1,)]
    done = await said(crawl_file, "--where", "titel IS NULL")
    assert (done.code, "no such column: titel" in done.err) == (2, True)


async def test_p1_what_ends_a_worker_keeps_what_it_has(
    serve: Serve, crawl_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page on which the new extractor never ends costs its worker 2 s and nothing else; it keeps title and data, and so
    does one that ended its worker in the crawl, which is not tried again. Both are said."""
    site = shop(3) | {"/slow": "<title>Slow</title><p>text"}
    site["/"] = str(site["/"]) + '<a href="/slow">x</a><a href="/bomb">x</a>'
    site["/bomb"] = "<title>Bomb</title>"
    web = await crawled(serve, crawl_file, Site(site), extract={"p": "p::text"})
    with sqlite3.connect(crawl_file) as db:
        db.execute("UPDATE fetch SET parse = 'memory', title = NULL WHERE title = 'Bomb'")
    (tmp_path / "mine.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = spec_of(web, extractor="mine:extract", parse_workers=2)
    found = await asyncio.to_thread(reextract, spec, crawl_file, None)
    assert (found.done, dict(found.kept)) == (3, {"timeout": 1, "memory": 1})
    rows = {url.rpartition("/")[2]: (title, json.loads(data or "{}")) for url, title, data in ask(crawl_file, DATA)}
    assert rows["slow"] == ("Slow", {"p": "text"})
    assert rows["bomb"][0] is None
    assert rows["1"][1]["big"] == "1"
    assert ask(crawl_file, "SELECT parse FROM pages WHERE url LIKE '%/bomb'") == [("memory",)]


async def test_what_is_no_html_is_read_as_in_the_crawl(serve: Serve, crawl_file: Path) -> None:
    """Bodies without a title have none; a page that was never stored whole is what it was."""
    site = shop(2)
    site["/1"] = Answer(body=b"\x89PNG\r\n", headers=(("Content-Type", "image/png"),))
    await crawled(serve, crawl_file, site)
    before = ask(crawl_file, "SELECT url, title, charset, robots, parse, data, mime FROM pages")
    assert (await said(crawl_file)).code == 0
    assert ask(crawl_file, "SELECT url, title, charset, robots, parse, data, mime FROM pages") == before


async def test_a_file_that_is_being_crawled_is_exit_75(serve: Serve, crawl_file: Path) -> None:
    """And one that is not there, or an extractor that cannot be loaded, exit 2; nothing is changed."""
    assert sh("reextract", crawl_file).code == 2
    await crawled(serve, crawl_file, shop(1))
    before = ask(crawl_file, "SELECT * FROM pages")
    assert (await said(crawl_file, "--extractor", "no.such:thing")).code == 2
    with FileLock(crawl_file):
        assert (await said(crawl_file)).code == 75
    assert ask(crawl_file, "SELECT * FROM pages") == before
