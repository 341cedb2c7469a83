"""Many rows by few statements.

A parameter costs half of what the same value costs as JSON, and each statement runs without the interpreter lock, which
`executemany` takes and gives back for every row (docs/performance.md has the figures).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

from storage.text import to_unicode

AT_ONCE = 250  # rows in one statement; SQLite takes 32,766 parameters


def inserting(table: str, *columns: str) -> str:
    """The statement for `insert`."""
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * AT_ONCE)} ON CONFLICT DO NOTHING"  # noqa: S608


def insert(db: sqlite3.Connection, sql: str, rows: Sequence[Sequence[Any]]) -> int:
    """Insert the rows; how many were new. The last statement is filled up with its last row, which conflicts with itself:
    for tables with a key."""
    new = 0
    for start in range(0, len(rows), AT_ONCE):
        some = list(rows[start : start + AT_ONCE])
        some += some[-1:] * (AT_ONCE - len(some))
        values = list(chain.from_iterable(some))
        try:
            new += db.execute(sql, values).rowcount
        except UnicodeEncodeError:
            new += db.execute(sql, list(map(to_unicode, values))).rowcount
    return new
