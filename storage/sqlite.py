"""The store in one SQLite file: one connection writes and checkpoints, one reads for the feed (DESIGN §8)."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiosqlite

from storage import again, discovery, disk, sitemaps
from storage import commit as batches
from storage.budget import Ledger
from storage.codec import unpack
from storage.lock import FileLock
from storage.memory import Memory
from storage.migrate import create_file, prepare
from storage.model import (
    BUDGETS,
    Before,
    Begun,
    Budgets,
    Counts,
    HostRow,
    JsonObject,
    OriginRow,
    Pending,
    Place,
    Queued,
    Role,
    Settlement,
    Tally,
)
from storage.purge import finish
from storage.reader import EXCLUDED, SEEDS
from storage.rescope import rescope as rescoped
from storage.store import Judge, StoreError, StoreUnreadable
from storage.text import to_json
from storage.transaction import transaction
from storage.trouble import Errors, at_open, told
from storage.verify import Verification

T = TypeVar("T")

LEAST = -1 << 31  # of priorities
BUSY_WAIT = 1.0  # seconds SQLite waits for a lock: its thread cannot be left meanwhile (FAULTS D7, D17)
BEFORE = 0.3  # seconds a run waits at its begin for the check of its file, which goes on beside it
PRAGMAS = """PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 16000;
PRAGMA journal_size_limit = 67108864;"""

HOSTS = """SELECT id, name, next_fetch_at, blocked_until, delay, crawl_delay, failures, pages, latency, slowed, throttled
FROM host
WHERE queued > 0 AND blocked_until <= :horizon AND id NOT IN (SELECT value FROM json_each(:held))
ORDER BY next_fetch_at LIMIT :limit"""
HOSTS_NAMED = """SELECT id, name, next_fetch_at, blocked_until, delay, crawl_delay, failures, pages, latency, slowed, throttled
FROM host
WHERE name IN (SELECT value FROM json_each(?))"""
ORIGINS = """SELECT o.host, o.name, o.robots_status, o.robots_until, o.robots_failures, b.codec, b.data
FROM json_each(?) e JOIN origin o ON o.host = e.value
LEFT JOIN fetch f ON f.id = o.robots_fetch LEFT JOIN body b ON b.id = f.body"""
DUE = """SELECT u.id, u.host, o.name, h.name, u.path, u.depth, u.priority, u.attempts,
  max(u.due_at, iif(o.robots_status = 'unreachable', o.robots_until, 0)), u.seed, u.hops, u.role,
  u.outcome, b.digest, iif(f.reason IS NULL AND f.truncated IS NULL AND iif(coalesce(u.role, 'none') = 'none',
    u.outcome = 'page' AND b.digest IS NOT NULL, u.outcome = 'sitemap'), f.headers, NULL)
FROM json_each(:hosts) w JOIN url u ON u.id IN (
    SELECT q.id FROM url q JOIN origin p ON p.id = q.origin
    WHERE q.host = w.value AND q.priority >= :least AND q.due_at IS NOT NULL AND q.due_at <= :horizon
      AND (:least < 1 OR q.outcome IN ('page', 'sitemap'))
      AND (p.robots_status IS NOT 'unreachable' OR p.robots_until <= :horizon)
      AND q.id NOT IN (SELECT value FROM json_each(:held))
    ORDER BY q.priority, q.depth, q.id LIMIT :each)
JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
LEFT JOIN fetch f ON u.priority > 0 AND f.id = u.last LEFT JOIN body b ON b.id = f.body
ORDER BY u.priority, u.depth, u.id"""
NEXT = """SELECT min(max(u.due_at, h.blocked_until, iif(o.robots_status = 'unreachable', o.robots_until, 0)))
FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host WHERE u.due_at IS NOT NULL"""
# What was visited before has a priority above 0; it is left to fetch when it is due, or is tried again.
OTHERS = """SELECT EXISTS (SELECT 1 FROM host h CROSS JOIN url u
  WHERE h.queued > 0 AND u.host = h.id AND u.due_at IS NOT NULL AND (u.priority <= 0 OR u.attempts > 0 OR u.due_at <= ?))"""
REVISIT = """SELECT min(u.due_at) FROM host h CROSS JOIN url u
WHERE h.queued > 0 AND u.host = h.id AND u.priority > 0 AND u.outcome IN ('page', 'sitemap') AND u.due_at IS NOT NULL"""
TALLY = """UPDATE run SET requests = ?, connections = ?, reused = ?, bytes = ?, progress = ? WHERE id = ?"""
POSTPONE = """UPDATE host SET blocked_until = max(blocked_until, e.value->>1), trouble = :why
FROM json_each(:rows) e WHERE host.id = e.value->>0"""
NEWCOMERS = "SELECT name, asked_at FROM host WHERE asked_at > ?"
ANSWERED = "SELECT EXISTS (SELECT 1 FROM fetch WHERE status IS NOT NULL)"
FROM_THE_FUTURE = (
    "UPDATE url SET due_at = due_at - :ahead WHERE due_at > :now",
    "UPDATE address SET next_fetch_at = next_fetch_at - :ahead WHERE next_fetch_at > :now",
    "UPDATE host SET next_fetch_at = next_fetch_at - :ahead WHERE next_fetch_at > :now",
    "UPDATE host SET blocked_until = blocked_until - :ahead WHERE blocked_until > :now",
    "UPDATE origin SET robots_until = robots_until - :ahead WHERE robots_until > :now",
)
DEATHS = """SELECT count(*), coalesce(max(id = (SELECT max(id) FROM run) AND alone IS NOT NULL), 0) FROM run
WHERE id >= coalesce((SELECT run FROM fetch ORDER BY id DESC LIMIT 1), 0)
  AND id > coalesce((SELECT max(id) FROM run WHERE ending IS NOT 'killed'), 0)"""
SUSPECTS = """SELECT u.id, u.host, o.name, h.name, u.path, u.depth, u.priority, u.attempts, u.due_at, u.seed, u.hops, u.role
FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
WHERE u.due_at IS NOT NULL AND u.id IN (
  SELECT alone FROM run WHERE ending = 'killed' AND alone IS NOT NULL GROUP BY alone HAVING count(*) >= 2)"""
CHANGED = """INSERT INTO meta SELECT printf('change %012d', coalesce(max(substr(key, 8) + 0), 0) + 1), ?
FROM meta WHERE key GLOB 'change *'"""
JUDGE_AGAIN = "INSERT OR IGNORE INTO meta VALUES ('rescope', 'a setting has changed')"  # until `rescope` is done
ALONE = "UPDATE run SET alone = ? WHERE id = ?"
REFUSE = """UPDATE url SET due_at = NULL, outcome = coalesce(outcome, 'skipped'), reason = iif(outcome IS NULL, ?, reason),
  detail = iif(outcome IS NULL, ?, detail)
