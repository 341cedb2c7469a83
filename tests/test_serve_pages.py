"""What the pages of `crawler serve` say: right, whole, in order, and up to date beside a crawl."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from selectolax.lexbor import LexborHTMLParser

from crawler.web.overview import curve, thinned
from crawler.web.search import terms
from tests.commands import cli
from tests.viewing import View, another, cells, counted, facts, next_of, view

# --- what they say


async def test_serve_overview(known: tuple[Path, str]) -> None:
    """The figures are those of the file; each chart carries its figures as text."""
    file, _ = known
    with closing(sqlite3.connect(file)) as db:
        pages, failures = db.execute("SELECT pages, failures FROM counts").fetchone()
    async with view(file) as v:
        html = await v.get("/")
    tiles = {dt.text(): dt.parent.css_first("dd").text(deep=True) for dt in html.css(".tiles dt") if dt.parent}
    assert tiles["pages"].startswith(str(pages))
    assert tiles["failures"].startswith(str(failures))
    labels = [svg.attributes["aria-label"] or "" for svg in html.css("svg")]
    assert any(label.startswith("Pages by depth: 0: 1,") for label in labels), labels
    assert any("404 Not Found: " in label for label in labels)
    assert len(labels) + len(html.css("figure .none")) == 9


async def test_serve_one_page(known: tuple[Path, str]) -> None:
    """Metadata, the way from the seed with the words of its links, headers, history, body as text, links out and in."""
    file, root = known
    async with view(file) as v:
        html = await v.get("/page", url=f"{root}twin/1")
        assert html.css_first("h1").text() == "Twin"
        found = facts(html)
        assert found["verdict"] == "fetched: it is in pages"
        assert (found["status"], found["kind"], found["depth"]) == ("200 OK", "text/html", "1")
        assert found["Content-Type"].startswith("text/html")
        assert [" ".join(li.text().split()) for li in html.css("#found li")] == [f"seed {root}", f"a1 {root}twin/1"]
        assert cells(html, "#history")[0][1] == "200 OK"
        assert "<title>Twin" in html.css_first("#body pre").text()
        assert cells(html, "#links-out") == [[f"{root}a", "0", "a", "a page"]]
        assert cells(html, "#links-in") == [[root, "1", "a", "a page"]]
        gone = await v.get("/page", url=f"{root}gone")
        assert facts(gone)["verdict"] == "failed: http_404"
        assert len(cells(gone, "#links-in")) == 3
        assert facts(await v.get("/page", url="http://never.test/"))["verdict"].startswith("never met")
        assert len(cells(await v.get("/links", url=f"{root}lost", way="in"))) == 7
        assert (await v.ask("/links?url=http://never.test/"))[0] == 404
        assert (await v.ask("/page"))[0] == 400


async def test_serve_lists_what_is_wrong(known: tuple[Path, str]) -> None:
    """Broken links with who links to them, most linked first; chains and loops; failures and refusals with reasons."""
    file, root = known
    async with view(file) as v:
        rows = {row[0]: row for row in cells(await v.get("/broken"))}
        assert rows[f"{root}gone"][1:3] == ["404 Not Found", "3"]
        assert f"{root} 0" in rows[f"{root}gone"][3]
        assert (rows[f"{root}lost"][2], rows[f"{root}lost"][3].count("/n/")) == ("7", 5)
        assert "and 2 more pages" in rows[f"{root}lost"][3]
        assert next(iter(rows)) == f"{root}lost"
        chains = {row[0]: row[2:] for row in cells(await v.get("/redirects", which="chains"))}
        assert chains[f"{root}first"] == [f"{root}second{root}third", f"{root}a"]
        assert chains[f"{root}round"] == [f"{root}about{root}round", "never: it goes round in a circle"]
        assert f"{root}third" not in chains
        assert len(cells(await v.get("/redirects"))) == 5
        failed = await v.get("/failures", reason="http_404", q="gone")
        assert [row[:2] for row in cells(failed)] == [[f"{root}gone", "404 Not Found"]]
        skipped = await v.get("/skipped")
        assert any(chip.text().startswith("not a web address") for chip in skipped.css(".chips a"))
        assert [row[0] for row in cells(skipped)] == ["mailto:a@b.test"]
        assert [row[0] for row in cells(await v.get("/hosts"))] == ["127.0.1.1"]


# --- lists


async def walked(v: View, path: str, **values: str) -> Iterator[list[str]]:
    """All rows of a list, part by part, and the number of parts; then back again."""
    rows, here = list[list[str]](), f"{path}?{urlencode(values)}"
    back = here
    while here:
        html = LexborHTMLParser((await v.ask(here))[1])
        rows += cells(html)
        back, here = here, next_of(html)
    again = list[list[str]]()
    while back:
        html = LexborHTMLParser((await v.ask(back))[1])
        again = cells(html) + again
        back = next_of(html, "Previous")
    assert again == rows
    return iter(rows)


@pytest.mark.parametrize("sort", ["", "title", "-title", "url", "-url", "size", "-size", "elapsed_ms", "status", "-depth"])
async def test_serve_pages_in_any_order(many: Path, sort: str) -> None:
    """Part by part, forward and back, every page comes once, in order."""
    async with view(many) as v:
        rows = list(await walked(v, "/pages", sort=sort))
        searched = list(await walked(v, "/pages", sort=sort, q="/p/"))
    urls = [row[1] for row in rows]
    assert (len(urls), len(set(urls))) == (131, 131)
    assert len(searched) == 130
    if sort.endswith(("title", "url")):
        column = 0 if sort.endswith("title") else 1
        assert [r[column] for r in rows] == sorted((r[column] for r in rows), reverse=sort.startswith("-"))


async def test_serve_paging_while_rows_come(copy: Path) -> None:
    """Pages that come between two parts take none away and repeat none: those that were there come once each."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as db:
        before = {row[0] for row in db.execute("SELECT url FROM pages")}
        seen, here = list[str](), "/pages?sort=url"
        async with view(copy) as v:
            while here:
                html = LexborHTMLParser((await v.ask(here))[1])
                seen += [row[1] for row in cells(html)]
                here = next_of(html)
                another(db, f"/a/{len(seen)}")
                another(db, f"/z/{len(seen)}")
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


