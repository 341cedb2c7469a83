"""`crawler report`: one HTML file for people. Read back as a browser reads it, it holds the right figures and runs nothing."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import stat
import subprocess
from base64 import b64encode
from contextlib import closing
from hashlib import sha256
from html import escape
from pathlib import Path

import pytest
from selectolax.lexbor import LexborHTMLParser, LexborNode

from crawler.api import run_async
from crawler.report.chains import walks
from crawler.report.facts import HISTOGRAMS, binned
from crawler.report.page import page as report_of
from crawler.report.words import FAILED
from crawler.spec import CrawlSpec
from crawler.visit import Fault
from storage.questions import QUESTIONS
from storage.reader import open_reader
from storage.sqlite import SqliteStore
from tests.commands import sh
from tests.killing import environment
from tests.test_upgrade import OLD, restored
from tests.web import TEXT, Answer, Site, Web, page, redirect

EVIL = "\"'></title></style></svg><script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">\u202e\x1b[2J"
HREF = "javascript:document.title='ran'"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")
XML = "<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'><url><loc>http://%s:%s/lone</loc></url></urlset>"
SITE = Site({
    "/robots.txt": lambda r: Answer(body=f"User-agent: *\nSitemap: http://{r.host}:{r.port}/map.xml\n".encode(), headers=TEXT),
    "/map.xml": lambda r: Answer(body=(XML % (r.host, r.port)).encode(), headers=(("Content-Type", "text/xml"),)),
    "/": page("/gone", "/twin/1", "/twin/2", "/first", "/round", "/bare", "/evil", "/same/1", "/same/2", "/?token=s3cret",
              "mailto:a@b.test", HREF, "/large", *(f"/n/{n}" for n in range(7))),
    "/?token=s3cret": page("/gone", title="Secret"),
    "/twin/1": page("/a", title="Twin"), "/twin/2": page("/b", title="Twin"), "/a": page(title="A"), "/b": page(title="B"),
    "/same/1": page("/a", "/b", title="Copy"), "/same/2": page("/a", "/b", title="Copy"),
    "/first": redirect("/second"), "/second": redirect("/third"), "/third": redirect("/a"),
    "/round": redirect("/about"), "/about": redirect("/round"),
    "/bare": "<p>no title", "/lone": page(title="Lone"), **{f"/n/{n}": page("/lost", title=f"N {n}") for n in range(7)},
    "/large": Answer(body=b"<title>Large</title>" + b"x" * 1_200_000),
    "/evil": f"<title>{escape(EVIL)}</title><a href='/gone'>{escape(EVIL)}</a><a href='/x?{escape(EVIL)}'>x</a>",
})  # fmt: skip


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A crawl of the site above, and its root."""
    file = tmp_path_factory.mktemp("known") / "crawl.db"

    async def crawl() -> str:
        async with Web(SITE) as web:
            await run_async(CrawlSpec(seeds=(web.url(),), delay=0.0, patience=0.5, parse_workers=0), file)
            return web.url()

    return file, asyncio.run(crawl())


@pytest.fixture(scope="module")
def html(known: tuple[Path, str]) -> LexborHTMLParser:
    """The report of it, as a browser reads it."""
    with open_reader(known[0]) as reader:
        return LexborHTMLParser(report_of(reader, 0.0))


def cells(html: LexborHTMLParser, anchor: str) -> list[list[str]]:
    """The rows of a problem's table as text."""
    return [[" ".join(td.text().split()) for td in tr.css("td")] for tr in html.css(f"#{anchor} tbody tr")]


def said(html: LexborHTMLParser, anchor: str) -> str:
    found = html.css_first(f"#{anchor} .count")
    return found.text() if found else ""


def attributes(html: LexborHTMLParser) -> list[tuple[LexborNode, str, str]]:
    return [(node, name, value or "") for node in html.css("*") for name, value in node.attributes.items()]


# --- right


