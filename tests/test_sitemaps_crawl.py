"""Sitemaps in a crawl: found by robots.txt, visited as everything is, their URLs judged as links; on real sockets."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crawler import visit
from crawler.api import finished
from crawler.cli.explain import explanation, lines
from storage import open_reader, sitemaps
from storage.migrate import SCHEMA
from tests.conftest import Serve
from tests.crawls import ask, asked, paths, run, spec_of
from tests.test_sitemap import bomb
from tests.web import Answer, Request, Site, page, redirect

XML = (("Content-Type", "application/xml"),)


def listing(*urls: str, index: bool = False) -> Answer:
    """A sitemap; relative URLs do, they are joined."""
    root, entry = ("sitemapindex", "sitemap") if index else ("urlset", "url")
    inner = "".join(f"<{entry}><loc>{u}</loc><lastmod>2024-01-0{n % 9 + 1}</lastmod></{entry}>" for n, u in enumerate(urls))
    return Answer(body=f"<{root}>{inner}</{root}>".encode(), headers=XML)


def told(*sitemaps: str, rules: str = "") -> str:
    return f"User-agent: *\n{rules}\n" + "".join(f"Sitemap: {s}\n" for s in sitemaps)


PLAIN = Site({"/": page("/a"), "/a": page(), "/s.xml": listing("/b", "/c/d", "/gone"), "/b": page("/e"), "/c/d": page(),
              "/e": page()}, robots=told("/s.xml"))  # fmt: skip


async def test_what_a_sitemap_lists_is_crawled(serve: Serve, crawl_file: Path) -> None:
    """A listed page is one that its host's seed might have linked to: depth 1, found on the sitemap, lastmod on the edge.
    The sitemap itself is in `fetches` and in no other view of URLs."""
    web = await serve(PLAIN)
    ending = await run(web, crawl_file)
    assert ending.state == "complete"
    assert Counter(asked(web)) == Counter(["/", "/a", "/s.xml", "/b", "/c/d", "/e", "/gone"])
    assert paths(web, crawl_file) == ["/", "/a", "/b", "/c/d", "/e"]
    assert dict(ask(crawl_file, "SELECT url, depth FROM pages"))[web.url("/c/d")] == 1
    assert ask(crawl_file, f"SELECT found_on FROM pages WHERE url = '{web.url('/b')}'") == [(web.url("/s.xml"),)]
    assert ask(crawl_file, f"SELECT src, kind, text FROM links WHERE dst = '{web.url('/c/d')}'") == [
        (web.url("/s.xml"), "sitemap", "2024-01-02")
    ]
    assert ask(crawl_file, "SELECT url, outcome, reason, status FROM fetches WHERE outcome = 'sitemap'") == [
        (web.url("/s.xml"), "sitemap", None, 200)
    ]
    for view in ("pages", "redirects", "failures", "skipped", "queue"):
        column = "src" if view == "redirects" else "url"
        assert web.url("/s.xml") not in [u for (u,) in ask(crawl_file, f"SELECT {column} FROM {view}")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sitemaps": "ignore"}, ["/", "/a"]),
        ({"sitemaps": "only"}, ["/", "/b", "/c/d"]),
        ({"max_depth": 1}, ["/", "/a", "/b", "/c/d"]),
        ({"max_depth": 0}, ["/"]),
        ({"scope": "page"}, ["/"]),
        ({"exclude": ("/c/",)}, ["/", "/a", "/b", "/e"]),
        ({"max_pages": 2}, ["/", "/"]),
        ({"robots": "ignore"}, ["/", "/a"]),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_settings(serve: Serve, crawl_file: Path, options: dict[str, Any], expected: list[str]) -> None:
    """--sitemaps follow|only|ignore, and the limits that hold for every URL hold for those of sitemaps."""
    web = await serve(PLAIN)
    await run(web, crawl_file, **options)
    if "max_pages" in options:
        assert len(paths(web, crawl_file)) == 2
    else:
        assert paths(web, crawl_file) == expected
    if options.get("sitemaps") == "only":
        assert ask(crawl_file, f"SELECT reason FROM skipped WHERE url = '{web.url('/a')}'") == [("sitemaps",)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("ignore", "follow", ["/", "/a", "/b", "/c/d", "/e"]),
        ("ignore", "only", ["/", "/a", "/b", "/c/d"]),
        ("only", "follow", ["/", "/a", "/b", "/c/d", "/e"]),
        ("follow", "ignore", ["/", "/a", "/b", "/c/d", "/e"]),
    ],
)
async def test_a_changed_setting_takes_effect(
    serve: Serve, crawl_file: Path, before: str, after: str, expected: list[str]
) -> None:
    """--sitemaps may change between runs of a crawl, a complete one too: the stored robots.txt is read again, not fetched."""
    web = await serve(PLAIN)
    await run(web, crawl_file, sitemaps=before)
    assert finished(spec_of(web, sitemaps=before), crawl_file)
    await run(web, crawl_file, sitemaps=after)
    assert paths(web, crawl_file) == expected
    assert max(Counter(r.path for r in web.requests).values()) == 1


async def test_an_index_and_every_form(serve: Serve, crawl_file: Path) -> None:
    """Indexes, gzip with and without Content-Encoding, plain text and feeds, all in one crawl."""
    zipped = gzip.compress(listing("/gz").body)
    site = Site(
        {
            "/": page(),
            "/i.xml": listing("/a.xml.gz", "/b.xml", "/c.txt", "/d.rss", index=True),
            "/a.xml.gz": Answer(body=zipped, headers=(("Content-Type", "application/gzip"),)),
            "/b.xml": Answer(body=gzip.compress(zipped), headers=(*XML, ("Content-Encoding", "gzip"))),
            "/c.txt": lambda request: web.url("/txt"),
            "/d.rss": "<rss><channel><item><link>/rss</link></item></channel></rss>",
            **dict.fromkeys(("/gz", "/txt", "/rss"), page()),
        },
        robots=told("/i.xml"),
    )
    web = await serve(site)
    await run(web, crawl_file, parse_workers=1)
    assert paths(web, crawl_file) == ["/", "/gz", "/rss", "/txt"]
    assert set(Counter(asked(web)).values()) == {1}


async def test_a_sitemap_that_pages_link_to_is_a_sitemap(serve: Serve, crawl_file: Path) -> None:
    """A URL that robots.txt names is a sitemap whatever links to it, even a seed; so the order does not matter."""
    site = Site({"/": page("/s.xml", "/i.xml"), "/s.xml": listing("/b"), "/b": page(), "/i.xml": listing("/s.xml", index=True)},
                robots=told("/s.xml"))  # fmt: skip
    web = await serve(site)
    await run(web, crawl_file, "/s.xml", "/")
    assert paths(web, crawl_file) == ["/", "/b", "/i.xml"]
    assert asked(web).count("/s.xml") <= 2


async def test_a_page_that_is_named_as_a_sitemap_is_a_page(serve: Serve, crawl_file: Path) -> None:
    """What robots.txt calls a sitemap and is none is a page, if a seed or a link wants one there: a seed, a page whose
    links are nowhere else, and pages that another host's robots.txt names. What nobody links to is none."""
    one = Site({"/": page("/map.html", "/x"), "/map.html": page("/only"), "/only": page("/late"), "/late": page("/end"),
                "/end": page(), "/x": page(), "/unlinked": page("/never")},
               robots=told("/", "/map.html", "/late", "/unlinked"))  # fmt: skip
    two = Site({"/": page(), "/robots.txt": lambda request: told(web.url("/x"), web.url("/end"))})
    web = await serve(one, two)
    ending = await run(web, crawl_file, web.url("/"), web.url("/", 2))
    assert ending.state == "complete"
    found = dict(ask(crawl_file, "SELECT url, depth FROM pages"))
    depths = {"/": 0, "/map.html": 1, "/x": 1, "/only": 2, "/late": 3, "/end": 4}
    assert found == {web.url(path): depth for path, depth in depths.items()} | {web.url("/", 2): 0}
    assert "/never" not in asked(web)
    assert max(Counter((r.host, r.path) for r in web.requests).values()) <= 2


