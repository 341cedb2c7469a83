"""`query`: read-only SQL or a ready-made question on a crawl file, also while it is being crawled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crawler.spec import BadSpec
from crawler.text import near_miss

VIEWS = "SELECT name FROM sqlite_schema WHERE type = 'view' UNION SELECT name FROM sqlite_temp_schema WHERE type = 'view'"

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from storage.reader import Reader


def _list(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    from storage.questions import QUESTIONS

    width = max(map(len, QUESTIONS))
    for question in QUESTIONS.values():
        click.echo(f"{question.name.ljust(width)}  {question.about}{' (brings the index up to date)' * question.derived}")
    context.exit()


def _names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The ready-made questions, for a shell that completes one."""
    from click.shell_completion import CompletionItem

    from storage.questions import QUESTIONS

    return [CompletionItem(name, help=one.about) for name, one in QUESTIONS.items() if name.startswith(incomplete)]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("sql", metavar="SQL|NAME", shell_complete=_names)
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="name the ready-made questions")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "jsonl", "csv"]), default="table", show_default=True
)
@click.option("--raw", is_flag=True, help="CSV cells as they are; else those that start like a formula get a leading '")
def query(file: Path, sql: str, form: str, raw: bool) -> None:
    """Run SQL, or the ready-made question NAME, on FILE, read-only; `-` reads the SQL from stdin. Works while a crawl runs.

    Views: pages fetches links redirects failures broken_links skipped queue hosts runs urls changes inlinks redirect_chains
    orphans sitemap_coverage exact_duplicates. docs/schema.md has their columns.
    """
    from crawler.cli.output import write_rows
    from storage.reader import open_reader

    text = asked(file, sql)
    with open_reader(file) as reader, understood(reader, text):
        names, rows = reader.query(text)
        write_rows(names, rows, form, raw=raw)


def asked(file: Path, sql: str) -> str:
    """The SQL that was asked for: itself, stdin's, or that of a ready-made question, whose index is then brought up to date."""
    import sys

    from crawler.cli.errors import say
    from storage.questions import QUESTIONS

    text = sys.stdin.read() if sql == "-" else sql
    if text in QUESTIONS:
        if QUESTIONS[text].derived:
            from crawler.indexing import bring_up_to_date

            bring_up_to_date(file, graph=True, say=say)
        return QUESTIONS[text].sql
    if re.fullmatch(r"[\w-]+", text):  # no SQL that reads is one word
        near = near_miss(text.replace("_", "-"), QUESTIONS)
        raise BadSpec(f"there is no ready-made question {text!r}{near}; `crawler query --list` names them")
    return text


@contextmanager
def understood(reader: Reader, sql: str) -> Iterator[None]:
    """Around what runs the SQL: says when the index that it needs is behind, and what to do about its errors (BadSpec)."""
    import sqlite3

    from crawler.cli.errors import say
    from storage import index

    words = set(re.findall(r"\w+", sql))
    needed = next((name for name in index.NAMES if name in words), None)
    if needed and (late := index.behind(reader.db, "graph")):
        what = f"request{'s' * (late > 1)} not in the index yet"
        say(f"{late:,} {what}; to bring it up to date: crawler index {reader.path}")
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning) as error:
        hint = _hint(str(error), needed, reader)
        raise BadSpec(f"SQL: {error}{hint}, in: {sql}") from None


def _hint(error: str, needed: str | None, reader: Reader) -> str:
    """What to do about SQL that names what is not there."""
    if error == f"no such table: {needed}":
        return f" (it needs the index; run: crawler index {reader.path})"
    if reader.outdated and error.startswith("no such "):
        return f" (the file is of an older version, without it; crawler resume {reader.path} brings it up to date)"
    what, _, name = error.partition(": ")
    return near_miss(name, (row[0] for row in reader.query(VIEWS)[1])) if what == "no such table" else ""
