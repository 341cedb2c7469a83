"""Is a crawl file whole? As far as that can be told in a few seconds (FAULTS D12).

SQLite's own check knows its pages, not their meaning. What a flipped byte makes of a row is told by what the file says twice:
the hosts' counters and the views, the tables and the joins over them.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from functools import cache
from pathlib import Path

from storage.migrate import SCHEMA
from storage.store import StoreError, StoreUnreadable
from storage.trouble import DAMAGED, Errors, recovery, told

SECONDS = 5.0  # a larger file is checked as far as one comes
OPS = 100_000  # steps of SQLite's machine between two looks at the clock, some milliseconds
LARGE = 256 * 2**20  # bytes: SQLite checks all pages in one step, which nobody can break off: 12 s for ten million URLs
LARGE_SECONDS = 1.0  # what is left to do then would not be done in five either, and slows the crawl beside it
TWICE = (
    ("queue", "SELECT count(*) FROM queue", "SELECT sum(queued) FROM host"),
    ("pages", "SELECT count(*) FROM pages", "SELECT sum(pages) FROM host"),
    ("failures", "SELECT count(*) FROM failures", "SELECT sum(failed) FROM host"),
    ("skipped", "SELECT count(*) FROM skipped", "SELECT sum(skipped) FROM host"),
    (
        "redirects",
        "SELECT count(*) FROM url u JOIN origin o ON o.id = u.origin JOIN fetch f ON f.id = u.last "
        "WHERE u.outcome = 'redirect'",
        "SELECT sum(redirects) FROM host",
    ),
    ("fetches", "SELECT count(*) FROM fetches", "SELECT count(*) FROM fetch"),
    ("links", "SELECT count(*) FROM links", "SELECT count(*) FROM link"),
)
"""What must be equal, the dearest last; each pair is read in one transaction."""

QUICK = "PRAGMA quick_check(1)"
WHOLE = "PRAGMA integrity_check(1)"  # the indexes too, which takes twice as long
DEFINITIONS = "SELECT name, sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL"


@cache
def definitions() -> frozenset[tuple[str, str]]:
    """Views, triggers and indexes as a fresh file has them; an upgraded file's tables are worded differently."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA.read_text("utf-8"))
        return frozenset(db.execute(DEFINITIONS))


class Verification:
    """Checks a file in a thread of its own, beside the crawl; `end` makes it give up."""

    def __init__(self, path: Path, seconds: float = SECONDS) -> None:
        self._path = path
        self._until = time.monotonic() + seconds

    def end(self) -> None:
        self._until = 0.0

    @property
    def large(self) -> bool:
        """Whether the file is too large to be checked wholly."""
        try:
            return self._path.stat().st_size > LARGE
        except FileNotFoundError:  # moved away meanwhile; the connections still hold it
            return False

    def run(self) -> StoreError | None:
        """What is wrong; None: nothing that was found in time."""
        try:
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)) as db:
                db.set_progress_handler(lambda: time.monotonic() > self._until, OPS)
                db.execute("BEGIN")
                return self._look(db)
        except Errors as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
            return StoreUnreadable(str(told(error, self._path))) if code & 0xFF in DAMAGED else None

    def _look(self, db: sqlite3.Connection) -> StoreError | None:
        if large := self.large:
            self._until = min(self._until, time.monotonic() + LARGE_SECONDS)
        if (said := "ok" if large else str(db.execute(QUICK).fetchone()[0])) != "ok":
            return self._damaged(said)
        mine = set(db.execute(DEFINITIONS))
        if lost := {name for name, sql in definitions() if (name, sql) not in mine}:
            return self._damaged(f"the definition of {', '.join(sorted(lost))} is not that of this version")
        for view, *counts in TWICE:
            seen, told_ = (db.execute(sql).fetchone()[0] or 0 for sql in counts)
            if seen != told_:
                return self._damaged(f"{view} has {seen:,} rows where {told_:,} are recorded")
        if large or time.monotonic() > self._until - SECONDS / 2:
            return None
        said = db.execute(WHOLE).fetchone()[0]
        return None if said == "ok" else self._damaged(said)

    def _damaged(self, what: str) -> StoreUnreadable:
        return StoreUnreadable(f"{self._path} is damaged: {what}. It is left as it is; try: {recovery(self._path)}")
