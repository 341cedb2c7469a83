"""Exports of a large crawl: memory and speed of every format, each in a process of its own.

    python -m benchmarks.exports [--pages 100000] [--only .csv --mirror ...]

The file is written by SQL in a minute: pages of 8 kB with 20 links on 50 hosts, each body another. A format keeps the promise
when neither the process nor it and its parse workers together hold more than 200 MiB at any time.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from backports import zstd

from benchmarks.filled import WORDS, host_name
from benchmarks.measure import MIB, crawler, real_disk, report, run
from crawler.spec import CrawlSpec
from storage.sqlite import SqliteStore

LIMIT = 200 * MIB
FORMATS = (".jsonl", ".json", ".csv", ".parquet", ".warc.gz", ".wacz", "--markdown", "--mirror")
HOSTS, LINKS, EVERY = 50, 20, 50  # one page in EVERY has the body of another
BEGUN = 1_790_000_000_000  # ms: when the crawl began
HEADERS = '[["Content-Type","text/html; charset=utf-8"],["Content-Encoding","gzip"],["ETag","\\"5f3a-6\\""]]'
BODY = "INSERT INTO body (id, digest, size, codec, data) VALUES (?, ?, ?, 'zstd', ?)"
URL = """INSERT INTO url (id, host, origin, path, depth, hops, parent, seed, attempts, outcome, last)
SELECT ?1, 1 + ?1 % ?2, 1 + ?1 % ?2, ?3, ?1 > ?2, 0, iif(?1 > ?2, 1 + ?1 / 3, NULL), ?1 <= ?2, 1, 'page', ?1"""
FETCH = """INSERT INTO fetch (id, url, run, at, outcome, status, elapsed_ms, attempt, wire_size, address, mime, charset, title,
  headers, body) VALUES (?1, ?1, 1, ?2 + ?1 * 40, 'page', 200, 25, 1, 2500, '127.0.0.1', 'text/html', 'utf-8', ?3, ?4, ?5)"""
ORIGIN = "INSERT INTO origin (name, host) SELECT 'http://' || name || ':8080', id FROM host ORDER BY id"
COUNTED = "UPDATE host SET queued = 0, pages = (SELECT count(*) FROM url WHERE url.host = host.id)"


def fill(db: Path, pages: int) -> None:
    """A crawl file with so many pages, their bodies and no links but those in the bodies."""
    asyncio.run(_begun(db))
    with closing(sqlite3.connect(db, isolation_level=None)) as file:
        file.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; DROP TRIGGER url_added")
        file.execute("BEGIN")
        file.executemany("INSERT INTO host (name) VALUES (?)", ((host_name(n),) for n in range(HOSTS)))
        file.execute(ORIGIN)
        file.executemany(URL, ((n, HOSTS, _path(n)) for n in range(1, pages + 1)))
        file.executemany(BODY, _bodies(pages))
        file.executemany(FETCH, ((n, BEGUN, f"Page {n}", HEADERS, _body_of(n)) for n in range(1, pages + 1)))
        file.execute(COUNTED)
        file.execute("COMMIT")
        file.execute("PRAGMA journal_mode = WAL")


async def _begun(db: Path) -> None:
    async with SqliteStore(db) as store:
        spec = CrawlSpec(seeds=("http://127.0.0.1:8080/",), contact="bench@example.org")
        await store.begin(now=BEGUN, version="0.1.0", spec=spec.to_json(), seeds=[], max_depth=None)
        await store.end("complete", now=BEGUN + 1)


def _path(number: int) -> str:
    return f"/section-{number % 97}/page-{number}.html" + (f"?view={number % 5}" if number % 7 == 0 else "")


def _body_of(number: int) -> int:
    return number if number % EVERY else number - 1


def _bodies(pages: int) -> Iterator[tuple[int, bytes, int, bytes]]:
    dice = random.Random(1)
    texts = [" ".join(dice.choices(WORDS, k=150)) for _ in range(200)]
    for number in range(1, pages + 1):
        if _body_of(number) == number:
            body = _page(dice, texts, number, pages).encode()
            yield number, hashlib.sha256(body).digest(), len(body), zstd.compress(body)


def _page(dice: random.Random, texts: list[str], number: int, pages: int) -> str:
    links = "".join(f'<li><a href="{_path(to)}">to {to}</a>' for to in (dice.randrange(1, pages + 1) for _ in range(LINKS)))
    text = "".join(f"<p>{dice.choice(texts)}</p>\n" for _ in range(8))
    return f"<!DOCTYPE html><title>Page {number}</title><main><h1>Page {number}</h1>{text}</main><ul>{links}</ul>\n"


def measure(db: Path, kind: str, pages: int) -> dict[str, Any]:
    """One export, and what it cost."""
    target = db.with_name(f"out{kind}")
    options = [kind, target] if kind.startswith("--") else [target]
    ended = run(crawler("export", db, *options), every=0.02)
    size = sum(path.stat().st_size for path in (target.rglob("*") if target.is_dir() else [target]) if path.is_file())
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return {"code": ended.code, "seconds": round(ended.wall, 1), "cpu_s": round(ended.cpu, 1), "mib": round(size / MIB, 1),
            "rows_per_s": round(pages / ended.wall), "peak_mib": round(ended.watched.peak / MIB, 1),
            "peak_all_mib": round(ended.watched.peak_tree / MIB, 1)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exports", description=__doc__)
    parser.add_argument("--pages", type=int, default=100_000)
    parser.add_argument("--only", default=",".join(FORMATS), help="formats, separated by commas")
    wanted = parser.parse_args()
    found: dict[str, Any] = {}
    with real_disk() as folder:
        fill(folder / "crawl.db", wanted.pages)
        for kind in wanted.only.split(","):
            found[kind] = measure(folder / "crawl.db", kind, wanted.pages)
            print(f"{kind}: {found[kind]}", file=sys.stderr, flush=True)
    most = max(found, key=lambda kind: found[kind]["peak_all_mib"])
    sentence = (f"{wanted.pages:,} pages in {len(found)} formats: {found[most]['peak_all_mib']} MiB at most, in all processes "
                f"together ({most}).")  # fmt: skip
    kept = all(one["code"] == 0 and one["peak_all_mib"] * MIB <= LIMIT for one in found.values())
    return report("exports", sentence, {"pages": wanted.pages, "formats": found}, ok=kept)


if __name__ == "__main__":
    sys.exit(main())