def test_report_tells_what_a_known_web_holds(known: tuple[Path, str], html: LexborHTMLParser) -> None:
    """Broken links with who links to them, chains and loops, copies, missing titles, orphans, large pages: as in the web."""
    file, root = known
    gone = next(row for row in cells(html, "broken") if row[0] == f"{root}gone")
    assert gone[1:3] == ["404 Not Found", "3"]
    assert f"{root} as “0”" in gone[3]
    lost = next(row for row in cells(html, "broken") if row[0] == f"{root}lost")
    assert (lost[2], lost[3].count("/n/"), lost[3].endswith("and 2 more pages")) == ("7", 5, True)
    assert "1 chain of two redirects or more, 1 loop" in said(html, "redirects")
    loop, chain = cells(html, "redirects")
    assert loop[2].startswith("never")
    assert chain == [f"{root}first", f"{root}second{root}third", f"{root}a"]
    assert [row[1] for row in cells(html, "bodies")] == ["2"]
    assert sorted(row[:2] for row in cells(html, "titles")) == [["Copy", "2"], ["Twin", "2"]]
    assert said(html, "titles") == "4 pages share 2 titles with another page of the same host."
    assert [row[0] for row in cells(html, "untitled")] == [f"{root}bare"]
    assert cells(html, "orphans") == [[f"{root}lone", "Lone"]]
    assert cells(html, "large") == [[f"{root}large", "1.2 MB", "1.2 MB", "text/html"]]
    tiles = {dt.text(): dt.next.text(deep=False) for dt in html.css(".tiles dt") if dt.next}
    with open_reader(file) as reader:
        counts = reader.counts()
    assert (tiles["pages"], tiles["broken"], tiles["redirects"]) == (str(counts.pages), str(counts.failures), "5")


def test_report_says_of_each_problem_why_and_what_to_do(html: LexborHTMLParser) -> None:
    """Each problem has a title, how many, why it matters, what to do and a table; each is linked from the top."""
    found = html.css("section.problem")
    assert len(found) >= 7
    for problem in found:
        assert problem.css_first("h3").text()
        assert re.match(r"[\d,]+ ", problem.css_first(".count").text())
        assert "What to do: " in problem.text()
        assert problem.css("tbody tr")
        assert problem.css_first("code").text().removeprefix("crawler query crawl.db ") in QUESTIONS
        assert html.css_first(f'.look a[href="#{problem.id}"]')


def test_report_plots_have_figures_as_text(html: LexborHTMLParser) -> None:
    """The plots, each an image with a sentence that holds its figures."""
    told = [svg.attributes["aria-label"] or "" for svg in html.css("svg[role=img]")]
    assert len(told) + len(html.css("figure .none")) == 9  # hosts that answer within half a millisecond are not slow
    assert any(label.startswith("Pages by depth: 0: 1,") for label in told), told
    assert any("404 Not Found: " in label for label in told)
    assert all(svg.css("text") for svg in html.css("svg"))


@pytest.mark.parametrize("told", HISTOGRAMS, ids=lambda h: h.title)
def test_report_bins(told: object) -> None:
    """A value at an edge belongs to the bin that begins there; every bin has a name; nothing falls out."""
    edges, names = told.edges, told.names  # type: ignore[attr-defined]
    assert len(names) == len(edges) + 1
    values = [(value + d, 1) for value in edges for d in (-1, 0)]
    found = binned(values, edges, names)
    assert sum(n for _, n in found) == len(values)
    assert dict(binned([(edges[-1], 5)], edges, names))[names[-1]] == 5


@pytest.mark.parametrize(("after", "expected"), [
    ({1: 2}, [[1, 2]]), ({1: 2, 2: 3, 9: 2}, [[1, 2, 3], [9, 2, 3]]), ({1: 1}, [[1, 1]]), ({1: 2, 2: 1}, [[1, 2, 1]]),
    ({5: 1, 1: 2, 2: 1}, [[5, 1, 2, 1]]), ({}, [])])
def test_report_follows_redirects(after: dict[int, int], expected: list[list[int]]) -> None:
    """Chains from where nothing leads to, each circle once, whatever leads into it."""
    assert list(walks(after)) == expected


def test_report_has_words_for_every_fault() -> None:
    """No reason of a failure that the fetch core knows reaches a reader as its short name."""
    assert {fault.value for fault in Fault} - {*FAILED} <= {"local", "offline"}  # which are ours, and never final


# --- safe


