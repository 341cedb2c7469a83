"""robots.txt in whole crawls, on real sockets: huge, cut, hostile and unreachable ones, and redirects."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from crawler.api import run_async
from crawler.cli.explain import explanation
from crawler.fetch import robots
from crawler.fetch.robots import LIMIT, Robots
from crawler.frontier.robots_visit import settle_robots
from crawler.frontier.workbench import Errand, RobotsState
from crawler.parse.worker import keep
from crawler.url import admit
from crawler.visit import Extract, Fault, Kind, Outcome, Visit
from storage import open_reader
from tests.conftest import Serve
from tests.crawls import ask, asked, paths, run, spec_of
from tests.web import TEXT, Answer, Site, page, redirect

DAY = 86_400.0
RULES = b"User-agent: *\nDisallow: /private\n"
PAGES = {"/": page("/a", "/private"), "/a": page(), "/private": page()}


async def test_r1_of_a_huge_robots_txt_512_000_bytes_are_read(serve: Serve, crawl_file: Path) -> None:
    """R1: a robots.txt of 100 MB is read for 512,000 bytes, then the connection is closed; what was read holds."""
    async def endless() -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000000\r\n\r\n" + RULES
        for _ in range(1_500):
            yield b"# nothing to see here, go on, go on please, 64\n" * 1394
            await asyncio.sleep(0)

    web = await serve(Site({**PAGES, "/robots.txt": lambda request: Answer(raw=endless())}))
    ending = await run(web, crawl_file)
    assert paths(web, crawl_file) == ["/", "/a"]
    assert ending.bytes < 2_000_000
    assert ask(crawl_file, "SELECT truncated, size FROM fetches WHERE outcome = 'robots'") == [("size", LIMIT + 1)]
    with open_reader(crawl_file) as reader:
        assert "and it has more" in explanation(reader, web.url("/a")).robots


async def test_r1_reading_the_worst_file_leaves_the_loop_free() -> None:
    """R1: while 500 KiB of rules are read the event loop is held up for no more than a third of the time that takes."""
    body = (b"user-agent: *\n" + b"allow:/a*b\n" * 60_000)[:LIMIT]
    shares = []
    for _ in range(3):  # the machine may be busy
        began = last = time.perf_counter()
        worst = 0.0
        reading = asyncio.create_task(robots.read(body, "poolcrawl"))
        while not reading.done():
            await asyncio.sleep(0.001)
            worst, last = max(worst, time.perf_counter() - last), time.perf_counter()
        shares.append(worst / (last - began))
    assert min(shares) < 1 / 3
    assert not (await robots.read(b"User-agent: *\nDisallow: /", "x")).verdict("x", "http://a/").allowed
    assert (await reading).verdict("poolcrawl", "http://a/ab").rule == "Allow: /a*b"


async def test_r1_a_stored_file_is_read_the_same_way(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R1: on resume too large files are read in a thread, and what they forbid stays forbidden."""
    body = b"User-agent: *\nDisallow: /private\n" + b"Disallow: /x\n" * 9_000
    web = await serve(Site({**PAGES, "/robots.txt": Answer(body=body, headers=TEXT)}))
    await run(web, crawl_file, max_pages=1)
    parsed = Robots.parse
    monkeypatch.setattr(Robots, "parse", lambda body: pytest.fail("parsed in the loop") if in_loop() else parsed(body))
    await run(web, crawl_file)
    assert paths(web, crawl_file) == ["/", "/a"]
    assert asked(web, robots=True).count("/robots.txt") == 1


def in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def visited(outcome: Outcome, before: RobotsState | None = None, hops: int = 0) -> RobotsState | None:
    place = admit("http://a.test/robots.txt")
    visit = Visit(place.url, place, Kind.ROBOTS, errand=Errand("http://a.test", "a.test", place, hops))
    extract = keep(outcome.body, None, "") if outcome.ok else Extract()
    return settle_robots(visit, outcome, extract, before, now=1000.0, wall=1_800_000_000_000).state


