"""Which URLs are sitemaps, and how many of them a host may have (FAULTS R13). Part of a commit's transaction.

A URL that a robots.txt or an index names is a sitemap, whatever page links to it: it is asked for again if it was
visited as a page, or for fewer hosts than it may speak for. So the order in which it was met does not matter. Until a
visit has found a sitemap there, what came of the URL as a page stays; a name alone takes no page away (decision 0014).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from storage.model import Role, Settlement
from storage.text import to_json

MAX_FILES = 1_000  # sitemaps of a host (R13)
MAX_URLS = 1_000_000  # that the sitemaps of a host may name, those of indexes included

NONE = "none"  # the role of what was named as a sitemap and is none; it gets no other

NAMED = "SELECT id, role FROM url WHERE id IN (SELECT value FROM json_each(?))"
ASSIGN = """UPDATE url SET role = e.value->>1, due_at = :now,
  outcome = iif(outcome IN ('page', 'redirect', 'failure'), outcome, NULL),
  reason = iif(outcome = 'failure', reason, NULL), detail = iif(outcome = 'failure', detail, NULL),
  parent = iif(depth IS NULL, coalesce(e.value->>2, url.parent), url.parent)
FROM json_each(:rows) e WHERE url.id = e.value->>0"""
NAMED_URLS = f"""SELECT coalesce(sum(min(max(f.data->>'urls', 0), {MAX_URLS})), 0) FROM url u JOIN fetch f ON f.id = u.last
WHERE u.role IS NOT NULL AND f.outcome = 'sitemap' AND u.host = ? AND u.id <> ?"""  # noqa: S608 - a parse worker may say any number
SPENT = f"the sitemaps of a host may name {MAX_URLS:,} URLs"
LAST = """SELECT id FROM url WHERE host = ? AND role IS NOT NULL AND outcome IS NOT 'skipped'
ORDER BY id LIMIT 1 OFFSET ?"""
REFUSE = """UPDATE url SET due_at = NULL, outcome = 'skipped', reason = 'trap', detail = ?
WHERE host = ? AND role IS NOT NULL AND role <> 'none' AND due_at IS NOT NULL AND last IS NULL AND id > ?"""
AGAIN = "(outcome IN ('sitemap', 'failure') AND depth <= :max_depth AND (seed OR e.value->>2))"
KEPT = "outcome <> 'sitemap' OR depth IS NULL"
RELEASE = f"""UPDATE url SET role = 'none', due_at = iif({AGAIN}, :now, NULL), attempts = iif({AGAIN}, 0, attempts),
  outcome = CASE WHEN {KEPT} THEN outcome WHEN NOT {AGAIN} THEN 'skipped' END,
  reason = CASE WHEN {KEPT} THEN reason WHEN NOT {AGAIN} THEN coalesce(e.value->>3, 'depth') END,
  detail = CASE WHEN {KEPT} THEN detail WHEN NOT {AGAIN} THEN e.value->>4 END
FROM json_each(:rows) e WHERE url.id = e.value->>0 AND role IS e.value->>1 AND due_at IS NULL
  AND (outcome <> 'sitemap' OR depth IS NOT NULL OR reason = 'not_sitemap')"""  # noqa: S608 - of constants


def assign(db: sqlite3.Connection, named: Iterable[tuple[int, int | None, Role]], now: int) -> None:
    """Give URLs their role: ``named`` has a URL's id, that of the robots.txt that named it, and the role."""
    roles: dict[int, Role] = {}
    parents: dict[int, int | None] = {}
    for id_, parent, role in named:
        roles[id_] = roles[id_].merged(role) if id_ in roles else role
        parents.setdefault(id_, parent)
    changed = []
    for id_, text in db.execute(NAMED, (to_json(list(roles)),)).fetchall():
        if text == NONE:
            continue
        role = roles[id_].merged(Role.of(text)) if text else roles[id_]
        if str(role) != text:
            changed.append([id_, str(role), parents[id_]])
    if changed:
        db.execute(ASSIGN, {"rows": to_json(changed), "now": now})


def release(db: sqlite3.Connection, batch: Sequence[Settlement], limit: Mapping[str, int]) -> None:
    """Let go of what proved to be no sitemap: a page that is wanted there is asked for as one."""
    rows = [
        [s.url_id, str(s.role), int(s.page.admit), s.page.reason, s.page.detail]
        for s in batch
        if s.page is not None
    ]
    if rows:
        db.execute(RELEASE, {"rows": to_json(rows), "now": limit["now"], "max_depth": limit["max_depth"]})


def bound(db: sqlite3.Connection, hosts: Iterable[int]) -> None:
    """Refuse of these hosts' sitemaps those beyond the hosts' share, loudly: reason 'trap', and which share it was."""
    for host in hosts:
        last = db.execute(LAST, (host, MAX_FILES - 1)).fetchone()
        if last:
            db.execute(REFUSE, (f"a host may have {MAX_FILES:,} sitemaps", host, last[0]))
        if db.execute(NAMED_URLS, (host, 0)).fetchone()[0] >= MAX_URLS:
            db.execute(REFUSE, (SPENT, host, 0))


def trimmed(db: sqlite3.Connection, batch: Sequence[Settlement], hosts: Mapping[str, int]) -> list[Settlement]:
    """The batch, without the links that are more than a host's sitemaps may name. ``hosts``: ids by name."""
    room: dict[int, int] = {}
    found = list(batch)
    for i, s in enumerate(batch):
        if s.role is None or not s.links:
            continue
        host = hosts[s.place.host]
        if host not in room:
            room[host] = MAX_URLS - int(db.execute(NAMED_URLS, (host, s.url_id)).fetchone()[0])
        left, room[host] = max(0, room[host]), room[host] - len(s.links)
        if len(s.links) > left:
            found[i] = replace(s, links=s.links[:left], reason="trap", detail=SPENT)
    return found
