"""Bringing a crawl file's index up to date (decision 0025).

`fetch` is append-only, so the latest attempt the index knows says all of what it misses: the attempts since then are read,
a batch at a time, and each batch is committed together with that mark. The crawl file is only read, never for long.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from storage.graph import click_depth, pagerank
from storage.index import FORMAT, LATEST, identity, one, path_of, wipe
from storage.lock import FileLock
from storage.migrate import create_file
from storage.near import near
from storage.store import StoreError, StoreLocked
from storage.transaction import transaction
from storage.trouble import DAMAGED, told

SCHEMA = Path(__file__).with_name("index.sql")
PRAGMAS = "PRAGMA busy_timeout = 30000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON;"
PAGES, BYTES = 200, 16 << 20  # a batch: pages, and bytes of their packed bodies
SPAN = 2_000  # URLs whose links are read at once: no read of the crawl file is a long one
CLICKS = "('a', 'area', 'frame', 'iframe', 'redirect', 'refresh')"

TODO = """SELECT f.id, u.id, o.name || u.path, u.outcome IS 'page', l.title, l.mime, l.charset, l.parse, b.codec, b.data
FROM fetch f JOIN url u ON u.id = f.url JOIN origin o ON o.id = u.origin
LEFT JOIN fetch l ON l.id = u.last AND u.outcome = 'page' LEFT JOIN body b ON b.id = l.body
WHERE f.id > ? ORDER BY f.id LIMIT ?"""
NODES = "SELECT id, outcome = 'redirect', seed FROM url WHERE outcome IN ('page', 'redirect')"
LINKS = f"""SELECT src, dst FROM link WHERE src BETWEEN ? AND ? AND src <> dst AND step IS NOT NULL
AND kind IN {CLICKS}"""  # noqa: S608 - of constants
BODIES = """SELECT min(u.id) FROM url u JOIN fetch f ON f.id = u.last WHERE u.outcome = 'page'
GROUP BY coalesce(f.body, -u.id)"""


@dataclass(frozen=True, slots=True)
class Todo:
    """A URL that was asked for since, and its body as it is packed. ``page`` False: it is no page, or none any more."""

    id: int
    url: str
    page: bool
    title: str | None
    mime: str | None
    charset: str | None
    parse: str | None
    codec: str | None
    packed: bytes | None


@dataclass(frozen=True, slots=True)
class Text:
    """What is known of a page. ``simhash``: 64 bits, signed; ``reason``: why the text is not, or not wholly, there."""

    text: str = ""
    simhash: int | None = None
    reason: str | None = None


class Indexing:
    """Brings a crawl's index up to date; one process at a time. A context manager over an open reader's connection.

    Entering raises StoreLocked when another process is at it, StoreError when the index cannot be written.
    """

    def __init__(self, crawl: sqlite3.Connection, path: Path) -> None:
        self._crawl, self._path = crawl, path
        self._lock = FileLock(path_of(path))

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except StoreLocked:
            raise StoreLocked(f"{path_of(self._path)} is being written by another process; try again when it has ended") from None
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()
        self._lock.release()

    def _open(self) -> None:
        """The index of this very crawl, in today's format; else a new one."""
        side = path_of(self._path)
        try:
            if not side.is_file() or not self._usable(side):
                wipe(self._path)
                create_file(side)
                self._create(side)
        except OSError as error:
            raise StoreError(f"{side} could not be written: {error.strerror}") from None
        except sqlite3.Error as error:
            raise self._told(error) from None

    def _usable(self, side: Path) -> bool:
        self._db = sqlite3.connect(side, isolation_level=None)
        try:
            self._db.executescript(PRAGMAS)
            facts = dict(self._db.execute("SELECT key, value FROM meta"))
        except sqlite3.Error as error:
            self._db.close()
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_ERROR, *DAMAGED}:  # no table, no database
                return False
            raise
        if facts.get("format") == FORMAT and facts.get("crawl") == identity(self._crawl):
            return True
        self._db.close()
        return False

    def _create(self, side: Path) -> None:
        self._db = sqlite3.connect(side, isolation_level=None)
        self._db.executescript(PRAGMAS)
        self._db.executescript(SCHEMA.read_text("utf-8"))
        self._db.executemany("INSERT INTO meta VALUES (?, ?)",
                             [("format", FORMAT), ("crawl", identity(self._crawl)), ("text", 0)])
        self._db.execute("COMMIT")

    # --- text ---

    def missing(self) -> int:
        """Attempts whose pages are not in the index yet."""
        latest: int = one(self._crawl, LATEST)
        return max(0, latest - self._mark("text"))

    def take(self) -> tuple[int | None, list[Todo]]:
        """What comes next, and the mark that it leads to; None when the index is up to date."""
        mark: int | None = None
        size, found = 0, {}
        with closing(self._crawl.execute(TODO, (self._mark("text"), PAGES))) as rows:
            for mark, number, url, page, title, mime, charset, parse, codec, data in rows:  # noqa: B007 - the last one counts
                found[number] = Todo(number, url, bool(page), title, mime, charset, parse, codec, data)
                size += len(data or b"")
                if size > BYTES:
                    break
        return mark, list(found.values())

    def put(self, mark: int, texts: Iterable[tuple[Todo, Text]]) -> None:
        """Store a batch, and that everything up to ``mark`` is known. Raises StoreError."""
        pairs = list(texts)
        gone = [(todo.id,) for todo, _ in pairs]
        pages = [(todo, text) for todo, text in pairs if todo.page]
        with self._writing() as db:
            db.executemany("DELETE FROM text WHERE rowid = ?", gone)
            db.executemany("DELETE FROM doc WHERE id = ?", gone)
            db.executemany("INSERT INTO doc VALUES (?, ?, ?)", [(todo.id, t.simhash, t.reason) for todo, t in pages])
            db.executemany("INSERT INTO text (rowid, title, body) VALUES (?, ?, ?)",
                           [(todo.id, todo.title or "", t.text) for todo, t in pages])
            db.execute("INSERT OR REPLACE INTO meta VALUES ('text', ?)", (mark,))

    # --- graph ---

    def rank(self) -> bool:
        """Compute PageRank, click depth and near duplicates anew, if anything was fetched or indexed since; whether so."""
        mark = one(self._crawl, LATEST)
        if self._mark("graph") == mark and self._mark("near") == self._mark("text"):
            return False
        nodes = self._crawl.execute(NODES).fetchall()
        number = {node: at for at, (node, _, _) in enumerate(nodes)}
        targets = self._targets(number)
        depths = click_depth(targets, frozenset(at for at, n in enumerate(nodes) if n[1]),
                             [at for at, n in enumerate(nodes) if n[2]])
        ranks = pagerank(targets)
        alike = self._near()
        with self._writing() as db:
            db.execute("DELETE FROM node")
            db.execute("DELETE FROM near")
            db.executemany("INSERT INTO node VALUES (?, ?, ?)", zip(number, depths, ranks, strict=True))
            db.executemany("INSERT INTO near VALUES (?, ?, ?)", alike)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('graph', ?), ('near', (SELECT value FROM meta WHERE key = 'text'))",
                       (mark,))
        return True

    def _targets(self, number: dict[int, int]) -> list[list[int]]:
        """By node, the nodes it links to, each once."""
        targets: list[list[int]] = [[] for _ in number]
        for low in range(0, max(number, default=-1) + 1, SPAN):
            last = None
            for src, dst in self._crawl.execute(LINKS, (low, low + SPAN - 1)).fetchall():
                if (src, dst) != last and src in number and dst in number:
                    targets[number[src]].append(number[dst])
                last = src, dst
        return targets

    def _near(self) -> list[tuple[int, int, int]]:
        """Of pages with the same body only the first is looked at."""
        hashes = dict(self._db.execute("SELECT id, simhash FROM doc WHERE simhash IS NOT NULL"))
        firsts = sorted(row[0] for row in self._crawl.execute(BODIES))
        return list(near((page, hashes[page]) for page in firsts if page in hashes))

    # --- inside ---

    def _mark(self, part: str) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (part,)).fetchone()
        return int(row[0]) if row else -1

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with transaction(self._db) as db:
                yield db
        except sqlite3.Error as error:
            raise self._told(error) from None

    def _told(self, error: sqlite3.Error) -> StoreError:
        side = path_of(self._path)
        return StoreError(f"{told(error, side)}. It holds nothing that is not in the crawl file: it may be deleted")
