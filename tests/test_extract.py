"""Extraction without code: `--extract`, `[extract]` and `--data`, from a selector to `pages.data`."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crawler
from crawler.extraction import MAX_FIELDS, pairs
from crawler.parse import BadExtractor, bounds, wire
from crawler.parse.html import MAX_LANG, MAX_LANGUAGES, extract
from crawler.parse.pool import ParsePool
from crawler.parse.worker import load, work
from crawler.spec import BadSpec, CrawlSpec, from_mapping
from tests.commands import QUICK, cli, sh
from tests.conftest import Serve
from tests.web import Site, page

URL = "http://h.test/"
PAGE = """<div class=d>own <b>bold</b> tail<!-- c --><p> pa
 ra </p><script>var x</script></div><div class=d> </div><a href=' /x ' title>l</a><template><i class=t>in</i></template>"""


def found(html: str | bytes, **options: Any) -> dict[str, Any]:
    """What `work` puts into a page's data with these settings."""
    body = html.encode() if isinstance(html, str) else html
    extractors = [load(name) for name in from_mapping(options).extractors]
    return dict(work(body, URL, "text/html; charset=utf-8", (), extractors=extractors).data)


@pytest.mark.parametrize(
    ("selector", "first", "every"),
    [  # `every` is what parsel 1.10 gives for getall(), blanks taken off and blank ones left out
        ("div.d::text", "own", ["own", "tail"]),
        ("div.d ::text", "own", ["own", "bold", "tail", "pa ra", "var x"]),
        ("a::attr(href)", "/x", ["/x"]),
        ("a::attr( HREF )", "/x", ["/x"]),
        ("a::attr(title)", None, []),  # parsel has "" here
        ("a::attr(nope)", None, []),
        ("::text", "own", ["own", "bold", "tail", "pa ra", "var x", "l"]),
        ("nav::text", None, []),
        ("b", "bold", ["bold"]),  # parsel has the element's HTML here
        ("p", "pa ra", ["pa ra"]),
        ("p, a[title]", "pa ra", ["pa ra", "l"]),
        ("a:not([href='::text'])", "l", ["l"]),
        ("div:has(> b) p::text", "pa ra", ["pa ra"]),
    ],
)
def test_selectors_mean_what_scrapys_users_expect(selector: str, first: str | None, every: list[str]) -> None:
    """A selector gives the first match or null, a list of selectors all matches of each; texts on one line."""
    data = found(PAGE, extract={"one": selector, "all": [selector], "twice": [selector, selector]})
    assert data == {"one": first, "all": every, "twice": every * 2}


@pytest.mark.parametrize(
    "selector", ["span..price", "p:contains(x)", "a::attr()", "a::html", "b::text, p::text", "//a/@href", "p >"]
)
@pytest.mark.parametrize("workers", [0, 1])
async def test_a_bad_selector_is_refused_at_once(selector: str, workers: int) -> None:
    """Before anything is fetched, with the name of its field and the selector as it was given."""
    with pytest.raises(BadExtractor, match=rf"^extract\.price: .*{re.escape(selector.partition('::')[0])}"):
        async with ParsePool(workers, *from_mapping({"extract": {"good": "a", "price": ["b", selector]}}).extractors):
            pass


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"a-b": "p"}, "extract.a-b: a name is letters"),
        ({"1st": "p"}, "extract.1st: a name is letters"),
        ({"lang": "p"}, "extract.lang: the name is taken"),
        ({"a": ""}, "extract.a: a selector has 1 to"),
        ({"a": "p" * 1_001}, "extract.a: a selector has 1 to"),
        ({"a": []}, "extract.a: must be a selector"),
        ({"a": 1}, "extract.a: must be a selector"),
        ({"a": {"css": "p"}}, "extract.a: must be a selector"),
        ("p", "extract: must be a table"),
        ({f"a{n}": "p" for n in range(MAX_FIELDS + 1)}, "extract: 101 names"),
    ],
)
def test_a_table_that_cannot_be_used_names_its_key(table: Any, said: str) -> None:
    """Spec, library and command line alike: a sentence that begins with the key."""
    with pytest.raises(BadSpec, match=re.escape(said)):
        from_mapping({"extract": table})


