"""Many rows by few statements.

A parameter costs half of what the same value costs as JSON, and each statement runs without the interpreter lock, which
`executemany` takes and gives back for every row (docs/performance.md has the figures).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from storage.text import to_unicode

SIZES = (2000, 250, 25)  # rows in one statement
MOST = 32_766  # parameters that SQLite takes


class Inserting:
    """Adds rows to a table with a key, and leaves alone those that are there. ``made``: columns that are given as SQL, the
    same in every row; a ? in it is bound after the ``columns``."""

    def __init__(self, table: str, *columns: str, **made: str) -> None:
        self.width = len(columns) + "".join(made.values()).count("?")
        self.sizes = [size for size in SIZES if size * self.width <= MOST]
        names, row = ", ".join((*columns, *made)), f"({', '.join(('?',) * len(columns) + (*made.values(),))})"
        self.sql = {
            size: f"INSERT INTO {table} ({names}) VALUES {', '.join([row] * size)} ON CONFLICT DO NOTHING"  # noqa: S608
            for size in self.sizes
        }


class Rows:
    """Rows on their way into a table with a key. Their ``values`` are appended one after the other, and go into the file as
    soon as there are enough; `end` says how many rows were new."""

    def __init__(self, db: sqlite3.Connection, inserting: Inserting) -> None:
        self._db, self._inserting = db, inserting
        self._new = 0
        self.values: list[Any] = []

    def flush(self) -> None:
        """Insert what makes whole statements of the largest size."""
        self._flush(self._inserting.sizes[:1])

    def _flush(self, sizes: Sequence[int]) -> None:
        for size in sizes:
            step = size * self._inserting.width
            done = len(self.values) // step * step
            for start in range(0, done, step):
                self._insert(self._inserting.sql[size], self.values[start : start + step])
            del self.values[:done]

    def end(self) -> int:
        """Insert the rest. Its statement is filled up with the last row, which conflicts with itself."""
        self._flush(self._inserting.sizes)
        if self.values:
            width, least = self._inserting.width, self._inserting.sizes[-1]
            padding = self.values[-width:] * (least - len(self.values) // width)
            self._insert(self._inserting.sql[least], self.values + padding)
            self.values.clear()
        return self._new

    def _insert(self, sql: str, values: list[Any]) -> None:
        try:
            self._new += self._db.execute(sql, values).rowcount
        except UnicodeEncodeError:
            self._new += self._db.execute(sql, list(map(to_unicode, values))).rowcount
