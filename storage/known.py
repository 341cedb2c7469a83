"""Known targets, in memory: most links lead where links have led before, and need no SQL but their own row.

An edge is *plain* when the commit that brings it changes nothing about its target. What is kept of a target may be behind
the file (deeper than it is by now, refused though admitted since): then a plain edge is not seen to be one, which costs time,
and never the other way round. Where targets get worse, it has to be forgotten: a rollback, a rescope, a refused host, a
page that is named as a sitemap.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from storage.links import Verdict

MOST = 60_000  # targets in each of two generations: about 300 bytes each
NEVER = 1 << 30  # a depth beyond all others; the statement below says it as 1 << 30

Key = tuple[int, str]  # origin's id, path
Target = tuple[int, int, bool | str | None]
"""Id, depth, and what the crawl thinks of it. True: what an edge says of it does not matter any more, for it is queued,
visited, or refused for good. A reason: of that refusal. None: edges to it were only recorded."""

STATES = """SELECT t.n, t.origin, t.path, u.id, coalesce(u.depth, 1 << 30),
  u.due_at IS NOT NULL OR u.outcome IN ('page', 'redirect', 'failure') OR u.reason IN ('limit', 'robots'), u.reason,
  u.role IS NULL AND coalesce(u.hops, 0) = 0
  AND (u.reason IS NULL OR u.reason NOT IN ('nofollow', 'sitemaps', 'redirects'))
FROM temp.target t JOIN url u ON u.id = t.id"""


class Known:
    """Two generations: what is asked for moves to the younger; when that is full, the older one goes."""

    def __init__(self) -> None:
        self.young: dict[Key, Target] = {}
        self._old: dict[Key, Target] = {}

    def get(self, key: Key) -> Target | None:
        found = self.young.get(key)
        if found is None and self._old and (found := self._old.pop(key, None)) is not None:
            self.young[key] = found
        return found

    def look(self, db: sqlite3.Connection, without: Iterable[int]) -> dict[int, int]:
        """Learn the batch's targets, but for those numbers; the ids of all of them, by number."""
        ids: dict[int, int] = {}
        barred = set(without)
        for n, origin, path, id_, depth, settled, reason, keep in db.execute(STATES):
            ids[n] = id_
            if keep and n not in barred:
                self.young[origin, path] = id_, depth, True if settled else reason
            else:
                self.young.pop((origin, path), None)
                self._old.pop((origin, path), None)
        if len(self.young) > MOST:
            self.young, self._old = {}, self.young
        return ids

    def forget(self) -> None:
        self.young.clear()
        self._old.clear()


def plain(target: Target, step: int | None, verdict: Verdict, depth: int) -> bool:
    """Whether nothing changes about a target by an edge from a page of this depth. A redirect's never is plain."""
    _, known, state = target
    if step is not None and (step == 0 or depth + step < known):
        return False
    if state is True or (verdict.reason is None and not verdict.admit):
        return True
    return state == "depth" if verdict.admit else state == verdict.reason
