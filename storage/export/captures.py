"""The answers that a crawl file holds, in the order they came: what archives are made of.

`fetch` is append-only and bodies are shared, so what is exported is settled when it begins, though a crawl goes on: all up
to the attempt that was the latest then. It is read in short reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from storage.codec import UNREADABLE, unpack
from storage.reader import Reader

BATCH = 200  # attempts that one read looks at
KEPT_WAYS = 100_000  # hop paths that are remembered
LONGEST_WAY = 50  # hops of a path that are spelled out
HOPS = {"redirect": "R", "refresh": "R", "frame": "E", "iframe": "E", "sitemap": "M"}
"""Heritrix's letters for how a URL was found; anything else is a link, L."""
EMBEDDED = frozenset({"img", "script", "stylesheet", "css", "icon", "source", "video", "audio", "track", "embed", "object"})

LATEST = "SELECT coalesce(max(id), 0) FROM main.fetch"
ALL_URLS = "CREATE TEMP VIEW chosen AS SELECT id FROM main.url"
NO_URLS = "CREATE TEMP TABLE chosen (id INTEGER PRIMARY KEY)"
CHOOSE = """INSERT OR IGNORE INTO temp.chosen SELECT u.id FROM main.origin o JOIN main.url u ON u.origin = o.id
WHERE o.name = ? AND u.path = ?"""
COUNT = """SELECT count(*), count(f.status) FROM main.fetch f JOIN temp.chosen c ON c.id = f.url WHERE f.id <= ?"""
# The first whole capture of each body, and the capture that an answer of "not modified" speaks of.
FIRSTS = """CREATE TEMP TABLE first AS SELECT f.body, min(f.id) AS id FROM main.fetch f JOIN temp.chosen c ON c.id = f.url
JOIN main.body b ON b.id = f.body AND b.size > 0 WHERE f.truncated IS NULL AND f.status IS NOT NULL GROUP BY f.body;
CREATE UNIQUE INDEX temp.first_body ON first (body);
CREATE TEMP TABLE before AS SELECT n.id, max(p.id) AS before FROM main.fetch n JOIN temp.chosen c ON c.id = n.url
JOIN main.fetch p ON p.url = n.url AND p.id < n.id AND p.status BETWEEN 200 AND 299 WHERE n.status = 304 GROUP BY n.id;
CREATE UNIQUE INDEX temp.before_id ON before (id)"""
CAPTURES = """SELECT f.id, f.url, o.name, u.path, f.at, f.run, f.outcome, f.status, f.elapsed_ms, f.wire_size, f.truncated,
  f.address, f.mime, f.title, f.parse, coalesce(f.headers, '[]'), b.codec, iif(g.id IS NULL, b.data, NULL), lower(hex(b.digest)),
  g.id, go.name || gu.path, g.at, lower(hex(gb.digest)), coalesce(g.headers, '[]')
FROM main.fetch f JOIN temp.chosen c ON c.id = f.url JOIN main.url u ON u.id = f.url JOIN main.origin o ON o.id = u.origin
LEFT JOIN main.body b ON b.id = f.body
LEFT JOIN temp.first e ON e.body = f.body AND e.id < f.id AND f.truncated IS NULL
LEFT JOIN temp.before a ON a.id = f.id
LEFT JOIN main.fetch g ON g.id = coalesce(a.before, e.id) LEFT JOIN main.body gb ON gb.id = g.body
LEFT JOIN main.url gu ON gu.id = g.url LEFT JOIN main.origin go ON go.id = gu.origin
WHERE f.id BETWEEN ? AND ? AND f.status IS NOT NULL ORDER BY f.id"""
STEP = """SELECT u.parent, o.name || p.path, (SELECT group_concat(kind) FROM main.link WHERE src = u.parent AND dst = u.id)
FROM main.url u LEFT JOIN main.url p ON p.id = u.parent LEFT JOIN main.origin o ON o.id = p.origin WHERE u.id = ?"""

Headers = list[tuple[str, str]]


