"""One transaction for a batch of settlements: what became of each URL, what was found, what the hosts' clocks say.

Every statement is set-based over `json_each`: a statement a batch instead of a statement a row, so that SQLite works
without the interpreter lock while the event loop goes on. Bodies travel as one blob that SQL cuts into slices. All
of it is plain synchronous code: it runs in the write connection's own thread, one hop a transaction.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from storage import repeats, sitemaps
from storage.budget import Ledger
from storage.known import Known, plain
from storage.links import Judged, origins_of
from storage.memory import Memory, Names
from storage.model import BUDGETS, BodyRow, Budgets, HostRow, LinkRow, Place, Role, Settlement
from storage.text import to_json, to_unicode

DEEP = 1 << 30  # deeper than any page; the statements below say it as 1 << 30


TARGET = """CREATE TEMP TABLE IF NOT EXISTS target (
  n INTEGER PRIMARY KEY, origin INTEGER, host INTEGER, path TEXT, depth INTEGER, parent INTEGER,
  admit INTEGER, reason TEXT, detail TEXT, seed INTEGER, hops INTEGER, id INTEGER)"""
CLEAR = "DELETE FROM temp.target"
LOAD = """INSERT INTO temp.target (n, origin, host, path, depth, parent, admit, reason, detail, seed, hops)
SELECT key, value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, coalesce(value->>8, 0),
  coalesce(nullif(value->>9, 0), iif(value->>3 IS NULL, NULL, 0))
FROM json_each(?)"""
ADD = """INSERT INTO url (origin, host, path, depth, hops, parent, seed, due_at, outcome, reason, detail)
SELECT origin, host, path, depth, hops, parent, seed,
  iif(admit AND depth <= :max_depth, :now, NULL),
  iif(admit, iif(depth <= :max_depth, NULL, 'skipped'), iif(reason IS NULL, NULL, 'skipped')),
  iif(admit, iif(depth <= :max_depth, NULL, 'depth'), reason),
  iif(admit, NULL, detail)
FROM temp.target WHERE true ON CONFLICT (origin, path) DO NOTHING"""
NEWCOMERS = """SELECT t.n FROM json_each(:asked) e JOIN temp.target t ON t.n = e.value
LEFT JOIN url u ON u.origin = t.origin AND u.path = t.path
WHERE min(t.depth, coalesce(u.depth, t.depth)) <= :max_depth AND (u.id IS NULL OR u.due_at IS NULL AND (u.outcome IS NULL
  OR u.outcome = 'skipped' AND (u.detail = :same
     OR u.reason IN ('scope', 'include', 'exclude', 'depth', 'nofollow', 'redirects', 'sitemaps'))))
ORDER BY t.n"""
OVER = """UPDATE temp.target SET admit = 0, reason = e.value->>1, detail = e.value->>2
FROM json_each(?) e WHERE target.n = e.value->>0"""
IDENTIFY = """UPDATE temp.target SET id =
  (SELECT u.id FROM url u WHERE u.origin = target.origin AND u.path = target.path)"""
NEARER = """UPDATE url SET depth = coalesce(min(t.depth, coalesce(url.depth, t.depth)), url.depth),
  hops = min(t.hops, coalesce(url.hops, t.hops)),
  parent = iif(t.depth < coalesce(url.depth, 1 << 30), t.parent, url.parent) FROM temp.target t
WHERE url.id = t.id AND (t.depth < coalesce(url.depth, 1 << 30) OR t.hops < coalesce(url.hops, 1 << 30)) RETURNING url.id"""
PROMOTE = """UPDATE url SET
  due_at = iif(url.depth <= :max_depth, :now, NULL), outcome = iif(url.depth <= :max_depth, NULL, 'skipped'),
  reason = iif(url.depth <= :max_depth, NULL, 'depth'), detail = NULL,
  role = iif(url.outcome = 'sitemap', 'none', url.role), attempts = iif(url.outcome = 'sitemap', 0, url.attempts)