async def test_a_stored_page_stays_when_it_is_named_as_a_sitemap(serve: Serve, crawl_file: Path) -> None:
    """--sitemaps follow after ignore asks for what robots.txt names; pages that prove to be no sitemaps stay as they are."""
    web = await serve(Site({"/": page("/map.html"), "/map.html": page("/b"), "/b": page()}, robots=told("/", "/map.html")))
    await run(web, crawl_file, sitemaps="ignore")
    before = ask(crawl_file, "SELECT * FROM pages ORDER BY url")
    await run(web, crawl_file)
    assert ask(crawl_file, "SELECT * FROM pages ORDER BY url") == before
    assert len(before) == 3
    assert ask(crawl_file, "SELECT * FROM queue") == []


async def test_failures_and_refusals_of_sitemaps(serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with a sitemap is in `fetches`, a 500 is tried again, and robots.txt holds for sitemaps too."""
    flaky = iter([Answer(500), listing("/b")])
    site = Site(
        {
            "/": page(),
            "/b": page(),
            "/flaky.xml": lambda request: next(flaky),
            "/page.xml": page("/from-page"),
            "/evil.xml": Answer(body=b'<!DOCTYPE x [<!ENTITY e SYSTEM "/etc/passwd">]><urlset/>', headers=XML),
            "/private/s.xml": listing("/p"),
        },
        robots=told("/gone.xml", "/flaky.xml", "/page.xml", "/evil.xml", "/private/s.xml", rules="Disallow: /private/"),
    )
    monkeypatch.setitem(visit.RETRY, "http_500", visit.Retry(3, (0.05,), visit.Charge.URL))  # type: ignore[index]
    web = await serve(site)
    await run(web, crawl_file)
    assert paths(web, crawl_file) == ["/", "/b"]
    rows = ask(crawl_file, "SELECT url, reason FROM fetches WHERE outcome = 'sitemap' AND reason IS NOT NULL ORDER BY 1")
    assert [(u.removeprefix(web.url()[:-1]), r) for u, r in rows] == [
        ("/evil.xml", "not_sitemap"),
        ("/flaky.xml", "http_500"),
        ("/gone.xml", "http_404"),
        ("/page.xml", "not_sitemap"),
    ]
    why = dict(ask(crawl_file, "SELECT o.name || u.path, u.detail FROM url u JOIN origin o ON o.id = u.origin WHERE u.role > ''"))
    assert "DOCTYPE" in why[web.url("/evil.xml")]
    assert "HTML" in why[web.url("/page.xml")]
    assert ask(crawl_file, "SELECT url, reason FROM skipped") == [(web.url("/private/s.xml"), "robots")]


async def test_r12_a_sitemap_speaks_for_its_host_and_those_that_name_it(serve: Serve, crawl_file: Path) -> None:
    """R12: entries on another host are dropped, with a reason, unless that host is in scope and its own robots.txt names
    the sitemap; of other schemes none is taken, and no request goes to a host that is out of scope."""
    listed = lambda request: listing(*(web.url("/x", host) for host in range(1, 5)), "ftp://x/", "file:///etc/passwd")  # noqa: E731
    one = Site({"/": page(), "/s.xml": listed, "/x": page()}, robots=told("/s.xml"))
    two = Site({"/": page(), "/x": page()}, robots="User-agent: *")
    three = Site({"/": page(), "/x": page()})
    three["/robots.txt"] = lambda request: told(web.url("/s.xml"))
    web = await serve(one, two, three, Site({}))
    await run(web, crawl_file, web.url("/"), web.url("/", 2), web.url("/", 3))
    assert [u for (u,) in ask(crawl_file, "SELECT url FROM pages WHERE url LIKE '%/x' ORDER BY 1")] == [
        web.url("/x"),
        web.url("/x", 3),
    ]
    assert ask(crawl_file, "SELECT url, reason FROM skipped ORDER BY 1") == [
        (web.url("/x", 2), "scope"),
        (web.url("/x", 4), "scope"),
    ]
    assert "does not name it" in ask(crawl_file, f"SELECT detail FROM skipped WHERE url = '{web.url('/x', 2)}'")[0][0]
    assert not [r for r in web.requests if r.host == "127.0.1.4"]


async def test_r12_a_sitemap_elsewhere(serve: Serve, crawl_file: Path) -> None:
    """R12: a sitemap on a host out of scope is fetched when robots.txt names it, speaks for that robots.txt's host alone,
    and what its own host's robots.txt names is not looked for."""
    one = Site({"/": page(), "/x": page(), "/robots.txt": lambda r: told(web.url("/i.xml", 2))})
    two = Site(
        {
            "/i.xml": listing("/s.xml", index=True),
            "/s.xml": lambda r: listing(web.url("/x"), web.url("/x", 2), web.url("/x", 3)),
            "/own.xml": listing("/y"),
        },
        robots=told("/own.xml"),
    )
    web = await serve(one, two, Site({}))
    await run(web, crawl_file)
    assert paths(web, crawl_file) == ["/", "/x"]
    assert sorted(r.path for r in web.requests if r.host == "127.0.1.2") == ["/i.xml", "/robots.txt", "/s.xml"]
    assert dict(ask(crawl_file, "SELECT url, reason FROM skipped")) == {web.url("/x", 2): "scope", web.url("/x", 3): "scope"}


async def test_r13_nesting_and_cycles(serve: Serve, crawl_file: Path) -> None:
    """R13: an index inside two others is read, one inside three is skipped as a trap; cycles end, each file is asked for
    once; redirects are no nesting, and a redirected sitemap still is one."""
    site = Site({"/": page(), "/0.xml": redirect("/0b.xml"), "/0b.xml": redirect("/0c.xml"),
                 "/0c.xml": listing("/1.xml", index=True), "/1.xml": listing("/2.xml", "/0.xml", "/1.xml", index=True),
                 "/a": page()}, robots=told("/0.xml"))  # fmt: skip
    site["/2.xml"] = "<urlset><url><loc>/a</loc></url><sitemap><loc>/3.xml</loc></sitemap></urlset>"
    web = await serve(site)
    await run(web, crawl_file)
    assert paths(web, crawl_file) == ["/", "/a"]
    assert Counter(asked(web)) == Counter(["/", "/0.xml", "/0b.xml", "/0c.xml", "/1.xml", "/2.xml", "/a"])
    assert ask(crawl_file, "SELECT url, reason FROM skipped") == [(web.url("/3.xml"), "trap")]


@pytest.mark.parametrize("said", [(1 << 63) - 1, -(1 << 63), 1e308, "many", None, [1]])
def test_r13_any_number_of_urls_may_be_said(said: object) -> None:
    """A parse worker that was taken over says how many URLs its files named: no sum of that ends the crawl."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA.read_text("utf-8"))
        for n in (1, 2, 3):
            db.execute("INSERT INTO url (id, host, origin, path, last, role) VALUES (?1, 1, 1, ?1, ?1, 'sitemap 0')", (n,))
            db.execute(
                "INSERT INTO fetch (id, url, run, at, outcome, elapsed_ms, attempt, wire_size, data) "
                "VALUES (?1, ?1, 1, 1, 'sitemap', 1, 1, 1, ?2)", (n, json.dumps({"urls": said})))
        assert 0 <= int(db.execute(sitemaps.NAMED_URLS, (1, 0)).fetchone()[0]) <= 3 * sitemaps.MAX_URLS


async def test_r13_files_and_urls_of_a_host(serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R13: of a host 1,000 sitemaps are read, and none more once they name a million URLs; the rest is skipped, loudly."""
    assert (sitemaps.MAX_FILES, sitemaps.MAX_URLS) == (1_000, 1_000_000)
    monkeypatch.setattr(sitemaps, "MAX_FILES", 6)
    site = Site({"/": page(), "/i.xml": listing(*(f"/s{n}.xml" for n in range(20)), index=True)}, robots=told("/i.xml"))
    site |= {f"/s{n}.xml": listing(f"/p{n}", f"/q{n}") for n in range(20)}
    web = await serve(site)
    await run(web, crawl_file)
    assert sum(path.endswith(".xml") for path in asked(web)) == 6
    (detail,) = {d for (d,) in ask(crawl_file, "SELECT detail FROM skipped WHERE reason = 'trap'")}
    assert "sitemaps" in detail
    monkeypatch.setattr(sitemaps, "MAX_FILES", 1_000)
    monkeypatch.setattr(sitemaps, "MAX_URLS", 31)  # of which the index names 20
    other = crawl_file.with_name("other.db")
    await run(web, other)
    assert ask(other, "SELECT count(*) FROM links WHERE kind = 'sitemap' AND src LIKE '%.xml'") == [(31,)]
    assert ask(other, "SELECT count(*) FROM failures") == [(11,)]
    why = ask(other, "SELECT reason, detail FROM url WHERE role > '' AND reason IS NOT NULL")
    assert len(why) == 15
    assert {reason for reason, _ in why} == {"trap"}
    assert {detail for _, detail in why} == {sitemaps.SPENT}


async def test_r11_no_entity_reaches_out(serve: Serve, crawl_file: Path) -> None:
    """R11: a sitemap whose DOCTYPE points at a server and a file is refused, and no request goes there."""
    def evil(request: Request) -> Answer:
        target = web.url("/asked", 2)
        head = f'<!DOCTYPE urlset SYSTEM "{target}" [<!ENTITY % a SYSTEM "{target}"> %a;]>'
        return Answer(body=(head + "<urlset><url><loc>/a</loc></url></urlset>").encode(), headers=XML)

    web = await serve(Site({"/": page(), "/s.xml": evil}, robots=told("/s.xml")), Site({}))
    await run(web, crawl_file, parse_workers=1)
    assert [r for r in web.requests if r.host == "127.0.1.2"] == []
    assert paths(web, crawl_file) == ["/"]


async def test_explain_says_that_a_sitemap_listed_it(serve: Serve, crawl_file: Path) -> None:
    """`explain` shows the way: robots.txt, the sitemap it names, the URL with its lastmod; and what a sitemap came to."""
    web = await serve(PLAIN)
    await run(web, crawl_file)
    with open_reader(crawl_file) as reader:
        found = explanation(reader, web.url("/c/d"))
        sitemap = explanation(reader, web.url("/s.xml"))
    assert [(hop["kind"], hop["url"], hop["text"]) for hop in found.found] == [
        (None, web.url("/robots.txt"), None),
        ("sitemap", web.url("/s.xml"), None),
        ("sitemap", web.url("/c/d"), "2024-01-02"),
    ]
    assert "robots.txt: " in "\n".join(lines(found))
    assert sitemap.verdict.startswith("a sitemap")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc/self/clear_refs (Linux)")
@pytest.mark.parametrize("coded", [False, True])
async def test_r10_a_gz_bomb_costs_the_crawler_64_mib_at_most(serve: Serve, crawl_file: Path, coded: bool) -> None:
    """R10: a sitemap of 120 KB that unpacks to 120 MiB, as a file or as Content-Encoding: what came in the first 50 MiB is
    crawled, the rest is flagged, and the crawler's own memory rises by no more than 64 MiB."""
    headers = (*XML, ("Content-Encoding", "gzip")) if coded else XML
    site = Site({"/": page(), "/a": page(), "/s.xml": Answer(body=bomb(120 << 20), headers=headers)}, robots=told("/s.xml"))
    web = await serve(site)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    await run(web, crawl_file, parse_workers=1)
    assert peak() - before <= 64 << 20
    assert "/s.xml" in asked(web)
    assert ask(crawl_file, "SELECT data->>'truncated', data->>'urls' FROM fetch WHERE outcome = 'sitemap'") == [("size", 1)]


def peak() -> int:
    """The most bytes this process has had in memory since its mark was cleared."""
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) << 10
