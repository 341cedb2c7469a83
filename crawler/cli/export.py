"""`export`: rows to a file; the format is its extension. Streams, and the file appears only when it is whole."""

from __future__ import annotations

from pathlib import Path

import click

from crawler.spec import BadSpec

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".json": "json"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--sql", default="SELECT * FROM pages", show_default=True, help="chooses the rows")
@click.option("--force", is_flag=True, help="overwrite TARGET")
@click.option("--raw", is_flag=True, help="CSV cells as they are; else those that start like a formula get a leading '")
def export(file: Path, target: Path, sql: str, force: bool, raw: bool) -> None:
    """Write rows of FILE to TARGET: .jsonl, .json or .csv."""
    import sqlite3

    from crawler.cli.newfile import new_file
    from crawler.cli.output import write_rows
    from storage.reader import open_reader

    form = FORMATS.get(target.suffix)
    if form is None:
        raise click.UsageError(f"{target.name}: no such format; use {', '.join(FORMATS)}")
    try:
        with open_reader(file) as reader, new_file(target, force=force) as out:
            names, rows = reader.query(sql)
            count = write_rows(names, rows, form, out, raw=raw)
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise BadSpec(f"SQL: {error}, in: {sql}") from None
    click.echo(f"{count:,} rows in {target}", err=True)