def test_pairs() -> None:
    """NAME=SELECTOR wants the first match, NAME[]= all; a name is given once, unless it is a list."""
    typed = ["price=a[x=y]::text", "tags[]=b", "tags[]=c"]
    assert pairs(typed) == {"price": "a[x=y]::text", "tags": ["b", "c"]}
    for wrong in (["price"], ["=a"], ["a="], ["[]=a"], ["a=b", "a=c"], ["a=b", "a[]=c"], ["a[]=c", "a=b"]):
        with pytest.raises(ValueError, match=r"price=|twice"):
            pairs(wrong)


async def test_from_the_command_line_to_the_file_and_back(serve: Serve, crawl_file: Path, tmp_path: Path) -> None:
    """Fields typed or in TOML are in `pages.data`; they hold for `resume`; another table holds from then on, and is named."""
    web = await serve(Site({"/": page("/b"), "/b": page("/c") + "<i>i1</i><i>i2</i>", "/c": "<i>i3</i>"}))
    toml = tmp_path / "s.toml"
    toml.write_text(f'seeds = ["{web.url()}"]\nmax-pages = 2\n[extract]\nfirst = "i::text"\nevery = ["i"]\n')
    assert (await cli("crawl", "--spec", toml, "-o", crawl_file, *QUICK)).code == 0
    assert ask(crawl_file) == [(None, "[]"), ("i1", '["i1","i2"]')]
    again = await cli("resume", crawl_file, "--extract", "first=i:last-child", "--max-pages", 3, *QUICK)
    assert (again.code, ask(crawl_file)[2:]) == (0, [("i3", None)])
    assert "changed from now on: extract.first i::text -> i:last-child\n" in again.err
    assert "changed from now on: extract.every i -> nothing\n" in again.err
    with closing(sqlite3.connect(crawl_file)) as db:
        specs = [json.loads(s)["extract"] for (s,) in db.execute("SELECT spec FROM runs ORDER BY id")]
    assert specs == [{"first": "i::text", "every": ["i"]}, {"first": "i:last-child"}]


