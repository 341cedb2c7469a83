"""Parser bombs among good pages: every good page is stored, no bomb holds a worker, the main process does not swell.

    python -m benchmarks.hostile

One crawl holds 200 good pages and all bombs of tests/bombs.py, beside the same crawl without them; then each bomb is
crawled alone by one worker, whose CPU is compared with that of the good pages' crawl.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from benchmarks.measure import MIB, Run, crawler, real_disk, report, run
from tests.bombs import BOMBS
from tests.web import Answer, Site, Web, page

GOOD = 200
CPU_LIMIT = 2.0 + 0.2  # s a worker may spend on a page (DESIGN §6), and what stopping it may take
RISE_LIMIT = 32 * MIB
LINKS_OF_A_BOMB = r"//[^/]+/\d+$"  # a million, all dead: not what is measured here


def site_of(good: int, bombs: Iterable[str]) -> Site:
    """A root that links to all, good pages, and these bombs between them."""
    paths = [f"/good/{number}" for number in range(good)]
    site = Site({path: page("/", *paths[number + 1:number + 6], title=path) for number, path in enumerate(paths)})
    for number, name in enumerate(bombs):
        path = f"/bomb/{name}"
        site[path] = Answer(body=BOMBS[name]())
        paths.insert((number + 1) * 16 % (len(paths) + 1), path)
    site["/"] = page(*paths, title="root")
    return site


def crawl(site: Site, db: Path, parsers: int | None = None) -> Run:
    """Serve the site and crawl it."""
    return asyncio.run(_crawl(site, db, parsers))


async def _crawl(site: Site, db: Path, parsers: int | None) -> Run:
    more = [] if parsers is None else ["--parse-workers", str(parsers)]
    async with Web(site) as web:
        command = crawler("crawl", web.url(), "-o", db, "--delay", "0", "--per-host", "8",
                          "--exclude", LINKS_OF_A_BOMB, "--progress", "none", *more)
        return await asyncio.to_thread(run, command, every=0.01)


def stored(db: Path, pattern: str) -> list[tuple[str, str | None]]:
    """(url, parse) of the pages whose URL is like this."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT url, parse FROM pages WHERE url LIKE ? ORDER BY url", (pattern,)).fetchall()


def worker_cpu(ended: Run) -> float:
    """The most CPU seconds one worker spent."""
    return max(ended.watched.children.values(), default=0.0)


def main() -> int:
    with real_disk() as folder:
        calm = crawl(site_of(GOOD, ()), folder / "calm.db")
        wild = crawl(site_of(GOOD, BOMBS), folder / "wild.db")
        idle = crawl(site_of(1, ()), folder / "idle.db", 1)
        alone = {name: crawl(site_of(0, [name]), folder / f"{name}.db", 1) for name in BOMBS}
        good = sum(1 for _, parse in stored(folder / "wild.db", "%/good/%") if parse is None)
        fates = {url.rpartition("/")[2]: parse for url, parse in stored(folder / "wild.db", "%/bomb/%")}
    cpu = {name: round(worker_cpu(ended) - worker_cpu(idle), 2) for name, ended in alone.items()}
    rises = {name: round((ended.watched.peak - idle.watched.peak) / MIB, 1) for name, ended in alone.items()}
    rise = wild.watched.peak - calm.watched.peak
    longest = max(cpu, key=lambda name: cpu[name])
    codes = {ended.code for ended in (calm, wild, *alone.values())}
    ok = good == GOOD and len(fates) == len(BOMBS) and cpu[longest] <= CPU_LIMIT and rise <= RISE_LIMIT and codes == {0}
    figures = {"good": good, "bombs": len(BOMBS), "stored_bombs": fates, "worker_cpu_s": cpu, "codes": sorted(codes),
               "main_rise_mib": round(rise / MIB, 1), "main_rise_alone_mib": rises,
               "wall_s": round(wild.wall, 1), "calm_wall_s": round(calm.wall, 1)}
    sentence = (
        f"{good} of {GOOD} good pages stored whole among {len(BOMBS)} bombs ({len(fates)} of them stored too); the "
        f"longest held a worker for {cpu[longest]} s of CPU ({longest}); the main process rose by {rise / MIB:.1f} MiB."
    )
    return report("hostile", sentence, figures, ok)


if __name__ == "__main__":
    sys.exit(main())
