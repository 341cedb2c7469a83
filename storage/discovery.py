"""What a batch's edges mean for the URLs they lead to: what is new is added, what is known comes nearer, is admitted or refused.

One look-up says what the file knows of the targets; only those about which an edge may change something go through the
statements below it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from storage import bulk
from storage.budget import Ledger
from storage.known import NEVER, SETTLED, Key, Known, State, moved
from storage.links import OF_THE_EDGE, Verdict
from storage.memory import Memory
from storage.model import Settlement
from storage.targets import Edge, Target, Targets
from storage.text import to_json

DEEP = 1 << 30  # deeper than any page; the statements below say it as 1 << 30

# `State` of `storage.known`, and whether it holds until an edge says otherwise
STATE = f"""iif(u.due_at IS NOT NULL OR u.outcome IN ('page', 'redirect', 'failure') OR u.reason IN ('limit', 'robots'),
  {SETTLED}, u.reason), u.role IS NULL AND coalesce(u.hops, 0) = 0 AND (u.reason IS NULL
    OR u.reason NOT IN ('nofollow', 'sitemaps', 'redirects') AND (u.reason <> 'depth' OR u.depth > :max_depth))"""
THERE = "FROM json_each(:places) e JOIN url u ON u.origin = e.value->>0 AND u.path = e.value->>1"
MEET = f"SELECT e.key, u.id, u.depth, {STATE} {THERE}"
LOOK = f"""SELECT e.key, u.id, u.depth, {STATE}, u.hops, u.role IS NOT NULL, u.due_at IS NULL AND (u.outcome IS NULL
  OR u.outcome = 'skipped' AND (u.detail IS :same
    OR u.reason IN ('scope', 'include', 'exclude', 'depth', 'nofollow', 'redirects', 'sitemaps'))) {THERE}"""
LAST = "SELECT coalesce(max(id), 0) FROM url"
ADD = bulk.Inserting(
    "url", "id", "origin", "host", "path", "depth", "hops", "parent", "seed", "due_at", "outcome", "reason", "detail"
)
TARGET = """CREATE TEMP TABLE IF NOT EXISTS target (
  id INTEGER PRIMARY KEY, depth INTEGER, parent INTEGER, admit INTEGER, reason TEXT, detail TEXT, seed INTEGER, hops INTEGER)"""
CLEAR = "DELETE FROM temp.target"
# `+t.id`: or SQLite reads all of url and looks each up in the few of target, 2 s with ten million
LOAD = """INSERT INTO temp.target SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7
FROM json_each(?)"""
NEARER = """UPDATE url SET depth = coalesce(min(t.depth, coalesce(url.depth, t.depth)), url.depth),
  hops = min(t.hops, coalesce(url.hops, t.hops)),
  parent = iif(t.depth < coalesce(url.depth, 1 << 30), t.parent, url.parent) FROM temp.target t
WHERE url.id = +t.id AND (t.depth < coalesce(url.depth, 1 << 30) OR t.hops < coalesce(url.hops, 1 << 30)) RETURNING url.id"""
PROMOTE = """UPDATE url SET
  due_at = iif(url.depth <= :max_depth, :now, NULL), outcome = iif(url.depth <= :max_depth, NULL, 'skipped'),
  reason = iif(url.depth <= :max_depth, NULL, 'depth'), detail = NULL,
  role = iif(url.outcome = 'sitemap', 'none', url.role), attempts = iif(url.outcome = 'sitemap', 0, url.attempts)
