"""`crawler serve`: how long each page takes on a large file, alone and while a crawl writes; what an open view costs a crawl.

    python -m benchmarks.web                    # 100,000 pages, 1,000,000 URLs: four minutes, 1 GB of disk
    python -m benchmarks.web --keep DIR         # the file stays in DIR and is used again
    python -m benchmarks.web --beside --laps 5  # the kit's 20,000-page web, with a browser's open overview and without, in turn

A page is asked for over the socket, as a browser does, the file in the kernel's cache. The crawl beside resumes the same
file: what is queued in it is served by nginx.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

from benchmarks.crawled import write
from benchmarks.filled import host_name, served
from benchmarks.laps import BIG
from benchmarks.measure import MIB, crawler, environment, free_port, median, real_disk, report, resident
from benchmarks.reader import Beside, measure

LIST_MS, OVERVIEW_MS, KEPT = 150, 300, 0.9  # what is required
LOOKS = 2.0  # s between two looks of a page that is live
PAGES = {
    "overview": "/", "newest": "/pages", "by_size": "/pages?sort=-size", "by_title": "/pages?sort=title",
    "of_a_kind_by_time": "/pages?mime=text/html&sort=-elapsed_ms", "of_a_host": "/pages?host={host}&sort=-size",
    "search_common": "/pages?q=number", "search_rare": "/pages?q=00000&sort=-size", "hosts": "/hosts", "failures": "/failures",
    "skipped": "/skipped", "redirects": "/redirects", "chains": "/redirects?which=chains", "broken": "/broken",
    "page": "/page?url={url}", "sql": "/sql?name=hosts",
}  # fmt: skip
LISTS = ("newest", "by_size", "by_title", "of_a_kind_by_time", "of_a_host", "search_common", "search_rare")
QUEUE = ("--delay", "0", "--per-host", "16", "--connections", "64", "--progress", "none", "--max-time", "600")


@contextmanager
def viewed(db: Path) -> Iterator[tuple[str, int]]:
    """`crawler serve` of a file: its URL without the slash, and its process."""
    process = subprocess.Popen(crawler("serve", db, "--port", "0"), stderr=subprocess.PIPE, env=environment(), text=True)
    try:
        line = process.stderr.readline() if process.stderr else ""
        found = re.search(r"http://[\d.]+:\d+", line)
        if found is None:
            raise SystemExit(f"crawler serve: {line}")
        yield found[0], process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def crawling(db: Path, folder: Path, port: int) -> Iterator[None]:
    """A crawl into the file, and the web that it crawls."""
    with served(folder / "web", port):
        process = subprocess.Popen(crawler("resume", db, *QUEUE), stderr=subprocess.DEVNULL, env=environment())
        try:
            time.sleep(5)  # until it writes
            yield
            if process.poll() is not None:
                raise SystemExit(f"the crawl beside ended with {process.returncode}")
        finally:
            process.terminate()
            process.wait()


def get(url: str) -> tuple[float, bytes]:
    """ms, and what came."""
    began = time.perf_counter()
    with urlopen(url) as answer:
        body = answer.read()
    return 1000 * (time.perf_counter() - began), body


def timed(root: str, port: int, times: int) -> dict[str, dict[str, float]]:
    """Median and worst of each page (ms)."""
    host = host_name(3)
    words = {"host": host, "url": quote(f"http://{host}:{port}/s/93/da63ec93-a-page-of-a-crawled-file/", safe="")}
    figures = {}
    for name, path in PAGES.items():
        found = [get(root + path.format(**words))[0] for _ in range(times)]
        figures[name] = {"median_ms": median(found, 1), "worst_ms": round(max(found), 1)}
        print(f"{name}: {figures[name]}", file=sys.stderr, flush=True)
    return figures


def until_read(root: str) -> float:
    """Seconds until the server has read the file."""
    began = time.monotonic()
    while b"reading the file" in get(root)[1]:
        time.sleep(0.2)
    return time.monotonic() - began


def pages_part(folder: Path, pages: int, urls: int, times: int) -> dict[str, Any]:
    kept = sorted(folder.glob(f"{pages}-{urls}-*.db"))
    port = int(kept[0].stem.rpartition("-")[2]) if kept else free_port()
    db = kept[0] if kept else folder / f"{pages}-{urls}-{port}.db"
    if not kept:
        write(db, pages, urls, port)
    figures: dict[str, Any] = {"pages": pages, "urls": urls}
    with viewed(db) as (root, process):
        figures["read_s"] = round(until_read(root), 1)
        figures["alone"] = timed(root, port, times)
        with crawling(db, folder, port):
            figures["while_crawling"] = timed(root, port, times)
        figures["memory_mib"] = round(resident(process) / MIB)
    return figures


def watch(db: Path) -> None:
    """An open overview: serve the file as soon as it is one, and look again as the page does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the server would outlive us
    while not db.exists():
        time.sleep(0.01)
    while True:
        with contextlib.suppress(SystemExit), viewed(db) as (root, _):
            while True:
                get(root)
                print(flush=True)
                time.sleep(LOOKS)


def watching(db: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.web", "--watch", str(db)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--pages", type=int, default=100_000)
    parser.add_argument("--urls", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--web", type=int, default=BIG, help="pages of the kit's web")
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.watch:
        with contextlib.suppress(KeyboardInterrupt):
            watch(wanted.watch)
        return 0
    if wanted.beside:
        beside = measure({"alone": Beside(None), "viewed": Beside(watching)}, wanted.web, wanted.laps)
        kept = beside["viewed_against_alone"]
        told = f"with the overview open in a browser the crawl has {kept} of its rate."
        return report("web_beside", told, beside, ok=kept >= KEPT)
    with real_disk() as folder:
        found = pages_part(wanted.keep or folder, wanted.pages, wanted.urls, wanted.times)
    lists = max(found["alone"][name]["median_ms"] for name in LISTS)
    overview = found["while_crawling"]["overview"]["median_ms"]
    sentence = (f"{found['pages']:,} pages, {found['urls']:,} URLs: a list of pages takes {lists} ms at most, the overview "
                f"{overview} ms while a crawl writes; the file is read in {found['read_s']} s; "
                f"{found['memory_mib']} MiB.")  # fmt: skip
    return report("web", sentence, found, ok=lists <= LIST_MS and overview <= OVERVIEW_MS)


if __name__ == "__main__":
    sys.exit(main())
