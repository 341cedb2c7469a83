"""What a page says: links of all kinds, metadata, and the limits on both."""

from __future__ import annotations

import time

import pytest

from crawler.parse import edges
from crawler.parse.html import MAX_HTML, extract
from crawler.parse.mime import sniff
from crawler.parse.values import directives, link_header, refresh, srcset

URL = "http://h.test/dir/page"


def links(html: str, **more: object) -> set[tuple[str, str]]:
    return {(e.kind, e.url) for e in extract(html.encode(), URL, "text/html; charset=utf-8", **more).links}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<a href=a>", {("a", "http://h.test/dir/a")}),
        ("<a href>", set()),
        ("<a href=''>", {("a", URL)}),
        ("<a href='#top'>", {("a", URL)}),
        ("<a name=x>", set()),
        ("<map><area href=/m></map>", {("area", "http://h.test/m")}),
        ("<frameset><frame src=f></frameset>", {("frame", "http://h.test/dir/f")}),
        ("<iframe src=f></iframe>", {("iframe", "http://h.test/dir/f")}),
        ("<link rel=next href=2>", {("next", "http://h.test/dir/2")}),
        ("<link rel='PREVIOUS' href=2>", {("prev", "http://h.test/dir/2")}),
        ("<link rel='alternate stylesheet' href=2>", {("stylesheet", "http://h.test/dir/2")}),
        ("<link rel='shortcut icon' href=2>", {("icon", "http://h.test/dir/2")}),
        ("<link rel=frobnicate href=2>", {("link", "http://h.test/dir/2")}),
        ("<link href=2>", {("link", "http://h.test/dir/2")}),
        ("<img src=i srcset='j 2x, k 3x'>", {("img", f"http://h.test/dir/{c}") for c in "ijk"}),
        ("<picture><source srcset='j 1x'><img src=i></picture>", {("img", f"http://h.test/dir/{c}") for c in "ij"}),
        ("<script src=s></script>", {("script", "http://h.test/dir/s")}),
        (
            "<video src=v poster=p><source src=s><track src=t></video>",
            {(k, f"http://h.test/dir/{p}") for k, p in [("video", "v"), ("img", "p"), ("source", "s"), ("track", "t")]},
        ),
        ("<video poster=p></video>", {("img", "http://h.test/dir/p")}),
        ("<audio src=v></audio><embed src=e>", {("audio", "http://h.test/dir/v"), ("embed", "http://h.test/dir/e")}),
        ("<object data=o></object>", {("object", "http://h.test/dir/o")}),
        ("<input type=IMAGE src=i><input type=text src=no>", {("img", "http://h.test/dir/i")}),
        ("<form action=f></form>", {("form", "http://h.test/dir/f")}),
        ("<form action=f method=POST></form>", set()),
        ("<meta http-equiv=Refresh content='3; url=r'>", {("refresh", "http://h.test/dir/r")}),
        ("<meta http-equiv=refresh content=3>", set()),
        ("<a href=mailto:a@b><a href='tel:+1 2'>", {("a", "mailto:a@b"), ("a", "tel:+1 2")}),
        ("<a href='java\nscript:x'><a href=' JAVASCRIPT:x'><img src='data:image/gif;base64,x'>", set()),
        ("<template><a href=t></template>", set()),
        ("<noscript><a href=n></noscript>", {("a", "http://h.test/dir/n")}),
        ("<svg><a href=s></a></svg>", {("a", "http://h.test/dir/s")}),
        ("<!-- <a href=c> -->", set()),
    ],
)
def test_links_of_every_kind(html: str, expected: set[tuple[str, str]]) -> None:
    """Each element gives the edges CONTRACT §2 names, resolved and canonical."""
    assert links(html) == expected


def test_text_and_rel() -> None:
    """Text is collapsed and short, an image's alt stands in for it, rel is lower case with single spaces."""
    page = extract(
        b"<a href=1 rel=' NoFollow\n ugc '> a <b> b</b>\tc</a><a href=2><img alt='the  logo' src=l></a>"
        b"<a href=3>" + b"x" * 900 + b"</a><a href=4></a>",
        URL,
    )
    found = {e.url[-1]: (e.rel, e.text) for e in page.links if e.kind == "a"}
    assert found == {"1": ("nofollow ugc", "a b c"), "2": (None, "the logo"), "3": (None, "x" * 500), "4": (None, None)}


