"""`export`: a crawl in the formats of others. Streams; what is written appears only when it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crawler.spec import VERSION, BadSpec

if TYPE_CHECKING:
    from storage.export.warc import About
    from storage.reader import Reader

TEXTS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".json": "json"}
ARCHIVES = (".warc.gz", ".warc", ".wacz")
FORMATS = (*TEXTS, ".parquet", *ARCHIVES)
ROWS = "SELECT * FROM pages"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path), required=False)
@click.option("--mirror", metavar="DIR", type=click.Path(path_type=Path), help="a copy to browse offline: DIR/index.html")
@click.option("--markdown", metavar="DIR", type=click.Path(path_type=Path), help="a Markdown file for each HTML page")
@click.option("--sql", metavar="SQL|NAME", help="chooses rows, or by their `url` pages; else all pages")
@click.option("--force", is_flag=True, help="replace TARGET")
@click.option("--raw", is_flag=True, help="CSV cells as they are; else those that start like a formula get a leading '")
def export(
    file: Path,
    target: Path | None,
    mirror: Path | None,
    markdown: Path | None,
    sql: str | None,
    force: bool,
    raw: bool,
) -> None:
    """Write FILE's rows or answers to TARGET, whose extension says the format, or its pages to a folder; also while a crawl runs.

    Rows: .jsonl, .json, .csv, .parquet. Archives of all answers: .warc.gz, .warc, .wacz.
    """
    if [target, mirror, markdown].count(None) != 2:
        raise click.UsageError("one of TARGET, --mirror DIR and --markdown DIR is wanted")
    if target is None:
        _folder(file, mirror or markdown or Path(), sql, force, markdown=markdown is not None)
        return
    form = next((ending for ending in FORMATS if target.name.endswith(ending)), None)
    if form is None:
        hint = "; for a folder give --mirror or --markdown" if not target.suffix else ""
        raise click.UsageError(f"{target.name}: no such format; use {', '.join(FORMATS)}{hint}")
    write = _archive if form in ARCHIVES else _parquet if form == ".parquet" else _text
    write(file, target, sql, force, raw)


def _text(file: Path, target: Path, sql: str | None, force: bool, raw: bool) -> None:
    from crawler.cli.bar import bar
    from crawler.cli.newfile import new_file
    from crawler.cli.output import write_rows

    with _reading(file, sql or ROWS) as (reader, text), new_file(target, force=force) as out:
        names, rows = reader.query(text)
        _say(write_rows(names, bar(rows, "rows"), TEXTS[target.suffix], out, raw=raw), target)


def _parquet(file: Path, target: Path, sql: str | None, force: bool, raw: bool) -> None:
    from crawler.cli.bar import bar
    from crawler.cli.newfile import new_bytes
    from storage.export.parquet import NoParquet, types, write_parquet

    with _reading(file, sql or ROWS) as (reader, text), new_bytes(target, force=force) as out:
        reader.db.execute("BEGIN")  # types and rows are of one moment
        names, rows = reader.query(text)
        kinds = types(names, bar(rows, "looking at rows"))
        try:
            _say(write_parquet(out, names, kinds, bar(reader.query(text)[1], "rows")), target)
        except NoParquet:
            raise BadSpec("Parquet needs pyarrow; run: pip install 'poolcrawl[parquet]'") from None
        except ValueError as error:
            raise BadSpec(f"{target.name}: {error}") from None


def _archive(file: Path, target: Path, sql: str | None, force: bool, raw: bool) -> None:
    from contextlib import ExitStack

    from crawler.cli.bar import bar
    from crawler.cli.newfile import new_bytes
    from crawler.fetch.headers import sent_by_run
    from storage.export.captures import Captures
    from storage.export.wacz import WaczWriter
    from storage.export.warc import WarcWriter

    with _reading(file, sql) as (reader, text), new_bytes(target, force=force) as out, ExitStack() as stack:
        _choose(reader, text)
        captures, about = Captures(reader), _about(reader, target.name)
        writer: WarcWriter | WaczWriter
        if target.suffix == ".wacz":
            writer = stack.enter_context(WaczWriter(out, reader.db, about, sent_by_run))
        else:
            writer = WarcWriter(out, reader.db, about, sent_by_run, packed=target.suffix == ".gz")
        for capture in bar(captures, "answers", captures.total):
            writer.put(capture)
    kinds = writer.written
    more = f"; {captures.unanswered:,} attempts had no answer" if captures.unanswered else ""
    click.echo(f"{kinds['response']:,} responses, {kinds['revisit']:,} revisits in {target}{more}", err=True)


def _folder(file: Path, folder: Path, sql: str | None, force: bool, *, markdown: bool) -> None:
    import asyncio

    from crawler.cli.bar import bar
    from crawler.cli.newfile import new_folder
    from crawler.mirror.copy import copy, write
    from crawler.mirror.files import Files
    from crawler.mirror.makers import FRONT, LIST, Markdown, Mirror

    maker = Markdown() if markdown else Mirror()
    with _reading(file, sql) as (reader, text), new_folder(folder, LIST, force=force) as part:
        _choose(reader, text)
        files = Files(reader, maker.name_of, FRONT, LIST)
        done = asyncio.run(copy(files, bar(files, "pages", len(files), size=len), part, maker))
        if isinstance(maker, Mirror):
            write(part, FRONT, maker.front(files, file.name))
    more = f"; {done.raw:,} of them as they came, {folder / LIST} says why" if done.raw else ""
    click.echo(f"{done.files:,} pages in {folder}{more}", err=True)


def _choose(reader: Reader, sql: str) -> None:
    from storage.export.captures import NoUrls, choose

    try:
        choose(reader, sql or None)
    except NoUrls as error:
        raise BadSpec(str(error)) from None


def _about(reader: Reader, name: str) -> About:
    import time

    from storage import index
    from storage.export.warc import About

    return About(index.one(reader.db, index.CRAWL), reader.path.name, name, f"poolcrawl/{VERSION}", round(time.time() * 1000))


@contextmanager
def _reading(file: Path, sql: str | None) -> Iterator[tuple[Reader, str]]:
    """The file, and the SQL that `--sql` asks for; "" when nothing is asked."""
    from crawler.cli.query import asked, understood
    from storage.reader import open_reader

    text = asked(file, sql) if sql is not None else ""
    with open_reader(file) as reader, understood(reader, text):
        yield reader, text


def _say(count: int, target: Path) -> None:
    click.echo(f"{count:,} rows in {target}", err=True)
