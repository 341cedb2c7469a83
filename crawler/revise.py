"""What is done to a crawl file between runs: URLs become due again, or are kept out. Nothing is sent.

Who is meant is said in SQL, as an expression over a view; it is read by a connection that cannot write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crawler.exclude_file import ExcludeFile
from crawler.frontier.exclusions import Exclusions, purged
from crawler.frontier.scope import Scope
from crawler.spec import BadSpec, CrawlSpec
from storage import again
from storage.model import Place
from storage.reader import Reader, open_reader
from storage.transaction import transaction
from storage.writing import writing

PLACES = """SELECT u.id, o.name, h.name, u.path FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
WHERE """
VISITED = "u.outcome IN ('page', 'redirect', 'failure')"
COLUMNS = {
    "pages": "SELECT * FROM pages LIMIT 0",
    "failures": "SELECT * FROM failures LIMIT 0",
    "urls": "SELECT * FROM urls LIMIT 0",
}
PAGES = "u.outcome = 'page'"
NOT_SINCE = " AND u.id NOT IN (SELECT url FROM fetch WHERE at > :since)"


@dataclass(frozen=True, slots=True)
class Again:
    """What a recrawl is going to ask. ``left``: of one that was asked for in the same way and did not end; then that is all.
    ``outside``: visited URLs that the scope of now does not admit, and that are left out."""

    due: int = 0
    left: int = 0
    outside: int = 0


def recrawl(
    spec: CrawlSpec, file: Path, where: str | None, older: float | None, *, now: int, dry: bool = False
) -> Again:
    """Make what has been visited due again: pages of which ``where`` is true; without it all, and the sitemaps.

    ``older``: only what was not asked for in so many seconds; ``now``: Unix ms; ``dry``: only count. Raises BadSpec for SQL
    that cannot be run, StoreLocked while a crawl runs (unless dry), StoreError.
    """
    asked = [where, older]
    if dry:
        with open_reader(file) as reader:
            ids, outside = _visited(spec, reader, where, older, now)
            return Again(len(ids), again.left(reader.db, asked), outside)
    with writing(file) as db:
        if left := again.left(db, asked):
            return Again(left=left)
        with open_reader(file) as reader:
            ids, outside = _visited(spec, reader, where, older, now)
        with transaction(db):
            return Again(again.recrawl(db, ids, asked, now=now, sitemaps=where is None), outside=outside)


def _visited(spec: CrawlSpec, reader: Reader, where: str | None, older: float | None, now: int) -> tuple[list[int], int]:
    """Ids of what is meant, and how many more the scope of now does not admit."""
    which = VISITED if where is None else f"u.id IN ({_those('pages', where)})"
    since = {"since": now - round((older or 0) * 1000)}
    rows = rows_of(reader, PLACES + which + (NOT_SINCE if older is not None else ""), where, "pages", since)
    scope = Scope(spec, reader.seeds(), exclusions(spec, reader))
    ids = [id_ for id_, *place in rows if scope.judge(Place(*place)).admit]
    return ids, len(rows) - len(ids)


def retry(file: Path, where: str | None, *, now: int) -> int:
    """Make failures due again, all or those of which ``where`` is true; how many. Raises as `recrawl` does."""
    which = "SELECT id FROM urls WHERE outcome = 'failure'"
    if where is not None:
        which += f" AND url IN ({_those('failures', where, 'url')})"
    return _change(file, which, where, "failures", lambda db, ids: again.retry(db, ids, now=now))


def block(file: Path, where: str, why: str) -> int:
    """Keep URLs out, whatever links to them: those of which ``where`` is true in view `urls`; how many."""
    return _change(file, _those("urls", where), where, "urls", lambda db, ids: again.block(db, ids, why))


def unblock(file: Path, where: str, *, now: int) -> int:
    """Take that back; how many URLs it concerned."""
    return _change(file, _those("urls", where), where, "urls", lambda db, ids: again.unblock(db, ids, now=now))


def _change(
    file: Path, which: str, where: str | None, view: str, change: Callable[[sqlite3.Connection, list[int]], int]
) -> int:
    with writing(file) as db:
        with open_reader(file) as reader:
            ids = [row[0] for row in rows_of(reader, which, where, view)]
        with transaction(db):
            return change(db, ids)


def _those(view: str, where: str, column: str = "id") -> str:
    return f"SELECT {column} FROM {view} WHERE (\n{where}\n)"  # noqa: S608 - whoever runs it cannot write


def outside(reader: Reader, scope: Scope) -> Iterator[Place]:
    """Pages that the scope does not admit."""
    for _, *parts in reader.query(PLACES + PAGES)[1]:
        if not scope.judge(place := Place(*parts)).admit:
            yield place


def chosen(reader: Reader, view: str, where: str) -> list[int]:
    """Ids of the rows of a view of which ``where`` is true. Raises BadSpec."""
    return [row[0] for row in rows_of(reader, _those(view, where), where, view)]


def rows_of(
    reader: Reader, sql: str, where: str | None, view: str, parameters: dict[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """The rows of a statement around a user's ``where``. Raises BadSpec, in words, with what the view has."""
    try:
        return list(reader.query(sql, parameters or {})[1])
    except (sqlite3.Error, sqlite3.Warning) as error:
        if where is None:
            raise
        columns = ", ".join(reader.query(COLUMNS[view])[0])
        raise BadSpec(f"--where: {error}, in: {where}\n  it is a condition over the view {view}: {columns}") from None


def exclusions(spec: CrawlSpec, reader: Reader, note: Callable[[str], None] = lambda _: None) -> Exclusions:
    """Who is excluded: by the exclude file, or because it was purged from the file."""
    rules = ExcludeFile(Path(spec.exclude_file), note).rules if spec.exclude_file else ()
    return Exclusions(purged(reader.excluded()) + rules)
