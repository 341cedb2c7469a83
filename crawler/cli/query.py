"""`query`: read-only SQL on a crawl file, also while it is being crawled."""

from __future__ import annotations

from pathlib import Path

import click

from crawler.spec import BadSpec


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("sql")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "jsonl", "csv"]), default="table", show_default=True
)
@click.option("--raw", is_flag=True, help="CSV cells as they are; else those that start like a formula get a leading '")
def query(file: Path, sql: str, form: str, raw: bool) -> None:
    """Run SQL on FILE, read-only; `-` reads the SQL from stdin. Works while a crawl runs.

    Views: pages fetches links redirects failures broken_links skipped queue hosts runs. docs/schema.md has their columns.
    """
    import sqlite3
    import sys

    from crawler.cli.output import write_rows
    from storage.reader import open_reader

    text = sys.stdin.read() if sql == "-" else sql
    with open_reader(file) as reader:
        try:
            names, rows = reader.query(text)
            write_rows(names, rows, form, raw=raw)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise BadSpec(f"SQL: {error}, in: {text}") from None
