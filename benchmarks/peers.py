"""Beside other crawlers, in turn with each of them: pages/s and CPU a page, and the CPU of the least crawl there can be.

    python -m benchmarks.peers                                   # all of them; a quarter of an hour
    python -m benchmarks.peers --only scrapy floor --laps 3
    python -m benchmarks.peers --scrapy ENV --crawlee ENV --spider DIR    # environments that are there already

On the kit's web of 2,000 pages: Scrapy (LinkExtractor, bodies into SQLite) and Crawlee-Python (Parsel, impit, queue in memory,
bodies into SQLite: its fastest form here; httpx took 1.6 times as long). On that of 20,000: spider-rs (spider.mjs) and wget2
(16 threads, plain files; it does not end by itself, so it is ended when the log is silent, and only its active time is
meant). The floor (`benchmarks.floor`) runs on both. All find every page. The crawler obeys robots.txt, stores every link
and answers for durability; the others do not. Environments that are absent are made in build/.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from benchmarks.laps import BIG, SMALL, Command, DiskWeb, floor, kit, kit_web, ours, paired, race, summary
from benchmarks.measure import ROOT, nginx_program, real_disk, report

ON_SMALL, ON_BIG = ("scrapy", "crawlee"), ("spider", "wget2")
BUILD = ROOT / "build"
SPIDER = ("@spider-rs/spider-rs@0.0.157", "@spider-rs/spider-rs-linux-x64-gnu@0.0.157")  # the last that has a binary


def python_with(environment: Path, *packages: str) -> Path:
    """An interpreter that has these; the environment is made if it is absent."""
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def node_with(folder: Path, *packages: str) -> Path:
    """A folder with these in node_modules."""
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--prefix", folder, "--silent", *packages], check=True)
    return folder.absolute()


def command_of(name: str, web: DiskWeb, wanted: argparse.Namespace) -> Command:
    """How a peer is run; what it needs is made."""
    programs = kit() / "peers"
    if name == "scrapy":
        python = python_with(wanted.scrapy, "scrapy")
        return lambda place: [python, programs / "scrapy_spider.py", web.seed, place / "out.db"]
    if name == "crawlee":
        crawlee = python_with(wanted.crawlee, "crawlee[parsel,beautifulsoup]")
        form = (web.seed, "mem", "parsel", "impit")
        return lambda place: [crawlee, programs / "crawlee_py.py", *form, place / "out.db"]
    if name == "spider":
        spider = node_with(wanted.spider, *SPIDER)
        script = ROOT / "benchmarks" / "spider.mjs"
        return lambda place: ["node", script, spider, web.folder / "seeds.txt", place / "out.jsonl"]
    if name == "wget2":
        options = ("-r", "-l", "inf", "-H", "--robots=off", "--max-threads=16", "-nv", "-o", "/dev/null")
        return lambda place: ["wget2", *options, "-P", place / "files", web.seed]
    return floor(web)


def versions(wanted: argparse.Namespace, names: list[str]) -> dict[str, str]:
    """Of the peers that ran, and of the server."""
    found = {"nginx": _says(str(nginx_program()), "-v")}
    for name, environment in (("scrapy", wanted.scrapy), ("crawlee", wanted.crawlee)):
        if name in names:
            code = f"import importlib.metadata as m; print(m.version('{name}'))"
            found[name] = _says(str(environment.absolute() / "bin" / "python"), "-c", code)
    if "spider" in names:
        package = wanted.spider / "node_modules" / "@spider-rs" / "spider-rs" / "package.json"
        found["spider"] = json.loads(package.read_text())["version"]
    if "wget2" in names:
        found["wget2"] = _says("wget2", "--version").partition(" - ")[0]
    return found


def _says(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0]


def part(web: DiskWeb, names: list[str], wanted: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The crawler and these on one web: medians of each, and of the ratios of the laps."""
    commands = {"crawler": ours(web)} | {name: command_of(name, web, wanted) for name in names}
    found = race(commands, web, folder, wanted.laps, quiet=("wget2",))
    figures: dict[str, Any] = {name: summary(laps) for name, laps in found.items()}
    for name in names:
        figures[name] |= {
            "speed": paired(found["crawler"], found[name], lambda lap: lap.rate),
            "active_speed": paired(found["crawler"], found[name], lambda lap: lap.active_rate),
            "cpu": paired(found["crawler"], found[name], lambda lap: lap.cpu_page),
        }
    return figures


def missed(found: dict[str, Any]) -> int:
    return max(int(one["missed"]) for figures in found.values() for one in figures.values())


def say(found: dict[str, Any]) -> str:
    told = []
    for web, figures in found.items():
        us = figures.pop("crawler")
        told.append(f"{web}: {us['pages_per_s']} pages/s, {us['pages_per_s_active']} while active, {us['cpu_ms_page']} ms CPU")
        told += [f"{name} {one['pages_per_s']}, {one['pages_per_s_active']}, {one['cpu_ms_page']} ms: {one['speed']} times its "
                 f"speed ({one['active_speed']} while active) at {one['cpu']} times its CPU" for name, one in figures.items()]
        figures["crawler"] = us
    return "; ".join(told) + "."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    names = (*ON_SMALL, *ON_BIG, "floor")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--small", type=int, default=SMALL, help="pages")
    parser.add_argument("--big", type=int, default=BIG, help="pages")
    parser.add_argument("--scrapy", type=Path, default=BUILD / "scrapy", metavar="ENV")
    parser.add_argument("--crawlee", type=Path, default=BUILD / "crawlee", metavar="ENV")
    parser.add_argument("--spider", type=Path, default=BUILD / "spider", metavar="DIR", help="has node_modules")
    wanted = parser.parse_args()
    if "wget2" in wanted.only and not shutil.which("wget2"):
        raise SystemExit("wget2 is not installed (Debian: apt-get install wget2)")
    found: dict[str, Any] = {}
    with real_disk() as folder:
        for name, pages, peers in (("small", wanted.small, ON_SMALL), ("big", wanted.big, ON_BIG)):
            here = [peer for peer in (*peers, "floor") if peer in wanted.only]
            if here:
                found[name] = part(kit_web(pages), here, wanted, folder)
    return report("peers", say(found), {**found, "versions": versions(wanted, list(wanted.only))}, ok=not missed(found))


if __name__ == "__main__":
    sys.exit(main())
