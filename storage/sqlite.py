"""The store in one SQLite file: one connection writes and checkpoints, one reads for the feed (DESIGN §8)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiosqlite

from storage import commit as batches
from storage.codec import unpack
from storage.lock import FileLock
from storage.migrate import create_file, prepare
from storage.model import Begun, Counts, HostRow, JsonObject, OriginRow, Pending, Place, Queued, Settlement, Tally
from storage.store import Judge, StoreError, StoreUnreadable

PRAGMAS = """PRAGMA busy_timeout = 30000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 16000;
PRAGMA journal_size_limit = 67108864;"""

HOSTS = """SELECT id, name, next_fetch_at, blocked_until, delay, crawl_delay, failures, pages, queued FROM host
WHERE queued > 0 AND blocked_until <= :horizon AND id NOT IN (SELECT value FROM json_each(:held))
ORDER BY next_fetch_at LIMIT :limit"""
HOSTS_NAMED = """SELECT id, name, next_fetch_at, blocked_until, delay, crawl_delay, failures, pages, queued FROM host
WHERE name IN (SELECT value FROM json_each(?))"""
ORIGINS = """SELECT o.host, o.name, o.robots_status, o.robots_until, o.robots_failures, b.codec, b.data
FROM json_each(?) e JOIN origin o ON o.host = e.value
LEFT JOIN fetch f ON f.id = o.robots_fetch LEFT JOIN body b ON b.id = f.body"""
DUE = """SELECT u.id, u.host, o.name, h.name, u.path, u.depth, u.priority, u.attempts,
  max(u.due_at, iif(o.robots_status = 'unreachable', o.robots_until, 0)), u.seed
FROM json_each(:hosts) w JOIN url u ON u.id IN (
    SELECT q.id FROM url q JOIN origin p ON p.id = q.origin
    WHERE q.host = w.value AND q.due_at IS NOT NULL AND q.due_at <= :horizon
      AND (p.robots_status IS NOT 'unreachable' OR p.robots_until <= :horizon)
      AND q.id NOT IN (SELECT value FROM json_each(:held))
    ORDER BY q.priority, q.depth, q.id LIMIT :each)
JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
ORDER BY u.priority, u.depth, u.id"""
NEXT = """SELECT min(max(u.due_at, h.blocked_until, iif(o.robots_status = 'unreachable', o.robots_until, 0)))
FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host WHERE u.due_at IS NOT NULL"""
TALLY = """UPDATE run SET requests = ?, connections = ?, reused = ?, bytes = ?, progress = ? WHERE id = ?"""
JUDGED = """SELECT u.id, o.name, h.name, u.path FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
WHERE u.id > ? AND NOT u.seed AND (u.due_at IS NOT NULL AND u.last IS NULL
  OR u.outcome = 'skipped' AND u.reason IN ('scope', 'include', 'exclude', 'depth'))
ORDER BY u.id LIMIT 5000"""
REJUDGE = """UPDATE url SET
  due_at = iif(e.value->>1 AND url.depth <= :max_depth, coalesce(url.due_at, :now), NULL),
  outcome = iif(e.value->>1 AND url.depth <= :max_depth, NULL, 'skipped'),
  reason = iif(e.value->>1, iif(url.depth <= :max_depth, NULL, 'depth'), e.value->>2),
  detail = iif(e.value->>1, NULL, e.value->>3)
