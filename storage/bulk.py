"""Many rows by few statements.

A parameter costs half of what the same value costs as JSON, and each statement runs without the interpreter lock, which
`executemany` takes and gives back for every row (docs/performance.md has the figures).
"""

from __future__ import annotations

import sqlite3
from typing import Any

from storage.text import to_unicode

AT_ONCE = 250  # rows in one statement; SQLite takes 32,766 parameters


def inserting(table: str, *columns: str, **fixed: str) -> str:
    """The statement for `Rows`. ``fixed``: columns that have the same value in every row, as SQL; they are not bound."""
    names, row = ", ".join((*columns, *fixed)), f"({', '.join(('?',) * len(columns) + (*fixed.values(),))})"
    return f"INSERT INTO {table} ({names}) VALUES {', '.join([row] * AT_ONCE)} ON CONFLICT DO NOTHING"  # noqa: S608


class Rows:
    """Rows on their way into a table with a key. Their ``values`` are appended one after the other, and go into the file as
    soon as there are enough; `end` says how many rows were new."""

    def __init__(self, db: sqlite3.Connection, sql: str) -> None:
        self._db, self._sql, self._size = db, sql, sql.count("?")
        self._new = 0
        self.values: list[Any] = []

    def flush(self) -> None:
        """Insert what makes whole statements."""
        done = len(self.values) // self._size * self._size
        for start in range(0, done, self._size):
            self._insert(self.values[start : start + self._size])
        del self.values[:done]

    def end(self) -> int:
        """Insert the rest. Its statement is filled up with the last row, which conflicts with itself."""
        self.flush()
        if self.values:
            width = self._size // AT_ONCE
            self._insert(self.values + self.values[-width:] * (AT_ONCE - len(self.values) // width))
            self.values.clear()
        return self._new

    def _insert(self, values: list[Any]) -> None:
        try:
            self._new += self._db.execute(self._sql, values).rowcount
        except UnicodeEncodeError:
            self._new += self._db.execute(self._sql, list(map(to_unicode, values))).rowcount