def ask(file: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as db:
        return db.execute("SELECT data->>'first', data->>'every' FROM pages ORDER BY fetched_at, url").fetchall()


async def test_a_finished_crawl_says_how_other_fields_are_had(serve: Serve, crawl_file: Path) -> None:
    """Asked again with other fields it sends nothing, and names the command that takes them out of what is stored."""
    web = await serve(Site({"/": "<h1>x</h1>"}))
    assert (await cli("crawl", web.url(), "-o", crawl_file, *QUICK)).code == 0
    same = await cli("crawl", web.url(), "-o", crawl_file, *QUICK)
    other = await cli("crawl", web.url(), "-o", crawl_file, "--extract", "h=h1", "--data", "text", *QUICK)
    assert (other.code, len(web.requests), "reextract" in same.err) == (0, 2, False)
    assert f"extract and data changed: crawler reextract {crawl_file} takes them out" in other.err


async def test_a_bad_selector_on_the_command_line(serve: Serve, crawl_file: Path) -> None:
    """Exit 2, the field and the selector in a sentence, no request sent."""
    web = await serve(Site({"/": page()}))
    done = await cli("crawl", web.url(), "-o", crawl_file, "--extract", "price=span..price", *QUICK)
    assert (done.code, web.requests) == (2, [])
    assert done.err.startswith("crawler: extract.price: 'span..price' is no CSS selector")
    assert "NAME=SELECTOR" in sh("crawl", web.url(), "-o", crawl_file, "--extract", "price").err


async def test_the_library_yields_what_was_extracted(serve: Serve, crawl_file: Path) -> None:
    """`crawl(..., extract={...})` as a plain mapping, and `page.data` in the iterator."""
    web = await serve(Site({"/": "<h1>One</h1><meta property=og:title content=O>"}))
    options = {"delay": 0.0, "parse_workers": 1, "extract": {"h": "h1"}, "data": ["metadata"]}
    pages = [p async for p in crawler.crawl([web.url()], store=crawl_file, **options)]
    assert [p.data for p in pages] == [{"h": "One", "og": {"title": "O"}, "headings": [[1, "One"]]}]


def test_who_asks_for_nothing_pays_nothing() -> None:
    """Without extract, data and extractor the workers load nothing and a page is not looked at again."""
    assert CrawlSpec().extractors == ()
    assert found(PAGE) == {}


def test_a_users_own_extractor_has_the_last_word() -> None:
    """All of them run, in the order data, extract, extractor; one that fails costs its own findings only."""
    wish = {"extract": {"title": "b", "og": "p"}, "data": ["metadata"], "extractor": "tests.bombs:misbehave"}
    asked = [load(name) for name in from_mapping(wish).extractors]
    html = (PAGE + "<meta property=og:title content=O>").encode()
    good = work(html, URL + "nested", "text/html", (), extractors=asked)
    assert (good.data["title"], good.data["og"], good.data["tree"]["a"][0]) == ("bold", "pa ra", 1)
    bad = work(html, URL + "raise", "text/html", (), extractors=asked)
    assert (bad.data["title"], (bad.parse or "")[:6], len(bad.links)) == ("bold", "error:", 1)


# --- metadata ---

LD = '<script type="application/ld+json">'


@pytest.mark.parametrize(
    ("html", "data"),
    [
        ("<meta property='og:title' content=' A  b '><meta name=OG:type content=x>", {"og": {"title": "A b", "type": "x"}}),
        ("<meta property=og:image content=1><meta property=og:image content=2>", {"og": {"image": ["1", "2"]}}),
        ("<meta property=article:published_time content=2026>", {"og": {"article:published_time": "2026"}}),
        ("<meta name=twitter:card content=s><meta property=twitter:site content=@a>", {"twitter": {"card": "s", "site": "@a"}}),
        ("<meta property=og:title><meta content=x><meta property=og:url content=' '>", {}),
        (LD + '{"@type": "A", "b": "x &amp; <b>"}</script>', {"jsonld": [{"@type": "A", "b": "x &amp; <b>"}]}),
        (LD + '[{"a": 1}, {"b": 2}]</script>' + LD + '{"c": 3}</script>', {"jsonld": [{"a": 1}, {"b": 2}, {"c": 3}]}),
        ("<script type=' Application/LD+JSON;profile=x'>{}</script>", {"jsonld": [{}]}),
        (LD + '{"a": "two\nlines"}</script>', {"jsonld": [{"a": "two\nlines"}]}),
        (LD + "{'a': 1}</script>" + LD + "<!-- {} --></script>" + LD + "</script>", {"jsonld_invalid": 3}),
        (LD + '"text"</script>' + LD + "NaN</script>" + LD + '{"a": "\\ud800"}</script>', {"jsonld_invalid": 3}),
        (LD + "[" * 300 + "]" * 300 + "</script>" + LD + "[" * 100_000 + "</script>", {"jsonld_invalid": 2}),
        (LD + '{"a": 1' + "0" * 5_000 + "}</script>", {"jsonld_invalid": 1}),
        ("<script type='text/json'>{}</script><script>{}</script>", {}),
        ("<h2>b</h2><h1> A <i>c</i></h1><h6></h6><h7>x</h7>", {"headings": [[2, "b"], [1, "A c"]]}),
    ],
)
def test_metadata(html: str, data: dict[str, Any]) -> None:
    """OpenGraph and Twitter by name, a list where a name is repeated; JSON-LD as the W3C says it is found; headings in order."""
    assert found(html, data=["metadata"]) == data


@pytest.mark.parametrize(
    ("html", "header", "lang"),
    [
        ("<html lang=en>", "de", "en"),
        ("<html>", "de", "de"),
        ("<html>", "de, en", None),
        ("<html><meta http-equiv=Content-Language content=fr>", "de", "fr"),
        ("<html lang=' '>", None, None),
    ],
)
def test_language(html: str, header: str | None, lang: str | None) -> None:
    """The root's lang, else the Content-Language of the page or of its headers, if that names one (HTML §3.2.6.2)."""
    headers = [("Content-Language", header)] if header else []
    assert extract(html.encode(), URL, "text/html", headers).lang == lang


# --- bounds ---

ASKED = {"extract": {"a": "div", "b": ["div ::text", "*"], "c": ["*::attr(title)"]}, "data": ["metadata"]}
PIECES = [
    "<div>", "</div>", "<div title='" + "t" * 9_000 + "'>", "x" * 12_000, " " * 50_000, "\u0000\ufffd\u2028\U0001f600",
    "<h1>" + "h" * 3_000, "<meta property='og:" + "n" * 300 + "' content='" + "c" * 9_000 + "'>",
    LD + '{"a":"' + "j" * 50_000 + '"}</script>', LD + "[1,2]</script>",
    "<link rel=alternate hreflang=x" + "y" * 60 + " href=/" + "z" * 900 + ">", "&#55296;", "<p title=é>",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(PIECES) - 1), st.integers(1, 40)), max_size=8))