FROM temp.target t
WHERE url.id = t.id AND t.admit AND url.due_at IS NULL
  AND (url.outcome IS NULL OR url.outcome = 'sitemap' AND url.reason <> 'trap' OR url.outcome = 'skipped'
       AND (url.reason IN ('scope', 'include', 'exclude', 'depth', 'nofollow', 'sitemaps') OR url.detail = :same)
       AND (url.reason <> 'depth' OR url.depth <= :max_depth))"""
REFUSE = """UPDATE url SET outcome = 'skipped', reason = t.reason, detail = t.detail FROM temp.target t
WHERE url.id = t.id AND t.reason IS NOT NULL AND url.due_at IS NULL
  AND (url.outcome IS NULL OR url.outcome = 'skipped' AND t.reason NOT IN ('nofollow', 'sitemaps')
       AND (url.reason IN ('nofollow', 'sitemaps') OR url.reason = 'redirects' AND t.reason <> 'redirects'
            OR url.reason = 'depth' AND t.reason IN ('limit', 'trap')))"""
SEED = """UPDATE url SET seed = 1 FROM temp.target t WHERE url.id = t.id AND t.seed"""
SEEDS = "SELECT count(*) FROM url WHERE seed = 1"
EXCLUDED = "SELECT host FROM exclusion"
WIDENED = "INSERT OR IGNORE INTO meta VALUES ('rescope', 'a seed has joined')"  # until `Store.rescope` is done
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
BODIES = """INSERT INTO body (digest, size, codec, data)
SELECT substr(:digests, 32 * key + 1, 32), value->>0, value->>1,
  coalesce(substr(:blob, (value->>2) + 1, value->>3), x'')  -- substr of an empty blob is NULL
FROM json_each(:rows) WHERE true ON CONFLICT (digest) DO NOTHING"""
FETCHES = """INSERT INTO fetch (id, url, run, body, at, outcome, reason, status, elapsed_ms, attempt, wire_size,
  truncated, address, mime, charset, title, robots, parse, headers, data)
SELECT value->>0, value->>1, :run, (SELECT id FROM body WHERE digest = substr(:digests, 32 * (value->>2) + 1, 32)),
  value->>3, value->>4, value->>5, value->>6, min(value->>7, 9223372036854775807), value->>8,
  min(value->>9, 9223372036854775807), value->>10, value->>11, value->>12, value->>13,
  value->>14, value->>15, value->>16, value->>17, value->>18
FROM json_each(:rows)"""
STAYS = """(e.value->>3 IS NULL OR e.value->>7 IS NOT NULL AND outcome IN ('page', 'redirect', 'failure')
    AND (e.value->>3 <> 'sitemap' OR coalesce(e.value->>4, 'trap') <> 'trap'))"""  # until a sitemap is found there
SETTLE = f"""UPDATE url SET attempts = e.value->>2,
  due_at = iif(role IS e.value->>7 OR role = 'none' AND e.value->>7 IS NULL, e.value->>1, :now),
  last = iif({STAYS}, last, coalesce(e.value->>6, last)), outcome = iif({STAYS}, outcome, e.value->>3),
  reason = iif({STAYS}, reason, e.value->>4), detail = iif({STAYS}, detail, e.value->>5)
