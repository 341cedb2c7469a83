"""The SQL box: ready-made questions and one's own, read-only, with a deadline; the rows as a table, CSV or JSON."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any

from crawler.child import environment, python
from crawler.progress import plural
from crawler.report.markup import Safe, foreign, joined, lines, tag
from crawler.web.asked import Asked, BadRequest, Shown, address
from crawler.web.box import MOST, MOST_SAVED, REFUSED, TOO_MANY
from crawler.web.parts import Column, inside, section, table
from crawler.web.search import offer
from storage import index
from storage.questions import QUESTIONS

LOOK = 0.05  # s between two looks at the clock
SCHEMA = """SELECT name, group_concat(column, ', ') FROM (SELECT m.name AS name, c.name AS column
  FROM (SELECT name, type FROM main.sqlite_schema UNION ALL SELECT name, type FROM temp.sqlite_schema) m
  JOIN pragma_table_info(m.name) c WHERE m.type = 'view' ORDER BY m.name, c.cid) GROUP BY name"""


class NeedsIndex(Exception):
    """The question is put to the index, which is not there."""


def sql(asked: Asked) -> Shown:
    name, text = chosen(asked)
    result: Any = None
    status = 200
    if text:
        try:
            result = _shown(asked, *ask(asked, text))
        except BadRequest as error:
            result, status = tag("p", str(error), class_="bad", role="alert"), error.status
        except NeedsIndex:
            result = offer(asked, "This question is put to the crawl's index, which is not there yet.")
    helps = tag("div", _questions(name, shut=bool(text)), _schema(asked), class_="helps")
    body = joined(tag("h1", "SQL"), _form(name, text), helps, result)
    return Shown(f"SQL: {name}" if name else "SQL", body, status=status)


def chosen(asked: Asked) -> tuple[str, str]:
    """The name of a ready-made question, or "", and the SQL."""
    name = asked["name"]
    if name in QUESTIONS:
        return name, QUESTIONS[name].sql
    if name:
        raise BadRequest("There is no ready-made question of that name.", 404)
    return "", asked["sql"]


def ask(asked: Asked, text: str) -> tuple[list[str], Iterable[tuple[Any, ...]]]:
    """Column names and rows, cut, and one more than are shown. Raises BadRequest for what SQLite refuses, NeedsIndex."""
    if not asked["name"]:
        with boxed(asked, text, "rows") as lines:
            names, *rows = map(json.loads, lines)
        return names, (tuple(map(_value, row)) for row in rows)
    try:
        names, found = asked.reader.query(text)
        return names, _told(found)
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _why(error) from None


def _value(value: Any) -> Any:
    return bytes.fromhex(value["blob"]) if isinstance(value, dict) else value


def _why(error: Exception) -> BadRequest | NeedsIndex:
    return NeedsIndex() if any(str(error) == f"no such table: {name}" for name in index.NAMES) else refused(error)


def boxed(asked: Asked, text: str, form: str) -> IO[bytes]:
    """What somebody's SQL comes to as 'rows', 'csv' or 'json' (`crawler.web.box`). Raises BadRequest, NeedsIndex."""
    with TemporaryFile() as typed, TemporaryFile() as said, ExitStack() as stack:
        out = stack.enter_context(TemporaryFile())
        typed.write(text.encode("utf-8", "replace"))
        typed.seek(0)
        command = python("crawler.web.box", str(os.getpid()), str(asked.reader.path), form)
        with subprocess.Popen(command, stdin=typed, stdout=out, stderr=said, env=environment()) as process:  # noqa: S603 - ours
            code = _waited(process, asked)
        if code == TOO_MANY:
            raise BadRequest(f"These are more than {MOST_SAVED:,} rows: crawler query FILE --format {form} has no limit.", 413)
        if code != 0:
            said.seek(0)
            why = said.read(1000).decode("utf-8", "replace")
            raise _why(sqlite3.Error(why if code == REFUSED else "it needs more memory or time than a question may have"))
        out.seek(0)
        stack.pop_all()
        return out


