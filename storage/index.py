"""The index of a crawl file: a file beside it, `crawl.db.index`, with what is derived from it (decision 0025). Reading it.

`storage.indexing` writes it. It is only used with the crawl it was made from.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 1
NAMES = ("duplicates", "click_depth", "pagerank")  # of the views in derived.sql
VIEWS = Path(__file__).with_name("derived.sql")
LATEST = "SELECT coalesce(max(id), 0) FROM main.fetch"
CRAWL = "SELECT coalesce((SELECT started_at || ' ' || pid FROM main.run ORDER BY id LIMIT 1), '')"
PURGED = "SELECT coalesce(max(at), '') FROM main.exclusion"  # a purge makes it another crawl
PURGES = "SELECT count(*) FROM main.sqlite_schema WHERE name = 'exclusion'"  # files of version 1 know none
RANKED = 20_000  # pages that are ranked at most: 2 µs each, and a word that all of 100,000 pages have took 0.15 s
RANK = """SELECT id, score, count(*) OVER () FROM (
  SELECT rowid AS id, bm25(text, 5.0, 1.0) AS score FROM derived.text WHERE text MATCH ? LIMIT ?)
ORDER BY score, id LIMIT ?"""
SHOW = """SELECT o.name || u.path, f.title, snippet(text, 1, '[', ']', '…', 24)
FROM derived.text t JOIN main.url u ON u.id = t.rowid JOIN main.origin o ON o.id = u.origin
LEFT JOIN main.fetch f ON f.id = u.last WHERE text MATCH ? AND t.rowid = ?"""


class Hit(NamedTuple):
    """A page that was found. ``snippet``: of its text, the words in brackets; ``score``: the less, the better."""

    url: str
    title: str | None
    snippet: str
    score: float


def path_of(path: Path) -> Path:
    """Where the index of a crawl file is."""
    return path.with_name(path.name + ".index")


def attach(db: sqlite3.Connection, path: Path) -> bool:
    """Open the crawl's index beside it as schema `derived`, read-only, with its views; whether there is one to use."""
    side = path_of(path)
    if not side.is_file():
        return False
    try:
        db.execute("ATTACH ? AS derived", (f"{side.absolute().as_uri()}?mode=ro",))
    except sqlite3.Error:
        return False
    try:
        known = marks(db)
        if known.get("crawl") == identity(db):
            if "graph" in known:
                db.executescript(VIEWS.read_text("utf-8"))
            return True
    except sqlite3.Error:  # no index, or a damaged one: the next update makes it anew
        pass
    db.execute("DETACH derived")
    return False


def behind(db: sqlite3.Connection, part: str) -> int | None:
    """How many attempts of the crawl the attached index's part ('text' or 'graph') does not know; None: there is no such part."""
    try:
        known = marks(db).get(part)
    except sqlite3.Error:
        return None
    return None if known is None else max(0, one(db, LATEST) - known)


def search(db: sqlite3.Connection, words: Sequence[str], limit: int) -> tuple[list[Hit], int]:
    """Pages with all of the ``words`` in title or text, the best first (BM25, the title counts five times), and how many
    there are; of more than RANKED only the first that came are ranked. A word with spaces is a phrase, one that ends in *
    the beginning of words. Raises sqlite3.Error when no index is attached."""
    match = " ".join(f'"{word.rstrip("*").replace(chr(34), chr(34) * 2)}"{"*" * word.endswith("*")}' for word in words)
    match = match.replace("\0", " ")
    ranked = db.execute(RANK, (match, RANKED, limit)).fetchall()
    hits = [
        Hit(url, title, snippet, score)
        for page, score, _ in ranked
        for url, title, snippet in db.execute(SHOW, (match, page))
    ]
    return hits, ranked[0][2] if ranked else 0


def marks(db: sqlite3.Connection) -> dict[str, Any]:
    """The facts about the attached index; of another format: none."""
    found = dict(db.execute("SELECT key, value FROM derived.meta"))
    return found if found.get("format") == FORMAT else {}


def wipe(path: Path) -> None:
    """Overwrite and remove the index of a crawl file, whatever is in it. Raises OSError."""
    for side in (path_of(path), *(path_of(path).with_name(path_of(path).name + end) for end in ("-wal", "-shm", "-journal"))):
        if not side.is_file():
            continue
        with side.open("r+b") as file:
            left = os.fstat(file.fileno()).st_size
            while left > 0:
                left -= file.write(bytes(min(left, 1 << 20)))
            file.flush()
            os.fsync(file.fileno())
        side.unlink()


def identity(db: sqlite3.Connection) -> str:
    """Whose index it has to be."""
    return f"{one(db, CRAWL)} {one(db, PURGED) if one(db, PURGES) else ''}"


def one(db: sqlite3.Connection, sql: str) -> Any:
    """The value a statement gives."""
    return db.execute(sql).fetchone()[0]
