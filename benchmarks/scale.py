"""What a crawl costs does not grow with its size: ten million queued URLs against none, 100,000 hosts against 50.

    python -m benchmarks.scale                           # all rows, ten million URLs: some ten minutes, 4 GB of disk
    python -m benchmarks.scale --queued 1000000 --hosts 10000 --laps 1      # a trial of two minutes
    python -m benchmarks.scale --rows inserts --keep DIR # one row; filled files stay in DIR and are used again

Rows. `inserts`: new URLs a second into a full file, through `SqliteStore.commit` (`benchmarks.inserts` says how).
`crawl`: laps of the real crawler in turn, over one web that nginx serves under every loopback address (`benchmarks.filled`),
from an empty file, from one with all the URLs queued over 50 hosts, and from one with as many over 100,000; pages a second
after the first tenth of a lap, by nginx's log; time to the first request, on a file that is in the kernel's cache; memory
of the main process. `cold`: time to the first request when the kernel has nothing of the file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.filled import SEEDS, fill, host_name, served
from benchmarks.inserts import bare, insert_part
from benchmarks.measure import MIB, crawler, free_port, median, real_disk, report, run

ROWS = ("inserts", "crawl", "cold")
FEW = 50  # hosts
OPTIONS = ("--delay", "0", "--per-host", "16", "--connections", "64", "--progress", "none")
INSERTS, START, MEMORY, RATE, HOSTS_RATE = 15_000, 8.0, 350 * MIB, 0.85, 0.8  # what is required


@dataclass(frozen=True, slots=True)
class Lap:
    """One crawl: pages/s, CPU ms a page of the tree, s to the first request, peak bytes of the main process."""

    rate: float
    cpu: float
    first: float
    peak: int


@dataclass(frozen=True, slots=True)
class Files:
    """Filled files, made when they are asked for. They grow by what the laps find."""

    folder: Path
    queued: int
    port: int

    def over(self, hosts: int) -> Path:
        db = self.folder / f"{self.queued}-{hosts}-{self.port}.db"
        if not db.exists():
            fill(db, self.queued, hosts, self.port)
        return db


def crawl_part(files: Files, hosts: int, laps: int, pages: int, work: Path) -> dict[str, Any]:
    """Empty, full over a few hosts, full over many: in turn."""
    full, many = files.over(FEW), files.over(hosts)
    names = ("empty", "full", "many")
    found: dict[str, list[Lap]] = {name: [] for name in names}
    for n in range(laps):
        for name in names[n % 3 :] + names[: n % 3]:
            db = {"empty": work / "empty.db", "full": full, "many": many}[name]
            found[name].append(lap(db, pages, work, files.port))
            say(name, found[name][-1])
            if name == "empty":
                db.unlink()
    figures: dict[str, Any] = {name: summary(found[name]) for name in names}
    for name, base in (("full", "empty"), ("many", "full")):
        figures[f"{name}_against_{base}"] = median([a.rate / b.rate for a, b in zip(found[name], found[base], strict=True)])
    return figures


def lap(db: Path, pages: int, work: Path, port: int) -> Lap:
    """Crawl so many more pages of a file, or from the seeds into a fresh one."""
    seeds = work / "seeds.txt"
    seeds.write_text("".join(f"http://{host_name(n)}:{port}/n/0/\n" for n in range(SEEDS)))
    fresh = ("crawl", seeds, "-o", db, "--scope", "any", "--allow-private", "127.0.0.0/8")
    before = _count(db, "SELECT pages FROM counts") if db.exists() else 0
    os.sync()
    with site(work, port) as log:
        began = time.time()
        ended = run(crawler(*(("resume", db) if db.exists() else fresh), "--max-pages", str(before + pages), *OPTIONS))
    if ended.code != 0:
        raise SystemExit(f"the crawl of {db} ended with {ended.code}: {ended.said[-2000:]}")
    times = sorted(float(line.split()[0]) for line in log.read_text().splitlines() if not line.endswith("/robots.txt"))
    warm = len(times) // 10
    rate = (len(times) - warm) / max(times[-1] - times[warm], 0.001)
    return Lap(rate, 1000 * ended.cpu / len(times), times[0] - began, ended.watched.peak)


@contextmanager
def site(work: Path, port: int) -> Iterator[Path]:
    """The web, with a fresh log."""
    folder = work / "web"
    (folder / "access.log").unlink(missing_ok=True)
    with served(folder, port) as log:
        yield log


def summary(laps: Sequence[Lap]) -> dict[str, Any]:
    """Medians of the laps; the highest peak."""
    return {"pages_per_s": median([lap.rate for lap in laps], 1), "cpu_ms_page": median([lap.cpu for lap in laps], 3),
            "first_request_s": median([lap.first for lap in laps]), "peak_mib": round(max(lap.peak for lap in laps) / MIB),
            "laps": len(laps)}


def cold_part(files: Files, hosts: int, work: Path) -> dict[str, Any]:
    """The first request after a resume, when nothing of the file is in the kernel's cache."""
    figures: dict[str, Any] = {}
    for name, db in (("full", files.over(FEW)), ("many", files.over(hosts))):
        _evict(db)
        figures[name] = round(lap(db, 20, work, files.port).first, 2)
    return figures