def test_r3_after_thirty_days_an_unreachable_file_counts_as_absent() -> None:
    """R3: failures in a row that take at least 30 days, at our own waits, mean "no rules"; one day less still "nothing"."""
    state, waited = None, 0.0
    for _ in range(60):
        state = visited(Outcome("", 503, "http_503"), state)
        assert state is not None
        if state.status != "unreachable":
            break
        waited += state.until - 1000.0
    assert state is not None
    assert state.status == "absent"
    assert 29 * DAY <= waited < 31 * DAY  # and the last failure comes a day later
    again = visited(Outcome("", 503, "http_503"), state)
    assert again is not None
    assert again.status == "absent"
    assert visited(Outcome("", 200, body=RULES), state).failures == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("truncated", ["cut", "time"])
def test_r8_a_file_the_peer_cut_is_asked_for_again_twice_then_its_whole_lines_hold(truncated: str) -> None:
    """R8: a body that ended too early is no robots.txt yet; at the third time all but its last line is."""
    outcome = Outcome("", 200, body=RULES + b"Allow: /private/but-not-thi", truncated=truncated)
    first = visited(outcome)
    second = visited(outcome, first)
    third = visited(outcome, second)
    assert [s.status for s in (first, second, third) if s] == ["unreachable", "unreachable", "ok"]
    assert not third.robots.verdict("poolcrawl", "http://a/private/but-not-this").allowed  # type: ignore[union-attr]


@pytest.mark.parametrize("fault", [Fault.ADDRESS_REFUSED, Fault.DNS_NXDOMAIN, Fault.PORT_REFUSED])
def test_r6_a_redirect_to_nobody_is_unreachable(fault: Fault) -> None:
    """R6: a redirect to where nobody is, or where we do not go, leaves the rules unknown: nothing is fetched."""
    outcome = Outcome("", fault=fault, reason=fault.value)
    assert visited(outcome, hops=1).status == "unreachable"  # type: ignore[union-attr]
    assert visited(outcome).status == "absent"  # type: ignore[union-attr]  # the pages' own visits say it better


async def test_r6_hops_wait_for_their_hosts_and_pass_the_address_guard(serve: Serve, crawl_file: Path) -> None:
    """R6: five redirects over hosts with a delay: each host's requests are a delay apart; a sixth is not followed; a
    redirect to a private address is refused, and then no page is fetched."""
    sites = [Site(dict(PAGES)), Site({}), Site(dict(PAGES))]
    web = await serve(*sites)
    sites[1]["/r1"], sites[0]["/r2"] = redirect(web.url("/r2", 1)), redirect(web.url("/r3", 2))
    sites[0]["/robots.txt"] = redirect(web.url("/r1", 2))
    sites[1]["/r3"], sites[0]["/r4"] = redirect(web.url("/r4", 1)), redirect(web.url("/r5", 2))
    sites[1]["/r5"] = Answer(body=RULES, headers=TEXT)
    sites[2]["/robots.txt"] = redirect("http://169.254.169.254/latest/meta-data")
    await run(web, crawl_file, web.url("/"), web.url("/", 3), delay=0.1, patience=1.0)
    hops = [r for r in web.requests if r.path.startswith(("/r1", "/r2", "/r3", "/r4", "/r5", "/robots"))]
    assert [r.path for r in hops if r.host != "127.0.1.3"] == ["/robots.txt", "/r1", "/r2", "/r3", "/r4", "/r5"]
    for host in ("127.0.1.1", "127.0.1.2"):
        at = [r.at for r in web.requests if r.host == host]
        assert all(later - earlier >= 0.099 for earlier, later in pairwise(at))
    assert [r.path for r in web.requests if r.host == "127.0.1.3"] == ["/robots.txt"]
    assert paths(web, crawl_file) == ["/", "/a"]
    assert ask(crawl_file, "SELECT count(*) FROM fetches WHERE reason LIKE 'address_refused%' AND outcome = 'robots'") == [(1,)]


async def test_r9_html_as_robots_txt_is_flagged(serve: Serve, crawl_file: Path) -> None:
    """R9: a page sent as robots.txt has no rules, even if its text looks like one; its fetch and `explain` say so."""
    body = b"<!DOCTYPE html><html><pre>\nUser-agent nobody\nDisallow me\n</pre><a href=/>home</a>"
    web = await serve(Site({**PAGES, "/robots.txt": Answer(body=body)}))
    await run(web, crawl_file)
    assert paths(web, crawl_file) == ["/", "/a", "/private"]
    assert ask(crawl_file, "SELECT parse FROM fetches WHERE outcome = 'robots'") == [("not robots.txt: HTML",)]
    with open_reader(crawl_file) as reader:
        assert "HTML" in explanation(reader, web.url("/a")).robots


