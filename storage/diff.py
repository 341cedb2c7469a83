"""What has changed between two runs, from the attempts alone: `fetch` is append-only, and its ids grow with its runs.

A URL *is there* when its latest answer was a page or a redirect. A 304 says that it is as it was, so it is not looked at but
for the fact that somebody asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3  # not for the names that `--help` shows

KINDS = ("gone", "new", "changed", "unchanged", "unvisited")

DIFF = """WITH
  told AS (SELECT id, url, run FROM fetch WHERE outcome IN ('page', 'redirect', 'failure')),
  first AS (SELECT url, max(id) AS id FROM told WHERE run <= :first GROUP BY url),
  second AS (SELECT url, max(id) AS id FROM told WHERE run <= :second GROUP BY url),
  asked AS (SELECT DISTINCT url FROM fetch WHERE run > :first AND run <= :second AND outcome <> 'robots')
SELECT CASE
    WHEN a.outcome IN ('page', 'redirect') AND b.outcome = 'failure' THEN 'gone'
    WHEN a.outcome IN ('page', 'redirect') THEN CASE
      WHEN a.id = b.id THEN iif(u.id IN asked, 'unchanged', 'unvisited')
      WHEN a.body IS NOT b.body OR a.status <> b.status OR a.outcome <> b.outcome OR (b.outcome = 'redirect' AND
        (SELECT value->>1 FROM json_each(a.headers) WHERE lower(value->>0) = 'location') IS NOT
        (SELECT value->>1 FROM json_each(b.headers) WHERE lower(value->>0) = 'location')) THEN 'changed'
      ELSE 'unchanged' END
    WHEN b.outcome <> 'failure' THEN 'new' END AS change,
  o.name || u.path AS url, b.status, a.status, b.reason, b.title, a.title, a.id, b.id
FROM second s JOIN fetch b ON b.id = s.id JOIN url u ON u.id = s.url JOIN origin o ON o.id = u.origin
LEFT JOIN first f ON f.url = s.url LEFT JOIN fetch a ON a.id = f.id
WHERE change IS NOT NULL
ORDER BY instr('gone new changed unchanged unvisited', change), url"""
BEFORE = """SELECT max(id) FROM run WHERE id < :second AND requests > 0
AND (ending IN ('complete', 'deferred', 'limit') OR NOT EXISTS (
  SELECT 1 FROM run WHERE id < :second AND requests > 0 AND ending IN ('complete', 'deferred', 'limit')))"""
LATEST = "SELECT max(id) FROM run WHERE requests > 0"
EXISTS = "SELECT count(*) FROM run WHERE id IN (?, ?)"
STORED = """SELECT o.name || u.path, f.headers, f.parse, b.codec, b.data
FROM fetch f JOIN url u ON u.id = f.url JOIN origin o ON o.id = u.origin LEFT JOIN body b ON b.id = f.body WHERE f.id = ?"""


class Change(NamedTuple):
    """A URL that was there in one of two runs, or in both. ``before`` and ``after``: the fetches they are known from."""

    change: str
    url: str
    status: int | None
    was_status: int | None
    reason: str | None
    title: str | None
    was_title: str | None
    before: int | None
    after: int


def changes(db: sqlite3.Connection, first: int, second: int) -> Iterator[Change]:
    """What differs between the ends of two runs, in the order of `KINDS`, then by URL."""
    return map(Change._make, db.execute(DIFF, {"first": first, "second": second}))


def runs(db: sqlite3.Connection, first: int | None, second: int | None) -> tuple[int, int] | None:
    """The two runs that are meant: by default the latest, and the one before it that came to its end; None: there are none."""
    if second is None:
        second = db.execute(LATEST).fetchone()[0]
    if second is not None and first is None:
        first = db.execute(BEFORE, {"second": second}).fetchone()[0]
    if first is None or second is None or first >= second:
        return None
    return (first, second) if db.execute(EXISTS, (first, second)).fetchone()[0] == 2 else None
