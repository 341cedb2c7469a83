"""Opening a crawl file: is it one, of which version, and how an older one becomes today's.

``application_id`` says what the file is, ``user_version`` which schema it has. An upgrade runs in one transaction; a file
of a newer version is refused, never guessed at.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from storage.store import StoreUnreadable
from storage.trouble import Errors, at_open

APPLICATION_ID = 0x706F6F6C  # 'pool'
VERSION = 1
CANONICAL_FORM = "1"  # the version of the canonical URL's rules; a change there asks for a migration of `url`
SCHEMA = Path(__file__).with_name("schema.sql")

MIGRATIONS: dict[int, str] = {}
"""From version n to n + 1: the statements, run in one transaction."""


def create_file(path: Path) -> bool:
    """Make an empty file only its owner can read (FAULTS V3), if there is none; whether it was made."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    except OSError as error:
        raise StoreUnreadable(f"cannot create {path}: {error.strerror}") from None
    return True


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Check an open connection's file and bring it to today's schema. Raises StoreError, and then wrote nothing."""
    try:
        _, version, empty = check(db, path)
        if empty:
            _create(db)
        elif version < VERSION:
            _upgrade(db, version)
    except Errors as error:
        raise at_open(error, path) from None


def check(db: sqlite3.Connection, path: Path) -> tuple[int, int, bool]:
    """(application_id, user_version, whether the file is empty). Raises StoreUnreadable for what is not ours to open."""
    try:
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        empty = not db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    except Errors as error:
        raise at_open(error, path) from None
    if not empty and application != APPLICATION_ID:
        raise StoreUnreadable(f"{path} is an SQLite file, but not a crawl")
    if version > VERSION:
        raise StoreUnreadable(f"{path} was written by a newer poolcrawl (schema {version}, this one knows {VERSION})")
    return application, version, empty


def _create(db: sqlite3.Connection) -> None:
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    db.executescript(f"BEGIN IMMEDIATE; {SCHEMA.read_text('utf-8')} {marks}")
    db.execute("INSERT INTO meta VALUES ('canonical_form', ?)", (CANONICAL_FORM,))
    db.execute("COMMIT")


def _upgrade(db: sqlite3.Connection, version: int) -> None:
    steps = "".join(MIGRATIONS[v] for v in range(version, VERSION))
    db.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;")
