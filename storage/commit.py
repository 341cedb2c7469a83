"""One transaction for a batch of settlements: what became of each URL, what was found, what the hosts' clocks say.

A statement a batch instead of a statement a row, over parameters (`storage.bulk`) or `json_each`, so that SQLite works
without the interpreter lock while the event loop goes on. Bodies travel as one blob that SQL cuts into slices. All of it
is plain synchronous code: it runs in the write connection's own thread, one hop a transaction (decision 0006).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from storage import bulk, repeats, sitemaps
from storage.discovery import DEEP, discover, meet, move
from storage.links import Verdict, origins_of
from storage.memory import Memory, Names
from storage.model import BUDGETS, BodyRow, Budgets, HostRow, Place, Settlement, record
from storage.targets import Targets, collect, known_edges
from storage.text import to_json

EXCLUDED = "SELECT host FROM exclusion"
WIDENED = "INSERT OR IGNORE INTO meta VALUES ('rescope', 'a seed has joined')"  # until `Store.rescope` is done
BODIES = """INSERT INTO body (digest, size, codec, data)
SELECT substr(:digests, 32 * key + 1, 32), value->>0, value->>1,
  coalesce(substr(:blob, (value->>2) + 1, value->>3), x'')  -- substr of an empty blob is NULL
FROM json_each(:rows) WHERE true ON CONFLICT (digest) DO NOTHING"""
FETCH = bulk.Inserting(
    "fetch", "id", "url", "run", "at", "outcome", "reason", "status", "elapsed_ms", "attempt", "wire_size", "truncated",
    "address", "mime", "charset", "title", "robots", "parse", "headers", "data", body="(SELECT id FROM body WHERE digest = ?)",
)  # fmt: skip
LARGEST = (1 << 63) - 1  # integer of SQLite's
STAYS = """(e.value->>3 IS NULL OR e.value->>7 IS NOT NULL AND outcome IN ('page', 'redirect', 'failure')
    AND (e.value->>3 <> 'sitemap' OR coalesce(e.value->>4, 'trap') <> 'trap'))"""  # until a sitemap is found there
SEEDS = "SELECT count(*) FROM url WHERE seed = 1"
SETTLE = f"""UPDATE url SET attempts = e.value->>2,
  due_at = iif(role IS e.value->>7 OR role = 'none' AND e.value->>7 IS NULL, e.value->>1, :now),
  last = iif({STAYS}, last, coalesce(e.value->>6, last)), outcome = iif({STAYS}, outcome, e.value->>3),
  reason = iif({STAYS}, reason, e.value->>4), detail = iif({STAYS}, detail, e.value->>5),
  priority = coalesce(e.value->>8, priority)
FROM json_each(:rows) e WHERE url.id = e.value->>0"""  # noqa: S608 - of constants
LINKING = ("page", "redirect", "sitemap")  # outcomes that say anew where a URL leads
UNLINK = "DELETE FROM link WHERE src IN (SELECT value FROM json_each(?))"
LINK = bulk.Inserting("link", "src", "dst", "kind", "rel", "text", "step")
PLAIN_LINK = bulk.Inserting("link", "src", "dst", "text", kind="'a'", rel="NULL", step="1")  # two thirds of its price
HOSTS = """UPDATE host SET next_fetch_at = max(next_fetch_at, e.value->>1), blocked_until = e.value->>2,
  delay = e.value->>3, crawl_delay = e.value->>4, failures = e.value->>5,
  latency = e.value->>6, slowed = e.value->>7, throttled = e.value->>8, trouble = e.value->>9,
  asked_at = coalesce(asked_at, :now)
FROM json_each(:rows) e WHERE host.id = e.value->>0"""
ORIGINS = """UPDATE origin SET robots_status = e.value->>1, robots_until = e.value->>2, robots_failures = e.value->>3,
  robots_fetch = iif(e.value->>1 = 'absent', NULL, coalesce(e.value->>4, robots_fetch))
