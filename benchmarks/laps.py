"""Crawls of a web on disk, taken in turn, each served by a fresh nginx and judged by its log.

CPU is that of the whole process tree, orphans included; memory the most that all its processes held (what they share is
counted for each); "active" the time from the first to the last request in the log; databases lie on a real disk.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median as middle
from typing import Any
from urllib.parse import urlsplit

from benchmarks.measure import MIB, ROOT, bench_kit, crawler, median, run, running_nginx

SMALL, BIG, HOSTS = 2_000, 20_000, 50  # pages and hosts of the kit's webs
WEBS = ROOT / "build" / "webs"
PORT = 18_280  # of the webs that are made: below those that the kernel gives to clients
Command = Callable[[Path], Sequence[str | Path]]  # of the folder that a crawl may write into


@dataclass(frozen=True)
class DiskWeb:
    """A folder with nginx.conf and pages, and the manifest of what a crawl must find."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def seed(self) -> str:
        return str(self.manifest["seed"])

    @property
    def port(self) -> int:
        return int(self.manifest["port"])

    @property
    def pages(self) -> int:
        return len(self.manifest["all_pages"])


@dataclass(frozen=True, slots=True)
class Lap:
    """One crawl: wall s, s until its first request was answered, CPU s, peak bytes, bytes written, pages found and
    missed, and when each page was answered (s after the first request)."""

    wall: float
    first: float
    cpu: float
    peak: int
    written: int
    missed: int
    times: tuple[float, ...]

    @property
    def pages(self) -> int:
        return len(self.times)

    @property
    def rate(self) -> float:
        return self.pages / self.wall

    @property
    def active_rate(self) -> float:
        return self.pages / self.times[-1]

    @property
    def cpu_page(self) -> float:
        """ms"""
        return 1000 * self.cpu / self.pages


def kit() -> Path:
    found = bench_kit()
    if found is None:
        raise SystemExit("the bench kit is absent: set BENCH_KIT to the folder that holds make_web.py")
    return found


def kit_web(pages: int, hosts: int = HOSTS) -> DiskWeb:
    """The kit's web, made once and kept in build/webs."""
    folder = WEBS / f"{pages}-{hosts}"
    if not (folder / "manifest.json").exists():
        numbers = ["--pages", str(pages), "--hosts", str(hosts), "--port", str(PORT)]
        subprocess.run([sys.executable, kit() / "make_web.py", folder, *numbers], check=True, stdout=subprocess.DEVNULL)
    return DiskWeb(folder, json.loads((folder / "manifest.json").read_text()))


def ours(web: DiskWeb, per_host: int = 16, connections: int = 64) -> Command:
    """The crawl that compares: everything on, no delay, all hosts of the web from one seed."""
    def command(place: Path) -> list[str]:
        return crawler("crawl", web.seed, "-o", place / "crawl.db", "--scope", "any", "--allow-private", "127.0.0.0/8",
                       "--delay", "0", "--per-host", str(per_host), "--connections", str(connections),
                       "--progress", "none")  # fmt: skip
    return command


def floor(web: DiskWeb, at_once: int = 64) -> Command:
    """The least that a crawl in Python costs (`benchmarks.floor`)."""
    return lambda _: [sys.executable, "-m", "benchmarks.floor", web.seed, str(at_once)]


def lap(command: Command, web: DiskWeb, place: Path, conf: str = "nginx.conf", quiet: bool = False) -> Lap:
    """Run one crawl, in a folder that is made for it and removed; ``quiet``: ends it when the log has fallen silent."""
    log = web.folder / "access.log"
    log.unlink(missing_ok=True)
    place.mkdir()
    line = [str(part) for part in command(place)]
    with running_nginx(web.folder / conf, (urlsplit(web.seed).hostname or "", web.port), "daemon off;"):
        began = time.time()
        ended = run(line, cwd=place, quiet=log if quiet else None)
    if ended.code != 0 and not quiet:
        raise SystemExit(f"{' '.join(line)} ended with {ended.code}: {ended.said[-2000:]}")
    written = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    shutil.rmtree(place)
    rows = [row.split(" ") for row in log.read_text().splitlines()]
    start = min(float(row[0]) for row in rows)
    pages = set(web.manifest["all_pages"])
    found: dict[str, float] = {}
    for row in rows:
        url = f"http://{row[1]}:{web.port}{row[6].replace('&amp;', '&')}"  # wget2 decodes no entities
        if row[2] == "200" and url in pages:
            found.setdefault(url, float(row[0]) - start)
    return Lap(ended.wall, start - began, ended.cpu, ended.watched.peak_tree, written, len(pages) - len(found),
               tuple(sorted(found.values())))


def race(commands: Mapping[str, Command], web: DiskWeb, folder: Path, laps: int, conf: str = "nginx.conf",
         quiet: Sequence[str] = ()) -> dict[str, list[Lap]]:  # fmt: skip
    """All in turn, each lap beginning with another one, so that a slow minute of the machine hits all."""
    names, found = list(commands), {name: list[Lap]() for name in commands}
    for number in range(laps):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            one = lap(commands[name], web, folder / f"{name}{number}", conf, name in quiet)
            found[name].append(one)
            print(f"{name}: {one.rate:.0f} pages/s, {one.active_rate:.0f} while active, {one.cpu_page:.2f} ms CPU a page, "
                  f"{one.peak / MIB:.0f} MiB, {one.missed} missed", file=sys.stderr, flush=True)
    return found


def summary(laps: Sequence[Lap]) -> dict[str, Any]:
    """Medians of the laps; the highest peak."""
    return {
        "pages": min(lap.pages for lap in laps), "missed": max(lap.missed for lap in laps),
        "pages_per_s": median([lap.rate for lap in laps], 1),
        "pages_per_s_active": median([lap.active_rate for lap in laps], 1),
        "cpu_ms_page": median([lap.cpu_page for lap in laps], 3),
        "first_request_s": median([lap.first for lap in laps], 3), "wall_s": median([lap.wall for lap in laps]),
        "peak_mib": round(max(lap.peak for lap in laps) / MIB),
        "bytes_page": round(middle(lap.written / lap.pages for lap in laps)), "laps": len(laps),
    }  # fmt: skip


def paired(one: Sequence[Lap], other: Sequence[Lap], figure: Callable[[Lap], float]) -> float:
    """The median of the laps' ratios."""
    return median([figure(a) / figure(b) for a, b in zip(one, other, strict=True)], 3)


def speed_of(laps: Sequence[Lap], first: int, last: int) -> float:
    """Median pages/s from one page's answer to another's."""
    return median([(last - first) / max(lap.times[last - 1] - lap.times[first], 0.001) for lap in laps], 1)


def steps(laps: Sequence[Lap], size: int) -> list[float]:
    """Pages/s over each ``size`` pages."""
    least = min(lap.pages for lap in laps)
    return [speed_of(laps, first, first + size) for first in islice(range(0, least, size), least // size)]