FROM json_each(:rows) e WHERE url.id = e.value->>0
  AND (url.due_at IS NULL) = (coalesce(e.value->>1, 0) AND url.depth <= :max_depth) RETURNING url.id"""


class SqliteStore:
    """Holds the file's lock and its connections between `open` and `close`. See `storage.store.Store` for the contract."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path)
        self._names = batches.Names()
        self._writing = asyncio.Lock()
        self._db: aiosqlite.Connection | None = None
        self._reader: aiosqlite.Connection | None = None
        self._run = 0
        self._fetch = 0
        self._max_depth: int | None = None
        self.fresh = False

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Lock, create or check the file. Raises StoreLocked or StoreUnreadable, and then nothing was written."""
        if not self.path.parent.is_dir():
            raise StoreUnreadable(f"cannot create {self.path}: the folder {self.path.parent} does not exist")
        self._lock.acquire()
        try:
            self.fresh = create_file(self.path)
            if not os.access(self.path, os.W_OK):
                raise StoreUnreadable(f"{self.path} is read-only for this user")
            self._prepare()
            self._db = await aiosqlite.connect(self.path, isolation_level=None)
            await self._db.executescript(PRAGMAS)
            await self._db.execute(batches.TARGET)
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            self._reader = await aiosqlite.connect(uri, uri=True, isolation_level=None)
            await self._reader.execute("PRAGMA busy_timeout = 30000")
        except sqlite3.Error as error:
            await self.close()
            raise StoreUnreadable(f"{self.path}: {error}") from None
        except BaseException:
            await self.close()
            raise

    def _prepare(self) -> None:
        db = sqlite3.connect(self.path, isolation_level=None)
        try:
            prepare(db, self.path)
        finally:
            db.close()

    async def close(self) -> None:
        for connection in (self._reader, self._db):
            if connection is not None:
                await connection.close()
        self._reader = self._db = None
        self._lock.release()

    @property
    def _write(self) -> aiosqlite.Connection:
        if self._db is None:
            raise StoreError(f"{self.path} is not open")
        return self._db

    async def _rows(self, sql: str, parameters: Any = ()) -> list[Any]:
        if self._reader is None:
            raise StoreError(f"{self.path} is not open")
        return list(await self._reader.execute_fetchall(sql, parameters))

    async def begin(
        self, *, now: int, version: str, spec: JsonObject, seeds: Sequence[Place], max_depth: int | None
    ) -> Begun:
        db = self._write
        self._max_depth = max_depth
        async with self._transaction():
            last = list(await db.execute_fetchall("SELECT spec FROM run ORDER BY id DESC LIMIT 1"))
            await db.execute("UPDATE run SET ended_at = ?, ending = 'killed' WHERE ended_at IS NULL", (now,))
            await batches.plant(db, self._names, seeds, now=now)
            row = list(
                await db.execute_fetchall(
                    "INSERT INTO run (started_at, pid, version, spec) VALUES (?, ?, ?, ?) RETURNING id",
                    (now, os.getpid(), version, json.dumps(spec)),
                )
            )
            self._run = row[0][0]
            self._fetch = next(iter(await db.execute_fetchall("SELECT coalesce(max(id), 0) + 1 FROM fetch")))[0]
        places = await self._rows(
            "SELECT o.name, h.name, u.path FROM url u JOIN origin o ON o.id = u.origin "
            "JOIN host h ON h.id = u.host WHERE u.seed = 1 ORDER BY u.id"
        )
        addresses = await self._rows("SELECT address, next_fetch_at FROM address WHERE next_fetch_at > ?", (now,))
        return Begun(
            run=self._run,
            resumed=bool(last),
            counts=await self.counts(),
            spec=json.loads(last[0][0]) if last else None,
            seeds=tuple(Place(*p) for p in places),
            addresses=dict(addresses),
        )

    async def plant(self, seeds: Sequence[Place], *, now: int) -> int:
        """Add seeds without a run; how many were not seeds before."""
        count = "SELECT count(*) FROM url WHERE seed = 1"
        before = (await self._rows(count))[0][0]
        async with self._transaction():
            await batches.plant(self._write, self._names, seeds, now=now)
        return int((await self._rows(count))[0][0]) - int(before)

    async def hosts(
        self, limit: int, *, horizon: int, held: Collection[int] = (), names: Collection[str] | None = None
    ) -> list[HostRow]:
        if names is not None:
            rows = await self._rows(HOSTS_NAMED, (json.dumps(list(names)),))
        else:
            rows = await self._rows(HOSTS, {"limit": limit, "horizon": horizon, "held": json.dumps(list(held))})
        origins: dict[int, list[OriginRow]] = {}
        for host, name, status, until, failures, codec, data in await self._rows(
            ORIGINS, (json.dumps([r[0] for r in rows]),)
        ):
            body = None if data is None else unpack(codec, data)
            origins.setdefault(host, []).append(OriginRow(name, status, body, until, failures))
        return [replace(HostRow(*row), origins=tuple(origins.get(row[0], ()))) for row in rows]

    async def due(self, hosts: Collection[int], each: int, *, horizon: int, held: Collection[int] = ()) -> list[Queued]:
        rows = await self._rows(
            DUE, {"hosts": json.dumps(list(hosts)), "each": each, "horizon": horizon, "held": json.dumps(list(held))}
        )
        return [
            Queued(id_, host, Place(origin, name, path), depth or 0, priority, attempts, due_at, bool(seed))
            for id_, host, origin, name, path, depth, priority, attempts, due_at, seed in rows
        ]

    async def commit(self, batch: Sequence[Settlement], *, now: int, tally: Tally | None = None) -> None:
        async with self._transaction():
            await batches.apply(
                self._write,
                self._names,
                batch,
                now=now,
                run=self._run,
                max_depth=self._max_depth,
                first_fetch=self._fetch,
            )
            await self._note(tally)
        self._fetch += sum(s.fetch is not None for s in batch)

    async def rescope(self, judge: Judge, *, now: int) -> int:
        limit = {"now": now, "max_depth": batches.DEEP if self._max_depth is None else self._max_depth}
        changed, after = 0, 0
        async with self._transaction():
            while rows := list(await self._write.execute_fetchall(JUDGED, (after,))):
                after = rows[-1][0]
                verdicts = [(row[0], judge(Place(*row[1:]))) for row in rows]
                judged = json.dumps([[id_, int(v.admit), v.reason, v.detail] for id_, v in verdicts])
                changed += len(list(await self._write.execute_fetchall(REJUDGE, limit | {"rows": judged})))
        return changed

    async def refuse(self, host_id: int, reason: str, detail: str) -> int:
        async with self._transaction():
            cursor = await self._write.execute(
                "UPDATE url SET due_at = NULL, outcome = coalesce(outcome, 'skipped'), reason = coalesce(reason, ?), "
                "detail = coalesce(detail, ?) WHERE host = ? AND due_at IS NOT NULL",
                (reason, detail, host_id),
            )
        return cursor.rowcount

    async def counts(self) -> Counts:
        return Counts(*(await self._rows("SELECT * FROM counts"))[0])

    def room(self) -> int | None:
        return shutil.disk_usage(self.path.parent).free

    async def pending(self, *, now: int) -> Pending:
        queued = (await self.counts()).queued
        return Pending(queued, (await self._rows(NEXT))[0][0] if queued else None)

    async def end(self, ending: str, *, now: int, tally: Tally | None = None) -> None:
        async with self._transaction():
            await self._write.execute("UPDATE run SET ended_at = ?, ending = ? WHERE id = ?", (now, ending, self._run))
            await self._note(tally)

    async def _note(self, tally: Tally | None) -> None:
        if tally is not None:
            await self._write.execute(
                TALLY,
                (tally.requests, tally.connections, tally.reused, tally.bytes, json.dumps(tally.progress), self._run),
            )

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        """All or nothing, one at a time: only the owner of this lock speaks to the write connection."""
        async with self._writing:
            await self._write.execute("BEGIN IMMEDIATE")
            try:
                yield
                await self._write.execute("COMMIT")
            except BaseException as error:
                self._names.forget()
                await asyncio.shield(self._write.execute("ROLLBACK"))
                if isinstance(error, sqlite3.Error):
                    raise StoreError(f"{self.path} could not be written: {error}") from error
                raise