WHERE host = ? AND due_at IS NOT NULL AND (? OR priority <= 0 OR outcome IS NULL OR outcome NOT IN ('page', 'sitemap'))"""


class SqliteStore:
    """Holds the file's lock and its connections between `open` and `close`. See `storage.store.Store` for the contract."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path)
        self._memory = Memory()
        self._db: aiosqlite.Connection | None = None
        self._reader: aiosqlite.Connection | None = None
        self._run: int | None = None
        self._fetch = 0
        self._max_depth: int | None = None
        self._alone = False
        self._verification = Verification(path)
        self._verdict: asyncio.Task[StoreError | None] | None = None
        self.fresh = False
        self.copied: Path | None = None  # of a file of an older version, as it was

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Lock, create or check the file. Raises StoreLocked, StoreUnreadable or StoreBlocked, and then nothing was written."""
        if not self.path.parent.is_dir():
            raise StoreUnreadable(f"cannot create {self.path}: the folder {self.path.parent} does not exist")
        if (kind := disk.network(self.path.parent.resolve())) is not None:
            raise StoreUnreadable(
                f"{self.path} is on a network file system ({kind}), where SQLite's write-ahead log does not work: "
                "choose a place on a local disk (-o), and copy the file when the crawl has ended"
            )
        self._lock.acquire()
        try:
            self.fresh = create_file(self.path)
            if not os.access(self.path, os.W_OK):
                raise StoreUnreadable(f"{self.path} is read-only for this user")
            self._prepare()
            self._db = await aiosqlite.connect(self.path, isolation_level=None, timeout=BUSY_WAIT)
            await self._db.executescript(PRAGMAS)
            await self._db.execute(discovery.TARGET)
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            self._reader = await aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=BUSY_WAIT)
            await self._reader.execute("PRAGMA temp_store = MEMORY")
            if not self.fresh:
                self._verification = Verification(self.path)
                self._verdict = asyncio.create_task(asyncio.to_thread(self._verification.run))
        except Errors as error:
            await self.close()
            raise at_open(error, self.path) from None
        except BaseException:
            await self.close()
            raise

    def _prepare(self) -> None:
        db = sqlite3.connect(self.path, isolation_level=None)
        try:
            self.copied = prepare(db, self.path)
            finish(db, self.path)
        finally:
            db.close()

    async def close(self) -> None:
        """Whoever is cancelled meanwhile: a connection left open holds the process, and the file's lock, for ever."""
        closing = asyncio.ensure_future(self._close())
        cancelled = False
        while not closing.done():
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                cancelled = True
        closing.result()
        if cancelled:
            raise asyncio.CancelledError

    async def _close(self) -> None:
        self._verification.end()
        if self._verdict is not None:
            await asyncio.wait({self._verdict})
        for connection in (self._reader, self._db):
            if connection is not None:
                await connection.close()
        self._reader = self._db = None
        self._memory.forget()  # from now on another process may purge the file
        self._lock.release()

    async def begin(
        self,
        *,
        now: int,
        version: str,
        spec: JsonObject,
        seeds: Sequence[Place],
        max_depth: int | None,
        budgets: Budgets = BUDGETS,
        rescope: bool = False,
    ) -> Begun:
        self._max_depth = max_depth
        self._memory.ledger = Ledger(budgets)
        await self._verified(0.0 if self._verification.large else BEFORE)

        def work(db: sqlite3.Connection) -> Any:
            last = db.execute("SELECT spec, started_at FROM run ORDER BY id DESC LIMIT 1").fetchone()
            if last and last[1] > now:  # the clock was ahead when that run began (FAULTS X4)
                for sql in FROM_THE_FUTURE:
                    db.execute(sql, {"now": now, "ahead": last[1] - now})
            db.execute("UPDATE run SET ended_at = ?, ending = 'killed' WHERE ended_at IS NULL", (now,))
            deaths, alone = db.execute(DEATHS).fetchone()
            batches.plant(db, self._memory, seeds, now=now)
            if rescope:
                db.execute(JUDGE_AGAIN)
            row = (now, os.getpid(), version, to_json(spec))
            self._run = db.execute(
                "INSERT INTO run (started_at, pid, version, spec) VALUES (?, ?, ?, ?)", row
            ).lastrowid
            self._fetch = db.execute("SELECT coalesce(max(id), 0) + 1 FROM fetch").fetchone()[0]
            return last, deaths, bool(alone)

        last, deaths, died_alone = await self._transact(work)
        addresses = await self._rows("SELECT address, next_fetch_at FROM address WHERE next_fetch_at > ?", (now,))
        return Begun(
            run=self._run or 0,
            resumed=last is not None,
            counts=await self.counts(),
            answered=bool((await self._rows(ANSWERED))[0][0]),
            rescope=last is not None and bool(await self._rows("SELECT 1 FROM meta WHERE key = 'rescope'")),
            seeds=tuple(Place(*row) for row in await self._rows(SEEDS)),
            addresses=dict(addresses),
            newcomers=dict(await self._rows(NEWCOMERS, (now - 3_600_000,))),
            excluded=tuple(row[0] for row in await self._rows(EXCLUDED)),
            deaths=deaths,
            died_alone=died_alone,
            suspects=tuple(_queued(*row) for row in await self._rows(SUSPECTS)),
        )

    async def _verified(self, seconds: float) -> None:
        """Raises what has been found wrong with the file, after waiting so long for the check."""
        if self._verdict is not None:
            await asyncio.wait({self._verdict}, timeout=seconds)
            if self._verdict.done() and (found := self._verdict.result()) is not None:
                raise found

    async def plant(self, seeds: Sequence[Place], *, now: int) -> int:
        """Add seeds without a run; how many were not seeds before."""
        before = len(await self._rows(SEEDS))
        await self._transact(lambda db: batches.plant(db, self._memory, seeds, now=now))
        return len(await self._rows(SEEDS)) - before

    async def hosts(
        self, limit: int, *, horizon: int, held: Collection[int] = (), names: Collection[str] | None = None
    ) -> list[HostRow]:
        if names is not None:
            rows = await self._rows(HOSTS_NAMED, (to_json(list(names)),))
        else:
            rows = await self._rows(HOSTS, {"limit": limit, "horizon": horizon, "held": to_json(list(held))})
        origins: dict[int, list[OriginRow]] = {}
        for host, name, status, until, failures, codec, data in await self._rows(
            ORIGINS, (to_json([r[0] for r in rows]),)
        ):
            body = None if data is None else unpack(codec, data)
            origins.setdefault(host, []).append(OriginRow(name, status, body, until, failures))
        return [replace(HostRow(*row), origins=tuple(origins.get(row[0], ()))) for row in rows]

    async def due(
        self, hosts: Collection[int], each: int, *, horizon: int, held: Collection[int] = (), revisits: bool = False
    ) -> list[Queued]:
        which = {"hosts": to_json(list(hosts)), "held": to_json(list(held)), "least": 1 if revisits else LEAST}
        return [_queued(*row) for row in await self._rows(DUE, {**which, "each": each, "horizon": horizon})]

    async def commit(self, batch: Sequence[Settlement], *, now: int, tally: Tally | None = None) -> None:
        facts = batches.Facts(now, self._run or 0, self._max_depth, self._fetch, self._memory.ledger.budgets)
        if self._verdict is not None and self._verdict.done():
            await self._verified(0)
            self._verdict = None
        self._fetch += sum(s.fetch is not None for s in batch)  # whatever becomes of it: ids may have gaps

        def work(db: sqlite3.Connection) -> None:
            batches.apply(db, self._memory, batch, facts)
            self._note(db, tally)
            if self._alone:
                db.execute(ALONE, (None, self._run))

        await self._transact(work)

    async def alone(self, url_id: int | None) -> None:
        self._alone = True
        await self._transact(lambda db: db.execute(ALONE, (url_id, self._run)))

    async def rescope(self, judge: Judge, *, now: int, links: bool = True) -> int:
        limit = {"now": now, "max_depth": discovery.DEEP if self._max_depth is None else self._max_depth}

        def work(db: sqlite3.Connection) -> int:
            self._memory.known.forget()
            changed = rescoped(db, judge, self._memory.ledger, limit | {"links": links})
            db.execute("DELETE FROM meta WHERE key = 'rescope'")
            return changed

        return await self._transact(work)

    async def reschedule(self, wait: int | None, *, now: int) -> None:
        """The revisit policy is another: see `storage.again.reschedule`."""
        await self._transact(lambda db: again.reschedule(db, wait, now=now))

    async def refuse(self, host_id: int, reason: str, detail: str, *, revisits: bool = True) -> int:
        def work(db: sqlite3.Connection) -> int:
            self._memory.known.forget()
            return db.execute(REFUSE, (reason, detail, host_id, revisits)).rowcount

        return await self._transact(work)

    async def postpone(self, hosts: Mapping[int, int], why: str) -> None:
        rows = to_json(list(hosts.items()))
        await self._transact(lambda db: db.execute(POSTPONE, {"rows": rows, "why": why}))

    async def record(
        self,
        changes: Sequence[JsonObject],
        *,
        now: int,
        spec: JsonObject,
        tally: Tally | None = None,
        rescope: bool = False,
    ) -> None:
        def work(db: sqlite3.Connection) -> None:
            for change in changes:
                db.execute(CHANGED, (to_json({"at": now, "run": self._run, **change}),))
            db.execute("UPDATE run SET spec = ? WHERE id = ?", (to_json(spec), self._run))
            if rescope:
                db.execute(JUDGE_AGAIN)
            self._note(db, tally)

        await self._transact(work)

    async def counts(self) -> Counts:
        return Counts(*(await self._rows("SELECT * FROM counts"))[0])

    def room(self) -> int | None:
        return shutil.disk_usage(self.path.parent).free

    def unfolded(self) -> int:
        try:
            return os.stat(f"{self.path}-wal").st_size
        except FileNotFoundError:
            return 0

    async def pending(self, *, now: int) -> Pending:
        queued = (await self.counts()).queued
        if not queued:
            return Pending(0, None)
        return Pending(queued, (await self._rows(NEXT))[0][0], revisits=not (await self._rows(OTHERS, (now,)))[0][0])

    async def revisit_at(self) -> int | None:
        return (await self._rows(REVISIT))[0][0]  # type: ignore[no-any-return]

    async def end(self, ending: str, *, now: int, tally: Tally | None = None) -> None:
        await self._verified(0)

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE run SET ended_at = ?, ending = ? WHERE id = ?", (now, ending, self._run))
            self._note(db, tally)

        await self._transact(work)

    def _note(self, db: sqlite3.Connection, tally: Tally | None) -> None:
        if tally is not None:
            facts = (tally.requests, tally.connections, tally.reused, tally.bytes, to_json(tally.progress), self._run)
            db.execute(TALLY, facts)

    async def _rows(self, sql: str, parameters: Any = ()) -> list[Any]:
        if self._reader is None:
            raise StoreError(f"{self.path} is not open")
        try:
            return list(await self._reader.execute_fetchall(sql, parameters))
        except Errors as error:
            raise told(error, self.path) from error

    async def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work in one transaction, in the write connection's thread: all or nothing, one at a time.

        aiosqlite has no public call for "this function, there"; a hop for each statement made a commit wait seventeen
        times for a busy event loop (docs/decisions/0006). `_execute` is that call, and this the only place that uses it.
        """
        if self._db is None:
            raise StoreError(f"{self.path} is not open")
        try:
            result: T = await self._db._execute(_in_transaction, self._db._conn, work)  # type: ignore[no-untyped-call]
        except BaseException as error:
            self._memory.forget()
            if isinstance(error, Errors):
                raise told(error, self.path) from error
            raise
        return result


def _queued(
    id_: int, host: int, origin: str, name: str, path: str, depth: int | None, priority: int, attempts: int, due_at: int,
    seed: int, hops: int | None, role: str | None, outcome: str | None = None, digest: bytes | None = None,
    headers: str | None = None,
) -> Queued:  # fmt: skip
    place = Place(origin, name, path)
    known_as = None if role in (None, sitemaps.NONE) else Role.of(role)
    before = Before(outcome, digest, headers) if priority > 0 and outcome else None
    return Queued(id_, host, place, depth or 0, priority, attempts, due_at, bool(seed), hops or 0, known_as, before)


def _in_transaction(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    with transaction(db):
        return work(db)
