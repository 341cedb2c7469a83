"""What an error of SQLite means for the crawl: something that may pass, or the end of the run. Told by code, never by text."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from storage.store import StoreBlocked, StoreBusy, StoreError, StoreFull, StoreUnreadable

BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})  # primary codes
FULL = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR_WRITE,  # EDQUOT and EFBIG come as this; only ENOSPC as FULL
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    }
)  # extended codes
Errors = (sqlite3.Error, UnicodeDecodeError)  # the latter: a damaged file's schema in a message
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})  # primary codes


def told(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StoreError:
    """The error as the store's own, naming the file and what to do.

    A disk that cannot be read or synced is not waited for: after a failed fsync nobody knows what is on it.
    """
    extended = getattr(error, "sqlite_errorcode", None) or 0
    primary = extended & 0xFF
    if primary in BUSY:
        return StoreBusy(f"{path} is locked by another program that writes to it ({error})")
    if primary == sqlite3.SQLITE_FULL or extended in FULL:
        return StoreFull(f"{path} cannot be written, there is no room ({error})")
    if primary in DAMAGED or isinstance(error, UnicodeDecodeError):
        return StoreError(f"{path} is damaged, or no SQLite file ({error}). It is left as it is; try: {recovery(path)}")
    return StoreError(
        f"{path} could not be read or written: {error}. What was committed is safe; `crawler resume` goes on"
    )


def at_open(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StoreError:
    """The same before anything was sent: what does not pass is a file that cannot be used."""
    found = told(error, path)
    return found if isinstance(found, StoreBlocked) else StoreUnreadable(str(found))


def recovery(path: Path) -> str:
    """The command that saves what can be read of a damaged file."""
    return f"sqlite3 {path} .recover | sqlite3 recovered.db"