FROM json_each(?) e WHERE origin.id = e.value->>0"""
ADDRESSES = """INSERT INTO address SELECT value->>0, value->>1 FROM json_each(?) WHERE true
ON CONFLICT DO UPDATE SET next_fetch_at = max(next_fetch_at, excluded.next_fetch_at)"""


@record
class Facts:
    """What a commit is told: the time (Unix ms), the run, the depth limit, and the id its first fetch row gets."""

    now: int
    run: int
    max_depth: int | None
    first_fetch: int
    budgets: Budgets = BUDGETS

    @property
    def limit(self) -> dict[str, Any]:
        deep = DEEP if self.max_depth is None else self.max_depth
        return {"now": self.now, "max_depth": deep, "redirects": self.budgets.redirects, "same": repeats.SAME}


def apply(db: sqlite3.Connection, memory: Memory, batch: Sequence[Settlement], facts: Facts) -> None:
    """Write the batch; the caller holds the transaction."""
    names = memory.names
    names.learn(db, *_mentioned(batch))
    surveyed = {names.hosts[s.place.host] for s in batch if s.role is not None}
    if surveyed:
        batch = sitemaps.trimmed(db, batch, names.hosts)
    batch, again = repeats.closed(db, batch, names.hosts)
    db.execute(UNLINK, (to_json([s.url_id for s in batch if _unlinks(s)]),))
    links, plain = bulk.Rows(db, LINK), bulk.Rows(db, PLAIN_LINK)
    left = known_edges(batch, memory, links, plain)
    absent = meet(db, left, memory, facts.limit["max_depth"])
    targets, owns = collect(batch, left, memory, facts.budgets.redirects, links)
    ids, moving = discover(db, targets, absent, memory, facts.limit)
    _bodies(db, [s.body for s in batch if s.body])
    again.note(db)
    fetch_ids = _fetches(db, batch, {i: ids[n] for i, n in owns.items()}, facts)
    _settle(db, batch, fetch_ids, facts.now)
    sitemaps.release(db, batch, facts.limit)
    targets.link(ids, links)
    links.end()
    plain.end()
    readmitted = move(db, batch, moving, facts.limit)
    if targets.roles:
        _name_sitemaps(db, targets, ids, memory, facts.now)
    if surveyed:
        sitemaps.bound(db, surveyed)
    seeds = any(target.seed for target in targets.rows)
    if seeds:
        db.execute(WIDENED)
    if seeds or readmitted:
        memory.ledger.forget()
    _clocks(db, batch, names, fetch_ids, facts.now)


def _mentioned(batch: Sequence[Settlement]) -> tuple[dict[str, str], set[str]]:
    origins = {s.place.origin: s.place.host for s in batch}
    for s in batch:
        origins.update(origins_of(s.links))
    hosts = {s.host.name for s in batch if s.host}
    return origins, hosts


def _name_sitemaps(db: sqlite3.Connection, targets: Targets, ids: Mapping[int, int], memory: Memory, now: int) -> None:
    sitemaps.assign(db, [(ids[n], None if own is None else ids[own], role) for n, own, role in targets.roles], now)
    named = [targets.rows[n] for n, _, _ in targets.roles]
    sitemaps.bound(db, {target.host for target in named})
    for target in named:
        memory.known.drop((target.origin, target.path))


def _unlinks(s: Settlement) -> bool:
    """Whether where it led is another matter now, or none: a failure that is tried again says nothing yet."""
    gone = s.before is not None and s.role is None and s.outcome in ("failure", "skipped")
    return (s.outcome in LINKING and s.reason is None) or (gone and (s.due_at is None or s.priority is not None))


def _bodies(db: sqlite3.Connection, bodies: Sequence[BodyRow]) -> None:
    """Write the bodies that the file does not have, laid end to end, by one statement."""
    unique = list({body.digest: body for body in bodies}.values())
    rows, offset = list[list[Any]](), 0
    for body in unique:
        rows.append([body.size, body.codec, offset, len(body.data)])
        offset += len(body.data)
    if rows:
        digests, blob = b"".join([body.digest for body in unique]), b"".join([body.data for body in unique])
        db.execute(BODIES, {"digests": digests, "blob": blob, "rows": to_json(rows)})


def _fetches(db: sqlite3.Connection, batch: Sequence[Settlement], owns: Mapping[int, int], facts: Facts) -> dict[int, int]:
    """Append the attempts; for each settlement's place in the batch, the id of its fetch row. ``owns``: ids of ours."""
    ids: dict[int, int] = {}
    fetches = bulk.Rows(db, FETCH)
    for i, s in enumerate(batch):
        if s.fetch is None:
            continue
        f = s.fetch
        ids[i] = facts.first_fetch + len(ids)
        fetches.values += (
            ids[i],
            owns.get(i, s.url_id),
            facts.run,
            f.at,
            f.outcome,
            f.reason,
            f.status,
            min(f.elapsed_ms, LARGEST),
            f.attempt,
            min(f.wire_size, LARGEST),
            f.truncated,
            f.address,
            f.mime,
            f.charset,
            f.title and f.title.replace("\0", ""),
            f.robots,
            f.parse and f.parse.replace("\0", ""),
            f.headers,
            f.data,
            s.body.digest if s.body else None,
        )
    if fetches.end() != len(ids):
        raise RuntimeError("an attempt has the number of another")
    return ids