FROM json_each(:rows) e WHERE url.id = e.value->>0"""  # noqa: S608 - of constants
LINKING = ("page", "redirect", "sitemap")  # outcomes that say anew where a URL leads
UNLINK = "DELETE FROM link WHERE src IN (SELECT value FROM json_each(?))"
AT_ONCE = 250  # links in one statement: by far most of a commit's rows, and parameters are cheaper than JSON (decision 0024)
LINK = f"""INSERT INTO link (src, dst, kind, rel, text, step)
VALUES {", ".join(["(?, ?, ?, ?, ?, ?)"] * AT_ONCE)} ON CONFLICT DO NOTHING"""  # noqa: S608 - of constants
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


@dataclass(slots=True)
class Targets:
    """The distinct URLs a batch mentions that have to be looked up, each with the best word any edge has for it, and all
    edges."""

    names: Names
    rows: list[list[Any]] = field(default_factory=list)
    index: dict[tuple[str, str], int] = field(default_factory=dict)
    seeds: bool = False
    edges: list[list[Any]] = field(default_factory=list)  # src, dst, kind, rel, text, step
    open: list[list[Any]] = field(default_factory=list)  # of these, whose ends are ~numbers of targets
    roles: list[tuple[int, int | None, Role]] = field(default_factory=list)  # target, the robots.txt that named it, role

    def add(self, link: LinkRow, parent: int | None, depth: int | None, hops: int = 0) -> int:
        """Note one mention; its number. Admission beats refusal, a refusal of the URL beats one of the edge."""
        place = link.target
        key = (place.origin, place.path)
        n = self.index.get(key)
        if n is None:
            n = self.index[key] = len(self.rows)
            self.rows.append(
                [
                    self.names.origins[place.origin],
                    self.names.hosts[place.host],
                    place.path,
                    depth,
                    parent,
                    int(link.admit),
                    link.reason,
                    link.detail,
                    int(link.seed),
                    hops,
                ]
            )
            self.seeds |= link.seed
            return n
        row = self.rows[n]
        if depth is not None:
            first = row[3] is None
            if first or depth < row[3]:
                row[3], row[4] = depth, parent
            if first or hops < row[9]:
                row[9] = hops
        if link.admit:
            row[5], row[6], row[7] = 1, None, None
        elif not row[5] and link.reason and row[6] in (None, "nofollow", "sitemaps"):
            row[6], row[7] = link.reason, link.detail
        if link.seed:
            row[8], self.seeds = 1, True
        return n


    def edge(self, src: int, n: int, kind: str, rel: str | None, text: str | None, step: int | None) -> None:
        """Note an edge to a target. ``src``: an id, or ~number of a target."""
        row = [src, ~n, kind, rel, text, step]
        self.edges.append(row)
        self.open.append(row)

    def rows_of_edges(self, ids: Mapping[int, int]) -> list[list[Any]]:
        """The edges, now that the targets' ids are known by their numbers."""
        for row in self.open:
            row[1] = ids[~row[1]]
            if row[0] < 0:
                row[0] = ids[~row[0]]
        return self.edges


@dataclass(frozen=True, slots=True)
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
    names, ledger = memory.names, memory.ledger
    names.learn(db, *_mentioned(batch))
    surveyed = {names.hosts[s.place.host] for s in batch if s.role is not None}
    if surveyed:
        batch = sitemaps.trimmed(db, batch, names.hosts)
    batch, again = repeats.closed(db, batch, names.hosts)
    targets, owns = _collect(batch, memory, facts.budgets.redirects)
    _discover(db, targets, facts.limit, ledger)
    ids = memory.known.look(db, without=[n for n, _, _ in targets.roles])
    bodies = _Bodies([s.body for s in batch if s.body])
    bodies.write(db)
    again.note(db)
    fetch_ids = _fetches(db, batch, bodies, {i: ids[n] for i, n in owns.items()}, facts)
    _settle(db, batch, fetch_ids, facts.now)
    sitemaps.release(db, batch, facts.limit)
    db.execute(UNLINK, (to_json([s.url_id for s in batch if s.outcome in LINKING and s.reason is None]),))
    _link(db, targets.rows_of_edges(ids))
    readmitted = _shorten(db, batch, targets, facts.limit)
    if targets.roles:
        sitemaps.assign(db, targets.roles, facts.now)
        sitemaps.bound(db, {targets.rows[n][1] for n, _, _ in targets.roles})
    if surveyed:
        sitemaps.bound(db, surveyed)
    if targets.seeds:
        db.execute(WIDENED)
    if targets.seeds or readmitted:
        ledger.forget()
    _clocks(db, batch, names, fetch_ids, facts.now)


def _mentioned(batch: Sequence[Settlement]) -> tuple[dict[str, str], set[str]]:
    origins = {s.place.origin: s.place.host for s in batch}
    for s in batch:
        origins.update(origins_of(s.links))
    hosts = {s.host.name for s in batch if s.host}
    return origins, hosts


