"""storage.bulk: many rows by few statements, and never one more or less."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from storage.bulk import SIZES, Inserting, Rows

PAIRS = Inserting("pair", "a", "b", c="'same'")
WIDE = Inserting("wide", *(f"c{n}" for n in range(200)), made="(SELECT 2 * ?)")


@pytest.mark.parametrize("count", [0, 1, *(size + n for size in SIZES for n in (-1, 0, 1)), 2 * SIZES[0], 2 * sum(SIZES) + 7])
@pytest.mark.parametrize("each", [1, 100, 10_000])
def test_all_rows_arrive_once(count: int, each: int) -> None:
    """However many rows are added between two flushes; `end` says how many were new."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE pair (a INTEGER PRIMARY KEY, b TEXT, c TEXT)")
        rows = Rows(db, PAIRS)
        for n in range(count):
            rows.values += (n, f"text {n}")
            if n % each == 0:
                rows.flush()
        assert rows.end() == count
        assert db.execute("SELECT * FROM pair ORDER BY a").fetchall() == [(n, f"text {n}", "same") for n in range(count)]
        assert Rows(db, PAIRS).end() == 0


def test_what_is_there_stays_and_surrogates_become_text() -> None:
    """A row whose key is there is not new; a lone surrogate is stored as a question mark."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE pair (a INTEGER PRIMARY KEY, b TEXT, c TEXT)")
        rows = Rows(db, PAIRS)
        rows.values += (1, "first", 1, "second", 2, "\ud800")
        assert rows.end() == 2
        assert db.execute("SELECT a, b FROM pair").fetchall() == [(1, "first"), (2, "?")]


@pytest.mark.parametrize("count", [0, 1, 24, 25, 26, 251])
def test_wide_rows_go_in_smaller_statements(count: int) -> None:
    """250 rows of 201 values would be more than SQLite takes; what SQL makes of a value is bound last."""
    assert WIDE.sizes == [25]
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE TABLE wide (c0 INTEGER PRIMARY KEY, {', '.join(f'c{n}' for n in range(1, 200))}, made)")
        rows = Rows(db, WIDE)
        for n in range(count):
            rows.values += (n, *["x"] * 199, n)
            rows.flush()
        assert rows.end() == count
        assert db.execute("SELECT c0, c199, made FROM wide").fetchall() == [(n, "x", 2 * n) for n in range(count)]
