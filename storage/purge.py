"""Removing a host from a crawl file for good: its rows, its bodies, every link to it, and the text they left in the pages.

One transaction takes the rows out, with `secure_delete` writing zeros over them; `VACUUM` and a truncating checkpoint then
leave neither the file nor its write-ahead log with anything of theirs. A process that dies in between leaves the file as
it was, or purged and not yet compacted; the same command again ends the work. The host stays excluded from then on.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from storage import index
from storage.lock import FileLock
from storage.migrate import prepare
from storage.model import record
from storage.store import StoreError, StoreLocked, StoreUnreadable
from storage.text import to_json
from storage.transaction import transaction

PRAGMAS = """PRAGMA busy_timeout = 30000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY;"""
PENDING = "purge"  # the key in `meta` that says: the file is not compacted yet

TABLES = """CREATE TEMP TABLE gone_host (id INTEGER PRIMARY KEY);
CREATE TEMP TABLE gone_url (id INTEGER PRIMARY KEY);
CREATE TEMP TABLE gone_fetch (id INTEGER PRIMARY KEY, body INTEGER);"""
FIND = (
    "INSERT INTO gone_host SELECT h.id FROM json_each(?) e JOIN host h ON h.name = e.value",
    "INSERT INTO gone_url SELECT u.id FROM origin o JOIN url u ON u.origin = o.id WHERE o.host IN gone_host",
    "INSERT INTO gone_fetch SELECT id, body FROM fetch WHERE url IN gone_url",
)
UNTIE = (  # what other hosts' rows say of them
    """UPDATE url SET outcome = 'skipped', reason = 'purged', detail = 'redirects to a purged host'
    WHERE outcome = 'redirect' AND id NOT IN gone_url
      AND id IN (SELECT src FROM link WHERE kind = 'redirect' AND dst IN gone_url)""",
    "DELETE FROM shape WHERE host IN gone_host",
    "DELETE FROM repeat WHERE host IN gone_host",
    "UPDATE run SET alone = NULL WHERE alone IN gone_url",
    "UPDATE url SET parent = NULL WHERE parent IN gone_url AND id NOT IN gone_url",
    """UPDATE origin SET robots_fetch = NULL, robots_status = NULL, robots_until = 0
    WHERE robots_fetch IN (SELECT id FROM gone_fetch) AND host NOT IN gone_host""",
)
DELETE = {
    "links": "DELETE FROM link WHERE src IN gone_url OR dst IN gone_url",
    "fetches": "DELETE FROM fetch WHERE id IN (SELECT id FROM gone_fetch)",
    "bodies": """DELETE FROM body WHERE id IN (SELECT body FROM gone_fetch)
    AND id NOT IN (SELECT body FROM fetch WHERE body IS NOT NULL)""",
    "urls": "DELETE FROM url WHERE id IN gone_url",
    "hosts": "DELETE FROM host WHERE id IN gone_host",
}
FORGET = (
    "DELETE FROM origin WHERE host IN gone_host",
    "DELETE FROM shape WHERE host IN gone_host",
    "DELETE FROM repeat WHERE host IN gone_host OR body NOT IN (SELECT id FROM body)",
)
SCRUB = (  # what other hosts' answers say of them: headers, and what parsing found; their bodies and titles are theirs
    """UPDATE fetch SET headers = (SELECT json_group_array(json(value)) FROM json_each(fetch.headers)
      WHERE instr(lower(value), :mark) = 0) WHERE instr(lower(headers), :mark)""",
    """UPDATE fetch SET data = (SELECT json_group_object(key, json(fetch.data -> fullkey)) FROM json_each(fetch.data)
      WHERE instr(lower(value), :mark) = 0) WHERE instr(lower(data), :mark)""",
    "UPDATE url SET detail = NULL WHERE instr(lower(detail), :mark)",
    "UPDATE url SET role = trim(replace(role || ' ', ' ' || :name || ' ', ' ')) WHERE instr(role || ' ', ' ' || :name || ' ')",
    "UPDATE host SET trouble = NULL WHERE instr(lower(trouble), :name)",
    "DELETE FROM meta WHERE instr(lower(value), :mark) OR key GLOB 'change *' AND instr(lower(value), :name)",
)
CLOCKS = "DELETE FROM address WHERE next_fetch_at < ?"  # a politeness clock that has run out says only whom we asked
EXCLUDE = "INSERT OR IGNORE INTO exclusion SELECT value, ? FROM json_each(?)"


@record
class Purged:
    """How many rows went, and the file's size in bytes before and after."""

    hosts: int
    urls: int
    fetches: int
    links: int
    bodies: int
    before: int
    after: int


