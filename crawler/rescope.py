"""Other rules for a crawl that is not running: what they admit and refuse of what it knows. Nothing is sent."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crawler.api import changes
from crawler.frontier.scope import Scope
from crawler.frontier.settling import judged
from crawler.revise import exclusions, outside
from crawler.spec import VERSION, CrawlSpec
from storage import pages
from storage.budget import Ledger
from storage.discovery import DEEP
from storage.model import Place
from storage.reader import RunInfo, open_reader
from storage.rescope import rescope as rescoped
from storage.transaction import transaction
from storage.writing import writing

EXAMPLES = 3  # of each reason
STANDS = "outside, and kept"  # pages that the rules of now would not have let in
AGAIN = "INSERT OR IGNORE INTO meta VALUES ('rescope', 'sitemaps are wanted now')"  # which the next run looks for


@dataclass(slots=True)
class Rescoped:
    """What other rules come to: URLs by what becomes of them and why, some examples of each, and the settings that are
    others: name to (before, now)."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def note(self, what: str, why: str, place: Place) -> None:
        self.counts[what, why] += 1
        some = self.examples.setdefault((what, why), [])
        if len(some) < EXAMPLES:
            some.append(place.url)


class _Undo(Exception):
    """A trial: nothing of it is to stay."""


def rescope(spec: CrawlSpec, file: Path, *, dry: bool = False) -> Rescoped:
    """Judge by the spec's rules what was not tried or was refused, all in one transaction; with ``dry`` none of it stays.

    What has been visited stays, and is only not visited again. Raises StoreLocked while a crawl runs, StoreError, BadSpec.
    """
    found, began = Rescoped(), time.time_ns() // 1_000_000
    with writing(file) as db:
        with open_reader(file) as reader:
            scope = Scope(spec, reader.seeds(), exclusions(spec, reader))
            last = reader.run()
            for place in outside(reader, scope):
                found.note(STANDS, scope.judge(place).reason or "", place)
        found.changed = changes(spec, last.spec) if last else {}
        with suppress(_Undo), transaction(db):
            _judge(db, spec, scope, last, began, found)
            if dry:
                raise _Undo
    return found


def _judge(
    db: sqlite3.Connection, spec: CrawlSpec, scope: Scope, last: RunInfo | None, began: int, found: Rescoped
) -> None:
    deep = DEEP if spec.max_depth is None else spec.max_depth
    limit = {"now": began, "max_depth": deep, "links": int(scope.follows)}
    rescoped(
        db, lambda place: judged(place, "a", None, None, scope, step=1), Ledger(spec.budgets), limit, found.note
    )
    if last is not None and last.spec.get("sitemaps") != spec.sitemaps:
        db.execute(AGAIN)
    now = time.time_ns() // 1_000_000
    pages.note_run(db, "rescoped", began, now, os.getpid(), VERSION, spec.to_json())
