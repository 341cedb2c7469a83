"""`index`: what search and the measures of the link graph need, brought up to date beside the crawl file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import asyncio

    from crawler.parse.pool import ParsePool
    from storage.indexing import Indexing, Text, Todo

EXTRACTOR = "crawler.parse.text:extract"
KILLERS = ("timeout", "memory", "crash")  # what a page did to its parse worker in the crawl; it would do it again
AT_ONCE = 16  # bodies that are unpacked in memory
SUMMARY = """SELECT (SELECT count(*) FROM derived.doc), (SELECT count(*) FROM derived.near),
(SELECT count(*) FROM derived.node)"""
REASONS = "SELECT reason, count(*) FROM derived.doc WHERE reason IS NOT NULL GROUP BY reason ORDER BY 2 DESC, 1 LIMIT 5"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def index(file: Path) -> None:
    """Bring FILE's index up to date: the text of its pages, near duplicates, PageRank and click depth. Works while a crawl runs.

    It is kept in FILE.index, holds nothing that is not in FILE, and may be deleted at any time. `search` and the questions
    that need it do this by themselves. Ctrl-C keeps what is done.
    """
    from crawler.cli.errors import say
    from storage.reader import open_reader

    bring_up_to_date(file, graph=True)
    with open_reader(file) as reader:
        pages, alike, nodes = reader.one(SUMMARY) or (0, 0, 0)
        reasons = reader.query(REASONS)[1]
        say(f"{file}.index: {pages:,} pages, {alike:,} near duplicates, {nodes:,} pages and redirects in the link graph")
        for reason, count in reasons:
            say(f"text not, or not wholly, indexed of {count:,}: {reason}")


def bring_up_to_date(file: Path, *, graph: bool) -> None:
    """Index what was fetched since; with ``graph`` also what is computed from all pages. Raises StoreError, StoreLocked."""
    import asyncio
    import sqlite3

    from crawler.cli.errors import say
    from storage.indexing import Indexing
    from storage.reader import open_reader
    from storage.trouble import told

    with open_reader(file) as reader, Indexing(reader.db, file) as indexing:
        try:
            if missing := indexing.missing():
                if missing > 1_000:
                    say(f"indexing what {missing:,} requests brought; Ctrl-C keeps what is done")
                asyncio.run(_texts(indexing))
            if graph:
                indexing.rank()
        except sqlite3.Error as error:  # of the crawl file: the index wraps its own
            raise told(error, file) from None


async def _texts(indexing: Indexing) -> None:
    import asyncio
    import os

    from crawler.parse.pool import ParsePool

    gate = asyncio.Semaphore(AT_ONCE)
    async with ParsePool(min(4, os.cpu_count() or 1), EXTRACTOR) as pool:
        while True:
            mark, todos = indexing.take()
            if mark is None:
                return
            texts = await asyncio.gather(*(_text(pool, gate, todo) for todo in todos))
            indexing.put(mark, zip(todos, texts, strict=True))


async def _text(pool: ParsePool, gate: asyncio.Semaphore, todo: Todo) -> Text:
    """What a parse worker makes of a page, under its limits: a hostile page costs its own text and nothing else."""
    from crawler.parse.mime import HTML
    from storage.codec import UNREADABLE, unpack
    from storage.indexing import Text

    if not todo.page or todo.codec is None or todo.packed is None or todo.mime not in HTML:
        return Text()
    if todo.parse in KILLERS:
        return Text(reason=todo.parse)
    async with gate:
        try:
            body = unpack(todo.codec, todo.packed)
        except UNREADABLE as error:
            return Text(reason=f"the stored body cannot be read: {error}")
        found = await pool.parse(body, todo.url, f"{todo.mime}; charset={todo.charset or ''}")
    text, simhash, cut = (found.data.get(key) for key in ("text", "simhash", "cut"))
    return Text(
        text if isinstance(text, str) else "",
        simhash if isinstance(simhash, int) else None,
        found.parse or ("longer than is indexed" if cut or "html" in (found.truncated or "") else None),
    )