FROM temp.target t
WHERE url.id = +t.id AND t.admit AND url.due_at IS NULL
  AND (url.outcome IS NULL OR url.outcome = 'sitemap' AND url.reason <> 'trap' OR url.outcome = 'skipped'
       AND (url.reason IN ('scope', 'include', 'exclude', 'depth', 'nofollow', 'sitemaps') OR url.detail = :same)
       AND (url.reason <> 'depth' OR url.depth <= :max_depth))"""
REFUSE = """UPDATE url SET outcome = 'skipped', reason = t.reason, detail = t.detail FROM temp.target t
WHERE url.id = +t.id AND t.reason IS NOT NULL AND url.due_at IS NULL
  AND (url.outcome IS NULL OR url.outcome = 'skipped' AND t.reason NOT IN ('nofollow', 'sitemaps')
       AND (url.reason IN ('nofollow', 'sitemaps') OR url.reason = 'redirects' AND t.reason <> 'redirects'
            OR url.reason = 'depth' AND t.reason IN ('limit', 'trap') AND t.detail IS NOT :same))"""
SEED = """UPDATE url SET seed = 1 FROM temp.target t WHERE url.id = +t.id AND t.seed"""
STALE = """SELECT u.id FROM json_each(?) e JOIN url u ON u.id = e.value->>0
WHERE u.depth < e.value->>1 OR u.hops < e.value->>2"""
NEARER_ALONG = """UPDATE url SET depth = e.depth, parent = e.src FROM (
    SELECT l.dst, l.src, min(s.depth + l.step) AS depth
    FROM json_each(:ids) c JOIN link l ON l.src = c.value JOIN url s ON s.id = l.src
    WHERE l.step = 1 OR l.step = 0 AND s.hops < :redirects GROUP BY l.dst) e
WHERE url.id = e.dst AND e.depth < coalesce(url.depth, 1 << 30) RETURNING url.id"""
FEWER_ALONG = """UPDATE url SET hops = e.hops FROM (
    SELECT l.dst, min(iif(l.step, 0, s.hops + 1)) AS hops
    FROM json_each(:ids) c JOIN link l ON l.src = c.value JOIN url s ON s.id = l.src
    WHERE l.step = 1 OR l.step = 0 AND s.hops < :redirects GROUP BY l.dst) e
WHERE url.id = e.dst AND e.hops < coalesce(url.hops, 1 << 30) RETURNING url.id"""
READMIT = """UPDATE url SET
  due_at = iif(depth <= :max_depth, :now, NULL), outcome = iif(depth <= :max_depth, NULL, 'skipped'),
  reason = iif(depth <= :max_depth, NULL, 'depth'), detail = NULL
