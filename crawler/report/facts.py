"""What a report asks the file: counts and histograms, from one snapshot. Flat in memory, whatever the size of the file.

The pages and the number of links to each URL are gathered once into temporary tables, which SQLite keeps in a file of
its own; all questions after that are put to those. Each of `url`, `fetch` and `link` is gone through a few times in
all, and no index is needed that the crawl would have to keep.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storage.reader import Reader

PAGE = """CREATE TEMP TABLE page AS SELECT u.id, u.host, u.depth, u.seed, f.title, f.body, f.wire_size AS size,
  f.elapsed_ms, f.mime, f.parse, f.truncated
FROM main.url u JOIN main.fetch f ON f.id = u.last WHERE u.outcome = 'page'"""
INLINK = "CREATE TEMP TABLE inlink (url INTEGER PRIMARY KEY, n INTEGER)"
COUNT_INLINKS = """INSERT INTO temp.inlink SELECT dst, count(DISTINCT src) FROM main.link
WHERE kind IN ('a', 'area', 'frame', 'iframe', 'redirect', 'refresh') AND src <> dst GROUP BY dst"""  # as the view inlinks has it
STAY = "CREATE TEMP TABLE stay (run INTEGER PRIMARY KEY, start INTEGER, shift INTEGER)"
STAYS = "SELECT run, min(at), max(at) FROM main.fetch GROUP BY run ORDER BY run"
RATE = """SELECT (f.at - s.start + s.shift) / ?, count(*) FROM main.fetch f JOIN temp.stay s ON s.run = f.run
GROUP BY 1 ORDER BY 1"""
ANSWERS = """SELECT status, reason, count(*) FROM main.fetch WHERE outcome NOT IN ('robots', 'sitemap')
GROUP BY 1, iif(status IS NULL, reason, NULL) ORDER BY 3 DESC LIMIT 9"""
SLOW_HOSTS = "SELECT name, latency FROM main.host WHERE latency > 0 AND pages > 0 ORDER BY latency DESC, name LIMIT 6"
KINDS = "SELECT coalesce(mime, 'not said'), count(*) FROM temp.page GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 6"
BUSY_HOSTS = "SELECT name, pages FROM main.host WHERE pages > 0 ORDER BY pages DESC, name LIMIT 6"
REASONS = "SELECT reason, count(*), min(id) FROM main.url WHERE outcome = ? GROUP BY 1 ORDER BY 2 DESC LIMIT 20"
PLACE = "SELECT o.name || u.path FROM main.url u JOIN main.origin o ON o.id = u.origin WHERE u.id = ?"
RUNS = "SELECT count(*), sum(requests), sum(connections), sum(reused), sum(bytes) FROM main.run"
SEEDS = """SELECT o.name || u.path, count(*) OVER () FROM main.url u JOIN main.origin o ON o.id = u.origin
WHERE u.seed = 1 ORDER BY u.id LIMIT 3"""

POINTS = 80  # of the line of the rate


@dataclass(frozen=True, slots=True)
class Histogram:
    """Pages by one of their figures: bin K begins at ``edges[K - 1]``, the first at anything."""

    title: str
    axis: str
    sql: str  # (value, count), in any order
    edges: Sequence[int]
    names: Sequence[str]


HISTOGRAMS = (
    Histogram("Pages by depth", "links away from a start",
              "SELECT depth, count(*) FROM temp.page WHERE depth IS NOT NULL GROUP BY 1",
              range(1, 10), ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9+")),
    Histogram("Pages by size", "bytes received", "SELECT size, count(*) FROM temp.page GROUP BY 1",
              (1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000),
              ("<1 kB", "1 kB+", "4 kB+", "16 kB+", "64 kB+", "256 kB+", "1 MB+")),
    Histogram("Pages by time", "from the request to the last byte", "SELECT elapsed_ms, count(*) FROM temp.page GROUP BY 1",
              (50, 100, 200, 500, 1_000, 2_000, 5_000), ("<50 ms", "50+", "100+", "200+", "500+", "1 s+", "2 s+", "5 s+")),
    Histogram("Pages by links to them", "links from other pages",
              "SELECT coalesce(i.n, 0), count(*) FROM temp.page p LEFT JOIN temp.inlink i ON i.url = p.id GROUP BY 1",
              (1, 2, 3, 6, 11, 31, 101), ("0", "1", "2", "3–5", "6–10", "11–30", "31–100", "101+")),
)  # fmt: skip


@contextmanager
def snapshot(reader: Reader) -> Iterator[None]:
    """All questions inside see the file as it was at the first, also while a crawl writes; nothing is left behind."""
    reader.db.execute("BEGIN")
    try:
        for statement in (PAGE, INLINK, COUNT_INLINKS, STAY):
            reader.db.execute(statement)
        yield
    finally:
        reader.db.execute("ROLLBACK")  # which takes the temporary tables along


def rows(reader: Reader, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a question that has few; the SQL limits them."""
    return list(reader.query(sql, parameters)[1])


def of_all(found: list[tuple[Any, ...]], column: int) -> int:
    """What each row says of all there are, beyond the few that are shown; 0 without any."""
    return int(found[0][column]) if found else 0


def place(reader: Reader, url: int | None) -> str:
    """The URL of a row's number; "" when there is none."""
    found = reader.one(PLACE, (url,))
    return str(found[0]) if found else ""


def binned(values: Iterable[tuple[Any, ...]], edges: Sequence[int], names: Sequence[str]) -> list[tuple[str, int]]:
    """How many (value, count) fall below the first edge, from it to the second, and so on."""
    found = [0] * len(names)
    for value, n in values:
        found[bisect_right(edges, value)] += n
    return list(zip(names, found, strict=True)) if any(found) else []


def histogram(reader: Reader, told: Histogram) -> list[tuple[str, int]]:
    """The pages in each bin; streamed, however many values there are."""
    return binned(reader.query(told.sql)[1], told.edges, told.names)


def rate(reader: Reader) -> tuple[list[float], int]:
    """Requests a second in equal parts of the time spent crawling (ms), runs end to end without the pauses in between."""
    spent = 0
    for run, first, last in rows(reader, STAYS):
        reader.db.execute("INSERT INTO temp.stay VALUES (?, ?, ?)", (run, first, spent))
        spent += last - first + 1
    width = max(spent // POINTS, 100)
    counts = dict(rows(reader, RATE, width))
    return [counts.get(i, 0) * 1_000 / width for i in range(max(counts, default=-1) + 1)], spent
