"""What `tests/fuzz.py` calls with any bytes at all: the readers of what the web sends, each with what it promises.

A check returns when the promise held and raises when it did not. It may be slow or die only where ``native`` says so.
"""

from __future__ import annotations

import gzip
import importlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from crawler.fetch.decode import codings, decoder
from crawler.fetch.headers import KEPT, LONGEST, kept
from crawler.fetch.robots import Robots
from crawler.frontier.politeness import retry_after
from crawler.parse import wire
from crawler.parse.charset import LABELS, decode
from crawler.parse.edges import MAX_LINKS
from crawler.parse.html import MAX_TEXT, MAX_TITLE, extract
from crawler.parse.mime import content_type, sniff
from crawler.parse.values import _PLAIN as DIRECTIVES
from crawler.parse.values import directives, link_header, refresh, srcset
from crawler.url import MAX_LENGTH, InvalidUrl, Joiner, admit, canonical, objection, split
from storage.text import to_json

CORPUS = Path(__file__).with_name("corpus")
LARGEST = 1 << 20  # bytes of the pages a parse worker has in hand
HOST = 253  # characters of a host name; `admit` refuses a longer one (RFC 1035 §2.3.4)
ROOM = 1 << 20  # bytes a body may decode to
WALL = 1_795_348_800.0  # Unix s: any date that Retry-After is measured against
MEMORY = sqlite3.connect(":memory:")


@dataclass(frozen=True, slots=True)
class Target:
    """``words`` are what mutations strew in. ``seconds`` of CPU are enough for any input of 64 kB. ``native``: lexbor
    may hang, eat memory or die on it; the worker's limits (P1-P5) hold that, so only what it raises is a fault."""

    check: Callable[[bytes], None]
    words: tuple[bytes, ...]
    seconds: float = 0.25
    native: bool = False


def url(data: bytes) -> None:
    """Nothing but InvalidUrl is raised; canonical is a fixpoint for hosts DNS could hold, `split` loses
    nothing, both ways of joining agree."""
    text, _, base = data.decode("utf-8", "surrogateescape").partition("\n")
    try:
        found = canonical(text, base or None)
    except InvalidUrl:
        return
    place = split(found)
    if len(place.host) > HOST:
        return  # ada refuses to read its own punycode of a name that long
    assert canonical(found) == found
    assert place.url == found
    found.encode("ascii" if place.host else "utf-8")
    try:
        assert admit(found) == place
        assert objection(place) is None
        assert len(found) <= MAX_LENGTH
    except InvalidUrl:
        assert objection(place) is not None
    if base and _parses(base):
        joined = Joiner(base).place(text)
        assert joined is None or joined == place


def _parses(text: str) -> bool:
    try:
        return bool(canonical(text))
    except InvalidUrl:
        return False


def robots(data: bytes) -> None:
    """Any bytes parse; every question has an answer, the same for a URL and its canonical form."""
    rules = Robots.parse(data)
    asked = [line.partition(b":")[2].strip().decode("utf-8", "surrogateescape") for line in data.splitlines()[:4]]
    for path in ("/", "/a/b?c=d", *asked):
        for agent in ("poolcrawl", "*"):
            rules.verdict(agent, f"http://h.test{path}")
    assert rules.verdict("poolcrawl", "http://h.test/robots.txt").allowed
    assert 0 <= (rules.crawl_delay("poolcrawl") or 0.0) <= 86_400
    assert all(isinstance(sitemap, str) for sitemap in rules.sitemaps)


def sitemap(data: bytes) -> None:
    """Plain, packed or neither: what is found is text, bounded in number, or nothing."""
    try:
        parse = importlib.import_module("crawler.parse.sitemap").parse
    except ModuleNotFoundError:
        return
    for body in (data, gzip.compress(data, 1)):
        found = parse(body, "http://h.test/sitemap.xml")
        assert len(found.urls) + len(found.sitemaps) <= 50_000
        to_json([[entry.url, entry.lastmod] for entry in found.urls]).encode()