def test_o3_nothing_in_a_report_runs(html: LexborHTMLParser) -> None:
    """Hostile titles, URLs and link texts: parsed back there is no script, no on* attribute, no style attribute, no
    javascript:, no element or attribute that loads anything, and a Content-Security-Policy that allows one stylesheet."""
    assert html.css("script, img, iframe, object, embed, link, base, form, input, foreignObject, use, image, a[target]") == []
    for node, name, value in attributes(html):
        assert not name.startswith("on"), (name, value)
        assert name not in ("style", "src", "srcset", "action", "xlink:href", "background", "ping")
        assert "javascript:" not in value.lower() or name not in ("href", "content")
        if name == "href" and not value.startswith("#"):
            assert value.startswith("http://127.0.1.1:")
            assert node.tag == "a"
            assert "noreferrer" in (node.attributes["rel"] or "")
    policy = html.css_first("meta[http-equiv=Content-Security-Policy]").attributes["content"] or ""
    styles = html.css("style")
    assert len(styles) == 1
    digest = b64encode(sha256(styles[0].text().encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not re.search(r"url\(|@import", styles[0].text())


def test_o3_hostile_text_is_shown_as_text(known: tuple[Path, str], html: LexborHTMLParser) -> None:
    """A hostile link text stands there as it was written, control and bidi characters as \\xNN, in an element of its own."""
    shown = " ".join(bdi.text() for bdi in html.css("#broken bdi"))
    assert "<script>document.title='ran'</script>" in shown
    assert "\\u202e" in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html.html or "")


def test_o3_v1_secrets_in_addresses_are_not_passed_on(html: LexborHTMLParser) -> None:
    """A report is made to be handed on: the value of a `token=` is shown as …, and such an address is not a link."""
    assert "s3cret" not in (html.html or "")
    assert "?token=…" in html.body.text()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_o3_a_browser_runs_nothing_of_a_report(known: tuple[Path, str], tmp_path: Path) -> None:
    """Headless Chromium, scripts allowed: the hostile titles have not run, nothing was refused by the policy, and the page is
    drawn with its stylesheet."""
    target = tmp_path / "report.html"
    assert sh("report", known[0], "-o", target).code == 0
    done = subprocess.run([str(CHROMIUM), *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
                           "--dump-dom", target.as_uri()], capture_output=True, text=True, timeout=60, check=False,
                          env=environment() | {"HOME": str(tmp_path)})  # fmt: skip
    dom = LexborHTMLParser(done.stdout)
    assert dom.css_first("title").text() == "Crawl report: crawl.db"
    assert dom.css("section.problem")
    assert dom.css("script, img") == []
    assert "CONSOLE" not in done.stderr


# --- the file


def test_v3_a_report_appears_whole_and_for_you_alone(known: tuple[Path, str], tmp_path: Path) -> None:
    """Mode 0600, nothing beside it, not in the place of another without --force; exit 2 and a sentence where it cannot be."""
    target = tmp_path / "report.html"
    assert sh("report", known[0], "-o", target).code == 0
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    target.write_text("mine")
    done = sh("report", known[0], "-o", target)
    assert (done.code, "--force" in done.err, target.read_text()) == (2, True, "mine")
    assert sh("report", known[0], "-o", target, "--force").code == 0
    assert target.read_text("utf-8").startswith("<!DOCTYPE html>")
    for wrong in (tmp_path / "no" / "report.html", tmp_path):
        done = sh("report", known[0], "-o", wrong, "--force")
        assert (done.code, "Traceback" in done.err) == (2, False)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


async def test_report_of_a_crawl_that_has_nothing(tmp_path: Path) -> None:
    """A file in which nothing was fetched yet: a report all the same, with no problem and no broken plot."""
    file = tmp_path / "empty.db"
    async with SqliteStore(file):
        pass
    with open_reader(file) as reader:
        html = LexborHTMLParser(report_of(reader, 0.0))
    assert html.css("section.problem") == []
    assert len(html.css("figure .none")) == 9
    assert "It has not begun." in html.body.text()


def test_report_of_a_file_of_an_older_version(tmp_path: Path) -> None:
    """A file that the program would first have to upgrade is exit 2 and a sentence that says what to do; nothing is written."""
    file = restored(OLD[-1], tmp_path / "old.db")
    done = sh("report", file, "-o", tmp_path / "report.html")
    assert (done.code, "crawler resume" in done.err, "Traceback" in done.err) == (2, True, False)
    assert not list(tmp_path.glob("report*"))


def test_report_while_a_crawl_writes_is_one_moment(known: tuple[Path, str], tmp_path: Path) -> None:
    """What another connection commits meanwhile is not in it, its temporary tables are gone after it, and it locks nobody out."""
    from crawler.report import facts

    file = tmp_path / "crawl.db"
    with closing(sqlite3.connect(known[0])) as db:
        db.execute("VACUUM INTO ?", (str(file),))
    with closing(sqlite3.connect(file, isolation_level=None)) as writer, open_reader(file) as reader:
        writer.execute("PRAGMA journal_mode = WAL")
        with facts.snapshot(reader):
            before = reader.counts()
            writer.execute("UPDATE host SET pages = pages + 1000")
            assert reader.counts() == before
        assert reader.counts().pages == before.pages + 1000 * len(list(reader.query("SELECT 1 FROM host")[1]))
        assert list(reader.query("SELECT name FROM temp.sqlite_schema WHERE type = 'table'")[1]) == []
