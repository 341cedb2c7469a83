"""What a file knows is made due again, or is kept out from now on. Nothing is sent, and no history is lost.

`url.due_at` is all that decides what is asked (DESIGN §1): a revisit is due with a priority above 0, behind first visits.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from storage.text import to_json

AT_ONCE = 20_000  # ids in one statement
UNFINISHED = "recrawl"  # the key in `meta` of the latest recrawl: when it began, and what was asked for

AGAIN = """UPDATE url SET due_at = :now, attempts = 0, priority = max(priority, 1)
WHERE id IN (SELECT value FROM json_each(:ids)) AND outcome IN ('page', 'redirect', 'failure')"""
SITEMAPS = """UPDATE url SET due_at = :now, attempts = 0, priority = max(priority, 1)
WHERE role IS NOT NULL AND role <> 'none' AND outcome IS NOT NULL AND outcome <> 'skipped'"""
RETRY = """UPDATE url SET due_at = :now, attempts = 0, priority = 0
WHERE id IN (SELECT value FROM json_each(:ids)) AND outcome = 'failure'"""
BLOCK = """UPDATE url SET due_at = NULL, outcome = 'skipped', reason = 'blocked', detail = :why
WHERE id IN (SELECT value FROM json_each(:ids)) AND reason IS NOT 'blocked'"""
UNLINK = "DELETE FROM link WHERE src IN (SELECT value FROM json_each(:ids))"
UNBLOCK = """UPDATE url SET due_at = iif(depth IS NULL AND role IS NULL, NULL, :now), outcome = NULL, reason = NULL,
  detail = NULL, priority = 0, attempts = 0
WHERE id IN (SELECT value FROM json_each(:ids)) AND reason = 'blocked'"""
JUDGE = "INSERT OR IGNORE INTO meta VALUES ('rescope', 'a block was lifted')"
SINCE = "SELECT count(*) FROM url WHERE due_at = ? AND priority > 0"
SCHEDULE = """UPDATE url SET due_at = f.at + :wait, priority = 1, attempts = 0 FROM fetch f
WHERE f.id = url.last AND (url.outcome IN ('page', 'redirect', 'failure') OR url.outcome = 'sitemap' AND url.role <> 'none')
  AND (url.due_at IS NULL OR url.priority > 0 AND url.attempts = 0 AND url.due_at > :now)"""
UNSCHEDULE = "UPDATE url SET due_at = NULL WHERE priority > 0 AND attempts = 0 AND due_at > :now"


def left(db: sqlite3.Connection, asked: Any) -> int:
    """How many URLs the latest recrawl still has to visit, if it was asked for in the same way; else 0."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (UNFINISHED,)).fetchone()
    if row is None:
        return 0
    at, before = json.loads(row[0])
    return int(db.execute(SINCE, (at,)).fetchone()[0]) if before == asked else 0


def recrawl(db: sqlite3.Connection, ids: Sequence[int], asked: Any, *, now: int, sitemaps: bool) -> int:
    """Make these URLs due at ``now`` (Unix ms), and with ``sitemaps`` all that are known; how many. ``asked``: JSON, what
    `left` knows the recrawl by. The caller holds the transaction."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (UNFINISHED, to_json([now, asked])))
    found = _each(db, AGAIN, ids, now=now)
    return found + (db.execute(SITEMAPS, {"now": now}).rowcount if sitemaps else 0)


def retry(db: sqlite3.Connection, ids: Sequence[int], *, now: int) -> int:
    """Make failures due again, as if they had never been tried; how many."""
    return _each(db, RETRY, ids, now=now)


def block(db: sqlite3.Connection, ids: Sequence[int], why: str) -> int:
    """Keep URLs out, whatever links to them; how many. What was a page there links nowhere any more."""
    _each(db, UNLINK, ids)
    return _each(db, BLOCK, ids, why=why)


def unblock(db: sqlite3.Connection, ids: Sequence[int], *, now: int) -> int:
    """Let them in again, as far as the scope does; how many."""
    db.execute(JUDGE)
    return _each(db, UNBLOCK, ids, now=now)


def reschedule(db: sqlite3.Connection, wait: int | None, *, now: int) -> None:
    """Whatever has been visited falls due ``wait`` ms after its last answer; None: not any more."""
    db.execute(UNSCHEDULE if wait is None else SCHEDULE, {"wait": wait, "now": now})


def _each(db: sqlite3.Connection, sql: str, ids: Sequence[int], **more: Any) -> int:
    parts = (to_json(list(ids[at : at + AT_ONCE])) for at in range(0, len(ids), AT_ONCE))
    return sum(db.execute(sql, {**more, "ids": part}).rowcount for part in parts)