def test_one_edge_for_each_target_and_kind() -> None:
    """The first text holds, an empty one gives way; an edge without nofollow beats one with it."""
    page = extract(
        b"<a href=1#x rel=nofollow>one</a><a href='./1'>two</a><a href=2></a><a href=2>late</a>"
        b"<a href=3 rel=nofollow></a><a href=3 rel=nofollow></a><link rel=next href=1>",
        URL,
    )
    assert [(e.kind, e.url[-1], e.rel, e.text) for e in page.links] == [
        ("a", "1", None, "one"),
        ("a", "2", None, "late"),
        ("a", "3", "nofollow", None),
        ("next", "1", "next", None),
    ]


def test_metadata_is_found_wherever_the_parser_put_it() -> None:
    """`<noscript><img>` in the head moves what follows into the body: base, canonical and robots count all the same."""
    page = extract(
        b"<html lang=' de '><head><noscript><img src=t></noscript><svg><title>icon</title></svg>"
        b"<title> a\n b </title><base href='/b/'><link rel=canonical href=c hreflang=x>"
        b"<meta name=ROBOTS content='NOINDEX, none'><meta name=Description content=' d  e '>"
        b"<link rel=alternate hreflang=fr href=fr><a href=x>",
        URL,
    )
    assert (page.title, page.lang, page.base, page.canonical) == ("a b", "de", "http://h.test/b/", "http://h.test/b/c")
    assert page.robots == {"noindex", "nofollow"}
    assert page.data == {"description": "d e", "hreflang": {"fr": "http://h.test/b/fr"}}
    assert ("a", "http://h.test/b/x") in {(e.kind, e.url) for e in page.links}


def test_headers_count_like_elements() -> None:
    """Link, Refresh and X-Robots-Tag are read, on bodies that are no HTML too; hrefs are relative to the page."""
    headers = [
        ("LINK", '<c>; rel="canonical", </n>; rel=next; title="a, b"'),
        ("link", "<o>; rel=next; anchor=elsewhere"),
        ("Refresh", "0;url=/r"),
        ("X-Robots-Tag", "otherbot: nofollow"),
        ("x-robots-tag", "poolcrawl: noarchive, noindex"),
    ]
    page = extract(b"%PDF-1.7 <a href=no>", URL, "application/pdf", headers)
    assert [(e.kind, e.url, e.text) for e in page.links] == [
        ("canonical", "http://h.test/dir/c", None),
        ("next", "http://h.test/n", "a, b"),
        ("refresh", "http://h.test/r", None),
    ]
    assert (page.canonical, page.mime) == ("http://h.test/dir/c", "application/pdf")
    assert (page.robots, page.title, page.charset) == ({"noarchive", "noindex"}, None, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("noindex, NOFOLLOW", {"noindex", "nofollow"}),
        ("none", {"noindex", "nofollow"}),
        ("googlebot: noindex", set()),
        ("googlebot: noindex, nofollow", set()),
        ("googlebot: noindex, poolcrawl: nofollow", {"nofollow"}),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST", set()),
        ("unavailable_after: Friday, 25-Jun-10 15:00:00 UTC, nofollow", {"nofollow"}),
        ("max-snippet:3, noarchive", {"noarchive"}),
        ("all", set()),
    ],
)
def test_robots_directives_of_a_header(value: str, expected: set[str]) -> None:
    """A name and a colon bind what follows to that crawler, unless the name is a directive with a value."""
    assert directives(value, "poolcrawl") == expected


@pytest.mark.parametrize(
    ("header", "body", "expected"),
    [
        ("text/html", b"%PDF-", "text/html"),
        (None, b"  <!DOCTYPE html>", "text/html"),
        (None, b"<?xml version='1.0'?>", "text/xml"),
        (None, b"%PDF-1.7", "application/pdf"),
        (None, b"\x89PNG\r\n\x1a\n", "image/png"),
        (None, b"PK\x03\x04", "application/zip"),
        (None, b"\x1f\x8b\x08", "application/gzip"),
        (None, b"plain words", "text/plain"),
        (None, b"\x00\x01", "application/octet-stream"),
        ("text/plain", b"\x00\x01", "application/octet-stream"),
        ("text/plain", b"<html>", "text/plain"),
        ("*/*", b"<html>", "text/html"),
        ("nonsense", b"<html>", "text/html"),
        ("Application/XHTML+XML ; x=y", b"", "application/xhtml+xml"),
    ],
)
def test_media_type(header: str | None, body: bytes, expected: str) -> None:
    """What the header says, unless it says nothing, or text of what is not."""
    assert sniff(header, body) == expected


