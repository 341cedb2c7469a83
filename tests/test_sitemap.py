"""crawler.parse.sitemap: what every form of sitemap holds, and what is made of files that are none."""

from __future__ import annotations

import codecs
import gzip
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.parse import SITEMAP_SIZE
from crawler.parse.sitemap import MAX_URLS, parse
from crawler.url import canonical

AT = "https://example.org/maps/sitemap.xml"
NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
A, B = "https://example.org/a", "https://example.org/b"


def urlset(*entries: str, head: str = '<?xml version="1.0" encoding="UTF-8"?>', ns: str = NS) -> str:
    return f"{head}<urlset {ns}>{''.join(f'<url>{e}</url>' for e in entries)}</urlset>"


def loc(url: str, more: str = "") -> str:
    return f"<loc>{url}</loc>{more}"


ONE = urlset(loc(A))
FORMS = {
    "plain": (ONE, [(A, None)]),
    "lastmod verbatim": (urlset(loc(A, "<lastmod> 2024-01-02T03:04:05+01:00\n</lastmod>")), [(A, "2024-01-02T03:04:05+01:00")]),
    "lastmod first": (urlset(f"<lastmod>2024</lastmod><priority>1</priority>{loc(A)}"), [(A, "2024")]),
    "lastmod empty": (urlset(loc(A, "<lastmod/>")), [(A, None)]),
    "no namespace": (urlset(loc(A), ns=""), [(A, None)]),
    "https namespace": (urlset(loc(A), ns='xmlns="https://www.google.com/schemas/sitemap/0.84"'), [(A, None)]),
    "prefixed": (f'<s:urlset xmlns:s="x"><s:url><s:loc>{A}</s:loc></s:url></s:urlset>', [(A, None)]),
    "unbound prefix": (urlset(loc(A, "<video:video><video:loc>http://v/</video:loc></video:video>")), [(A, None)]),
    "blanks": (urlset(f"\n\t<loc>\n  {A}  \n</loc>\n"), [(A, None)]),
    "blanks before": (f"\n  {ONE}", [(A, None)]),
    "comments": (urlset(f"<!-- x --><loc><!-- y -->{A}<!-- z --></loc>"), [(A, None)]),
    "cdata": (urlset("<loc><![CDATA[https://example.org/?a=1&b=2]]></loc>"), [("https://example.org/?a=1&b=2", None)]),
    "entities": (urlset(loc("https://example.org/?a=1&amp;b=2&#38;c=%C3%A9")), [("https://example.org/?a=1&b=2&c=%C3%A9", None)]),
    "relative": (urlset(loc("x?y"), loc("/z")), [("https://example.org/maps/x?y", None), ("https://example.org/z", None)]),
    "fragment": (urlset(loc(f"{A}#top"), loc(A)), [(A, None)]),
    "canonical": (urlset(loc("HTTPS://Example.ORG:443/../ä")), [("https://example.org/%C3%A4", None)]),
    "capitals": (f"<URLSET><URL><LOC>{A}</LOC></URL></URLSET>", [(A, None)]),
    "twice": (urlset(loc(A), loc(B), loc(A, "<lastmod>2024</lastmod>")), [(A, None), (B, None)]),
    "two locs": (urlset(loc(A) + loc(B)), [(A, None)]),
    "images": (urlset(loc(A, "<image:image><image:loc>https://example.org/i.png</image:loc></image:image>")), [(A, None)]),
    "image at once": (urlset("<image:loc>https://example.org/i.png</image:loc>" + loc(A)), [(A, None)]),
    "alternates": (urlset(loc(A, f'<xhtml:link rel="alternate" hreflang="de" href="{B}"/>')), [(A, None)]),
    "news": (urlset(loc(A, "<n:news><n:publication_date>2020</n:publication_date></n:news>")), [(A, None)]),
    "no urls": (urlset(), []),
    "in an index": (f"<sitemapindex><url>{loc(A)}</url></sitemapindex>", [(A, None)]),
    "rss": (
        "<rss version='2.0'><channel><link>https://example.org/</link><item><title>t</title>"
        f"<link>{A}</link><pubDate>Mon, 01 Jan 2024</pubDate></item><item><link>{B}</link></item></channel></rss>",
        [(A, "Mon, 01 Jan 2024"), (B, None)],
    ),
    "rss guid": (
        f"<rss><channel><item><guid>{A}</guid></item><item><link/><guid>{B}</guid></item>"
        "<item><guid isPermaLink='false'>https://example.org/no</guid></item></channel></rss>",
        [(A, None), (B, None)],
    ),
    "rss atom:link": (
        f'<rss><channel><atom:link href="x"/><item><atom:link href="y"/><link>{A}</link></item></channel></rss>',
        [(A, None)],
    ),
    "rdf": (
        f'<rdf:RDF xmlns:rdf="r"><channel><link>{B}</link></channel><item><link>{A}</link><dc:date>2024</dc:date></item>'
        "</rdf:RDF>",
        [(A, "2024")],
    ),
    "atom": (
        f'<feed xmlns="http://www.w3.org/2005/Atom"><link href="/"/><entry><link rel="self" href="/s"/><link href="/a"/>'
        '<link rel="enclosure" href="/e"/><updated>2024</updated></entry>'
        f'<entry><link rel="alternate" href="{B}"/></entry></feed>',
        [(A, "2024"), (B, None)],
    ),
    "text": (f"{A}\r\n\r\n# a comment\n  {B} \n", [(A, None), (B, None)]),
    "text, one line": (A, [(A, None)]),
    "text, CR": (f"{A}\r{B}\r", [(A, None), (B, None)]),
}  # fmt: skip