def _waited(process: subprocess.Popen[bytes], asked: Asked) -> int:
    """Its exit code; after the time that it may take, it is ended."""
    while True:
        try:
            return process.wait(LOOK)
        except subprocess.TimeoutExpired:
            if asked.over():
                process.kill()
                raise refused(sqlite3.Error("interrupted")) from None


def _told(rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    try:
        yield from rows
    except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
        raise refused(error) from None


def refused(error: Exception) -> BadRequest:
    """What SQLite says, and what to do about the time."""
    if "interrupted" in str(error):
        return BadRequest("This took too long and was ended. A download may take longer; crawler query as long as it needs.", 503)
    return BadRequest(f"SQLite: {error}.")


def saved(asked: Asked, form: str) -> IO[bytes]:
    """All rows as 'csv' or 'json' in a temporary file: no slow client keeps SQLite's snapshot, and an error is no half file."""
    _, text = chosen(asked)
    if not text:
        raise BadRequest("There is no SQL to run.")
    try:
        return boxed(asked, text, form)
    except NeedsIndex:
        raise BadRequest("This question is put to the crawl's index, which is not there yet: crawler index makes it.") from None


def _form(name: str, text: str) -> Safe:
    box = tag("textarea", lines(text), name="sql", id="sql", rows=str(min(max(4, text.count("\n") + 2, len(text) // 90 + 2), 14)),
              spellcheck="false", autocomplete="off", aria_label="SQL")  # fmt: skip
    run = tag("button", "Run", title="Ctrl+Enter")
    words = {"name": name} if name else {"sql": text}
    ways = [tag("a", form.upper(), href=address(f"/sql.{form}", **words), download="") for form in ("csv", "json") if text]
    note = tag("span", "read-only, ten seconds", class_="soft")
    return tag("form", box, tag("p", run, *ways, note, class_="row"), action="/sql", class_="sql")


def _shown(asked: Asked, names: list[str], rows: Iterable[tuple[Any, ...]]) -> Safe:
    found = list(islice(rows, MOST + 1))
    kinds = [{type(row[i]) for row in found[:MOST]} - {type(None)} for i in range(len(names))]
    numbers = [bool(kind) and kind <= {int, float} for kind in kinds]
    columns = [Column(name, number=number, short=True) for name, number in zip(names, numbers, strict=True)]
    told = f"The first {MOST:,} rows; a download has all." if len(found) > MOST else f"{plural(len(found), 'row')}."
    cells = [[cell(value) for value in row] for row in found[:MOST]]
    return section("Rows", tag("p", told, class_="soft"), table(asked, columns, cells, label="Rows", kind="wide fit"), id="rows")


def cell(value: Any) -> Any:
    """A value of SQL; a URL leads to what is known of it."""
    if value is None:
        return tag("span", "NULL", class_="null")
    if isinstance(value, bytes):
        return tag("code", f"x'{value[:16].hex()}'{'…' if len(value) > 16 else ''}")
    if isinstance(value, str):
        return inside(value) if value.startswith(("http://", "https://")) and " " not in value else foreign(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _questions(name: str, *, shut: bool) -> Safe:
    items = [tag("li", tag("a", q.name, href=address("/sql", name=q.name), aria_current="true" if q.name == name else None), " ",
                 tag("span", q.about, class_="soft")) for q in QUESTIONS.values()]  # fmt: skip
    every = tag("ul", *items, class_="questions")
    return tag("details", tag("summary", "Ready-made questions"), every, open=None if shut else "")


def _schema(asked: Asked) -> Safe:
    items = [tag("div", tag("dt", name), tag("dd", tag("code", columns))) for name, columns in asked.rows(SCHEMA)]
    return tag("details", tag("summary", "Views and their columns"), tag("dl", *items, class_="facts"))
