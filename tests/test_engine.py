"""crawler.engine, crawler.api: whole crawls of known webs on real sockets."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import crawler
from crawler import stop as stopping
from crawler import visit
from crawler.api import add_seeds, finished, run_async
from crawler.engine import Ending
from crawler.spec import BadSpec, CrawlSpec
from crawler.stop import Stop
from crawler.visit import Retry
from storage import StoreLocked, StoreUnreadable, open_reader
from tests.conftest import Serve
from tests.web import Answer, Generated, Request, Site, Web, page, redirect

QUICK: Mapping[str, Any] = {"delay": 0.0, "patience": 3.0, "parse_workers": 0, "allow_private": ("127.0.1.0/24",)}


def spec_of(web: Web, *seeds: str, **options: Any) -> CrawlSpec:
    return CrawlSpec(seeds=tuple(s if ":" in s else web.url(s) for s in seeds or ("/",)), **{**QUICK, **options})


async def run(web: Web, file: Path, *seeds: str, **options: Any) -> Ending:
    """Crawl to the end; a crawl that does not end within 20 s fails."""
    async with asyncio.timeout(20):
        return await run_async(spec_of(web, *seeds, **options), file)


def ask(file: Path, sql: str) -> list[tuple[Any, ...]]:
    with open_reader(file) as reader:
        return list(reader.query(sql)[1])


def paths(web: Web, file: Path, view: str = "pages", column: str = "url") -> list[str]:
    """Paths of a view's URLs on the first host, sorted; other hosts' URLs whole."""
    return sorted(u.removeprefix(web.url()[:-1]) for (u,) in ask(file, f"SELECT {column} FROM {view}"))


def asked(web: Web, robots: bool = False) -> list[str]:
    """What the server was asked for, in order."""
    return [r.path for r in web.requests if robots or r.path != "/robots.txt"]


REFRESH = b'<meta http-equiv="refresh" content="0; url=%s">'
TREE = Site(
    {
        "/": page("/a", "/b", "http://out.test/", "mailto:x@out.test"),
        "/a": page("/a/1", "/a/2", "/"),
        "/b": page("/b/1"),
        "/a/1": page("/a/1/x"),
        "/a/2": page(),
        "/b/1": 404,
        "/a/1/x": page(),
    }
)


# --- what is fetched


async def test_exactly_what_is_reachable_is_fetched_once(serve: Serve, crawl_file: Path) -> None:
    """robots.txt first, then every page of the web, each once; what leaves the scope is skipped, 404s are failures."""
    web = await serve(TREE)
    ending = await run(web, crawl_file)
    assert ending.state == "complete"
    assert asked(web, robots=True)[0] == "/robots.txt"
    assert Counter(asked(web, robots=True)) == Counter(["/robots.txt", *TREE])
    assert paths(web, crawl_file) == ["/", "/a", "/a/1", "/a/1/x", "/a/2", "/b"]
    assert paths(web, crawl_file, "failures") == ["/b/1"]
    assert ask(crawl_file, "SELECT url, reason FROM skipped ORDER BY 1") == [
        ("http://out.test/", "scope"),
        ("mailto:x@out.test", "scheme"),
    ]
    assert (ending.counts.pages, ending.counts.failures, ending.counts.skipped, ending.requests) == (6, 1, 2, 8)
    assert ask(crawl_file, "SELECT ending, requests FROM runs") == [("complete", 8)]


async def test_breadth_first_on_a_host(serve: Serve, crawl_file: Path) -> None:
    """One connection to a host: all of depth n before depth n + 1."""
    wide = Site(
        {
            "/": page(*(f"/{n}/" for n in range(6))),
            **{f"/{n}/": page(f"/{n}/x") for n in range(6)},
            **{f"/{n}/x": page() for n in range(6)},
        }
    )
    web = await serve(wide)
    await run(web, crawl_file)
    depths = [p.count("/") + p.endswith("x") for p in asked(web)]
    assert depths == sorted(depths)
    assert ask(crawl_file, "SELECT depth, count(*) FROM pages GROUP BY 1 ORDER BY 1") == [(0, 1), (1, 6), (2, 6)]


async def test_the_generated_web_comes_out_as_it_is(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every URL in its view with its status or reason, digest, least depth and edges, over real parse workers."""
    shorten(monkeypatch)
    web = await serve(*[Generated(hosts=4, pages=160)] * 4)
    ending = await run(web, crawl_file, *(web.url(host=k) for k in range(1, 5)), parse_workers=1)
    truth = web.expected()
    assert ending.state == "complete"
    views = {
        "page": "SELECT url, status, NULL, digest, depth FROM pages",
        "redirect": "SELECT src, status, NULL, NULL, NULL FROM redirects",
        "failure": "SELECT url, status, reason, NULL, NULL FROM failures",
        "skipped": "SELECT url, NULL, reason, NULL, NULL FROM skipped",
    }
    found = {
        url: (kind, status, reason, digest, depth)
        for kind, sql in views.items()
        for url, status, reason, digest, depth in ask(crawl_file, sql)
    }
    assert found == {
        u: (e.kind, e.status, e.reason, e.digest, e.depth if e.kind == "page" else None) for u, e in truth.items()
    }
    links = defaultdict(set)
    for src, dst, kind in ask(crawl_file, "SELECT src, dst, kind FROM links"):
        links[src].add((dst, kind))
    assert links == {u: set(e.links) for u, e in truth.items() if e.links}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"max_depth": 0}, ["/"]),
        ({"max_depth": 1}, ["/", "/a", "/b"]),
        ({"exclude": ("/a",)}, ["/", "/b"]),
        ({"include": ("/a", "/2$")}, ["/", "/a", "/a/1", "/a/1/x", "/a/2"]),
        ({"include": ("/a",), "exclude": ("x$",)}, ["/", "/a", "/a/1", "/a/2"]),
        ({"scope": "page"}, ["/"]),
        ({"scope": "any", "exclude": ("out",)}, ["/", "/a", "/a/1", "/a/1/x", "/a/2", "/b"]),
    ],
    ids=str,
)
async def test_limits_of_the_scope(serve: Serve, crawl_file: Path, options: dict[str, Any], found: list[str]) -> None:
    """max-depth, include, exclude and scope: nothing else is even asked for, and each refusal says why."""
    web = await serve(TREE)
    await run(web, crawl_file, **options)
    assert paths(web, crawl_file) == found
    assert set(asked(web)) - {"/b/1"} == set(found)
    assert ask(crawl_file, "SELECT count(*) FROM skipped WHERE reason IS NULL") == [(0,)]