WHERE id IN (SELECT value FROM json_each(:ids)) AND outcome = 'skipped'
  AND (reason = 'redirects' AND depth IS NOT NULL OR reason = 'depth' AND depth <= :max_depth)"""


class Found(NamedTuple):
    """What the file says of a target. ``newcomer``: its admission would bring one more URL into the crawl."""

    id: int
    depth: int | None
    state: State
    keeps: bool
    hops: int | None
    named: bool  # as a sitemap
    newcomer: bool

    def moved(self, target: Target) -> bool:
        """Whether what the batch says of it may change something."""
        redirects = target.redirects
        fewer = redirects is not None and (self.hops is None or redirects < self.hops)
        if fewer or target.seed or self.named or (self.state == "depth" and not self.keeps):
            return True
        return moved(NEVER if self.depth is None else self.depth, self.state, target.depth, target.verdict)


def meet(db: sqlite3.Connection, left: Sequence[Edge], memory: Memory, max_depth: int) -> Collection[Key]:
    """Learn what pages link to and memory does not know. Gives those that the file does not know either."""
    unknown = dict.fromkeys(edge[2] for edge in left if memory.known.get(edge[2]) is None)
    places = list(unknown)
    found = db.execute(MEET, {"places": to_json(places), "max_depth": max_depth}) if places else ()
    for n, id_, depth, state, keeps in found:
        del unknown[places[n]]
        if keeps:
            memory.known.learn(places[n], id_, depth, state)
    return unknown.keys()


def discover(
    db: sqlite3.Connection, targets: Targets, absent: Collection[Key], memory: Memory, limit: Mapping[str, Any]
) -> tuple[dict[int, int], list[tuple[int, Target]]]:
    """Add the targets that are new. Gives the ids of all of them, by number, and those that are known and have to be
    moved. ``absent``: what the file is known not to have. ``limit``: ``now`` (Unix ms), ``max_depth``, ``same``."""
    if not targets.rows:
        return {}, []
    asked = [n for n, target in enumerate(targets.rows) if (target.origin, target.path) not in absent]
    places = to_json([[targets.rows[n].origin, targets.rows[n].path] for n in asked])
    found = db.execute(LOOK, {**limit, "places": places}) if asked else ()
    known = {asked[n]: Found(*row) for n, *row in found}
    _ration(db, targets.rows, known, limit["max_depth"], memory.ledger)
    ids = {n: found.id for n, found in known.items()}
    last = db.execute(LAST).fetchone()[0]
    new = [n for n in range(len(targets.rows)) if n not in known]
    ids |= {n: last + place for place, n in enumerate(new, 1)}
    urls = bulk.Rows(db, ADD)
    for n in new:
        urls.values += (ids[n], *_row(targets.rows[n], limit))
    if urls.end() != len(new):
        raise RuntimeError("a URL that was not known has been added twice")
    _learn(memory.known, targets.rows, known, ids, limit["max_depth"])
    return ids, [(found.id, targets.rows[n]) for n, found in known.items() if found.moved(targets.rows[n])]


def _row(target: Target, limit: Mapping[str, Any]) -> tuple[Any, ...]:
    """A new URL, from its host on."""
    place = target.origin, target.host, target.path, target.depth, target.redirects, target.parent, target.seed
    admit, reason, detail = target.verdict
    if admit and _within(target.depth, limit["max_depth"]):
        return (*place, limit["now"], None, None, None)
    reason, detail = ("depth", None) if admit else (reason, detail)
    return (*place, None, reason and "skipped", reason, detail)


def _within(depth: int | None, most: int) -> bool:
    return depth is not None and depth <= most


def _ration(
    db: sqlite3.Connection, rows: Sequence[Target], known: Mapping[int, Found], max_depth: int, ledger: Ledger
) -> None:
    """Refuse newcomers that exceed a budget."""
    newcomers = [
        n
        for n, target in enumerate(rows)
        if target.verdict.admit and not target.seed and _newcomer(target, known.get(n), max_depth)
    ]
    tight = ledger.tight(db, Counter([rows[n].host for n in newcomers]))
    asked = [n for n in newcomers if rows[n].host in tight or "?" in rows[n].path]
    if asked:
        verdicts = ledger.admit(db, [(rows[n].host, rows[n].path) for n in asked], tight)
        for n, refusal in zip(asked, verdicts, strict=True):
            if refusal:
                rows[n].verdict = Verdict(False, *refusal)


def _newcomer(target: Target, found: Found | None, max_depth: int) -> bool:
    if found is None:
        return _within(target.depth, max_depth)
    return (_within(target.depth, max_depth) or _within(found.depth, max_depth)) and found.newcomer


def _state(target: Target, max_depth: int) -> State:
    """Of a URL that has just been added."""
    admit, reason, _ = target.verdict
    if admit:
        return SETTLED if _within(target.depth, max_depth) else "depth"
    return SETTLED if reason == "limit" else reason


def _learn(
    known: Known, rows: Sequence[Target], found: Mapping[int, Found], ids: Mapping[int, int], max_depth: int
) -> None:
    for n, target in enumerate(rows):
        key, was = (target.origin, target.path), found.get(n)
        if was is not None:
            if was.keeps:
                known.learn(key, was.id, was.depth, was.state)
            else:
                known.drop(key)
        elif not target.redirects:
            state = _state(target, max_depth)
            if state not in (*OF_THE_EDGE, "redirects"):
                known.learn(key, ids[n], target.depth, state)


def move(
    db: sqlite3.Connection, batch: Sequence[Settlement], moving: Sequence[tuple[int, Target]], limit: Mapping[str, Any]
) -> int:
    """Tell the targets that are known what is new about them, and pass lower depths on along stored links; how many were
    readmitted that only depth or redirects had refused."""
    changed: set[int] = set()
    if moving:
        rows = [
            (id_, t.depth, t.parent, t.verdict.admit, t.verdict.reason, t.verdict.detail, t.seed, t.redirects)
            for id_, t in moving
        ]
        db.execute(CLEAR)
        db.execute(LOAD, (to_json(rows),))
        changed = _ids(db, NEARER)
        db.execute(PROMOTE, limit)
        db.execute(REFUSE, limit)
        db.execute(SEED)
    visits = to_json([[s.url_id, s.depth, s.hops] for s in batch if s.url_id is not None and s.links])
    nearer = changed | _ids(db, STALE, (visits,))
    while nearer:
        along = {**limit, "ids": to_json(sorted(nearer))}
        nearer = _ids(db, NEARER_ALONG, along) | _ids(db, FEWER_ALONG, along)
        changed |= nearer
    return db.execute(READMIT, {**limit, "ids": to_json(sorted(changed))}).rowcount if changed else 0


def _ids(db: sqlite3.Connection, sql: str, parameters: Any = ()) -> set[int]:
    return {row[0] for row in db.execute(sql, parameters)}
