"""How SQLite means to run the statements of a crawl: none reads all that a file holds (FAULTS D20)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from types import ModuleType
from typing import Any

import pytest

from storage import budget, commit, discovery, memory, reader, repeats, sitemaps, sqlite
from storage.migrate import SCHEMA

MODULES = (budget, commit, discovery, memory, reader, repeats, sitemaps, sqlite)
GROWS = ("url", "fetch", "link", "body", "host", "origin", "address", "shape", "repeat")
WHOLE = {
    "FROM_THE_FUTURE",  # once, when the clock was ahead
    "NEXT",  # when a run has nothing more to ask for
    "NEWCOMERS",  # hosts of the last hour, once a run
    "TROUBLE",  # when somebody asks for the status: a row a host, of few columns
    "LEFT", "REVISITS",  # of a reader: when the same command is given again, and at the end of a run
    "ANSWERED", "DEATHS",  # they end at the first row that fits: nearly always the first
}  # fmt: skip


class Nothing(dict[str, Any]):
    def __missing__(self, key: str) -> None:
        return None


def statements(module: ModuleType) -> Iterator[tuple[str, str]]:
    for name, value in vars(module).items():
        for sql in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
            if name.isupper() and isinstance(sql, str) and sql.startswith(("SELECT", "UPDATE", "INSERT", "DELETE")):
                yield name, sql


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_d20_no_statement_reads_all_rows(module: ModuleType) -> None:
    """No statement that a crawl runs again and again scans a table that grows; a partial index of few rows is none."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA.read_text("utf-8") + reader.VIEWS.read_text("utf-8"))
        db.execute(discovery.TARGET)
        names = {alias: table for table in GROWS for alias in (table, table[0])} | {"q": "url", "p": "url", "s": "url"}
        for name, sql in statements(module):
            if name in WHOLE:
                continue
            parameters = Nothing() if "?" not in sql else [None] * sql.count("?")
            plan = [row[3].split() for row in db.execute("EXPLAIN QUERY PLAN " + sql, parameters)]
            scans = [step for step in plan if step[0] == "SCAN" and names.get(step[1]) and "url_seed" not in step]
            assert [step for step in scans if "host_turn" not in step] == [], (name, plan)