def _collect(batch: Sequence[Settlement], memory: Memory, redirects: int) -> tuple[Targets, dict[int, int]]:
    """All targets and edges, and for our own visits (robots) which target is theirs."""
    targets = Targets(memory.names)
    owns: dict[int, int] = {}
    for i, s in enumerate(batch):
        if s.url_id is None:
            owns[i] = targets.add(LinkRow(s.place, "own"), None, None)
        if isinstance(s.links, Judged):
            _page(s, s.links, memory.known, targets, redirects)
            continue
        for link in s.links:
            role = link.role if s.hops < redirects else None  # else its redirects have become too many
            if role is not None:  # a name is no link: it gives no depth, nor does it admit a page
                n = targets.add(link._replace(admit=False), s.url_id, None, s.hops + 1)
                targets.roles.append((n, owns.get(i), role))
            elif link.step == 0:
                n = _redirected(targets, s, link, redirects)
            else:
                n = _followed(targets, s, link)
            src = s.url_id if s.url_id is not None else ~owns[i]
            targets.edge(src, n, link.kind, link.rel, link.text, link.step if link.role is None else None)
    return targets, owns


def _page(s: Settlement, found: Judged, known: Known, targets: Targets, redirects: int) -> None:
    """The edges of a page. What is done here is done forty times a page: a known target becomes no object but its row."""
    assert s.url_id is not None
    links, src, edges = found.links, s.url_id, targets.edges
    origins = [targets.names.origins[origin] for origin, _ in links.sites]
    columns = zip(links.at, links.paths, links.kinds, links.rels, links.texts, found.steps, found.verdicts, strict=True)
    for at, path, kind, rel, text, step, verdict in columns:
        target = known.young.get((origins[at], path)) or known.get((origins[at], path))
        if target is not None and plain(target, step, verdict, s.depth):
            edges.append([src, target[0], kind, rel, text, step])
            continue
        link = LinkRow(links.place(at, path), kind, rel, text, step, *verdict)
        n = _redirected(targets, s, link, redirects) if step == 0 else _followed(targets, s, link)
        targets.edge(src, n, kind, rel, text, step)


def _followed(targets: Targets, s: Settlement, link: LinkRow) -> int:
    depth = None if link.step is None else s.depth + link.step
    return targets.add(link, s.url_id if depth is not None or link.reason else None, depth)


def _redirected(targets: Targets, s: Settlement, link: LinkRow, most: int) -> int:
    """Note the target of a redirect; one too many in a row leads nowhere, until a shorter way to its page is found."""
    if s.hops < most:
        return targets.add(link, s.url_id, s.depth, s.hops + 1)
    if link.admit:
        detail = f"more than {most} redirects in a row"
        link = link._replace(admit=False, seed=False, reason="redirects", detail=detail)
    return targets.add(link, s.url_id, None)


def _discover(db: sqlite3.Connection, targets: Targets, limit: dict[str, Any], ledger: Ledger) -> None:
    db.execute(CLEAR)
    if targets.rows:
        plain = [row if row[6] or row[8] or row[9] else row[:6] for row in targets.rows]  # half of the JSON
        db.execute(LOAD, (to_json(plain),))
        _ration(db, targets.rows, limit, ledger)
        db.execute(ADD, limit)
        db.execute(IDENTIFY)


def _ration(db: sqlite3.Connection, rows: list[list[Any]], limit: dict[str, Any], ledger: Ledger) -> None:
    """Refuse what is new and exceeds a budget. Which of many is new is asked only where a budget may not do."""
    tight = ledger.tight(db, Counter([row[1] for row in rows if row[5] and not row[8]]))
    asked = [n for n, row in enumerate(rows) if row[5] and not row[8] and (row[1] in tight or "?" in row[2])]
    if not asked:
        return
    newcomers = [n for (n,) in db.execute(NEWCOMERS, limit | {"asked": to_json(asked)})]
    verdicts = ledger.admit(db, [(rows[n][1], rows[n][2]) for n in newcomers], tight)
    refused = [[n, *verdict] for n, verdict in zip(newcomers, verdicts, strict=True) if verdict]
    if refused:
        db.execute(OVER, (to_json(refused),))


def _link(db: sqlite3.Connection, rows: list[list[Any]]) -> None:
    """Write the edges. The last statement is filled up with its last row, which conflicts with itself."""
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        some += some[-1:] * (AT_ONCE - len(some))
        values = list(chain.from_iterable(some))
        try:
            db.execute(LINK, values)
        except UnicodeEncodeError:
            db.execute(LINK, list(map(to_unicode, values)))


