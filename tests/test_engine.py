"""crawler.engine: what a crawl fetches, follows and leaves out, on real sockets."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.crawls import TREE, ask, asked, paths, run, shorten
from tests.web import Answer, Generated, Request, Site, page, redirect

REFRESH = b'<meta http-equiv="refresh" content="0; url=%s">'


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