def test_whatever_a_page_holds_its_data_is_bounded(pieces: list[tuple[int, int]]) -> None:
    """At most 1,000 values of a name, 10,000 characters of a value, 200,000 in all; JSON that an answer has room for; what was
    cut is named."""
    html = "".join(PIECES[piece] * times for piece, times in pieces)
    data = found(html.encode("utf-8", "replace"), **ASKED)
    texts = [data["a"] or "", *data["b"], *data["c"]]
    assert max(map(len, texts)) <= bounds.MAX_VALUE
    assert max(len(data["b"]), len(data["c"])) <= bounds.MAX_VALUES
    others = {k: v for k, v in data.items() if k not in ASKED["extract"]}
    assert sum(map(len, texts)) + len(json.dumps(others, ensure_ascii=False)) <= bounds.MAX_KEPT + 100_000  # JSON's own signs
    assert len(json.dumps(data)) < wire.MAX_ANSWER
    assert set(data.get("cut", [])) <= data.keys() | {"jsonld", "og", "headings"}
    if any(len(t) == bounds.MAX_VALUE for t in texts):
        assert "cut" in data


@pytest.mark.parametrize(
    ("html", "cut", "kept"),
    [
        ("<p>" + "x" * 10_001, ["one"], lambda d: len(d["one"]) == 10_000),
        ("<p>" + " " * 50_000 + "x", ["one"], lambda d: d["one"] is None),
        ("<p>x" * 1_500, ["all"], lambda d: len(d["all"]) == 1_000),
        ("<p>" + "x" * 10_000 + "<p>y" * 999, [], lambda d: len(d["all"]) == 1_000),
        (("<p>" + "x" * 9_999) * 30, ["all"], lambda d: sum(map(len, d["all"])) <= 200_000),
        ("<b>" * 900 + " " * 30_000, ["nested"], lambda d: d["nested"] == []),  # read 600 times, and no more
        ("<p>a" + "<b>" * 3_000 + "x" * 4_900, ["nested"], lambda d: len(d["nested"]) < 1_000),
    ],
)
def test_what_is_cut_is_said(html: str, cut: list[str], kept: Any) -> None:
    """`data.cut` names each key whose value is not whole, and none that is."""
    wish = {"nested": ["b"]} if "<b>" in html else {"one": "p", "all": ["p"]}
    data = found(html, extract=wish)
    assert kept(data)
    assert set(cut) <= set(data.get("cut", []))
    assert cut or "cut" not in data


def test_translations_are_bounded() -> None:
    """hreflang, which every page has, keeps 200 languages: 10,000 with long URLs would burst the worker's answer."""
    links = "".join(f"<link rel=alternate hreflang=l{n} href=/{n}>" for n in range(MAX_LANGUAGES + 50))
    data = extract(f"<base href='/{'b' * 4_000}/'>{links}".encode(), URL).data
    assert len(data["hreflang"]) == MAX_LANGUAGES
    assert all(len(lang) <= MAX_LANG for lang in data["hreflang"])