async def test_scope_prefix(serve: Serve, crawl_file: Path) -> None:
    """prefix: the seed's folder."""
    web = await serve(Site({"/d/i": page("/d/x", "/e", "/d"), "/d/x": page(), "/e": page(), "/d": page()}))
    await run(web, crawl_file, "/d/i", scope="prefix")
    assert paths(web, crawl_file) == ["/d/i", "/d/x"]


async def test_nofollow_yields_to_a_better_edge(serve: Serve, crawl_file: Path) -> None:
    """A page's nofollow bars only its own edges; what another page links to plainly is fetched; the rest is skipped."""
    nofollow = '<a rel="nofollow" href="/x">x</a><a rel="nofollow" href="/y">y</a>'
    closed = '<meta name="robots" content="nofollow"><a href="/z">z</a>'
    web = await serve(
        Site(
            {
                "/": page("/1", "/2") + nofollow + closed.replace("meta", "p"),
                "/1": page("/x"),
                "/2": closed,
                "/x": page(),
                "/y": page(),
                "/z": page(),
            }
        )
    )
    await run(web, crawl_file)
    assert ("/x" in asked(web), "/y" in asked(web), "/z" in asked(web)) == (True, False, True)
    assert ask(crawl_file, "SELECT reason FROM skipped") == [("nofollow",)]


async def test_max_pages_is_never_exceeded(serve: Serve, crawl_file: Path) -> None:
    """With 100 connections to one host: exactly so many rows in `pages`, also over two runs; then nothing is sent."""
    web = await serve(Site({"/": page(*(f"/{n}" for n in range(60))), **{f"/{n}": page() for n in range(60)}}))
    for limit in (7, 7, 30):
        before = len(asked(web))
        ending = await run(web, crawl_file, max_pages=limit, connections=100, per_host=100, per_ip=100)
        assert (ending.state, ending.counts.pages) == ("limit", limit)
        assert len(asked(web)) - before == {7: 7 if not before else 0, 30: 23}[limit]