class NoUrls(ValueError):
    """The query that is to choose the pages has no column `url`."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The capture that a later one repeats."""

    id: int
    url: str
    at: int
    digest: str | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Capture:
    """One answer. ``at``: Unix ms; ``digest``: SHA-256 of the decoded body, hex; ``body`` None: none is stored, or ``earlier``
    has it. ``via``: the page on whose shortest way the URL was found; ``hops``: that way in Heritrix's letters."""

    id: int
    origin: str
    path: str
    at: int
    run: int
    outcome: str
    status: int
    elapsed_ms: int
    wire_size: int
    truncated: str | None
    address: str | None
    mime: str | None
    title: str | None
    parse: str | None
    headers: Headers
    digest: str | None
    body: bytes | None
    earlier: Earlier | None
    via: str | None
    hops: str

    @property
    def url(self) -> str:
        return self.origin + self.path


def choose(reader: Reader, sql: str | None) -> None:
    """Settle which URLs are exported: all, or those in the column `url` of a query. Raises NoUrls, sqlite3.Error."""
    if sql is None:
        reader.db.execute(ALL_URLS)
        return
    names, rows = reader.query(sql)
    if "url" not in names:
        raise NoUrls(f"the query has no column `url` to choose pages by; it has {', '.join(names) or 'none'}")
    column = names.index("url")
    reader.db.execute(NO_URLS)
    reader.db.executemany(CHOOSE, (split(row[column]) for row in rows if isinstance(row[column], str)))


def split(url: str) -> tuple[str, str]:
    """Origin and path of a canonical URL."""
    at = url.find("/", url.find("://") + 3)
    return (url[:at], url[at:]) if at > 0 else (url, "")


class Captures:
    """The captures of the chosen URLs. ``total``: how many; ``unanswered``: attempts without an answer, which have none."""

    def __init__(self, reader: Reader) -> None:
        self._db = reader.db
        self._ways: dict[int, tuple[str | None, str]] = {}
        (self._latest,) = reader.one(LATEST) or (0,)
        attempts, self.total = reader.one(COUNT, (self._latest,)) or (0, 0)
        self.unanswered = attempts - self.total
        self._db.executescript(FIRSTS)

    def __iter__(self) -> Iterator[Capture]:
        for low in range(1, self._latest + 1, BATCH):
            with closing(self._db.execute(CAPTURES, (low, min(low + BATCH - 1, self._latest)))) as rows:
                for row in rows:
                    yield self._capture(*row)

    def _capture(self, number: int, url: int, *row: Any) -> Capture:
        *facts, headers, codec, data, digest, g, g_url, g_at, g_digest, g_headers = row
        earlier = None if g is None else Earlier(g, g_url, g_at, g_digest, json.loads(g_headers))
        via, hops = self._way(url)
        body = None if data is None else _unpacked(codec, data)
        hops = "P" if facts[4] == "robots" else hops
        return Capture(*[number, *facts, json.loads(headers), digest, body, earlier, via, hops])

    def _way(self, url: int) -> tuple[str | None, str]:
        """From a seed to a URL."""
        if len(self._ways) > KEPT_WAYS:
            self._ways.clear()
        passed: list[tuple[int, str | None, str]] = []
        at: int | None = url
        while at is not None and at not in self._ways and len(passed) <= LONGEST_WAY:
            parent, name, kinds = self._db.execute(STEP, (at,)).fetchone() or (None, None, None)  # purged meanwhile
            passed.append((at, name, _letter(kinds) if parent is not None else ""))
            at = parent
        way = self._ways[at][1] if at in self._ways else ""
        for step, name, letter in reversed(passed):
            way = (way + letter)[-LONGEST_WAY:]
            self._ways[step] = name, way
        return self._ways[url]


def _letter(kinds: str | None) -> str:
    known = (kinds or "").split(",")
    if not EMBEDDED.isdisjoint(known):
        return "E"
    return next((HOPS[kind] for kind in known if kind in HOPS), "L")


def _unpacked(codec: str, data: bytes) -> bytes | None:
    try:
        return unpack(codec, data)
    except UNREADABLE:
        return None
