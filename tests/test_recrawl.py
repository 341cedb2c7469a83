"""Asking again: conditional requests, what a visit leaves of the one before, and when the next is due."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from crawler.api import run_async
from crawler.engine import Ending
from crawler.fetch.headers import conditions
from crawler.frontier.politeness import UNKNOWN
from crawler.revise import Again, recrawl
from crawler.revisit import Policy, policy, schedule, seconds
from crawler.spec import BadSpec, CrawlSpec
from crawler.visit import Outcome
from storage import open_reader
from storage.lock import FileLock
from storage.model import Before, BodyRow, Place, Settlement
from tests.changing import Changing
from tests.commands import cli, running, sh
from tests.conftest import Serve
from tests.crawls import ask, asked, run, spec_of
from tests.web import Answer, Site, Web, page

QUICK = ("--delay", "0", "--progress", "none", "--patience", "1")
STATES = "SELECT (SELECT count(*) FROM pages), (SELECT count(*) FROM failures), (SELECT count(*) FROM queue)"


async def again(web: Web, file: Path, where: str | None = None, older: float | None = None, **options: Any) -> Ending:
    """A recrawl to its end."""
    with open_reader(file) as reader:
        spec = spec_of(web, *(place.url for place in reader.seeds()), **options)
    recrawl(spec, file, where, older, now=time.time_ns() // 1_000_000)
    async with asyncio.timeout(20):
        return await run_async(spec, file)


# --- conditional requests


async def test_what_has_not_changed_costs_a_304(serve: Serve, crawl_file: Path) -> None:
    """Each page is asked for with the ETag or the Last-Modified it came with; a 304 is a row of `fetches`, and the page
    stays what it was, with its body, its links and the time of its last 2xx."""
    site = Changing(40)
    web = await serve(site)
    await run(web, crawl_file, "/0")
    before = [ask(crawl_file, f"SELECT * FROM {view} ORDER BY 1, 2") for view in ("pages", "links")]
    first = site.sent
    ending = await again(web, crawl_file)
    assert ending.state == "complete"
    assert ask(crawl_file, "SELECT outcome, status, count(*) FROM fetches WHERE run = 2 GROUP BY 1, 2") == [
        ("unmodified", 304, 40)]
    assert [ask(crawl_file, f"SELECT * FROM {view} ORDER BY 1, 2") for view in ("pages", "links")] == before
    assert (site.statuses[304], site.sent < 2 * first) == (40, True)
    assert ask(crawl_file, STATES) == [(40, 0, 0)]


async def test_without_validators_the_same_body_is_no_repeat(serve: Serve, crawl_file: Path) -> None:
    """A server that knows no conditions answers 200 each time: the body is stored once, and a page that is its own copy of
    before is not counted among the bodies that a host gives for many URLs (FAULTS T3)."""
    web = await serve(Changing(5, mute=1))
    await run(web, crawl_file, "/0")
    await again(web, crawl_file)
    assert ask(crawl_file, "SELECT outcome, status, count(*) FROM fetches WHERE url NOT LIKE '%robots%' GROUP BY 1, 2") == [
        ("page", 200, 10)]
    assert ask(crawl_file, "SELECT (SELECT count(*) FROM body), (SELECT count(*) FROM repeat)") == [(5, 0)]


@pytest.mark.parametrize(("headers", "sent"), [
    ('[["ETag","\\"a\\""],["Last-Modified","Mon, 23 Nov 2026 00:00:00 GMT"],["Server","x"]]',
     {"If-None-Match": '"a"', "If-Modified-Since": "Mon, 23 Nov 2026 00:00:00 GMT"}),
    ('[["last-modified","yesterday"]]', {"If-Modified-Since": "yesterday"}),
    ("[]", {}), (None, {})])
def test_conditions_are_what_was_stored(headers: str | None, sent: dict[str, str]) -> None:
    """Nothing but the two validators goes back."""
    assert conditions(Before("page", headers=headers)) == sent


async def test_a_truncated_page_is_asked_for_whole(serve: Serve, crawl_file: Path) -> None:
    """What was cut is not confirmed by a 304: it is asked for without conditions."""
    web = await serve(Changing(1, size=3000))
    await run(web, crawl_file, "/0", max_body=200)
    await again(web, crawl_file)
    assert ask(crawl_file, "SELECT status, truncated FROM fetches WHERE outcome = 'page'") == [(200, "size"), (200, None)]


def test_a_304_is_no_redirect() -> None:
    """A host that answers a recrawl with nothing but 304 is not slowed down as one that only redirects (FAULTS U4)."""
    standing = UNKNOWN
    for _ in range(200):
        standing = standing.after(Outcome("http://a.test/", 304), 1.0, blocked=False)
    assert not standing.redirecting


# --- what a visit leaves of the one before


async def test_a_page_goes_and_comes_back(serve: Serve, crawl_file: Path) -> None:
    """A page that is gone is in `failures` and nowhere else, its visits stay; when it answers again it is a page again. What
    a changed page links to is found."""
    site = Site({"/": page("/a"), "/a": page()})
    web = await serve(site)
    await run(web, crawl_file)
    site["/"] = page("/a", "/b")
    site["/b"] = page()
    del site["/a"]
    await again(web, crawl_file)
    assert ask(crawl_file, "SELECT url FROM failures") == [(web.url("/a"),)]
    assert ask(crawl_file, "SELECT url FROM pages ORDER BY 1") == [(web.url("/"),), (web.url("/b"),)]
    site["/a"] = page()
    await again(web, crawl_file)
    assert ask(crawl_file, STATES) == [(3, 0, 0)]
    assert ask(crawl_file, f"SELECT status FROM fetches WHERE url = '{web.url('/a')}'") == [(200,), (404,), (200,)]


@pytest.mark.parametrize("limit", ["max_pages", "max_pages_per_host"])
async def test_a_limit_on_pages_is_none_on_revisits(serve: Serve, crawl_file: Path, limit: str) -> None:
    """A crawl that has as many pages as were asked for visits each of them again, and nothing else; a page that is gone
    leaves room for one."""
    site = Changing(40)
    web = await serve(site)
    options: dict[str, Any] = {limit: 10, "parse_workers": 0}
    await run(web, crawl_file, "/0", **options)
    known = {path for (path,) in ask(crawl_file, "SELECT url FROM pages")}
    web.requests.clear()
    await again(web, crawl_file, **options)
    assert sorted(r.url for r in web.requests) == sorted(known)
    assert ask(crawl_file, "SELECT count(*) FROM pages") == [(10,)]


async def test_sitemaps_and_redirects_are_asked_again(serve: Serve, crawl_file: Path) -> None:
    """A recrawl finds what a sitemap lists now; of a redirect its target of now."""
    xml = '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">%s</urlset>'
    site = Site({"/": page("/old"), "/old": (301, "", {"Location": "/a"}), "/a": page(), "/b": page(), "/c": page()})
    web = await serve(site)
    site["/robots.txt"] = Answer(body=f"Sitemap: {web.url('/map.xml')}".encode())
    site["/map.xml"] = xml % ""
    await run(web, crawl_file)
    site["/map.xml"] = xml % f"<url><loc>{web.url('/b')}</loc></url>"
    site["/old"] = (301, "", {"Location": "/c"})
    await again(web, crawl_file)
    assert ask(crawl_file, "SELECT count(*) FROM pages WHERE url LIKE '%/b' OR url LIKE '%/c'") == [(2,)]
    assert ask(crawl_file, "SELECT dst FROM redirects") == [(web.url("/c"),)]


async def test_what_the_scope_no_longer_admits_is_left_alone(serve: Serve, crawl_file: Path) -> None:
    """A recrawl keeps to the rules of now."""
    web = await serve(Changing(13))
    await run(web, crawl_file, "/0")
    web.requests.clear()
    await again(web, crawl_file, exclude=("/[1-6]$",))
    assert not {"/1", "/6"} & set(asked(web))
    spec = spec_of(web, "/0", exclude=("/[1-6]$",))
    assert recrawl(spec, crawl_file, None, None, now=1, dry=True) == Again(due=7, outside=6)
    assert ask(crawl_file, STATES) == [(13, 0, 0)]


# --- who is asked again


async def test_where_and_older_than_choose(serve: Serve, crawl_file: Path) -> None:
    """`--where` is a condition over `pages`; `--older-than` looks at the last visit, be it a 304; `--dry-run` only counts."""
    web = await serve(Changing(13))
    await run(web, crawl_file, "/0")
    web.requests.clear()
    await again(web, crawl_file, "depth = 1")
    assert sorted(asked(web)) == ["/1", "/2", "/3"]
    spec = spec_of(web, "/0")
    now = time.time_ns() // 1_000_000
    between = ask(crawl_file, "SELECT min(at) - 1 FROM fetch WHERE outcome = 'unmodified'")[0][0]
    assert recrawl(spec, crawl_file, "depth < 2", None, now=now, dry=True).due == 4
    assert recrawl(spec, crawl_file, "depth < 2", 1.0, now=between + 1000, dry=True).due == 1
    assert ask(crawl_file, STATES) == [(13, 0, 0)]


async def test_a_killed_recrawl_goes_on(serve: Serve, crawl_file: Path) -> None:
    """kill -9 in the middle of a recrawl: no visit of before is lost, the same command goes on with what is left, and at most
    what was in flight and one batch is asked for again."""
    site = Changing(400)
    web = await serve(site)
    await run(web, crawl_file, "/0")
    web.requests.clear()
    command = ("recrawl", crawl_file, *QUICK, "--connections", "4", "--per-host", "4")
    async with running(*command, stderr=subprocess.DEVNULL) as process:
        while len(web.requests) < 250:
            await asyncio.sleep(0.002)
        process.kill()
    done = await cli(*command)
    assert (done.code, "a recrawl was begun and not ended" in done.err) == (0, True), done.err
    visits = "SELECT count(*), count(DISTINCT url) FROM fetches WHERE outcome = "
    assert ask(crawl_file, visits + "'page'") == [(400, 400)]
    assert ask(crawl_file, visits + "'unmodified'") == [(400, 400)]
    assert ask(crawl_file, STATES) == [(400, 0, 0)]
    assert set(Counter(asked(web)).values()) <= {1, 2}
    assert len(asked(web)) <= 400 + 4 + 200
    assert "400 URLs are due again" in (await cli(*command)).err


@pytest.mark.parametrize(("arguments", "said"), [
    (("recrawl", "--where", "nonsense > 1"), "no such column: nonsense.*view pages: url, status"),
    (("recrawl", "--where", "1); DELETE FROM url; --"), "--where: You can only execute one statement"),
    (("recrawl", "--where", "1 --"), None),
    (("recrawl", "--older-than", "7"), "'7' is no time; write it like"),
    (("recrawl", "--revisit", "often"), "revisit: 'often' is no time"),
    (("retry", "--where", "status >"), "--where: .*view failures: url, status"),
    (("block", "--where", "path = 1"), "no such column: path.*view urls: url, host"),
    (("block",), "Missing option '--where'")])
async def test_a_wrong_word_is_exit_2(
    serve: Serve, crawl_file: Path, arguments: tuple[str, ...], said: str | None
) -> None:
    """SQL that cannot be run is told with what the view has, and nothing is changed or sent."""
    web = await serve(Changing(4))
    await run(web, crawl_file, "/0")
    web.requests.clear()
    done = sh(arguments[0], crawl_file, *arguments[1:], *(["--dry-run"] if said is None else []))
    assert (done.code, bool(re.search(said or "", done.err, re.S))) == (2 if said else 0, True), done.err
    assert ask(crawl_file, STATES) == [(4, 0, 0)]
    assert web.requests == []


@pytest.mark.parametrize("arguments", [("recrawl",), ("retry",), ("block", "--where", "1")])
def test_a_file_that_is_being_crawled_is_exit_75(crawl_file: Path, arguments: tuple[str, ...]) -> None:
    """Nothing is changed under a running crawl; a file that is not there is exit 2."""
    assert sh(arguments[0], crawl_file, *arguments[1:]).code == 2
    asyncio.run(run_async(CrawlSpec(seeds=("http://127.0.0.1:9/",), patience=0.0, delay=0.0), crawl_file))
    with FileLock(crawl_file):
        assert sh(arguments[0], crawl_file, *arguments[1:]).code == 75


async def test_failures_are_retried(serve: Serve, crawl_file: Path) -> None:
    """`retry` makes those it names due again, at once and as if they had never been tried; `resume` visits them."""
    site = Site({"/": page("/a", "/b")})
    web = await serve(site)
    await run(web, crawl_file)
    site |= {"/a": page(), "/b": page()}
    assert "1 failures are due again" in sh("retry", crawl_file, "--where", "url LIKE '%/a'").err
    assert (await cli("resume", crawl_file, *QUICK)).code == 0
    assert ask(crawl_file, "SELECT url FROM failures") == [(web.url("/b"),)]


async def test_what_is_blocked_stays_out(serve: Serve, crawl_file: Path) -> None:
    """`block` moves URLs to `skipped` with the reason given, whatever links to them; their history stays; `--undo` lets them
    in again."""
    site = Site({"/": page("/a", "/b"), "/a": page("/b"), "/b": page(title="x")})
    web = await serve(site)
    await run(web, crawl_file)
    assert "1 URLs are kept out" in sh("block", crawl_file, "--where", "url LIKE '%/b'", "--reason", "too slow").err
    web.requests.clear()
    site["/"] = page("/a", "/b", "/")
    await again(web, crawl_file)
    assert "/b" not in asked(web)
    assert ask(crawl_file, "SELECT url, reason, detail FROM skipped") == [(web.url("/b"), "blocked", "too slow")]
    assert ask(crawl_file, "SELECT count(*) FROM fetches WHERE url LIKE '%/b'") == [(1,)]
    sh("block", crawl_file, "--where", "reason = 'blocked'", "--undo")
    await run(web, crawl_file)
    assert ask(crawl_file, "SELECT count(*) FROM pages WHERE url LIKE '%/b'") == [(1,)]


# --- when


@pytest.mark.parametrize(("text", "wanted"), [
    ("90s", 90), ("15min", 900), ("6h", 21_600), ("7d", 604_800), ("2w", 1_209_600), ("1.5 h", 5400)])
def test_times_as_people_write_them(text: str, wanted: float) -> None:
    """A number and a unit."""
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7y", "0s", "2d..1d", "..1d", "1d..", "1e3s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """In words, as a setting."""
    with pytest.raises(BadSpec, match=r"revisit: .*or adaptive, or never"):
        CrawlSpec(revisit=text)


def test_intervals_follow_the_changes() -> None:
    """Adaptive: doubled after no change, halved after one, within its bounds; fixed: always the same."""
    adaptive, fixed = policy("1h..10h"), policy("7d")
    assert adaptive == Policy(3600, 36_000)
    priority, waits = 0, []
    for changed in [None, False, False, False, False, False, True, True, False, True, True, True]:
        wait, priority = adaptive.after(priority, changed)
        waits.append(wait / 3600)
    assert waits == [1, 2, 4, 8, 10, 10, 8, 4, 8, 4, 2, 1]
    assert fixed is not None
    assert {fixed.after(priority, changed) for priority in (1, 3) for changed in (None, True, False)} == {(604_800, 1)}
    assert policy("never") is None
    assert policy("adaptive") == Policy(86_400, 32 * 86_400)


SAME, OTHER = BodyRow(b"same", 1, "raw", b"."), BodyRow(b"other", 1, "raw", b".")
HERE = Place("http://a.test", "a.test", "/")


@pytest.mark.parametrize(("outcome", "body", "before", "hours"), [
    ("page", SAME, None, 1), ("page", SAME, "page", 8), ("page", OTHER, "page", 2), (None, None, "page", 8),
    ("failure", None, "page", 2), ("failure", None, "failure", 8),
    ("redirect", None, "redirect", 8), ("page", SAME, "failure", 2)])
def test_what_counts_as_a_change(outcome: str | None, body: BodyRow | None, before: str | None, hours: int) -> None:
    """Another body or another outcome is one; a 304, the same body or the same failure is none."""
    known = None if before is None else Before(before, b"same" if before == "page" else None)
    settled = Settlement(HERE, 1, outcome=outcome, body=body, before=known, attempts=1)
    schedule(settled, Policy(3600, 36_000), 0 if known is None else 3, at=1000)
    assert (settled.due_at, settled.attempts) == (1000 + hours * 3_600_000, 0)


@pytest.mark.parametrize("settled", [
    Settlement(HERE, 1, outcome="failure", due_at=5), Settlement(HERE, 1, outcome="skipped", reason="robots")])
def test_what_is_not_scheduled(settled: Settlement) -> None:
    """A retry keeps its time; what is refused is not asked again."""
    due = settled.due_at
    schedule(settled, Policy(3600, 3600), 1, at=1000)
    assert settled.due_at == due


async def test_a_policy_makes_revisits_of_all_that_was_visited(serve: Serve, crawl_file: Path) -> None:
    """With --revisit each URL is queued for its next visit, the crawl is complete (exit 0) and says when; the same command
    finds nothing to do until then; a changed policy moves what is queued, and `never` takes it back."""
    web = await serve(Site({"/": page("/a", "/gone"), "/a": page()}))
    command = ("crawl", web.url(), "-o", crawl_file, *QUICK)
    done = await cli(*command, "--revisit", "7d")
    assert (done.code, "revisits: 3 queued, the first due at" in done.err) == (0, True)
    due = "SELECT min(due_at - (SELECT min(at) FROM fetch)) / 86400000, count(*), max(priority) FROM url WHERE due_at NOT NULL"
    assert ask(crawl_file, due) == [(7, 3, 1)]
    done = await cli(*command, "--revisit", "7d")
    assert (done.code, "nothing was sent" in done.err, "revisits: 3 queued" in done.err) == (0, True, True)
    assert (await cli(*command, "--revisit", "2d")).code == 0
    assert ask(crawl_file, due) == [(2, 3, 1)]
    assert (await cli(*command, "--revisit", "never")).code == 0
    assert ask(crawl_file, STATES) == [(2, 1, 0)]
    assert len(asked(web)) == 3


async def test_due_revisits_are_made_by_resume(serve: Serve, crawl_file: Path) -> None:
    """What has fallen due is visited; a page that changed comes sooner than one that did not."""
    site = Changing(4)
    web = await serve(site)
    options: dict[str, Any] = {"revisit": "1s..1h", "patience": 0.0}
    await run(web, crawl_file, "/0", **options)
    site.versions[2] += 1
    await asyncio.sleep(1.1 - (time.time() - ask(crawl_file, "SELECT max(at) FROM fetch")[0][0] / 1000))
    await run(web, crawl_file, "/0", **options)
    assert Counter(asked(web)) == {"/0": 2, "/1": 2, "/2": 2, "/3": 2}
    waits = ask(crawl_file, "SELECT path, priority FROM url WHERE due_at IS NOT NULL ORDER BY path")
    assert waits == [("/0", 2), ("/1", 2), ("/2", 1), ("/3", 2)]