async def test_r7_over_many_runs_robots_txt_is_asked_for_once(serve: Serve, crawl_file: Path) -> None:
    """R7: what a robots.txt said holds for 24 h over any number of runs: one request for it in all of them."""
    links = [f"/{n}" for n in range(6)]
    web = await serve(Site({"/": page(*links), **dict.fromkeys(links, page())}, robots=RULES.decode()))
    for n in range(1, 6):
        await run(web, crawl_file, max_pages=n)
    assert Counter(asked(web, robots=True))["/robots.txt"] == 1
    assert len(paths(web, crawl_file)) == 5


async def test_robots_disallow_is_skipped_with_rule_and_line(serve: Serve, crawl_file: Path) -> None:
    """The server is never asked for what robots.txt refuses; the file says by which line."""
    web = await serve(
        Site({"/": page("/no/1", "/yes"), "/yes": page()}, robots="# hello\nUser-agent: *\nDisallow: /no/\n")
    )
    await run(web, crawl_file)
    assert sorted(asked(web)) == ["/", "/yes"]
    [(reason, detail)] = ask(crawl_file, "SELECT reason, detail FROM skipped")
    assert reason == "robots"
    assert detail.startswith("line 3: ")
    assert "/no/" in detail


async def test_robots_ignore(serve: Serve, crawl_file: Path) -> None:
    """--robots ignore neither asks for robots.txt nor obeys it."""
    web = await serve(Site({"/": page()}, robots="User-agent: *\nDisallow: /\n"))
    await run(web, crawl_file, robots="ignore")
    assert asked(web, robots=True) == ["/"]


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_r3_unreachable_robots_send_no_page_request(serve: Serve, crawl_file: Path, status: int) -> None:
    """5xx or 429 for robots.txt: 0 page requests, in this run and in the next; the seed is deferred, not lost."""
    web = await serve(Site({"/": page(), "/robots.txt": status}))
    for _ in range(2):
        ending = await run(web, crawl_file)
        assert (ending.state, ending.counts.queued) == ("deferred", 1)
        assert ending.next_at is not None
        assert ending.next_at / 1000 - time.time() > 200
    assert asked(web, robots=True) == ["/robots.txt"]


async def test_r4_absent_robots_allow(serve: Serve, crawl_file: Path) -> None:
    """404 for robots.txt: everything is allowed."""
    web = await serve(Site({"/": page()}))
    await run(web, crawl_file)
    assert ask(crawl_file, "SELECT robots_status FROM hosts") == [("absent",)]


async def test_r6_robots_of_a_redirect_hold_for_the_first_origin(serve: Serve, crawl_file: Path) -> None:
    """robots.txt that is moved to another path is followed, and its rules hold."""
    web = await serve(
        Site(
            {
                "/": page("/no"),
                "/robots.txt": redirect("/r2"),
                "/r2": redirect("/r3"),
                "/r3": (200, "User-agent: *\nDisallow: /no", {"Content-Type": "text/plain"}),
            }
        )
    )
    await run(web, crawl_file)
    assert asked(web, robots=True) == ["/robots.txt", "/r2", "/r3", "/"]


async def test_r6_robots_redirected_to_a_host_not_in_the_crawl(serve: Serve, crawl_file: Path) -> None:
    """The hop is taken at the other host, and the crawl ends as ever."""
    home = Site({"/": page()})
    web = await serve(home, Site({}, robots="User-agent: *\nDisallow: /no"))
    home["/robots.txt"] = redirect(web.url("/robots.txt", host=2))
    async with asyncio.timeout(2):
        ending = await run_async(spec_of(web), crawl_file)
    assert ending.state == "complete"


async def test_r7_robots_are_asked_once_over_two_runs(serve: Serve, crawl_file: Path) -> None:
    """The rules of the first run hold in the second; robots.txt is not asked for again within a day."""
    web = await serve(Site({"/": page("/no/"), "/2": page("/no/2")}, robots="User-agent: *\nDisallow: /no/\n"))
    await run(web, crawl_file)
    await run(web, crawl_file, "/", "/2")
    assert asked(web, robots=True) == ["/robots.txt", "/", "/2"]
    assert ask(crawl_file, "SELECT count(*) FROM skipped WHERE reason = 'robots'") == [(2,)]
