"""Sitemaps as sitemaps.org has them: XML, indexes, RSS, Atom and plain text; in gzip or not. The only user of expat.

Elements are found by where they stand and not by their namespace, which half of the files in the wild get wrong: an
entry's parts bear the prefix of the entry, so `image:loc` is none of them. A DOCTYPE is refused, and with it every
entity and every file outside (FAULTS R11). What came before an error is kept and the file is flagged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from xml.parsers import expat

from crawler.parse import SITEMAP_SIZE
from crawler.parse.stream import Unpacked
from crawler.url import InvalidUrl, Joiner
from storage.model import Place, record

MAX_URLS = 50_000  # of a file
MAX_URL = 4_096  # characters (P7)
MAX_LASTMOD = 64  # characters; a W3C date has 29 at most
_MAX_TEXT = 16_384  # characters of an element that are kept: entities and blanks may shrink them


class Entry(NamedTuple):
    """One URL a sitemap names; ``lastmod`` as it was written, without blanks around it."""

    place: Place
    lastmod: str | None = None

    @property
    def url(self) -> str:
        return self.place.url


@record
class Sitemap:
    """What a sitemap holds. ``kind``: 'urlset', 'index', 'rss', 'rdf', 'atom', 'text', or None where it is none at all.

    ``urls`` and ``children`` (the sitemaps of an index) are distinct, canonical, http or https, in the file's order.
    ``refused`` says why nothing was read. ``truncated`` says what came to an end before the file did: 'size' (50 MiB
    unpacked), 'urls' (50,000), 'gzip', or 'xml: …' with expat's word and line. ``dropped`` counts the entries without a
    usable URL.
    """

    kind: str | None = None
    urls: tuple[Entry, ...] = ()
    children: tuple[Entry, ...] = ()
    refused: str | None = None
    truncated: str | None = None
    dropped: int = 0

    @property
    def sitemaps(self) -> tuple[str, ...]:
        """The URLs of `children`."""
        return tuple(child.url for child in self.children)


def parse(body: bytes, url: str) -> Sitemap:
    """Read a sitemap of any form; ``url`` is where it came from. Never raises, whatever the bytes.

    Source: sitemaps.org/protocol.html; RSS 2.0 and 1.0; RFC 4287.
    """
    file = Unpacked(body, SITEMAP_SIZE)
    texts = file.texts()
    found = _Found(url)
    first = next(texts, "")
    if not first:
        return Sitemap(refused="it is empty", truncated=file.truncated)
    read = _read_xml if first.startswith("<") else _read_text
    try:
        damage = read(_joined(first, texts), found)
    except _Refused as refusal:
        return Sitemap(refused=str(refusal), truncated=file.truncated)
    except _Full:
        damage = "urls"
    return Sitemap(
        found.kind,
        tuple(found.urls.values()),
        tuple(found.children.values()),
        truncated=file.truncated or damage,
        dropped=found.dropped,
    )


class _Refused(Exception):
    """This is no sitemap, or none that is safe to read; the message says why."""


class _Full(Exception):
    """The file has named as many URLs as it may."""


class _Found:
    """The entries so far."""

    def __init__(self, url: str) -> None:
        self.kind: str | None = None
        self.urls: dict[Place, Entry] = {}
        self.children: dict[Place, Entry] = {}
        self.dropped = 0
        try:
            self._join = Joiner(url).place
        except InvalidUrl:
            self._join = Joiner("about:blank").place

    def add(self, loc: str | None, lastmod: str | None, *, child: bool = False) -> None:
        """Keep an entry. Raises _Full instead of one too many."""
        loc = loc.strip() if loc else None
        place = self._join(loc) if loc and len(loc) <= MAX_URL else None
        if place is None or not place.host:  # no URL, or none of the web
            self.dropped += 1
            return
        into = self.children if child else self.urls
        if place not in into:
            if len(self.urls) + len(self.children) >= MAX_URLS:
                raise _Full
            into[place] = Entry(place, (lastmod or "").strip()[:MAX_LASTMOD] or None)


def _joined(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


# --- plain text ---


def _read_text(texts: Iterable[str], found: _Found) -> str | None:
    """One absolute URL a line; blank lines and comments are nothing, and every other line is dropped and counted."""
    for line in _lines(texts):
        text = line.strip()
        if text[:8].lower().startswith(("http://", "https://")):
            found.add(text, None)
        elif text and not text.startswith("#"):
            found.dropped += 1
    if not found.urls:
        raise _Refused("neither XML nor a list of URLs")
    found.kind = "text"
    return None


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines however they end; of one without an end no more than its beginning."""
    left = ""
    for text in texts:
        *whole, left = (left + text).replace("\r", "\n").split("\n")
        yield from whole
        left = left[:_MAX_TEXT]
    yield left


# --- XML ---

