"""What a revisit must not do: add pages beyond the limit, reopen a trap, take a 304 for what was never asked."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.commands import sh
from tests.conftest import Serve
from tests.crawls import ask, asked, run
from tests.test_recrawl import again
from tests.web import Answer, Request, Site, page

STATES = "SELECT (SELECT count(*) FROM pages), (SELECT count(*) FROM failures), (SELECT count(*) FROM queue)"


def change(file: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        db.execute(sql, values)


@pytest.mark.parametrize("limit", ["max_pages", "max_pages_per_host"])
@pytest.mark.parametrize("then", [404, (301, "", {"Location": "/"})])
async def test_a_revisit_adds_no_page_beyond_the_limit(serve: Serve, crawl_file: Path, limit: str, then: Any) -> None:
    """What was an error or a redirect and would be a page now is none beyond --max-pages, a number that is never exceeded."""
    site = Site({"/": page("/a", "/b", "/c", "/d"), "/a": then, "/b": then, "/c": page(), "/d": page()})
    web = await serve(site)
    options: dict[str, Any] = {limit: 3}
    await run(web, crawl_file, **options)
    assert ask(crawl_file, "SELECT count(*) FROM pages") == [(3,)]
    site |= {"/a": page(), "/b": page()}
    await again(web, crawl_file, **options)
    assert ask(crawl_file, "SELECT count(*) FROM pages") == [(3,)]
    assert asked(web).count("/c") + asked(web).count("/d") + asked(web).count("/") == 6
    await again(web, crawl_file)
    assert ask(crawl_file, STATES) == [(5, 0, 0)]


async def test_a_page_that_is_a_sitemap_now_is_read(serve: Serve, crawl_file: Path) -> None:
    """The validators of a page say nothing of the sitemap that its URL has become: it is read whole."""
    xml = '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>%s</loc></url></urlset>'
    site = Site({"/": page("/map.xml"), "/only": page()})
    web = await serve(site)

    def sitemap(request: Request) -> Answer:
        if request.headers.get("if-none-match"):
            return Answer(304)
        return Answer(body=(xml % web.url("/only")).encode(), headers=(("Content-Type", "application/xml"), ("ETag", '"1"')))

    site["/map.xml"] = sitemap
    site["/robots.txt"] = Answer(body=f"Sitemap: {web.url('/map.xml')}".encode())
    await run(web, crawl_file, sitemaps="ignore")
    assert ask(crawl_file, "SELECT count(*) FROM pages") == [(2,)]
    await again(web, crawl_file, sitemaps="ignore")
    await again(web, crawl_file)
    assert "/only" in asked(web)


async def test_a_recrawl_opens_no_trap(serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one body for many URLs leads nowhere (FAULTS T3), it leads nowhere at the revisit either."""
    monkeypatch.setattr("storage.repeats.MOST", 5)

    def trap(request: Request) -> str:
        return page("x/")

    site = Site({"/": page(*(f"/{n}/" for n in range(20)))})
    for n in range(20):
        site[f"/{n}/"] = trap
        for k in range(1, 9):
            site[f"/{n}/" + "x/" * k] = trap
    web = await serve(site)
    await run(web, crawl_file, connections=1)
    known = set(asked(web))
    await again(web, crawl_file, connections=1)
    assert set(asked(web)) == known


async def test_a_page_whose_body_is_not_there_is_asked_for_whole(serve: Serve, crawl_file: Path) -> None:
    """What is not stored cannot be confirmed."""
    seen = []

    def one(request: Request) -> Answer:
        seen.append(request.headers.get("if-none-match"))
        return Answer(304 if seen[-1] else 200, body=b"" if seen[-1] else b"x", headers=(("ETag", '"1"'),))

    web = await serve(Site({"/": one}))
    await run(web, crawl_file)
    change(crawl_file, "UPDATE fetch SET body = NULL")
    change(crawl_file, "DELETE FROM body")
    await again(web, crawl_file)
    assert seen == [None, None]
    assert ask(crawl_file, "SELECT size FROM pages") == [(1,)]
    await again(web, crawl_file)
    assert seen == [None, None, '"1"']


@pytest.mark.parametrize("tag", ['"' + "x" * 100_000 + '"', 'x\r\nX-Evil: 1', "ü", '"a b"'])
async def test_a_304_nobody_asked_for_is_no_answer(serve: Serve, crawl_file: Path, tag: str) -> None:
    """A validator that may not be sent (an older version stored any) is no condition, and a 304 to a request without one
    says nothing of the page."""
    web = await serve(Site({"/": lambda request: 304 if len(web.requests) > 1 else page()}))
    await run(web, crawl_file, robots="ignore")
    change(crawl_file, "UPDATE fetch SET headers = ?", json.dumps([["ETag", tag]]))
    await again(web, crawl_file, robots="ignore")
    assert not {"if-none-match", "x-evil"} & set(web.requests[-1].headers)
    assert ask(crawl_file, "SELECT reason FROM failures") == [("bad_redirect",)]


