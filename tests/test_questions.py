"""Views over links, and the ready-made questions: what a crawl of a known web answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from crawler.api import run_async
from crawler.spec import CrawlSpec
from storage.questions import QUESTIONS
from tests.commands import EVIL, RAW, sh
from tests.crawls import ask
from tests.web import Answer, Site, Web, page, redirect

SITEMAP = "<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>{}</urlset>"
TWIN = page("/a", title="the same")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A crawl with chains, a circle, twins, a page that only the sitemap knows, and a hostile title; and its seed."""
    file = tmp_path_factory.mktemp("stored") / "crawl.db"

    async def make() -> str:
        site = Site({
            "/": page("/a", "/one", "/round", "/twin-1", "/twin-2", "/gone", "/gone?2", title=EVIL),
            "/a": page("/", "/a", title="a"),
            "/one": redirect("/two"), "/two": redirect("/three", 302), "/three": page("/a"),
            "/round": redirect("/and-round"), "/and-round": redirect("/round"),
            "/twin-1": TWIN, "/twin-2": TWIN,
            "/start": page("/a", title="a seed is no orphan"),
            "/lonely": page("/lonely", title="nobody links here"),
        })
        async with Web(site) as web:
            listed = "".join(f"<url><loc>{web.url(path)}</loc><lastmod>2026-01-31</lastmod></url>"
                             for path in ("/a", "/lonely", "/gone", "/one"))
            site["/map.xml"] = Answer(body=SITEMAP.format(listed).encode(), headers=(("Content-Type", "application/xml"),))
            site["/robots.txt"] = Answer(body=f"Sitemap: {web.url('/map.xml')}\n".encode(),
                                         headers=(("Content-Type", "text/plain"),))
            await run_async(CrawlSpec(seeds=(web.url(), web.url("/start")), delay=0.0, patience=0.5, parse_workers=0), file)
            return web.url()[:-1]

    return file, asyncio.run(make())


def rows(stored: tuple[Path, str], sql: str) -> list[tuple[Any, ...]]:
    """The rows, with URLs as paths."""
    file, start = stored
    return [tuple(v.replace(start, "") if isinstance(v, str) else v for v in row) for row in ask(file, sql)]


def test_redirect_chains_end_somewhere_or_go_round(stored: tuple[Path, str]) -> None:
    """One row a redirect: where it ends, after how many hops, over which URLs; a circle is told as one."""
    assert sorted(rows(stored, "SELECT src, dst, hops, ends_as, status, way FROM redirect_chains")) == [
        ("/and-round", "/and-round", 2, "loop", 301, "/and-round /round /and-round"),
        ("/one", "/three", 2, "page", 200, "/one /two /three"),
        ("/round", "/round", 2, "loop", 301, "/round /and-round /round"),
        ("/two", "/three", 1, "page", 200, "/two /three"),
    ]


def test_inlinks_count_other_pages_once(stored: tuple[Path, str]) -> None:
    """Each page, with the number of other URLs that link or redirect to it; its own links do not count."""
    assert dict(rows(stored, "SELECT url, inlinks FROM inlinks")) == {
        "/": 1, "/a": 5, "/start": 0, "/three": 1, "/twin-1": 1, "/twin-2": 1, "/lonely": 0}


def test_orphans_and_sitemap_coverage(stored: tuple[Path, str]) -> None:
    """An orphan is a page that only a sitemap knows; coverage tells what became of all that is listed, and what is not."""
    assert rows(stored, "SELECT url, title, found_on FROM orphans") == [("/lonely", "nobody links here", "/map.xml")]
    assert set(rows(stored, "SELECT url, sitemap, lastmod, outcome, status FROM sitemap_coverage")) == {
        ("/a", "/map.xml", "2026-01-31", "page", 200), ("/lonely", "/map.xml", "2026-01-31", "page", 200),
        ("/gone", "/map.xml", "2026-01-31", "failure", 404), ("/one", "/map.xml", "2026-01-31", "redirect", 301),
        *((path, None, None, "page", 200) for path in ("/", "/start", "/three", "/twin-1", "/twin-2"))}


def test_exact_duplicates_name_the_first(stored: tuple[Path, str]) -> None:
    """A page whose body another has, byte for byte, is a row that names the first of them."""
    twins = {frozenset(pair) for pair in rows(stored, "SELECT url, same_as FROM exact_duplicates")}
    assert twins == {frozenset({"/twin-1", "/twin-2"})}


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_is_answered(stored: tuple[Path, str], name: str) -> None:
    """Each ready-made question is listed with what it asks, has an answer in each format, and prints nothing that draws."""
    assert f"\n{name} " in "\n" + sh("query", "--list").out
    assert QUESTIONS[name].about in sh("query", "--list").out
    done = sh("query", stored[0], name)
    assert (done.code, done.err) == (0, "")
    assert not RAW & set(done.out)
    assert isinstance(json.loads(sh("query", stored[0], name, "--format", "json").out), list)


def test_questions_find_what_is_wrong(stored: tuple[Path, str]) -> None:
    """Broken links with their page, chains and circles, gaps of the sitemap."""
    asked = {name: json.loads(sh("query", stored[0], name, "--format", "json").out.replace(stored[1], ""))
             for name in ("broken-links", "redirect-chains", "sitemap-gaps", "duplicate-titles")}
    assert {(row["src"], row["dst"]) for row in asked["broken-links"] if row["src"] == "/"} == {
        ("/", "/gone"), ("/", "/gone?2")}
    assert [row["src"] for row in asked["redirect-chains"]] == ["/and-round", "/one", "/round"]
    assert [row["url"] for row in asked["sitemap-gaps"]] == ["/gone", "/one"]
    assert [row["title"] for row in asked["duplicate-titles"]] == ["the same"]


def test_an_unknown_question_is_exit_2(stored: tuple[Path, str]) -> None:
    """A name that is none says where the names are."""
    done = sh("query", stored[0], "broken-link")
    assert (done.code, "crawler query --list" in done.err) == (2, True)