_ENTRIES = {
    ("urlset", "url"): "urlset",
    ("sitemapindex", "sitemap"): "index",
    ("urlset", "sitemap"): "index",  # the two are often mistaken for each other
    ("sitemapindex", "url"): "urlset",
    ("channel", "item"): "rss",
    ("rdf", "item"): "rdf",
    ("feed", "entry"): "atom",
}
"""What an entry is, by its parent's name and its own."""
_ROOTS = {"urlset": "urlset", "sitemapindex": "index", "rss": "rss", "rdf": "rdf", "feed": "atom"}
_LASTMOD = frozenset({"lastmod", "pubdate", "updated", "modified", "date"})
_ANY_PREFIX = frozenset({"date", "pubdate"})  # dc:date is all that RSS 1.0 has
_DEEPEST = 256  # open elements; ours are four deep


def _read_xml(texts: Iterable[str], found: _Found) -> str | None:
    """Entries of any of the XML forms; what is wrong with the file, if anything is."""
    reader = _Reader(found)
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _doctype
    parser.EntityDeclHandler = _doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        for text in texts:
            parser.Parse(text, False)
        parser.Parse("", True)
    except expat.ExpatError as error:
        if found.kind is None:
            raise _Refused(f"not XML: {_said(error)}") from None
        reader.cut()
        return f"xml: {_said(error)}"
    return None


def _said(error: expat.ExpatError) -> str:
    return f"{expat.ErrorString(error.code)}, line {error.lineno}"


def _doctype(name: str, *_: Any) -> None:
    if name.lower() == "html":
        raise _Refused("a page (HTML) instead of a sitemap")
    raise _Refused("it has a DOCTYPE, which no sitemap needs and attacks are made of")


class _Reader:
    """Follows the open elements, each as (prefix, local name in lower case), and gathers the entry in hand."""

    def __init__(self, found: _Found) -> None:
        self._found = found
        self._open: list[tuple[str, str]] = []
        self._entry = 0  # how deep the entry in hand is open; 0: none is
        self._kind = ""
        self._parts: dict[str, str] = {}
        self._part: str | None = None
        self._text: list[str] = []
        self._length = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        prefix, _, name = tag.lower().rpartition(":")
        if not self._open:
            self._root(name)
        elif len(self._open) >= _DEEPEST:
            raise _Refused(f"more than {_DEEPEST} elements inside each other")
        elif not self._entry:
            self._begin(self._open[-1][1], name)
        elif len(self._open) == self._entry:
            self._begin_part(prefix, name, attributes)
        self._open.append((prefix, name))

    def end(self, tag: str) -> None:
        del tag
        self._open.pop()
        depth = len(self._open)
        if self._part is not None and depth == self._entry:
            self._parts.setdefault(self._part, "".join(self._text))
            self._part = None
        elif self._entry and depth == self._entry - 1:
            self._finish()

    def text(self, data: str) -> None:
        if self._part is not None and len(self._open) == self._entry + 1 and self._length < _MAX_TEXT:
            self._text.append(data)
            self._length += len(data)

    def cut(self) -> None:
        """The file ends early: the entry in hand counts with the parts that came whole."""
        if self._entry and self._parts:
            self._finish()

    def _finish(self) -> None:
        parts, child = self._parts, self._kind == "index"
        self._entry, self._parts, self._part = 0, {}, None
        self._found.add(parts.get("loc") or parts.get("guid"), parts.get("lastmod"), child=child)

    def _root(self, name: str) -> None:
        if name not in _ROOTS:
            what = "a page (HTML) instead of a sitemap" if name == "html" else f"its root element is <{name[:40]}>"
            raise _Refused(what)
        self._found.kind = _ROOTS[name]

    def _begin(self, parent: str, name: str) -> None:
        kind = _ENTRIES.get((parent, name))
        if kind is not None:
            self._kind, self._entry, self._parts = kind, len(self._open) + 1, {}

    def _begin_part(self, prefix: str, name: str, attributes: dict[str, str]) -> None:
        """An element right inside an entry: which part of it, if any."""
        if prefix != self._open[-1][0] and name not in _ANY_PREFIX:
            return
        part = None
        if name in _LASTMOD:
            part = "lastmod"
        elif self._kind in ("urlset", "index"):
            part = "loc" if name == "loc" else None
        elif self._kind == "atom":
            self._atom_link(name, attributes)
        elif name == "link":
            part = "loc"
        elif name == "guid" and attributes.get("isPermaLink", "true").lower() == "true":
            part = "guid"
        self._part, self._text, self._length = part, [], 0

    def _atom_link(self, name: str, attributes: dict[str, str]) -> None:
        if name == "link" and attributes.get("rel", "alternate").lower() == "alternate" and attributes.get("href"):
            self._parts.setdefault("loc", attributes["href"])