async def test_max_pages_per_host(serve: Serve, crawl_file: Path) -> None:
    """The same for each host; the rest is skipped as `limit`."""
    web = await serve(TREE)
    await run(web, crawl_file, max_pages_per_host=2)
    assert len(paths(web, crawl_file)) == 2
    assert ("limit",) in ask(crawl_file, "SELECT reason FROM skipped")


async def test_max_time_ends_a_run_and_the_next_goes_on(serve: Serve, crawl_file: Path) -> None:
    """--max-time is per run: the state is 'limit', what is left stays queued."""
    web = await serve(TREE)
    started = time.monotonic()
    ending = await run(web, crawl_file, delay=0.4, max_time=0.6)
    assert time.monotonic() - started < 3
    assert (ending.state, ending.counts.queued > 0) == ("limit", True)
    assert (await run(web, crawl_file)).state == "complete"
    assert max(Counter(asked(web)).values()) == 1


# --- redirects


async def test_u4_redirects_chains_and_loops_end(serve: Serve, crawl_file: Path) -> None:
    """A chain is walked hop by hop at no depth; a loop and a redirect to itself end; each hop is in `redirects`."""
    chain = {f"/c{n}": redirect(f"/c{n + 1}") for n in range(10)}
    web = await serve(
        Site(
            {
                "/": page("/c0", "/l1", "/self"),
                **chain,
                "/c10": page(),
                "/l1": redirect("/l2"),
                "/l2": redirect("/l1"),
                "/self": redirect("/self"),
            }
        )
    )
    ending = await run(web, crawl_file)
    assert ending.state == "complete"
    assert max(Counter(asked(web)).values()) == 1
    assert paths(web, crawl_file, "redirects", "src") == sorted([*chain, "/l1", "/l2"])
    assert paths(web, crawl_file, "failures") == ["/self"]
    assert ask(crawl_file, "SELECT depth FROM pages WHERE url LIKE '%/c10'") == [(1,)]


@pytest.mark.parametrize("seed", ["/", "/r/0"])
@pytest.mark.parametrize("how", ["redirect", "refresh"])
async def test_u4_p10_an_endless_chain_of_redirects_ends(serve: Serve, crawl_file: Path, how: str, seed: str) -> None:
    """Redirects (or meta refreshes) that always lead somewhere new are given up after ten hops, a seed's too: the target
    of the eleventh is in `skipped`, and says why."""

    def further(request: Request) -> Answer:
        target = f"/r/{int(request.path[3:]) + 1}"
        return redirect(target) if how == "redirect" else Answer(body=REFRESH % target.encode())

    web = await serve(Site({"/": page("/r/0"), **{f"/r/{n}": further for n in range(40)}}))
    await run(web, crawl_file, seed)
    assert [path for path in asked(web) if path != "/"] == [f"/r/{n}" for n in range(11)]
    assert ask(crawl_file, "SELECT url, reason, detail FROM skipped") == [
        (web.url("/r/11"), "redirects", "more than 10 redirects in a row")
    ]


async def test_u5_a_redirect_does_not_escape_robots_or_scope(serve: Serve, crawl_file: Path) -> None:
    """0 requests to a target that robots.txt or the scope refuses."""
    site = Site(
        {"/": page("/1", "/2"), "/1": redirect("/private/x"), "/private/x": page()},
        robots="User-agent: *\nDisallow: /private",
    )
    other = Site({"/": page()})
    web = await serve(site, other)
    site["/2"] = redirect(web.url(host=2))
    await run(web, crawl_file)
    assert [r.host for r in web.requests if r.host != "127.0.1.1"] == []
    assert dict(ask(crawl_file, "SELECT url, reason FROM skipped")) == {
        web.url("/private/x"): "robots",
        web.url(host=2): "scope",
    }


# --- robots.txt


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


# --- retries


def shorten(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.05) -> None:
    """Every wait of the retry table, as if time went faster."""
    monkeypatch.setattr(
        "crawler.frontier.politeness.RETRY",
        {
            reason: Retry(rule.tries, tuple(seconds for _ in rule.waits), rule.charge)
            for reason, rule in visit.RETRY.items()
        },
    )


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


# --- resume


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


# --- the library's face


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