def found(body: bytes | str, at: str = AT) -> list[tuple[str, str | None]]:
    result = parse(body.encode() if isinstance(body, str) else body, at)
    return [(entry.url, entry.lastmod) for entry in result.urls]


@pytest.mark.parametrize(("body", "expected"), FORMS.values(), ids=FORMS)
def test_forms(body: str, expected: list[tuple[str, str | None]]) -> None:
    """Every form of sitemap gives its URLs, canonical and distinct, in order, with lastmod as written."""
    result = parse(body.encode(), AT)
    assert [(e.url, e.lastmod) for e in result.urls] == expected
    assert result.refused is None
    assert result.truncated is None
    assert result.sitemaps == ()


@pytest.mark.parametrize(("body", "expected"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("coding", ["gzip", "gzip twice", "bom", "utf-16", "utf-16-be", "members"])
def test_wrappings(body: str, expected: list[tuple[str, str | None]], coding: str) -> None:
    """Compressed once, twice or in members, with a byte order mark or in UTF-16: the same URLs."""
    plain = body.encode()
    wrapped = {
        "gzip": lambda: gzip.compress(plain),
        "gzip twice": lambda: gzip.compress(gzip.compress(plain)),
        "bom": lambda: codecs.BOM_UTF8 + plain,
        "utf-16": lambda: body.encode("utf-16"),
        "utf-16-be": lambda: codecs.BOM_UTF16_BE + body.encode("utf-16-be"),
        "members": lambda: gzip.compress(plain[:9]) + gzip.compress(plain[9:]) + b"\0\0",
    }
    assert found(wrapped[coding]()) == expected


@pytest.mark.parametrize("label", ["iso-8859-1", "windows-1251", "Shift_JIS", "koi8-r", "gbk", "big5", "utf-16", "nonsense"])
def test_declared_encodings(label: str) -> None:
    """An encoding that expat does not know is decoded by the WHATWG table, an unknown label as UTF-8."""
    codec = {"iso-8859-1": "cp1252", "utf-16": "utf-8", "nonsense": "utf-8"}.get(label, label)
    letter = {"iso-8859-1": "é", "windows-1251": "ж", "koi8-r": "ж"}.get(label, "山" if codec != "utf-8" else "é")
    body = urlset(loc(f"https://example.org/{letter}"), head=f'<?xml version="1.0" encoding="{label}"?>').encode(codec)
    assert found(body) == [(canonical(f"https://example.org/{letter}"), None)]


def test_utf_16_without_a_mark() -> None:
    assert found(ONE.encode("utf-16-le")) == found(ONE.encode("utf-16-be")) == [(A, None)]


def test_index() -> None:
    """An index gives sitemaps and no URLs; a sitemap element in a urlset is one too."""
    entry = "<sitemap><loc>s1.xml</loc><lastmod>2024</lastmod></sitemap><sitemap><loc> /s2.xml.gz </loc></sitemap>"
    for root in ("sitemapindex", "urlset"):
        result = parse(f"<{root} {NS}>{entry}</{root}>".encode(), AT)
        assert result.sitemaps == ("https://example.org/maps/s1.xml", "https://example.org/s2.xml.gz")
        assert [child.lastmod for child in result.children] == ["2024", None]
        assert result.urls == ()


@pytest.mark.parametrize(
    "bad",
    ["", " ", "http://", "http://a b/", "mailto:x@example.org", "ftp://example.org/", "javascript:x", "data:,x",
     "https://example.org/" + "x" * 4096],
)  # fmt: skip
def test_r12_what_is_no_url_of_the_web_is_dropped_and_counted(bad: str) -> None:
    """R12: entries of other schemes, without a URL or with one longer than 4,096 characters are dropped and counted."""
    result = parse(urlset(loc(bad), loc(A), "<priority>1</priority>").encode(), AT)
    assert [e.url for e in result.urls] == [A]
    assert result.dropped == 2


NONE = {
    "empty": (b"", "empty"),
    "blank": (b" \n\0", "empty"),
    "page": (b"<!DOCTYPE html><html><body><a href=/x>", "HTML"),
    "page without doctype": (b"<html><head></head></html>", "HTML"),
    "other root": (b"<opml><loc>http://x/</loc></opml>", "root element is <opml>"),
    "no XML": (b"< nonsense", "not XML"),
    "JSON": (b'{"urls": ["https://example.org/"]}', "neither"),
    "prose": (b"Not found.\nTry https://example.org/", "neither"),
    "binary": (bytes(range(256)) * 9, "neither"),
    "gzip of nothing": (gzip.compress(b""), "empty"),
    "nested": (b"<urlset>" + b"<x>" * 1_000_000, "inside each other"),
}


@pytest.mark.parametrize(("body", "reason"), NONE.values(), ids=NONE)
def test_no_sitemap(body: bytes, reason: str) -> None:
    """A page, an error message or anything else that is no sitemap gives nothing, and says what it is."""
    result = parse(body, AT)
    assert result.urls == result.sitemaps == ()
    assert reason in (result.refused or "")


LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
DOCTYPES = {
    "laughs": f'<?xml version="1.0"?><!DOCTYPE u [<!ENTITY l0 "lol">{LAUGHS}]><urlset><url><loc>&l9;</loc></url></urlset>',
    "file": f'<!DOCTYPE u [<!ENTITY x SYSTEM "file:///etc/passwd">]>{urlset(loc("http://x/&x;"), head="")}',
    "outside": f'<!DOCTYPE urlset SYSTEM "http://127.0.0.1:9/x.dtd">{urlset(loc(A), head="")}',
    "parameter": f'<!DOCTYPE u [<!ENTITY % x SYSTEM "http://127.0.0.1:9/">%x;]>{urlset(loc(A), head="")}',
    "quadratic": f'<!DOCTYPE u [<!ENTITY x "{"y" * 50_000}">]>{urlset(loc("&x;" * 9_999), head="")}',
    "empty": f"<!DOCTYPE urlset>{urlset(loc(A), head='')}",
}


@pytest.mark.parametrize("body", DOCTYPES.values(), ids=DOCTYPES)
def test_r11_any_doctype_is_refused(body: str) -> None:
    """R11: a file with a DOCTYPE gives nothing and says why: no entity is expanded, no file or server is asked."""
    result = parse(body.encode(), AT)
    assert "DOCTYPE" in (result.refused or "")
    assert result.urls == ()


CUT = {
    "in a loc": (ONE[: ONE.index(A) + 9] , []),
    "after a loc": (urlset(loc(A), loc(B))[:-15], [(A, None), (B, None)]),
    "between": (urlset(loc(A, "<lastmod>1</lastmod>"), "@").partition("@")[0], [(A, "1")]),
    "bare ampersand": (urlset(loc(A), loc("http://x/?a&b"), loc(B)), [(A, None)]),
    "unknown entity": (urlset(loc(A), loc("http://x/&nbsp;"), loc(B)), [(A, None)]),
    "control character": (urlset(loc(A), loc("http://x/\x01"), loc(B)), [(A, None)]),
    "more after the root": (ONE + ONE, [(A, None)]),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), CUT.values(), ids=CUT)
def test_damaged_xml_keeps_what_came_before(body: str, expected: list[tuple[str, str | None]]) -> None:
    """XML that is cut or ill-formed gives the entries before the damage, and the file is flagged with its line."""
    result = parse(body.encode(), AT)
    assert [(e.url, e.lastmod) for e in result.urls] == expected
    assert (result.truncated or "").startswith("xml: ")
    assert "line 1" in (result.truncated or "")


def test_damaged_gzip_keeps_what_came_before() -> None:
    lines = "".join(f"https://example.org/{n * 7919 % 10_007}\n" for n in range(9_999)).encode()
    packed = gzip.compress(lines)
    for body in (packed[: len(packed) // 2], packed[:9_000] + b"\xff" * 99 + packed[9_099:]):
        result = parse(body, AT)
        assert 1_000 < len(result.urls) < 9_999
        assert result.truncated == "gzip"


@pytest.mark.parametrize("form", ["text", "xml", "index"])
def test_r10_no_more_than_50_000_urls(form: str) -> None:
    """R10: of a file's URLs the first 50,000 are taken and the file is flagged; exactly 50,000 are no excess."""
    for count, flag in ((MAX_URLS, None), (MAX_URLS + 1, "urls")):
        urls = [f"https://example.org/{n}" for n in range(count)]
        body = "\n".join(urls)
        if form != "text":
            tag, root = ("sitemap", "sitemapindex") if form == "index" else ("url", "urlset")
            body = f"<{root}>{''.join(f'<{tag}><loc>{u}</loc></{tag}>' for u in urls)}</{root}>"
        result = parse(body.encode(), AT)
        assert [e.url for e in result.urls or result.children] == urls[:MAX_URLS]
        assert result.truncated == flag


def bomb(size: int, layers: int = 1) -> bytes:
    """A sitemap followed by so many blanks, packed."""
    head = urlset(loc(A)).replace("</urlset>", "").encode()
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    body = packer.compress(head) + b"".join(packer.compress(b" " * (1 << 20)) for _ in range(size >> 20)) + packer.flush()
    for _ in range(layers - 1):
        body = gzip.compress(body)
    return body


@pytest.mark.parametrize("layers", [1, 2])
def test_r10_members_without_end(layers: int) -> None:
    """R10: a gzip file of 200,000 empty members costs half a second of CPU at most; what comes first is read."""
    body = gzip.compress(ONE.encode()) + gzip.compress(b"") * 200_000
    for _ in range(layers - 1):
        body = gzip.compress(body)
    begun = time.process_time()
    result = parse(body, AT)
    assert time.process_time() - begun <= 0.5
    assert ([e.url for e in result.urls], result.truncated) == ([A], "gzip")


def test_r10_every_layer_is_bounded() -> None:
    """R10: no layer of gzip is unpacked further than 50 MiB, even if the next makes little of it."""
    filler = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    head = filler.flush(zlib.Z_FULL_FLUSH)
    empty = b"\0\0\0\xff\xff" * (60 << 18)  # stored blocks of no bytes: 75 MiB of them come to nothing
    inner = head + empty + filler.compress(ONE.encode()) + filler.flush()
    result = parse(gzip.compress(inner), AT)
    assert (result.urls, result.truncated) == ((), "size")


@pytest.mark.parametrize("layers", [1, 2])
def test_r10_bomb(layers: int) -> None:
    """R10: a file is unpacked as a stream and no further than 50 MiB; memory rises by less than 8 MiB."""
    body = bomb(120 << 20, layers)
    assert len(body) < 130_000
    tracemalloc.start()
    result = parse(body, AT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [e.url for e in result.urls] == [A]
    assert result.truncated == "size"
    assert peak < 8 << 20
    assert SITEMAP_SIZE == 50 << 20


@given(st.binary(max_size=400), st.sampled_from([b"", b"<urlset>", b"<urlset><url><loc>", b"\x1f\x8b\x08", codecs.BOM_UTF16_LE]))
def test_never_raises(body: bytes, head: bytes) -> None:
    """Whatever the bytes and whatever the URL, the answer is a Sitemap of canonical web URLs."""
    for at in (AT, "no url at all"):
        for entry in parse(head + body, at).urls:
            assert entry.url.startswith(("http://", "https://"))
            assert canonical(entry.url) == entry.url


PATHS = st.text(alphabet="abz09/?&=;<>'\"é山 ", max_size=30)
DATES = st.none() | st.text(alphabet="0-9TZ:", min_size=1, max_size=20)


@given(st.lists(st.tuples(PATHS, DATES), max_size=20))
def test_what_a_writer_wrote_is_read(entries: list[tuple[str, str | None]]) -> None:
    """For every list of URLs and dates: written as the protocol says, read back equal, however the stream is cut."""
    from xml.sax.saxutils import escape

    wanted: dict[str, str | None] = {}
    for path, lastmod in entries:
        wanted.setdefault(canonical(f"https://example.org/{path}"), lastmod)
    body = urlset(*(loc(escape(u), f"<lastmod>{d}</lastmod>" if d else "") for u, d in wanted.items()))
    assert found(body) == list(wanted.items())
    assert found(gzip.compress(body.encode())) == list(wanted.items())
