"""Judging again: what was refused, or waits untried, when the scope or a budget has changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from storage.budget import Ledger
from storage.model import LinkRow, Place
from storage.store import Judge
from storage.text import to_json

JUDGED = """SELECT u.id, u.host, u.depth, u.due_at IS NOT NULL, u.reason, o.name, h.name, u.path
FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
WHERE u.id > :after AND NOT u.seed AND coalesce(u.role, 'none') = 'none'
  AND (:links OR EXISTS (SELECT 1 FROM url p WHERE p.id = u.parent AND p.role <> 'none'))
  AND (u.due_at IS NOT NULL AND u.last IS NULL OR u.outcome = 'skipped'
       AND u.reason IN ('scope', 'include', 'exclude', 'depth', 'limit', 'trap', 'robots', 'sitemaps'))
ORDER BY u.id LIMIT 5000"""
REJUDGE = """UPDATE url SET
  due_at = iif(e.value->>1 AND url.depth <= :max_depth, coalesce(url.due_at, :now), NULL), priority = 0,
  outcome = iif(e.value->>1 AND url.depth <= :max_depth, NULL, 'skipped'),
  reason = iif(e.value->>1, iif(url.depth <= :max_depth, NULL, 'depth'), e.value->>2),
  detail = iif(e.value->>1, NULL, e.value->>3)
FROM json_each(:rows) e WHERE url.id = e.value->>0
  AND (url.due_at IS NULL) = (coalesce(e.value->>1, 0) AND url.depth <= :max_depth) RETURNING url.id"""


REVISITS = """SELECT u.id, u.host, u.depth, 1, u.reason, o.name, h.name, u.path
FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
WHERE u.id > :after AND u.due_at IS NOT NULL AND u.priority > 0 AND NOT u.seed AND coalesce(u.role, 'none') = 'none'
ORDER BY u.id LIMIT 5000"""
LET_GO = "UPDATE url SET due_at = NULL WHERE id IN (SELECT value FROM json_each(?))"
ADMITTED, REFUSED, LET_BE = "admitted", "refused", "not visited again"

Note = Callable[[str, str, Place], None]
"""Is told of each URL that has moved: one of the words above, the reason (of the refusal that is lifted, or of the new one),
and which it is."""


def rescope(
    db: sqlite3.Connection, judge: Judge, ledger: Ledger, limit: dict[str, int], note: Note = lambda what, why, place: None
) -> int:
    """Apply the rule, then the budgets, to all that was not tried; how many were queued or refused by it. What was visited
    and is outside is not asked again, and stays what it is.

    ``limit``: ``now`` (Unix ms), ``max_depth``, and ``links``, without which only what sitemaps named is judged.
    """
    ledger.forget()
    _let_be(db, judge, note)
    changed, after = 0, 0
    while rows := db.execute(JUDGED, limit | {"after": after}).fetchall():
        after = rows[-1][0]
        verdicts = [judge(Place(*row[5:])) for row in rows]
        _ration(db, rows, verdicts, ledger, limit["max_depth"])
        judged = to_json([[row[0], int(v.admit), v.reason, v.detail] for row, v in zip(rows, verdicts, strict=True)])
        moved = {id_ for (id_,) in db.execute(REJUDGE, limit | {"rows": judged})}
        changed += len(moved)
        for row, verdict in zip(rows, verdicts, strict=True):
            if row[0] in moved:
                what, why = (REFUSED, verdict.reason or "depth") if row[3] else (ADMITTED, str(row[4]))
                note(what, why, Place(*row[5:]))
    ledger.forget()
    return changed


def _let_be(db: sqlite3.Connection, judge: Judge, note: Note) -> None:
    after = 0
    while rows := db.execute(REVISITS, {"after": after}).fetchall():
        after = rows[-1][0]
        places = [(row[0], Place(*row[5:])) for row in rows]
        outside = [(id_, place, verdict.reason or "") for id_, place in places if not (verdict := judge(place)).admit]
        db.execute(LET_GO, (to_json([id_ for id_, _, _ in outside]),))
        for _, place, why in outside:
            note(LET_BE, why, place)


def _ration(
    db: sqlite3.Connection, rows: list[Any], verdicts: list[LinkRow], ledger: Ledger, max_depth: int
) -> None:
    """Of those that would be queued now, only as many as the budgets have room for. What robots.txt refused had room."""
    back = [
        i
        for i, (_, _, depth, queued, reason, *_) in enumerate(rows)
        if verdicts[i].admit and not queued and depth is not None and depth <= max_depth and reason != "robots"
    ]
    hosts = {rows[i][1] for i in back}
    for i, refusal in zip(back, ledger.admit(db, [(rows[i][1], rows[i][7]) for i in back], hosts), strict=True):
        if refusal:
            verdicts[i] = verdicts[i]._replace(admit=False, reason=refusal[0], detail=refusal[1])