def header(data: bytes) -> None:
    """What is kept is text that SQLite and JSON give back as it is; what reads headers takes all of it (H12)."""
    raw = [(name, value) for name, _, value in (line.partition(b":") for line in data.split(b"\n"))]
    headers = kept(raw)
    assert len(headers) <= KEPT
    for name, value in headers:
        assert "\0" not in value
        assert len(value) <= LONGEST
        assert MEMORY.execute("SELECT ?, length(?)", (value, value)).fetchone() == (value, len(value))
        _values(name, value)
    assert json.loads(to_json(headers)) == [list(pair) for pair in headers]


def _values(name: str, value: str) -> None:
    essence, charset = content_type(value)
    assert essence is None or "/" in essence
    assert charset is None or isinstance(charset, str)
    assert all(coding == coding.lower() for coding in codings(value))
    decoder(value)
    asked = retry_after(value, WALL)
    assert asked is None or 1.0 <= asked <= 86_400.0
    for target, parameters in link_header(value):
        assert isinstance(target, str)
        assert all(isinstance(parameter, str) for parameter in parameters.values())
    assert directives(value) | directives(f"{name}:{value}", "poolcrawl") <= {*DIRECTIVES}
    delay, _ = refresh(value) or (0, "")
    assert 0 <= delay < 10**9


def values(data: bytes) -> None:
    """Attributes: srcset and refresh give URLs without blanks around, in linear time."""
    text = data.decode("utf-8", "surrogateescape")
    for found in srcset(text):
        assert found
        assert not found.endswith(",") or "," in found
    _values("", text)


def charset(data: bytes) -> None:
    """Any bytes under any header are a text that can be encoded, under a name of the standard's table (P8)."""
    head, _, body = data.partition(b"\n")
    text, name = decode(body, head.decode("latin-1"))
    text.encode("utf-8")
    assert name in LABELS.values()
    assert "/" in sniff(head.decode("latin-1"), body)


ENCODINGS = ("gzip", "deflate", "br", "zstd", "x-gzip", "identity")


def body(data: bytes) -> None:
    """Content decoding never gives more than its room, never raises, and says whether it was the end (H1-H4)."""
    found = decoder(ENCODINGS[data[0] % len(ENCODINGS)]) if len(data) > 1 else None
    if found is None:
        return
    step, room, wire_bytes = data[1] * 64 + 1, ROOM, data[2:]
    for start in range(0, len(wire_bytes), step):
        room -= len(found.feed(wire_bytes[start : start + step], room))
        assert room >= 0
    assert found.finished in (True, False)
    assert found.broken in (True, False)


def html(data: bytes) -> None:
    """Whatever a page holds: its links may enter the crawl, its texts are bounded, and all of it passes the pipe."""
    head, _, page = data.partition(b"\n")
    line = head.decode("latin-1")
    try:
        found = extract(page, "http://h.test/folder/page", f"text/html;{line}", [("Link", line), ("Refresh", line)])
    except MemoryError:
        return
    assert len(found.links) <= MAX_LINKS
    assert len(found.title or "") <= MAX_TITLE
    for link in found.links:
        assert len(link.text or "") <= MAX_TEXT
        assert len(link.place.url) <= MAX_LENGTH or objection(link.place) is not None
        assert not link.place.host or objection(link.place) is None
    answer = wire.answer(replace(found, digest=bytes(32)))
    header_size, binary = wire.lengths(answer[:8])
    again = wire.from_answer(answer[8 : 8 + header_size], answer[8 + header_size :], page)
    assert (binary, again.links, again.base) == (0, found.links, found.base)


def frame(data: bytes) -> None:
    """A worker that was taken over may say anything: it is an Extract or BadFrame, as is any stream of its bytes."""
    with suppress(wire.BadFrame):
        wire.from_answer(data, b"", b"body")
    inbox = wire.Inbox()
    room = inbox.room()
    size = min(len(room), len(data))
    room[:size] = data[:size]
    with suppress(wire.BadFrame):
        list(inbox.took(size, most=LARGEST))


