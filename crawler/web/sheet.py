"""Pages as rows that can be sorted by any column, and attempts summed up: derived from a crawl file as it grows.

The crawl keeps no index that only a person would need. `fetch` is append-only, so the latest attempt that is known says
all of what is missing, and keeping up with a crawl costs what is new.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from storage.index import identity

if TYPE_CHECKING:
    from storage.reader import Reader

SCHEMA = Path(__file__).with_name("sheet.sql")
BATCH = 2_000  # attempts that are read at once: 10 ms
TICK_MS = 1_000
AGAIN = 60.0  # s between two times that everything is read anew, because the counters of the file say otherwise
NEW = """SELECT f.id, f.at, f.outcome, f.status, f.reason, u.id, u.outcome IS 'page', l.id, o.name || u.path, h.name,
  coalesce(l.title, ''), coalesce(l.mime, ''), coalesce(l.status, 0), coalesce(u.depth, -1),
  coalesce(b.size, l.wire_size), l.elapsed_ms, trim(coalesce(l.truncated, '') || ' ' || coalesce(l.parse, ''))
FROM fetch f JOIN url u ON u.id = f.url JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
LEFT JOIN fetch l ON l.id = u.last LEFT JOIN body b ON b.id = l.body
WHERE f.id > ? ORDER BY f.id LIMIT ?"""
STANDING = "SELECT (SELECT coalesce(max(id), 0) FROM fetch), (SELECT coalesce(sum(pages), 0) FROM host)"
PUT = "INSERT OR REPLACE INTO page VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
TICK = "INSERT INTO tick VALUES (?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests"
ANSWER = "INSERT INTO answer VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n"


class Sheet:
    """A private database beside a crawl file's readers, in memory and, beyond 64 MiB, in a nameless temporary file.
    Threads may share it; close it when done."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._whose: str | None = None
        self._mark = 0
        self._anew_at = 0.0
        self.missing = 0  # attempts that were not known when it was last looked
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(SCHEMA.read_text("utf-8"))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def rows(self, sql: str, parameters: dict[str, Any] | tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """What a question that has few rows comes to."""
        with self._lock:
            return self._db.execute(sql, parameters).fetchall()

    def catch_up(self, reader: Reader, seconds: float) -> None:
        """Take in what was fetched since, for about so long; `missing` says what is left then."""
        until = time.monotonic() + seconds
        with self._lock:
            if self._whose != (whose := identity(reader.db)):  # another file in its place, or hosts were purged
                self._forget(whose)
            pages = self._look(reader)
            while self.missing and time.monotonic() < until:
                self._take(reader)
                pages = self._look(reader)
            known = self._db.execute("SELECT count(*) FROM page").fetchone()[0]
            if not self.missing and known != pages and time.monotonic() >= self._anew_at:
                self._anew_at = time.monotonic() + AGAIN  # something became a page, or is none any more, and was not fetched
                self._forget(whose)
                self._look(reader)

    def _look(self, reader: Reader) -> int:
        """How much is missing now, and how many pages the file says it has."""
        latest, pages = reader.one(STANDING) or (0, 0)
        self.missing = max(0, latest - self._mark)
        return int(pages)

    def _forget(self, whose: str) -> None:
        self._db.executescript("DELETE FROM page; DELETE FROM tick; DELETE FROM answer")
        self._whose, self._mark = whose, 0

    def _take(self, reader: Reader) -> None:
        """The next attempts: all of them, or none."""
        new = reader.db.execute(NEW, (self._mark, BATCH)).fetchall()
        ticks, answers = Counter(row[1] // TICK_MS for row in new), Counter[tuple[int, str]]()
        for _, _, outcome, status, reason, *_ in new:
            if outcome not in ("robots", "sitemap"):
                answers[status or 0, "" if status else reason or ""] += 1
        self._db.execute("BEGIN")
        try:
            self._db.executemany("DELETE FROM page WHERE id = ?", [(row[5],) for row in new if not row[6]])
            self._db.executemany(PUT, [(row[5], *row[7:]) for row in new if row[6]])
            self._db.executemany(TICK, list(ticks.items()))
            self._db.executemany(ANSWER, [(*answer, n) for answer, n in answers.items()])
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._mark = new[-1][0] if new else self._mark
