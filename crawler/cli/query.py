"""`query`: read-only SQL or a ready-made question on a crawl file, also while it is being crawled."""

from __future__ import annotations

import re
from pathlib import Path

import click

from crawler.spec import BadSpec


def _list(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    from storage.questions import QUESTIONS

    width = max(map(len, QUESTIONS))
    for question in QUESTIONS.values():
        click.echo(f"{question.name.ljust(width)}  {question.about}")
    context.exit()


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("sql", metavar="SQL|NAME")
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="name the ready-made questions")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "jsonl", "csv"]), default="table", show_default=True
)
@click.option("--raw", is_flag=True, help="CSV cells as they are; else those that start like a formula get a leading '")
def query(file: Path, sql: str, form: str, raw: bool) -> None:
    """Run SQL, or the ready-made question NAME, on FILE, read-only; `-` reads the SQL from stdin. Works while a crawl runs.

    Views: pages fetches links redirects failures broken_links skipped queue hosts runs inlinks redirect_chains orphans
    sitemap_coverage exact_duplicates. docs/schema.md has their columns.
    """
    import sqlite3
    import sys

    from crawler.cli.output import write_rows
    from storage.questions import QUESTIONS
    from storage.reader import open_reader

    text = sys.stdin.read() if sql == "-" else sql
    if text in QUESTIONS:
        text = QUESTIONS[text].sql
    elif re.fullmatch(r"[a-z]+(-[a-z]+)+", text):
        raise BadSpec(f"there is no ready-made question {text!r}; `crawler query --list` names them")
    with open_reader(file) as reader:
        try:
            names, rows = reader.query(text)
            write_rows(names, rows, form, raw=raw)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise BadSpec(f"SQL: {error}, in: {text}") from None