def _shorten(db: sqlite3.Connection, batch: Sequence[Settlement], targets: Targets, limit: dict[str, Any]) -> int:
    """Pass lower depths on, first to the targets, then along stored links; how many were readmitted that only depth or
    redirects had refused."""
    changed: set[int] = set()
    if targets.rows:
        changed = _ids(db, NEARER)
        db.execute(PROMOTE, limit)
        db.execute(REFUSE)
        if targets.seeds:
            db.execute(SEED)
    visits = to_json([[s.url_id, s.depth, s.hops] for s in batch if s.url_id is not None and s.links])
    moved = changed | _ids(db, STALE, (visits,))
    while moved:
        along = limit | {"ids": to_json(sorted(moved))}
        moved = _ids(db, NEARER_ALONG, along) | _ids(db, FEWER_ALONG, along)
        changed |= moved
    return db.execute(READMIT, limit | {"ids": to_json(sorted(changed))}).rowcount if changed else 0


def _ids(db: sqlite3.Connection, sql: str, parameters: Any = ()) -> set[int]:
    return {row[0] for row in db.execute(sql, parameters)}


class _Bodies:
    """The batch's bodies laid end to end: one statement writes them all."""

    def __init__(self, bodies: list[BodyRow]) -> None:
        unique = list({b.digest: b for b in bodies}.values())
        self.number = {b.digest: i for i, b in enumerate(unique)}
        self.digests = b"".join(b.digest for b in unique)
        self.blob = b"".join(b.data for b in unique)
        self.rows: list[list[Any]] = []
        offset = 0
        for b in unique:
            self.rows.append([b.size, b.codec, offset, len(b.data)])
            offset += len(b.data)

    def write(self, db: sqlite3.Connection) -> None:
        if self.rows:
            db.execute(BODIES, {"digests": self.digests, "blob": self.blob, "rows": to_json(self.rows)})


def _fetches(
    db: sqlite3.Connection, batch: Sequence[Settlement], bodies: _Bodies, owns: Mapping[int, int], facts: Facts
) -> dict[int, int]:
    """Append the attempts; for each settlement's place in the batch, the id of its fetch row. ``owns``: ids of ours."""
    ids: dict[int, int] = {}
    rows: list[list[Any]] = []
    for i, s in enumerate(batch):
        if s.fetch is None:
            continue
        f = s.fetch
        ids[i] = facts.first_fetch + len(rows)
        rows.append(
            [
                ids[i],
                owns.get(i, s.url_id),
                bodies.number[s.body.digest] if s.body else None,
                f.at,
                f.outcome,
                f.reason,
                f.status,
                f.elapsed_ms,
                f.attempt,
                f.wire_size,
                f.truncated,
                f.address,
                f.mime,
                f.charset,
                f.title,
                f.robots,
                f.parse,
                f.headers,
                f.data,
            ]
        )
    if rows:
        db.execute(FETCHES, {"rows": to_json(rows), "run": facts.run, "digests": bodies.digests})
    return ids


def _settle(db: sqlite3.Connection, batch: Sequence[Settlement], fetch_ids: dict[int, int], now: int) -> None:
    rows = [
        [s.url_id, s.due_at, s.attempts, s.outcome, s.reason, s.detail, fetch_ids.get(i)]
        if s.role is None
        else [s.url_id, s.due_at, s.attempts, s.outcome, s.reason, s.detail, fetch_ids.get(i), str(s.role)]
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


def seed_link(place: Place) -> LinkRow:
    """A seed, said as an edge from nowhere."""
    return LinkRow(place, "seed", step=0, admit=True, seed=True)


def plant(db: sqlite3.Connection, names: Names, seeds: Sequence[Place], *, now: int) -> None:
    """Add the seeds at depth 0; what is known already keeps what came of it, and a purged host stays away."""
    purged = {row[0] for row in db.execute(EXCLUDED)}
    seeds = [place for place in seeds if place.host not in purged]
    known = db.execute(SEEDS).fetchone()[0]
    names.learn(db, {s.origin: s.host for s in seeds}, set())
    targets = Targets(names)
    for place in seeds:
        targets.add(seed_link(place), None, 0)
    limit = Facts(now, 0, None, 0).limit
    _discover(db, targets, limit, Ledger(BUDGETS))
    _shorten(db, (), targets, limit)
    if known and db.execute(SEEDS).fetchone()[0] > known:
        db.execute(WIDENED)