def purge(path: Path, names: Sequence[str], host_of: Callable[[str], str | None]) -> Purged:
    """Remove the hosts ``names`` (as `Place.host` spells them) and exclude them from the file's crawl.

    ``host_of`` says which host a seed's text names. Raises StoreLocked while a crawl runs, StoreUnreadable, or StoreError
    when the file could not be written: then it is as it was, or purged and not compacted, as the message says.
    """
    if not path.is_file():
        raise StoreUnreadable(f"{path}: no such file")
    with FileLock(path), _without_index(path), closing(sqlite3.connect(path, isolation_level=None)) as db:
        before = _size(path)
        prepare(db, path)
        try:
            db.executescript(PRAGMAS)
            counts = _remove(db, names, host_of)
        except sqlite3.Error as error:
            raise StoreError(f"{path} could not be written: {error}; nothing was purged") from error
        _compact(db, path)
        return Purged(**counts, before=before, after=_size(path))


@contextmanager
def _without_index(path: Path) -> Iterator[None]:
    """The index goes first and as a whole, and is not made anew of the rows that go: it holds the same texts."""
    side = index.path_of(path)
    try:
        with FileLock(side):
            index.wipe(path)
            yield
    except StoreLocked:
        raise StoreLocked(f"{side} is being written by another process; nothing was purged") from None
    except OSError as error:
        raise StoreError(f"{side} could not be removed: {error.strerror}; nothing was purged") from error


def _remove(db: sqlite3.Connection, names: Sequence[str], host_of: Callable[[str], str | None]) -> dict[str, int]:
    """The transaction; how many rows of each kind went."""
    now, listed = time.time_ns() // 1_000_000, to_json(list(names))
    db.executescript(TABLES)
    with transaction(db):
        for sql in FIND:
            db.execute(sql, (listed,) if "?" in sql else ())
        for sql in UNTIE:
            db.execute(sql)
        counts = {table: db.execute(sql).rowcount for table, sql in DELETE.items()}
        for sql in FORGET:
            db.execute(sql)
        for name in names:
            for sql in SCRUB:
                db.execute(sql, {"mark": f"//{name}", "name": name})
        db.execute(CLOCKS, (now,))
        _forget_seeds(db, set(names), host_of)
        db.execute(EXCLUDE, (now, listed))
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, 'not compacted yet')", (PENDING,))
    return counts


def _forget_seeds(db: sqlite3.Connection, names: set[str], host_of: Callable[[str], str | None]) -> None:
    """The runs' settings list the seeds as they were typed."""
    for run, text in db.execute("SELECT id, spec FROM run").fetchall():
        spec = json.loads(text)
        spec["seeds"] = [seed for seed in spec.get("seeds", []) if host_of(seed) not in names]
        db.execute("UPDATE run SET spec = ?, progress = NULL WHERE id = ?", (to_json(spec), run))


def finish(db: sqlite3.Connection, path: Path) -> None:
    """Compact a file whose purge was interrupted; a millisecond where there was none."""
    if db.execute("SELECT 1 FROM meta WHERE key = ?", (PENDING,)).fetchone():
        _compact(db, path)


def _compact(db: sqlite3.Connection, path: Path) -> None:
    """Leave nothing of what was deleted in the file or beside it."""
    again = "the rows are purged, their text may still be in the file; run the same command again"
    try:
        db.execute("VACUUM")
        busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if not busy:
            db.execute("DELETE FROM meta WHERE key = ?", (PENDING,))
    except sqlite3.Error as error:
        raise StoreError(f"{path} could not be compacted: {error}; {again}") from error
    if busy:
        raise StoreError(f"{path} is being read by another program: {again} when it has ended")


def _size(path: Path) -> int:
    return sum(os.stat(side).st_size for side in (path, path.with_name(path.name + "-wal")) if side.exists())