@pytest.mark.parametrize(("command", "where"), [
    ("recrawl", "host = '127.0.0.1'"), ("recrawl", "path LIKE '/%'"), ("recrawl", "h.name = 'x'"), ("retry", "outcome = 1"),
    ("retry", "id = :since"), ("recrawl", "url = :since"), ("recrawl", "url = ?")])
async def test_a_condition_sees_its_view_alone(serve: Serve, crawl_file: Path, command: str, where: str) -> None:
    """A name that the view has not is an error: one of the statement around the condition would make it another one, which
    compares each row with each."""
    web = await serve(Site({"/": page("/a"), "/a": 404}))
    await run(web, crawl_file)
    done = sh(command, crawl_file, "--where", where)
    assert (done.code, "--where: " in done.err, "a condition over the view" in done.err) == (2, True, True), done.err
    assert ask(crawl_file, STATES) == [(1, 1, 0)]


@pytest.mark.parametrize("time", ["9" * 30 + "d", "101000w", "9" * 400 + "s"])
@pytest.mark.parametrize("option", ["--older-than", "--revisit"])
async def test_a_time_beyond_reason_is_refused(serve: Serve, crawl_file: Path, option: str, time: str) -> None:
    """More than 1,000 years are no time that a file can hold."""
    web = await serve(Site({"/": page()}))
    await run(web, crawl_file)
    done = sh("recrawl", crawl_file, option, time)
    assert (done.code, "1,000 years" in done.err) == (2, True), done.err


@pytest.mark.parametrize("arguments", [("recrawl",), ("retry",), ("block", "--where", "1")])
def test_an_empty_file_stays_empty(crawl_file: Path, arguments: tuple[str, ...]) -> None:
    """Nothing is made due in a file that holds no crawl, and no crawl is made of it."""
    crawl_file.touch()
    done = sh(arguments[0], crawl_file, *arguments[1:])
    assert (done.code, "is empty" in done.err, crawl_file.stat().st_size) == (2, True, 0), done.err


@pytest.mark.parametrize("policy", ["never", "7d"])
@pytest.mark.parametrize("end", [404, "robots", "blocked"])
async def test_what_is_no_page_any_more_links_nowhere(serve: Serve, crawl_file: Path, policy: str, end: Any) -> None:
    """The links of a page that is gone, or closed now, go with it: nobody finds a broken link on a page that is not there.
    What it linked to stays known, and its body stays in the history."""
    site = Site({"/": page("/a"), "/a": page("/b", "/none"), "/b": page()})
    web = await serve(site)
    await run(web, crawl_file, revisit=policy)
    assert len(ask(crawl_file, "SELECT * FROM broken_links")) == 1
    if end == "robots":
        site["/robots.txt"] = "User-agent: *\nDisallow: /a"
        change(crawl_file, "UPDATE origin SET robots_until = 0")
    elif end == "blocked":
        sh("block", crawl_file, "--where", "url LIKE '%/a'")
    else:
        site["/a"] = end
    await again(web, crawl_file, revisit=policy)
    assert {src for (src,) in ask(crawl_file, "SELECT src FROM links")} == {web.url("/")}
    assert ask(crawl_file, "SELECT count(*) FROM pages WHERE url LIKE '%/b'") == [(1,)]
    assert ask(crawl_file, "SELECT count(*) FROM fetches WHERE outcome = 'page' AND url LIKE '%/a'") == [(1,)]


async def test_a_recrawl_that_was_put_off_is_not_complete(serve: Serve, crawl_file: Path) -> None:
    """What is due, or is tried again later, is left to fetch, a revisit too: the run is deferred (exit 3) and says until when."""
    site = Site({"/": page("/a"), "/a": page()})
    web = await serve(site)
    await run(web, crawl_file, patience=0.5)
    site |= {"/": (503, "", {"Retry-After": "3600"}), "/a": (503, "", {"Retry-After": "3600"})}
    ending = await again(web, crawl_file, patience=0.5)
    assert (ending.state, ending.counts.queued, ending.next_at is not None) == ("deferred", 2, True)
    assert (await run(web, crawl_file, patience=0.5)).state == "deferred"