@pytest.mark.parametrize(("values", "expected"), [
    ({"q": "Title-3"}, 19), ({"q": "title-3 /p/1"}, 7), ({"q": "100%"}, 0), ({"q": "_"}, 0), ({"host": "127.0.1.1"}, 131),
    ({"host": "127.0.1"}, 0), ({"mime": "text/html"}, 131), ({"status": "200", "depth": "0"}, 1), ({"status": "404"}, 0),
    ({"only": "untitled"}, 0), ({"only": "partly"}, 0)])  # fmt: skip
async def test_serve_filters(many: Path, values: dict[str, str], expected: int) -> None:
    """Words in URL or title (as they are: % and _ too), host, kind, status, depth; all together."""
    async with view(many) as v:
        html = await v.get("/pages", **values)
    assert counted(html).startswith(f"{expected} page")


@pytest.mark.parametrize("path", [
    "/pages?sort=id;--", "/pages?after=x", "/pages?after=[1]", "/pages?after=[[1],2]", "/pages?status=x", "/hosts?sort=x",
    "/pages?after=" + "[" * 5000, "/pages?q=" + "a+" * 21, "/failures?after={}", "/sql?name=none", "/page?url="])  # fmt: skip
async def test_serve_strange_parameters(many: Path, path: str) -> None:
    """What cannot be asked is 400 or 404 and a sentence, never an error of ours."""
    async with view(many) as v:
        status, text, _ = await v.ask(path)
    assert status in (400, 404)
    assert "Traceback" not in text


# --- beside a crawl


