"""Which file each page becomes, and which file a URL leads to. Kept in SQLite's temporary tables: memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from crawler.mirror.names import another, key
from storage.export.captures import split
from storage.reader import Reader

BATCH = 64  # pages that are in hand at once
BYTES = 16 << 20  # of their packed bodies
HOPS = 10  # redirects that are followed to a file
REMEMBERED = 65_536  # URLs whose file is remembered

TABLES = """CREATE TEMP TABLE file (id INTEGER PRIMARY KEY, fetch INTEGER, url TEXT, name TEXT);
CREATE TEMP TABLE taken (key TEXT PRIMARY KEY) WITHOUT ROWID"""
PAGES = """SELECT u.id, f.id, o.name || u.path, f.mime FROM temp.chosen c JOIN main.url u ON u.id = c.id
JOIN main.origin o ON o.id = u.origin JOIN main.fetch f ON f.id = u.last WHERE u.outcome = 'page' AND f.body IS NOT NULL
ORDER BY u.id"""
TAKE = "INSERT OR IGNORE INTO temp.taken VALUES (?)"
FILE = "INSERT INTO temp.file VALUES (?, ?, ?, ?)"
NAMED = "SELECT id, url, name FROM temp.file ORDER BY id"
RENAME = "UPDATE temp.file SET name = ? WHERE id = ?"
COUNT = "SELECT count(*) FROM temp.file"
BODIES = """SELECT t.id, t.url, t.name, f.title, f.mime, f.charset, f.parse, f.truncated, f.at, b.codec, b.data FROM temp.file t
JOIN main.fetch f ON f.id = t.fetch JOIN main.body b ON b.id = f.body WHERE t.id > ? ORDER BY t.id LIMIT ?"""
FIND = """SELECT u.id, t.name, u.outcome = 'redirect' FROM main.origin o JOIN main.url u ON u.origin = o.id
LEFT JOIN temp.file t ON t.id = u.id WHERE o.name = ? AND u.path = ?"""
NEXT = """SELECT u.id, t.name, u.outcome = 'redirect' FROM main.link l JOIN main.url u ON u.id = l.dst
LEFT JOIN temp.file t ON t.id = u.id WHERE l.src = ? AND l.kind = 'redirect'"""
SEEDS = """SELECT o.name || u.path FROM main.url u JOIN main.origin o ON o.id = u.origin JOIN temp.chosen c ON c.id = u.id
WHERE u.seed = 1 ORDER BY u.id LIMIT ?"""
FIRST = "SELECT url FROM temp.file ORDER BY id LIMIT ?"


@dataclass(frozen=True, slots=True)
class Page:
    """A stored page and the ``name`` of the file it becomes. ``at``: Unix ms; the body is as it is packed."""

    id: int
    url: str
    name: str
    title: str | None
    mime: str | None
    charset: str | None
    parse: str | None
    truncated: str | None
    at: int
    codec: str
    packed: bytes


class Files:
    """The files of the chosen pages (`storage.export.captures.choose`). ``name_of``: from a URL and a media type to a name, or
    None for what is left out; ``own``: names that are ours. What is exported is settled here, though a crawl goes on."""

    def __init__(self, reader: Reader, name_of: Callable[[str, str | None], str | None], *own: str) -> None:
        self._db = reader.db
        self._db.executescript(TABLES)
        self._db.executemany(TAKE, [(key(name),) for name in own])
        with closing(self._db.execute(PAGES)) as pages:
            for number, fetch, url, mime in pages:
                name = name_of(url, mime)
                if name is None:
                    continue
                self._db.execute(FILE, (number, fetch, url, name))
                self._db.executemany(TAKE, [(key(folder),) for folder in _folders(name)])
        self._part()
        self.find = lru_cache(REMEMBERED)(self._find)

    def __len__(self) -> int:
        return int(self._db.execute(COUNT).fetchone()[0])

    def __iter__(self) -> Iterator[list[Page]]:
        """The pages, a batch at a time."""
        last = 0
        while True:
            batch: list[Page] = []
            with closing(self._db.execute(BODIES, (last, BATCH))) as rows:
                size = 0
                for row in rows:
                    batch.append(Page(*row))
                    size += len(batch[-1].packed)
                    if size > BYTES:
                        break
            if not batch:
                return
            last = batch[-1].id
            yield batch

    def entries(self, most: int) -> list[str]:
        """URLs to begin with that have a file: seeds, or else the first pages."""
        seeds = [url for (url,) in self._db.execute(SEEDS, (most,)) if self.find(url)]
        return seeds or [url for (url,) in self._db.execute(FIRST, (most,))]

    def _part(self) -> None:
        """Give another name to whoever would have that of a folder, or of an earlier page."""
        with closing(self._db.execute(NAMED)) as rows:
            for number, url, name in rows:
                if self._db.execute(TAKE, (key(name),)).rowcount == 1:
                    continue
                new = another(name, url)
                while self._db.execute(TAKE, (key(new),)).rowcount != 1:
                    new = another(new, url)
                self._db.execute(RENAME, (new, number))

    def _find(self, url: str) -> str | None:
        """The file of a URL, or of the page that it redirects to; None: there is none."""
        row: Any = self._db.execute(FIND, split(url)).fetchone()
        for _ in range(HOPS):
            if row is None or row[1] is not None or not row[2]:
                break
            row = self._db.execute(NEXT, (row[0],)).fetchone()
        return row[1] if row is not None else None


def _folders(name: str) -> Iterator[str]:
    end = name.find("/")
    while end >= 0:
        yield name[:end]
        end = name.find("/", end + 1)
