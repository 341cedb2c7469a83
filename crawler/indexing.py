"""Bringing the index beside a crawl file up to date: parse workers take the texts out of its pages (decision 0025)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.parse.again import KILLERS
from crawler.parse.mime import HTML
from storage.codec import UNREADABLE, unpack
from storage.indexing import Indexing, Text, Todo
from storage.reader import open_reader
from storage.trouble import told

if TYPE_CHECKING:
    import asyncio

    from crawler.parse.pool import ParsePool

EXTRACTOR = "crawler.parse.text:extract"
AT_ONCE = 16  # bodies that are unpacked in memory
LONG = 1_000  # requests; who waits for more is told


def bring_up_to_date(file: Path, *, graph: bool, say: Callable[[str], None]) -> None:
    """Index what was fetched since; with ``graph`` also what is computed from all pages. Raises StoreError, StoreLocked.

    ``say`` is told what takes long.
    """
    with open_reader(file) as reader, Indexing(reader.db, file) as indexing:
        try:
            if missing := indexing.missing():
                if missing > LONG:
                    say(f"indexing what {missing:,} requests brought; Ctrl-C keeps what is done")
                _read_pages(indexing)
            if graph:
                indexing.rank()
        except sqlite3.Error as error:  # of the crawl file: the index wraps its own
            raise told(error, file) from None


def _read_pages(indexing: Indexing) -> None:
    import asyncio  # not at the top: most questions find their index up to date, and need no loop

    asyncio.run(_texts(indexing))


async def _texts(indexing: Indexing) -> None:
    import asyncio

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