async def test_serve_follows_a_crawl(copy: Path) -> None:
    """What another process commits is in the next answer; a page that became none, and a purge, are gone; between two requests
    no snapshot is held, so the write-ahead log can be cut."""
    async with view(copy) as v:
        with closing(sqlite3.connect(copy, isolation_level=None)) as db:
            assert "131 pages" in counted(await v.get("/pages"))
            another(db, "/new")
            html = await v.get("/pages")
            assert cells(html)[0][0] == "Another"
            assert "132 pages" in counted(html)
            assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
            db.execute("INSERT INTO fetch (url, run, at, outcome, status, reason, elapsed_ms, attempt, wire_size) "
                       "SELECT id, 1, 1, 'failure', 410, 'http_410', 1, 2, 0 FROM url WHERE path = '/new'")  # fmt: skip
            db.execute("UPDATE url SET outcome = 'failure', reason = 'http_410', last = (SELECT max(id) FROM fetch) "
                       "WHERE path = '/new'")  # fmt: skip
            assert "131 pages" in counted(await v.get("/pages"))
            assert [row[1] for row in cells(await v.get("/failures"))] == ["410 Gone"]
        done = await cli("purge", copy, "--host", "127.0.1.1", "--yes")
        assert done.code == 0, done.err
        assert "0 pages" in counted(await v.get("/pages"))
        copy.unlink()
        status, text, _ = await v.ask("/pages")
        assert (status, "no such file" in text) == (503, True)


async def test_serve_notices_what_was_not_fetched(copy: Path) -> None:
    """A page that is barred, and so is none any more, without a request having been made, leaves the list."""
    async with view(copy) as v:
        assert counted(await v.get("/pages")) == "131 pages, the newest first."
        with closing(sqlite3.connect(copy, isolation_level=None)) as db:
            db.execute("UPDATE url SET outcome = 'skipped', reason = 'exclude' WHERE path LIKE '/p/1%'")
        async with asyncio.timeout(5):
            while counted(await v.get("/pages")) != "90 pages, the newest first.":
                await asyncio.sleep(0.02)


async def test_serve_makes_the_index_when_asked(copy: Path) -> None:
    """Search says that there is no index; a button has `crawler index` make it, and then words are found."""
    async with view(copy) as v:
        html = await v.get("/search", q="Title")
        assert html.css_first("form.offer button").text() == "Bring the index up to date"
        status, _, headers = await v.ask("/index", "POST", Origin=v.root.rstrip("/"))
        assert (status, headers["Location"]) == (303, "/search")
        async with asyncio.timeout(20):
            while not (html := await v.get("/search", q="Title-3")).css(".hits li"):
                await asyncio.sleep(0.05)
            assert len(html.css(".hits li")) == 19
            while not cells(await v.get("/sql", name="pagerank"), "#rows"):
                await asyncio.sleep(0.05)
        assert (await v.ask(f"/search?q={quote('http://127.0.1.1/x')}"))[2]["Location"] == "/page?url=http://127.0.1.1/x"


# --- what decides


@pytest.mark.parametrize(("ticks", "width", "expected"), [
    ([], 1, []), ([(5, 3)], 1, [3.0]), ([(5, 3), (6, 1)], 1, [3.0]), ([(5, 3), (7, 1), (8, 9)], 1, [3.0, 0.0, 1.0]),
    ([(5, 3), (900, 1), (901, 9)], 1, [3.0, 1.0]), ([(1, 30), (2, 20), (3, 1)], 10, [3.0, 2.0])])  # fmt: skip
def test_serve_rate(ticks: list[tuple[int, int]], width: int, expected: list[float]) -> None:
    """Seconds without a request are zeros, a pause of a minute is left out, and so is what is not over."""
    assert curve(ticks, width) == expected
    assert thinned([1.0] * 161) == [1.0] * 54


@pytest.mark.parametrize(("text", "expected"), [
    ("a b", ["a", "b"]), ('"a b" c', ["a b", "c"]), ("“a b”", ["a b"]), ('"', []), ("* a*", ["a*"]), ('a"b', ["a", "b"])])
def test_serve_search_words(text: str, expected: list[str]) -> None:
    """Words, and phrases in quotes."""
    assert terms(text) == expected
