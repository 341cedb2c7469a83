"""How many new URLs a second a full file takes, through `SqliteStore.commit`: part of `benchmarks.scale`.

Commits of 200 pages; each page has 10 links that are new and 26 that are known, on its own host, all in random order: of the
new ones each goes to a place of its own in the index, of the known ones each comes from one. Judged by the wall time of
the commits, `synchronous=FULL` and checkpoints included. Afterwards the file is asked whether it has exactly what it should.

Beside it, `bare`: what SQLite allows a program that does nothing but ask for as many numbers, and insert as many, in a
table of as many 64-bit numbers: no URL, page, link or queue.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.filled import KNOWN, NEW, host_name, item
from storage.links import Judged, Link, Links, Verdict
from storage.model import FetchRow, HostRow, Place, Settlement
from storage.sqlite import SqliteStore

PAGES = 200  # in a commit
NOW = 1_800_000_000_000
_STEP = 800_000_000_000  # between the numbers of `bare`


def insert_part(db: Path, queued: int, hosts: int, port: int, seconds: float) -> dict[str, Any]:
    """Commit until the commits have taken so many seconds together."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # as the command line does
    return asyncio.run(_insert_part(db, queued, hosts, port, seconds))


async def _insert_part(db: Path, queued: int, hosts: int, port: int, seconds: float) -> dict[str, Any]:
    before, walls, cpu = _urls(db), [0.0], 0.0
    async with SqliteStore(db) as store:
        await store.begin(now=NOW, version="inserts", spec={}, seeds=[], max_depth=None)
        for batch in _batches(queued, hosts, port, seed=before):
            began, busy = time.perf_counter(), time.process_time()
            await store.commit(batch, now=NOW)
            walls.append(time.perf_counter() - began)
            cpu += time.process_time() - busy
            if sum(walls) > seconds:
                break
        await store.end("interrupted", now=NOW)
    rates = sorted(PAGES * NEW / wall for wall in walls[1:])
    new = len(rates) * PAGES * NEW
    return {"before": before, "new": new, "lost": new - (_urls(db) - before), "new_per_s": round(new / sum(walls)),
            "cpu_us_new": round(1e6 * cpu / new, 1), "median_commit": round(rates[len(rates) // 2]),
            "slowest_commit": round(rates[0])}


def bare(db: Path, rows: int, seconds: float) -> int:
    """New rows a second."""
    dice, wall, new = random.Random(0), 0.0, 0
    look = f"SELECT number, id FROM seen WHERE number IN ({', '.join('?' * (PAGES * (KNOWN + NEW)))})"
    add = f"INSERT OR IGNORE INTO seen VALUES {', '.join(['(?, 1)'] * (PAGES * NEW))}"
    with closing(sqlite3.connect(db, isolation_level=None)) as table:
        table.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                            "CREATE TABLE seen (number INTEGER PRIMARY KEY, id); BEGIN")
        table.executemany("INSERT INTO seen VALUES (?, 1)", ((n * _STEP,) for n in range(rows)))
        table.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384")
        os.sync()
        while wall < seconds:
            known = [dice.randrange(rows) * _STEP for _ in range(PAGES * KNOWN)]
            fresh = [dice.randrange(rows) * _STEP + dice.randrange(1, _STEP) for _ in range(PAGES * NEW)]
            began = time.perf_counter()
            table.execute("BEGIN IMMEDIATE")
            table.execute(look, known + fresh).fetchall()
            table.execute(add, fresh)
            table.execute("COMMIT")
            wall += time.perf_counter() - began
            new += PAGES * NEW
    return round(new / wall)


def _batches(queued: int, hosts: int, port: int, seed: int) -> Iterator[list[Settlement]]:
    """Pages of the file in the order of their ids, after those that every host has; without end."""
    dice = random.Random(seed)
    for first in range(KNOWN * hosts, queued, PAGES):
        yield [_page(n, queued, hosts, port, dice) for n in range(first, first + PAGES)]


def _page(number: int, queued: int, hosts: int, port: int, dice: random.Random) -> Settlement:
    host = host_name(number % hosts)
    origin = f"http://{host}:{port}"
    each = queued // hosts
    known = [item(dice.randrange(KNOWN, each) * hosts + number % hosts) for _ in range(KNOWN)]
    new = [f"/r/{dice.getrandbits(40):010x}-a-page-that-nobody-knew/" for _ in range(NEW)]
    mixed = dice.sample(known + new, KNOWN + NEW)
    links = Links.of(Link(Place(origin, host, path), "a", None, "the text of a link") for path in mixed)
    judged = Judged(links, [1] * len(links.groups), [Verdict(True)] * len(links.groups))
    fetch = FetchRow(NOW, "page", None, 200, 12, 1, 28_000, mime="text/html", charset="utf-8", title="A page")
    return Settlement(Place(origin, host, item(number)), number + 1, 1, "page", attempts=1, fetch=fetch, links=judged,
                      host=HostRow(number % hosts + 1, host, NOW + 1, delay=0))


def _urls(db: Path) -> int:
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM url").fetchone()[0])
