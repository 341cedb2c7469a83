"""Memory does not follow the crawl's size, and a full file is resumed at once.

    python -m benchmarks.bounded                       # both parts; some minutes
    python -m benchmarks.bounded --queued 100000 --pages 5000
    python -m benchmarks.bounded --written 10000000    # ten million, written by SQL: nobody crawls that long for a test

Queued: index pages of 10,000 links each fill a file with a million queued URLs (by crawling them, no statement of
ours); then `crawler resume` is watched: memory of the main process, and the time until the web sees the first request.
Flat: a crawl of 20,000 pages over 50 hosts, its memory sampled against the requests in the web's log.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.measure import MIB, Sampler, crawler, environment, real_disk, report, run, slope
from crawler.spec import CrawlSpec
from crawler.url import admit
from storage.sqlite import SqliteStore
from tests.killing import served
from tests.web import Answer, Generated, Request, Site, Web

HOSTS = 50
INDEX_HOSTS = 10
PER_INDEX = 10_000  # links a page may have (CONTRACT §2)
RESIDENT_LIMIT = 200 * MIB
START_LIMIT = 2.0  # s until the first request, the host's delay aside
SLOPE_LIMIT = 256.0  # bytes a page after the first 5,000: 4 MiB over the rest, what an allocator's noise comes to
LARGE_RESIDENT_LIMIT = 350 * MIB
LARGE_START_LIMIT = 5.0  # s, with ten million URLs
DELAY = 0.5


class IndexWeb:
    """``indexes`` pages of 10,000 links on the first hosts, each to small pages on all the other hosts.

    The other hosts' robots.txt is held back until every index has been asked for, so that nothing else is crawled.
    """

    def __init__(self, indexes: int) -> None:
        self.waiting = indexes
        self.asked = asyncio.Event()

    def __call__(self, request: Request) -> Answer | Awaitable[Answer]:
        if request.path.startswith("/index/"):
            self.waiting -= 1
            if self.waiting <= 0:
                self.asked.set()
            return Answer(body=self._links(int(request.path.removeprefix("/index/")), request.port))
        if request.path != "/robots.txt":
            return Answer(body=b"<title>a page</title>")
        return Answer(404) if int(request.host.rpartition(".")[2]) <= INDEX_HOSTS else self._robots()

    async def _robots(self) -> Answer:
        await self.asked.wait()
        return Answer(404)

    @staticmethod
    def _links(number: int, port: int) -> bytes:
        items = range(number * PER_INDEX, (number + 1) * PER_INDEX)
        spread = HOSTS - INDEX_HOSTS
        return "".join(f'<a href="//127.0.1.{INDEX_HOSTS + 1 + n % spread}:{port}/item/{n}">' for n in items).encode()


def queued_part(folder: Path, wanted: int, watch: float) -> tuple[dict[str, Any], bool]:
    """Fill a file, resume it, watch it for some seconds."""
    return asyncio.run(_queued_part(folder, wanted, watch))


async def _queued_part(folder: Path, wanted: int, watch: float) -> tuple[dict[str, Any], bool]:
    indexes = max(1, wanted // PER_INDEX)
    async with Web(*[IndexWeb(indexes)] * HOSTS) as web:
        seeds = folder / "seeds.txt"
        seeds.write_text("".join(web.url(f"/index/{n}\n", n % INDEX_HOSTS + 1) for n in range(indexes)))
        db = folder / "queued.db"
        filling = await asyncio.to_thread(run, crawler(
            "crawl", seeds, "-o", db, "--scope", "any", "--allow-private", "127.0.0.0/8", "--delay", "0", "--per-host",
            "4", "--timeout", "600", "--max-pages", str(indexes), "--progress", "none"))
        if filling.code != 0:
            raise SystemExit(f"filling ended with {filling.code}: {filling.said[-2000:]}")
        queued = _count(db, "SELECT count(*) FROM queue")
        web.requests.clear()
        began = time.monotonic()
        watched = await asyncio.to_thread(_resume, db, watch)
    first = web.requests[0].at - began if web.requests else float("inf")
    figures = {"queued": queued, "fill_s": round(filling.wall, 1), "fill_peak_mib": round(filling.watched.peak / MIB),
               "file_mib": round(db.stat().st_size / MIB), "resume_peak_mib": round(watched.peak / MIB, 1),
               "first_request_s": round(first, 2), "resume_delay_s": DELAY, "requests_watched": len(web.requests)}
    ok = queued >= 0.99 * indexes * PER_INDEX and first <= START_LIMIT + DELAY
    return figures, ok and watched.peak <= RESIDENT_LIMIT and filling.watched.peak <= RESIDENT_LIMIT


def written_part(folder: Path, wanted: int, watch: float) -> tuple[dict[str, Any], bool]:
    """Write a file of so many queued URLs, resume it, watch it for some seconds (FAULTS D4, D20)."""
    return asyncio.run(_written_part(folder, wanted, watch))


async def _written_part(folder: Path, wanted: int, watch: float) -> tuple[dict[str, Any], bool]:
    db = folder / "written.db"
    async with Web(*[Site({"/": "<title>a page</title>"})] * HOSTS) as web:
        await write_queued(db, web, wanted)
        os.sync()  # or the first commit waits for a gigabyte that the kernel has still to write
        queued = _count(db, "SELECT sum(queued) FROM host")
        began = time.monotonic()
        watched = await asyncio.to_thread(_resume, db, watch)
    first = web.requests[0].at - began if web.requests else float("inf")
    figures = {"queued": queued, "file_mib": round(db.stat().st_size / MIB), "first_request_s": round(first, 2),
               "resume_delay_s": DELAY, "resume_peak_mib": round(watched.peak / MIB, 1),
               "requests_watched": len(web.requests)}
    limit = START_LIMIT if queued <= 1_000_000 else LARGE_START_LIMIT
    return figures, first <= limit + DELAY and watched.peak <= LARGE_RESIDENT_LIMIT


async def write_queued(db: Path, web: Web, wanted: int) -> None:
    """The file of a crawl that has met ``wanted`` URLs and fetched none of them."""
    spec = CrawlSpec(seeds=tuple(web.url(host=host + 1) for host in range(HOSTS)), scope="any", delay=DELAY,
                     allow_private=("127.0.0.0/8",))
    async with SqliteStore(db) as store:
        seeds = [admit(seed) for seed in spec.seeds]
        await store.begin(now=0, version="written", spec=spec.to_json(), seeds=seeds, max_depth=None)
        await store.end("interrupted", now=1)
    with closing(sqlite3.connect(db)) as connection:
        trigger = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'url_added'").fetchone()[0]
        connection.executescript(f"""PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; BEGIN; DROP TRIGGER url_added;
            WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT {wanted - HOSTS})
            INSERT INTO url (host, origin, path, due_at, depth)
              SELECT 1 + i % {HOSTS}, 1 + i % {HOSTS}, '/item/' || i, 1, 1 FROM n;
            UPDATE host SET queued = queued + (SELECT count(*) FROM url WHERE host = host.id AND path LIKE '/item/%');
            {trigger}; COMMIT;""")


def _resume(db: Path, watch: float) -> Sampler:
    """Resume for ``watch`` seconds, then stop."""
    command = crawler("resume", db, "--delay", str(DELAY), "--max-pages", "100000000", "--progress", "none")
    process = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Sampler(process.pid) as watched:
        try:
            process.wait(watch)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(30)
    return watched


def _count(db: Path, sql: str) -> int:
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        return int(connection.execute(sql).fetchone()[0])


def flat_part(folder: Path, pages: int) -> tuple[dict[str, Any], bool]:
    """Crawl a web and fit a line through its memory after the first 5,000 pages (or the first quarter)."""
    db = folder / "flat.db"
    with served(Generated(pages=pages, hosts=HOSTS), folder / "flat.log") as server:
        began = time.monotonic()
        ended = run(crawler("crawl", *server.seeds, "-o", db, "--delay", "0", "--per-host", "4", "--progress", "none"),
                    every=0.1)
        times = [request.at for request in server.requests()]
    if ended.code != 0:
        raise SystemExit(f"the crawl ended with {ended.code}: {ended.said[-2000:]}")
    warm = min(5000, pages // 4)
    points = [(float(done), float(size)) for done, size in _against(times, began, ended.watched.main) if done >= warm]
    steady = [(done, size) for done, size in points if done < len(times)]  # while it crawls, not while it waits
    rise = slope(steady)
    figures = {"crawled": _count(db, "SELECT count(*) FROM pages"), "wall_s": round(ended.wall, 1),
               "samples": len(steady), "slope_kib_per_1000_pages": round(rise * 1000 / 1024, 1),
               "slope_last_half": round(slope(steady[len(steady) // 2:]) * 1000 / 1024, 1),
               "warm_mib": round(steady[0][1] / MIB, 1) if steady else None,
               "peak_mib": round(ended.watched.peak / MIB, 1)}
    return figures, len(steady) > 10 and rise <= SLOPE_LIMIT


def _against(times: list[float], began: float, sizes: list[tuple[float, int]]) -> list[tuple[int, int]]:
    """(requests so far, bytes) at each sample."""
    found, done = [], 0
    for at, size in sizes:
        while done < len(times) and times[done] <= began + at:
            done += 1
        found.append((done, size))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bounded", description=__doc__)
    parser.add_argument("--queued", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=20_000)
    parser.add_argument("--watch", type=float, default=20.0, help="s to watch the resumed crawl")
    parser.add_argument("--written", type=int, help="only this part: so many queued URLs, written by SQL")
    wanted = parser.parse_args()
    if wanted.written:
        with real_disk() as folder:
            found, ok = written_part(folder, wanted.written, wanted.watch)
        sentence = (
            f"with {found['queued']:,} URLs queued ({found['file_mib']} MiB) the main process holds "
            f"{found['resume_peak_mib']} MiB and sends its first request after {found['first_request_s']} s "
            f"(delay {DELAY} s)."
        )
        return report("bounded", sentence, {"written": found}, ok=ok)
    with real_disk() as folder:
        queued, queued_ok = queued_part(folder, wanted.queued, wanted.watch)
        print(json.dumps({"part": "queued", **queued}), file=sys.stderr, flush=True)
        flat, flat_ok = flat_part(folder, wanted.pages)
    sentence = (
        f"with {queued['queued']:,} URLs queued the main process holds {queued['resume_peak_mib']} MiB and sends its "
        f"first request after {queued['first_request_s']} s (delay {DELAY} s); over {flat['crawled']:,} pages memory "
        f"rises by {flat['slope_kib_per_1000_pages']} KiB per 1,000 pages, to {flat['peak_mib']} MiB."
    )
    return report("bounded", sentence, {"queued": queued, "flat": flat}, ok=queued_ok and flat_ok)


if __name__ == "__main__":
    sys.exit(main())