def test_p6_links_and_html_are_capped_and_flagged() -> None:
    """At most 10,000 edges of at most 5 MiB, and the row says which cap was met."""
    many = b"".join(b"<a href=/%d>" % n for n in range(edges.MAX_LINKS + 1))
    assert extract(many, URL).truncated == "links"
    assert len(extract(many, URL).links) == edges.MAX_LINKS
    assert extract(many[: many.rindex(b"<")], URL).truncated is None
    long = b"<a href=1>" + b" " * MAX_HTML + b"<a href=2>"
    page = extract(long, URL)
    assert (page.truncated, len(page.links), page.size) == ("html", 1, len(long))
    assert extract(many + long, URL).truncated == "html,links"


def test_p7_long_and_broken_urls_are_dropped_and_counted() -> None:
    """A URL of more than 4,096 characters, or none at all, is dropped; data: and javascript: are not even counted."""
    page = extract(b"<a href=/%s><a href='http://[x'><a href=ok><a href='data:%s'>" % (b"x" * 4097, b"y" * 9999), URL)
    assert ([e.url for e in page.links], page.dropped) == (["http://h.test/dir/ok"], 2)


@pytest.mark.parametrize("head", [b"<a href=", b"<img srcset='", b"<meta name=robots content='", b"<base href='"])
def test_p7_huge_attribute(head: bytes) -> None:
    """4 MiB in one attribute cost less than the deadline and give no edge."""
    start = time.process_time()
    assert extract(head + b"x" * (4 << 20) + b"'>", URL).links == ()
    assert time.process_time() - start < 2.0


_HOSTILE = {
    "commas": "," * 1_000_000,
    "spaces": " " * 1_000_000,
    "open": "(" * 1_000_000,
    "words": "a 1x " * 200_000,
    "angle": "<" * 1_000_000,
    "quotes": '<a>;"' * 200_000,
    "backslashes": '<a>;x="' + "\\" * 1_000_000,
    "digits": "1" * 1_000_000,
    "dots": "1" + "." * 1_000_000 + "x",
    "url": "1;" + "url = " * 150_000,
    "colons": "a:" * 500_000,
    "equals": "=" * 1_000_000,
    "charset": "charset " * 125_000,
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_p9_small_languages_are_linear(name: str) -> None:
    """1 MB of the worst we could think of takes each parser well below the deadline: no backtracking."""
    value = _HOSTILE[name]
    start = time.process_time()
    list(srcset(value))
    refresh(value)
    list(link_header(value))
    directives(value, "poolcrawl")
    sniff(value, value.encode())
    extract(value.encode(), URL, value)
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize("base", ["javascript:x()//", "data:text/html,x", "ftp://h.test/", "http://[x", "mailto:a@b"])
def test_p10_base_must_be_http(base: str) -> None:
    """A base of another scheme is ignored, and with it every later base."""
    page = extract(f"<base href='{base}'><base href=/other/><a href=x>".encode(), URL)
    assert page.base is None
    assert [e.url for e in page.links] == ["http://h.test/dir/x"]


def test_p10_base_to_another_host_makes_links_of_that_host() -> None:
    """Such links are edges like others; scope and admission judge them by where they lead."""
    page = extract(b"<base target=x><base href='//evil.test/a/'><a href=x>", URL)
    assert (page.base, page.links[0].place.host) == ("http://evil.test/a/", "evil.test")


def test_p10_refresh_to_itself_is_one_ordinary_edge() -> None:
    """A refresh is a link of kind 'refresh', so a loop ends where every known URL ends: in the frontier."""
    assert links("<meta http-equiv=refresh content='0;url=page'>") == {("refresh", URL)}