_URL_WORDS = tuple(
    b"http:// https:// // \\ @ : :80 # ? / .. . %2e %2E%2e %00 %zz ;,= [::1] 127.1 0x7f.1 xn-- \xc3\xa9 \xe2\x80\xae "
    b"\xef\xbc\x8e \xef\xbd\x81 javascript: data: mailto: file:// \t \r \x00 \xff h.test. \n a.b %2f user:pw@".split(b" ")
)
_HEADER_WORDS = (
    b"Content-Type:", b"text/html;charset=", b"gzip", b", ", b"\n", b"\0", b"\xff", b"<http://a/>; rel=next", b'"', b"\\",
    b"Retry-After:", b"120", b"Sun, 22 Nov 2026 12:00:00 GMT", b"-1", b"9" * 40, b"0; url=", b"noindex, nofollow",
    b"googlebot:", b"unavailable_after: 1 Jan", b"=", b";", b"1.5x", b"100w", b"(", b")", b",", b" ", b"\t", b"\xc3\x28",
)  # fmt: skip

TARGETS: Mapping[str, Target] = {
    "url": Target(url, _URL_WORDS),
    "robots": Target(
        robots,
        (b"User-agent:", b"*", b"Disallow:", b"Allow:", b"/", b"$", b"\n", b"\r", b"#", b"Crawl-delay:", b"Sitemap:", b"%2F",
         b"poolcrawl", b"index.html", b"\xef\xbb\xbf", b"\0", b"<html>", b"0.5", b"/*a*a*a", b":", b" "),
    ),
    "sitemap": Target(
        sitemap,
        (b"<urlset>", b"<url><loc>http://h.test/", b"</loc></url>", b"<sitemapindex><sitemap><loc>", b"<!DOCTYPE x [",
         b"<!ENTITY a '", b"&a;", b"&amp;", b"<?xml version='1.0' encoding='", b"?>", b"<![CDATA[", b"]]>", b"<lastmod>",
         b"\xff\xfe", b"\x1f\x8b\x08", b"\0", b"\n", b"<rss><channel><item><link>", b"xmlns='", b"</"),
        seconds=1.0,
    ),
    "header": Target(header, _HEADER_WORDS),
    "values": Target(values, _HEADER_WORDS),
    "charset": Target(
        charset,
        (b"text/html;charset=", b"utf-16le", b"gb18030", b"iso-2022-jp", b"big5", b"euc-kr", b"x-user-defined", b"\n", b"<meta ",
         b"charset=", b"http-equiv=content-type content='", b"<!--", b"-->", b"<?xml version='1.0' encoding='", b"\xff\xfe",
         b"\xfe\xff", b"\xef\xbb\xbf", b"\x1b$B", b"\x81\x30\x81\x30", b"'", b'"', b">", b"hz-gb-2312", b"replacement"),
    ),
    "body": Target(
        body,
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", b"\x78\x9c", b"\x28\xb5\x2f\xfd", b"\x03\0\0\0\0\0\0\0\0\0", b"\xff", b"\0",
         gzip.compress(bytes(1 << 20)), gzip.compress(b"")),
        seconds=0.5,
    ),
    "html": Target(
        html,
        (b"<a href=", b"<base href=", b"<meta http-equiv=refresh content='0;url=", b"<svg>", b"<math>", b"<template>", b"<table>",
         b"<select>", b"<option>", b"</", b">", b"<b><i>", b"<title>", b"<!--", b"<![CDATA[", b"srcset='", b"\n", b"\0", b"&#x;",
         b"<link rel=canonical href=", b"<img src=", b"<form action=", b"javascript:", b"<noscript>", b"<script>", b"<p>",
         b"&NotExistsEntity;", b"\xed\xa0\x80", b"<frameset>", b"<area href=", b"<meta name=robots content="),
        seconds=2.0, native=True,
    ),
    "frame": Target(
        frame,
        (b'{"links":', b"[[0],[", b'"sites":', b"null", b'"digest":"', b"00" * 32, b'"codec":"raw"', b"1e999", b"[" * 100,
         b"\xff\xff\xff\xff", b"\0\0\0\x01", b"}", b"]", b",", b'"data":{}', b'"dropped":0', b'"robots":[]'),
    ),
}  # fmt: skip
