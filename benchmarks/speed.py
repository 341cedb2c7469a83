"""Pages a second and CPU a page, beside Scrapy in the same run.

    python -m benchmarks.speed --scrapy ENV/bin/python          # makes that environment and installs Scrapy if absent
    python -m benchmarks.speed                                   # the crawler alone

Both crawl the bench kit's small web (BENCH_KIT, or ../shared/bench) from the same seed, in turn, each run with a fresh
database on a real disk; medians are given. CPU is that of the whole process tree; pages are those nginx's log proves.
The crawler also obeys robots.txt, stores every link and answers for durability; Scrapy (the kit's spider) does not.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.measure import MIB, bench_kit, crawler, free_port, median, real_disk, report, run, running_nginx


@dataclass(frozen=True, slots=True)
class Lap:
    """One crawl: wall s, s from first to last request, CPU s of the tree, peak bytes, pages found and missed."""

    wall: float
    active: float
    cpu: float
    peak: int
    pages: int
    missed: int


@dataclass(frozen=True)
class SmallWeb:
    """The kit's web, on disk: its folder and manifest."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def seed(self) -> str:
        return str(self.manifest["seed"])


def make_web(kit: Path, folder: Path, pages: int, hosts: int) -> SmallWeb:
    """Have the kit write its web."""
    numbers = ["--pages", str(pages), "--hosts", str(hosts), "--port", str(free_port())]
    subprocess.run([sys.executable, kit / "make_web.py", folder, *numbers], check=True, stdout=subprocess.DEVNULL)
    return SmallWeb(folder, json.loads((folder / "manifest.json").read_text()))


def scrapy_python(path: Path) -> Path:
    """An interpreter that has Scrapy; if there is none at ENV/bin/python, an environment is made at ENV."""
    if not path.exists():
        venv.create(path.parent.parent, with_pip=True)
        subprocess.run([path, "-m", "pip", "install", "--quiet", "scrapy"], check=True)
    return path


def our_command(web: SmallWeb, db: Path) -> list[str]:
    """The crawl that compares: no delay, 64 at once, 16 a host, all hosts of the web from one seed."""
    return crawler("crawl", web.seed, "-o", db, "--scope", "any", "--allow-private", "127.0.0.0/8", "--delay", "0",
                   "--per-host", "16", "--connections", "64", "--progress", "none")


def lap(command: Sequence[str], web: SmallWeb) -> Lap:
    """Run one crawl against a fresh nginx and judge it by the log."""
    log = web.folder / "access.log"
    log.unlink(missing_ok=True)
    address = urlsplit(web.seed)
    with running_nginx(web.folder / "nginx.conf", (str(address.hostname), address.port or 80), "daemon off;"):
        ended = run(command)
    if ended.code != 0:
        raise SystemExit(f"{command[0]} ended with {ended.code}: {ended.said[-2000:]}")
    rows = [line.split(" ") for line in log.read_text().splitlines()]
    times = [float(row[0]) for row in rows]
    got = {f"http://{row[1]}:{address.port}{row[6]}" for row in rows if row[2] == "200"}
    pages = set(web.manifest["all_pages"])
    return Lap(ended.wall, max(times) - min(times), ended.cpu, ended.watched.peak_tree, len(pages & got),
               len(pages - got))


def summary(laps: Sequence[Lap]) -> dict[str, Any]:
    """Medians of the laps."""
    return {
        "pages": min(lap.pages for lap in laps), "missed": max(lap.missed for lap in laps),
        "pages_per_s": median([lap.pages / lap.wall for lap in laps], 1),
        "pages_per_s_active": median([lap.pages / max(lap.active, 0.001) for lap in laps], 1),
        "cpu_ms_page": median([1000 * lap.cpu / max(lap.pages, 1) for lap in laps], 3),
        "wall_s": median([lap.wall for lap in laps]), "peak_mib": round(max(lap.peak for lap in laps) / MIB),
        "laps": len(laps),
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--laps", type=int, default=3)
    parser.add_argument("--scrapy", type=Path, metavar="PYTHON", help="interpreter with Scrapy; made if absent")
    return parser.parse_args()


def race(commands: dict[str, Callable[[Path], list[str]]], web: SmallWeb, folder: Path, laps: int) -> dict[str, Any]:
    """All in turn, so that a slow minute of the machine hits all; gives name → medians."""
    found: dict[str, list[Lap]] = {name: [] for name in commands}
    for number in range(laps):
        for name, command in commands.items():
            place = folder / f"{name}{number}"
            place.mkdir()
            found[name].append(lap(command(place / "crawl.db"), web))
            shutil.rmtree(place)
    return {name: summary(laps_of) for name, laps_of in found.items()}


def main() -> int:
    wanted = options()
    kit = bench_kit()
    if kit is None:
        raise SystemExit("the bench kit is absent: set BENCH_KIT to the folder that holds make_web.py")
    commands: dict[str, Callable[[Path], list[str]]] = {}
    with real_disk() as folder:
        web = make_web(kit, folder / "web", wanted.pages, wanted.hosts)
        commands["crawler"] = lambda db: our_command(web, db)
        if wanted.scrapy:
            python = scrapy_python(wanted.scrapy.absolute())
            spider = str(kit / "peers" / "scrapy_spider.py")
            commands["scrapy"] = lambda db: [str(python), spider, web.seed, str(db)]
        found = race(commands, web, folder, wanted.laps)
    return _tell(found)


def _tell(found: dict[str, Any]) -> int:
    ours, peer = found["crawler"], found.get("scrapy")
    sentence = (f"{ours['pages_per_s']} pages/s ({ours['pages_per_s_active']} while active), {ours['cpu_ms_page']} ms "
                f"CPU a page, {ours['peak_mib']} MiB, {ours['missed']} pages missed")
    if peer:
        found["times_faster"] = round(ours["pages_per_s"] / peer["pages_per_s"], 2)
        found["times_less_cpu"] = round(peer["cpu_ms_page"] / ours["cpu_ms_page"], 2)
        sentence += (f"; Scrapy in the same run {peer['pages_per_s']} pages/s, {peer['cpu_ms_page']} ms, "
                     f"{peer['peak_mib']} MiB: {found['times_faster']} times the speed at 1/{found['times_less_cpu']} "
                     "of the CPU")
    return report("speed", sentence + ".", found, ok=not ours["missed"])


if __name__ == "__main__":
    sys.exit(main())
