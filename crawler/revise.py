"""What is done to a crawl file between runs: URLs become due again, or are kept out. Nothing is sent.

Who is meant is said in SQL, as an expression over a view; it is read by a connection that cannot write.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from crawler.exclude_file import ExcludeFile
from crawler.frontier.exclusions import Exclusions, purged
from crawler.frontier.scope import Scope
from crawler.spec import BadSpec, CrawlSpec
from storage import again
from storage.model import Place, record
from storage.reader import Reader, open_reader
from storage.text import to_json
from storage.transaction import transaction
from storage.writing import writing

PLACES = """SELECT u.id, o.name, h.name, u.path FROM url u JOIN origin o ON o.id = u.origin JOIN host h ON h.id = u.host
WHERE """
VISITED = "u.outcome IN ('page', 'redirect', 'failure')"
THOSE = "u.id IN (SELECT value FROM json_each(:those))"
COLUMNS = {
    "pages": "SELECT * FROM pages LIMIT 0",
    "failures": "SELECT * FROM failures LIMIT 0",
    "urls": "SELECT * FROM urls LIMIT 0",
}
PAGES = "u.outcome = 'page'"
NOT_SINCE = " AND u.id NOT IN (SELECT url FROM fetch WHERE at > :since)"
FAILED = "SELECT id FROM urls WHERE outcome = 'failure' AND url IN (SELECT value FROM json_each(?))"


@record
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


def _visited(spec: CrawlSpec, reader: Reader, where: str | None, older: float | None, now: int) -> tuple[Sequence[int], int]:
    """Ids of what is meant, and how many more the scope of now does not admit."""
    those = None if where is None else chosen(reader, "pages", where)
    sql = PLACES + (VISITED if those is None else THOSE) + ("" if older is None else NOT_SINCE)
    about = {"those": to_json(those), "since": now - round((older or 0) * 1000)}
    scope, outside = Scope(spec, reader.seeds(), exclusions(spec, reader)), 0
    ids = array("q")
    for id_, *place in reader.query(sql, about)[1]:
        if scope.judge(Place(*place)).admit:
            ids.append(id_)
        else:
            outside += 1
    return ids, outside


def retry(file: Path, where: str | None, *, now: int) -> int:
    """Make failures due again, all or those of which ``where`` is true; how many. Raises as `recrawl` does."""

    def meant(reader: Reader) -> list[int]:
        urls = chosen(reader, "failures", where or "true", "url")
        return [id_ for (id_,) in reader.query(FAILED, (to_json(urls),))[1]]

    return _change(file, meant, lambda db, ids: again.retry(db, ids, now=now))


def block(file: Path, where: str, why: str) -> int:
    """Keep URLs out, whatever links to them: those of which ``where`` is true in view `urls`; how many."""
    return _change(file, lambda r: chosen(r, "urls", where), lambda db, ids: again.block(db, ids, why))


def unblock(file: Path, where: str, *, now: int) -> int:
    """Take that back; how many URLs it concerned."""
    return _change(file, lambda r: chosen(r, "urls", where), lambda db, ids: again.unblock(db, ids, now=now))


def _change(
    file: Path, meant: Callable[[Reader], Sequence[int]], change: Callable[[sqlite3.Connection, Sequence[int]], int]
) -> int:
    with writing(file) as db:
        with open_reader(file) as reader:
            ids = meant(reader)
        with transaction(db):
            return change(db, ids)


def outside(reader: Reader, scope: Scope) -> Iterator[Place]:
    """Pages that the scope does not admit."""
    for _, *parts in reader.query(PLACES + PAGES)[1]:
        if not scope.judge(place := Place(*parts)).admit:
            yield place


def chosen(reader: Reader, view: str, where: str, column: str = "id") -> list[Any]:
    """What a column says in the rows of a view of which ``where`` is true. A statement of its own: within another one the
    condition would know that one's names too. Raises BadSpec, in words, with what the view has."""
    try:
        sql = f"SELECT {column} FROM {view} WHERE (\n{where}\n)"  # noqa: S608 - whoever runs it cannot write
        return [value for (value,) in reader.query(sql)[1]]
    except (sqlite3.Error, sqlite3.Warning) as error:
        columns = ", ".join(reader.query(COLUMNS[view])[0])
        raise BadSpec(f"--where: {error}, in: {where}\n  it is a condition over the view {view}: {columns}") from None


def exclusions(spec: CrawlSpec, reader: Reader, note: Callable[[str], None] = lambda _: None) -> Exclusions:
    """Who is excluded: by the exclude file, or because it was purged from the file."""
    rules = ExcludeFile(Path(spec.exclude_file), note).rules if spec.exclude_file else ()
    return Exclusions(purged(reader.excluded()) + rules)
