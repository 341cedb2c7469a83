"""Reading a crawl file, also while a crawl writes to it: `open_reader`. Read-only by construction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from storage import index
from storage.codec import unpack
from storage.lock import holder
from storage.migrate import VERSION, check
from storage.model import Counts, Place, record
from storage.store import StoreUnreadable
from storage.trouble import Errors, told

SEEDS = """SELECT o.name, h.name, u.path FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
WHERE u.seed = 1 ORDER BY u.id"""
TROUBLE = "SELECT host, trouble FROM hosts WHERE trouble IS NOT NULL ORDER BY queued + skipped DESC, host LIMIT 5"
LEFT = "SELECT EXISTS (SELECT 1 FROM url WHERE due_at IS NOT NULL AND (priority <= 0 OR due_at <= ?))"
REVISITS = "SELECT count(*), min(due_at) FROM url WHERE due_at IS NOT NULL AND priority > 0"
EXCLUDED = "SELECT host FROM exclusion ORDER BY host"
CHANGES = "SELECT at, what, name, host, before, now FROM controls WHERE run = ?"
VIEWS = Path(__file__).with_name("views.sql")


@record
class RunInfo:
    """The latest run as the file knows it. Times are Unix ms."""

    id: int
    started_at: int
    ended_at: int | None
    ending: str | None
    requests: int
    connections: int
    reused: int
    bytes: int
    spec: dict[str, Any]
    progress: dict[str, Any]


@record
class Body:
    """A stored body as decoded, with the headers kept of its answer."""

    url: str
    status: int | None
    mime: str | None
    charset: str | None
    headers: list[tuple[str, str]]
    content: bytes | None


class Reader:
    """A read-only window on a crawl file. Use as a context manager; one thread at a time."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self.db = db

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.db.close()

    def query(
        self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()
    ) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Column names and rows, streamed. Raises sqlite3.Error for bad SQL or an attempt to write."""
        cursor = self.db.execute(sql, parameters)
        return [c[0] for c in cursor.description or ()], iter(cursor)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self.db.execute(sql, parameters).fetchone()
        return row

    @property
    def outdated(self) -> bool:
        """The file is of an older version of the schema: some columns of today's views are not there."""
        row = self.one("PRAGMA main.user_version")
        return row is not None and int(row[0]) < VERSION

    def counts(self) -> Counts:
        return Counts(*(self.one("SELECT * FROM counts") or ()))

    def due(self, horizon: int) -> bool:
        """Whether a run would have something to do until then (Unix ms): revisits apart, whatever is queued counts."""
        row = self.one(LEFT, (horizon,))
        return row is not None and bool(row[0])

    def revisits(self) -> tuple[int, int | None]:
        """How many visited URLs are queued to be visited again, and when the first falls due (Unix ms)."""
        count, at = self.one(REVISITS) or (0, None)
        return count, at

    def run(self) -> RunInfo | None:
        """The latest run, or None when the file holds none."""
        row = self.one(
            "SELECT id, started_at, ended_at, ending, requests, connections, reused, bytes, spec, progress "
            "FROM run ORDER BY id DESC LIMIT 1"
        )
        if row is None:
            return None
        *facts, spec, progress = row
        facts += [json.loads(spec), json.loads(progress or "{}")]
        return RunInfo(*facts)

    def seeds(self) -> list[Place]:
        """Every seed of the crawl, in the order they came."""
        return [Place(*row) for row in self.db.execute(SEEDS)]

    def excluded(self) -> list[str]:
        """Hosts that were purged from the file."""
        return [] if self.outdated else [row[0] for row in self.db.execute(EXCLUDED)]

    def trouble(self) -> dict[str, str]:
        """What is wrong with hosts, in words; the five with the most URLs."""
        return {} if self.outdated else dict(self.db.execute(TROUBLE).fetchall())

    def changes(self, run: int) -> list[dict[str, Any]]:
        """What was changed while a run went on: at (ISO 8601), what, name, host, before and now, in this order."""
        names, rows = self.query(CHANGES, (run,))
        return [dict(zip(names, row, strict=True)) for row in rows]

    def crawler(self) -> int | None:
        """The process that is crawling into this file now."""
        return holder(self.path)

    def body(self, place: Place) -> Body | None:
        """The latest stored answer of a URL; None when it was never fetched."""
        row = self.one(
            """SELECT f.status, f.mime, f.charset, f.headers, b.codec, b.data
            FROM origin o JOIN url u ON u.origin = o.id JOIN fetch f ON f.id = u.last LEFT JOIN body b ON b.id = f.body
            WHERE o.name = ? AND u.path = ?""",
            (place.origin, place.path),
        )
        if row is None:
            return None
        status, mime, charset, headers, codec, data = row
        return Body(
            place.url,
            status,
            mime,
            charset,
            [(k, v) for k, v in json.loads(headers or "[]")],
            None if data is None else unpack(codec, data),
        )


def open_reader(path: str | Path) -> Reader:
    """Open a crawl file read-only; it may be crawled at the same time. Raises StoreUnreadable, naming the file."""
    path = Path(path)
    if not path.is_file():
        raise StoreUnreadable(f"{path}: no such file")
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise StoreUnreadable(str(told(error, path))) from None
    try:
        _look(db, path)
    except BaseException:
        db.close()
        raise
    db.create_function("unpack", 2, unpack, deterministic=True)
    return Reader(path, db)


def _look(db: sqlite3.Connection, path: Path) -> None:
    """Set the connection up; StoreUnreadable unless the file is a crawl."""
    try:
        db.execute("PRAGMA busy_timeout = 30000")
        _, _, empty = check(db, path)
        if not empty:
            db.executescript(VIEWS.read_text("utf-8"))
            index.attach(db, path)
        db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)  # a file that SQL attached could be written
    except Errors as error:
        raise StoreUnreadable(str(told(error, path))) from None
    if empty:
        raise StoreUnreadable(f"{path} is empty: no crawl has begun in it")