def _settle(db: sqlite3.Connection, batch: Sequence[Settlement], fetch_ids: dict[int, int], now: int) -> None:
    rows = [
        [s.url_id, s.due_at, s.attempts, s.outcome, s.reason, s.detail, fetch_ids.get(i)]
        if s.role is None and s.priority is None
        else [
            s.url_id, s.due_at, s.attempts, s.outcome, s.reason, s.detail, fetch_ids.get(i), s.role and str(s.role), s.priority
        ]
        for i, s in enumerate(batch)
        if s.url_id is not None
    ]
    if rows:
        db.execute(SETTLE, {"rows": to_json(rows), "now": now})


def _clocks(db: sqlite3.Connection, batch: Sequence[Settlement], names: Names, fetch_ids: dict[int, int], now: int) -> None:
    hosts: dict[str, HostRow] = {s.host.name: s.host for s in batch if s.host}
    rows = [
        [
            names.hosts[h.name],
            h.next_fetch_at,
            h.blocked_until,
            h.delay,
            h.crawl_delay,
            h.failures,
            h.latency,
            h.slowed,
            h.throttled,
            h.trouble,
        ]
        for h in hosts.values()
    ]
    if rows:
        db.execute(HOSTS, {"rows": to_json(rows), "now": now})
    origins = {
        o.origin: [names.origins[o.origin], o.status, o.until, o.failures, fetch_ids.get(i) if s.body else None]
        for i, s in enumerate(batch)
        for o in s.origins
    }
    if origins:
        db.execute(ORIGINS, (to_json(list(origins.values())),))
    addresses: dict[str, int] = {}
    for s in batch:
        if s.address:
            addresses[s.address[0]] = max(s.address[1], addresses.get(s.address[0], 0))
    if addresses:
        db.execute(ADDRESSES, (to_json(list(addresses.items())),))


def plant(db: sqlite3.Connection, memory: Memory, seeds: Sequence[Place], *, now: int) -> None:
    """Add the seeds at depth 0; what is known already keeps what came of it, and a purged host stays away."""
    purged = {row[0] for row in db.execute(EXCLUDED)}
    seeds = [place for place in seeds if place.host not in purged]
    known = db.execute(SEEDS).fetchone()[0]
    memory.names.learn(db, {s.origin: s.host for s in seeds}, set())
    targets = Targets(memory.names)
    for place in seeds:
        targets.add(place, None, 0, verdict=Verdict(True), seed=True)
    limit = Facts(now, 0, None, 0).limit
    _, moving = discover(db, targets, (), memory, limit)
    move(db, (), moving, limit)
    if known and db.execute(SEEDS).fetchone()[0] > known:
        db.execute(WIDENED)
