"""Opening a crawl file: is it one, of which version, and how an older one becomes today's.

``application_id`` says what the file is, ``user_version`` which schema it has. An upgrade runs in one transaction, after a
copy beside the file; a file of a newer version is refused, never guessed at.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from storage.store import StoreUnreadable
from storage.trouble import Errors, at_open

APPLICATION_ID = 0x706F6F6C  # 'pool'
VERSION = 2
CANONICAL_FORM = "1"  # the version of the canonical URL's rules; a change there asks for a migration of `url`
SCHEMA = Path(__file__).with_name("schema.sql")

MIGRATIONS: dict[int, str] = {}
"""From version n to n + 1: statements beyond the new tables and columns, which `_changes` finds by itself. A new column is
the last of its table and nullable, or has a constant default."""

PARTS = "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"


def create_file(path: Path) -> bool:
    """Make an empty file only its owner can read (FAULTS V3), if there is none; whether it was made."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    except OSError as error:
        raise StoreUnreadable(f"cannot create {path}: {error.strerror}") from None
    return True


def prepare(db: sqlite3.Connection, path: Path) -> Path | None:
    """Check an open connection's file and bring it to today's schema; the copy that was made of an older one.

    Raises StoreError, and then the file is as it was.
    """
    try:
        _, version, empty = check(db, path)
        if empty:
            _create(db)
        elif version < VERSION:
            return _upgrade(db, path, version)
    except Errors as error:
        raise at_open(error, path) from None
    return None


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
    db.execute("PRAGMA journal_mode = WAL")  # first: to change it later nobody may be reading
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    db.executescript(f"BEGIN IMMEDIATE; {SCHEMA.read_text('utf-8')} {marks}")
    db.execute("INSERT INTO meta VALUES ('canonical_form', ?)", (CANONICAL_FORM,))
    db.execute("COMMIT")


def _upgrade(db: sqlite3.Connection, path: Path, version: int) -> Path:
    """One transaction, after a copy: who is killed meanwhile has the old file or the new one."""
    copy = path.with_name(f"{path.name}.v{version}")
    _copy(db, copy)
    steps = "".join(MIGRATIONS.get(v, "") for v in range(version, VERSION))
    db.executescript(f"BEGIN IMMEDIATE; {_changes(db)} {steps} PRAGMA user_version = {VERSION}; COMMIT;")
    return copy


def _copy(db: sqlite3.Connection, copy: Path) -> None:
    """A copy under its name is a whole one: it was renamed when it was done."""
    if copy.exists():
        return
    partial = copy.with_name(copy.name + ".partial")
    partial.unlink(missing_ok=True)
    create_file(partial)
    db.execute("VACUUM INTO ?", (str(partial),))
    os.replace(partial, copy)


def _changes(db: sqlite3.Connection) -> str:
    """What makes this file's schema that of schema.sql: its new tables and columns, and all views, triggers and indexes anew.
    What a user has added of these under other names stays."""
    there = {(kind, name) for kind, name, _ in db.execute(PARTS)}
    steps = []
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(SCHEMA.read_text("utf-8"))
        parts = fresh.execute(PARTS).fetchall()
        for kind, name, sql in parts:
            if kind != "table":
                steps.append(f"DROP {kind} IF EXISTS {name};")
            elif (kind, name) not in there:
                steps.append(f"{sql};")
            else:
                steps += [f"ALTER TABLE {name} ADD COLUMN {column};" for column in _new_columns(db, fresh, name)]
    return " ".join(steps + [f"{sql};" for kind, _, sql in parts if kind != "table"])


def _new_columns(db: sqlite3.Connection, fresh: sqlite3.Connection, table: str) -> list[str]:
    columns = "SELECT name, type, \"notnull\", dflt_value FROM pragma_table_info(?)"
    known = {name for name, *_ in db.execute(columns, (table,))}
    return [
        f"{name} {kind}" + (f" NOT NULL DEFAULT {default}" if required else "")
        for name, kind, required, default in fresh.execute(columns, (table,))
        if name not in known
    ]
