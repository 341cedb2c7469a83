"""Writing to a crawl file that nobody crawls: under its lock, in today's schema, all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from storage.lock import FileLock
from storage.migrate import check, prepare
from storage.purge import finish
from storage.store import StoreUnreadable
from storage.trouble import Errors, told

PRAGMAS = """PRAGMA busy_timeout = 30000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
PRAGMA temp_store = MEMORY;"""


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """The connection that may write (in `transaction`), as long as it lasts, from one thread at a time.

    A file of an older version is upgraded first. Raises StoreLocked while a crawl runs, StoreUnreadable, and what SQLite
    says as StoreError, naming the file.
    """
    if not path.is_file():
        raise StoreUnreadable(f"{path}: no such file")
    with FileLock(path), closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as db:
        try:
            if check(db, path)[2]:
                raise StoreUnreadable(f"{path} is empty: no crawl has begun in it")
            prepare(db, path)
            db.executescript(PRAGMAS)
            finish(db, path)
            yield db
        except Errors as error:
            raise told(error, path) from error
