"""Taking fields out of stored pages anew, in the parse workers. Nothing is sent."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crawler.frontier.settling import page_data
from crawler.parse.again import KILLERS, Stored, parsed
from crawler.parse.pool import ParsePool
from crawler.revise import chosen
from crawler.spec import VERSION, CrawlSpec
from crawler.visit import Extract
from storage import pages
from storage.pages import Found, Kept
from storage.reader import open_reader
from storage.text import to_json
from storage.transaction import transaction
from storage.writing import writing

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Reextracted:
    """How many pages were read anew. ``kept``: those that keep what was found in them before, by reason."""

    done: int = 0
    seconds: float = 0.0
    kept: Counter[str] = field(default_factory=Counter)


def reextract(spec: CrawlSpec, file: Path, where: str | None, progress: Progress = lambda done, total: None) -> Reextracted:
    """Parse each page's stored body with the spec's extractors, and store title and data as they are found now; only those
    of which ``where`` (a condition over `pages`) is true.

    A page that ends its worker, or did so before, keeps what it has. What is done stays done when it is broken off. Raises
    BadExtractor, BadSpec, StoreLocked while a crawl runs, StoreError.
    """
    began = time.time_ns() // 1_000_000
    with writing(file) as db:
        with open_reader(file) as reader:
            wanted = pages.everything(reader.db) if where is None else sorted(chosen(reader, "pages", where))
            report = asyncio.run(_all(reader.db, db, spec, wanted, progress))
        now = time.time_ns() // 1_000_000
        with transaction(db):
            pages.note_run(db, "reextracted", began, now, os.getpid(), VERSION, spec.to_json())
    report.seconds = (now - began) / 1000
    return report


async def _all(
    stored: sqlite3.Connection, db: sqlite3.Connection, spec: CrawlSpec, wanted: Sequence[int], progress: Progress
) -> Reextracted:
    """Batch after batch: the workers have one while the one before is stored."""
    report, total, found = Reextracted(), len(wanted), list[Found]()
    async with ParsePool(spec.parsers, *spec.extractors) as pool:
        while wanted:
            batch, wanted = pages.take(stored, wanted)
            extracts, _ = await asyncio.gather(_parsed(pool, batch), asyncio.to_thread(pages.put, db, found))
            found = _found(batch, extracts, report)
            progress(total - len(wanted), total)
        await asyncio.to_thread(pages.put, db, found)
    return report


async def _parsed(pool: ParsePool, batch: Sequence[Kept]) -> Sequence[Extract]:
    return await asyncio.gather(*(parsed(pool, Stored(*page[2:])) for page in batch))


def _found(batch: Sequence[Kept], extracts: Sequence[Extract], report: Reextracted) -> list[Found]:
    found = []
    for page, extract in zip(batch, extracts, strict=True):
        reason = extract.parse
        if reason is not None and (reason in KILLERS or not reason.startswith("error: ") or not extract.digest):
            report.kept[reason.partition(":")[0]] += 1
            continue
        data = page_data(extract)
        robots = " ".join(sorted(extract.robots)) or None
        found.append(Found(page.fetch, extract.title, extract.charset, robots, reason, to_json(data) if data else None))
    report.done += len(found)
    return found