def _evict(db: Path) -> None:
    """Have the kernel forget a file: nobody has it open, so no lock of SQLite's is lost."""
    os.sync()
    descriptor = os.open(db, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _count(db: Path, sql: str) -> int:
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        return int(connection.execute(sql).fetchone()[0])


def say(what: str, figures: object) -> None:
    print(f"{what}: {figures}", file=sys.stderr, flush=True)


def kept_promises(found: dict[str, Any]) -> dict[str, bool]:
    """Which of the rows measured are as required."""
    kept = {}
    if inserts := found.get("inserts"):
        kept["inserts"] = inserts["new_per_s"] >= INSERTS and inserts["lost"] == 0
    if crawl := found.get("crawl"):
        kept["rate"] = crawl["full_against_empty"] >= RATE
        kept["hosts"] = crawl["many_against_full"] >= HOSTS_RATE
        kept["start"] = max(crawl["full"]["first_request_s"], crawl["many"]["first_request_s"]) <= START
        kept["memory"] = crawl["many"]["peak_mib"] * MIB <= MEMORY
    if cold := found.get("cold"):
        kept["cold"] = max(cold.values()) <= START
    return kept


def sentence(found: dict[str, Any], queued: int, hosts: int) -> str:
    said = []
    if inserts := found.get("inserts"):
        said.append(f"a file with {queued:,} URLs takes {inserts['new_per_s']:,} new ones a second, {inserts['lost']} lost "
                    f"(a bare table of numbers: {inserts['bare_per_s']:,})")
    if crawl := found.get("crawl"):
        said.append(f"a crawl with as many queued has {crawl['full_against_empty']} of the pages/s of an empty one, over "
                    f"{hosts:,} hosts {crawl['many_against_full']} of that over {FEW}; its first request goes out after "
                    f"{crawl['many']['first_request_s']} s, its main process holds {crawl['many']['peak_mib']} MiB")
    if cold := found.get("cold"):
        said.append(f"with a cold disk the first request goes out after {cold['many']} s")
    return "; ".join(said) + "."


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--queued", type=int, default=10_000_000)
    parser.add_argument("--hosts", type=int, default=100_000)
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--pages", type=int, default=5_000, help="in a lap")
    parser.add_argument("--seconds", type=float, default=30.0, help="of commits, for the inserts")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep filled files there, and use those that are")
    parser.add_argument("--port", type=int, help="which filled files name; free without --keep")
    return parser.parse_args()


def main() -> int:
    wanted = options()
    found: dict[str, Any] = {}
    with real_disk() as work:
        folder = wanted.keep or work
        folder.mkdir(parents=True, exist_ok=True)
        files = Files(folder, wanted.queued, wanted.port or (18_399 if wanted.keep else free_port()))
        if "crawl" in wanted.rows:
            found["crawl"] = crawl_part(files, wanted.hosts, wanted.laps, wanted.pages, work)
        if "cold" in wanted.rows:
            found["cold"] = cold_part(files, wanted.hosts, work)
        if "inserts" in wanted.rows:  # last, and on a copy: it adds more than all the laps
            shutil.copy(files.over(FEW), work / "inserts.db")
            os.sync()
            found["inserts"] = insert_part(work / "inserts.db", wanted.queued, FEW, files.port, wanted.seconds)
            found["inserts"]["bare_per_s"] = bare(work / "bare.db", wanted.queued, wanted.seconds)
    kept = kept_promises(found)
    figures = {"queued": wanted.queued, "hosts": wanted.hosts, **found, "kept": kept}
    return report("scale", sentence(found, wanted.queued, wanted.hosts), figures, ok=all(kept.values()))


if __name__ == "__main__":
    sys.exit(main())
