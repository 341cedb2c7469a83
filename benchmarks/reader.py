"""A reader with aggregate SQL beside the crawl: what it costs the crawl's rate.

    python -m benchmarks.reader [--laps 5]

In turn, on the kit's 20,000-page web: no reader; one that asks its four queries each second; one that asks them in a
loop without a pause, which takes what it can of a core for itself, so that on two cores less is left to the crawl
whatever the file does: `loop_busy` says how much of a core that was.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.laps import BIG, Command, Lap, kit_web, lap, ours, paired, summary
from benchmarks.measure import cpu_of, environment, median, real_disk, report, tree

QUERIES = (
    "SELECT status, count(*), sum(size), avg(elapsed_ms) FROM pages GROUP BY status",
    "SELECT host, pages, queued FROM hosts ORDER BY pages DESC LIMIT 20",
    "SELECT reason, count(*) FROM failures GROUP BY reason",
    "SELECT kind, count(*) FROM links GROUP BY kind",
)
PAUSES = {"alone": None, "each_second": 1.0, "loop": 0.0}  # s between two rounds


def read(db: Path, pause: float) -> None:
    """Ask in a loop, until we are ended; each query is a transaction of its own."""
    while True:
        try:
            with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True, timeout=5)) as file:
                while True:
                    for query in QUERIES:
                        file.execute(query).fetchall()
                    print(flush=True)
                    time.sleep(pause)
        except sqlite3.OperationalError:
            time.sleep(0.01)  # there is no file yet


class Beside:
    """A lap with a program beside it that is told the file and prints a line each round: its rounds, and the CPU it took."""

    def __init__(self, line: Callable[[Path], list[str]] | None) -> None:
        self._line = line
        self.rounds: list[int] = []
        self.busy: list[float] = []

    def lap(self, command: Command, folder: Path, number: int, pages: int) -> Lap:
        place = folder / f"{id(self)}-{number}"
        if self._line is None:
            return lap(command, kit_web(pages), place)
        with (folder / "rounds").open("wb") as rounds:
            beside = subprocess.Popen(self._line(place / "crawl.db"), stdout=rounds, env=environment())
            try:
                found = lap(command, kit_web(pages), place)
            finally:
                self.busy.append(sum(map(cpu_of, tree(beside.pid))))
                beside.terminate()
                beside.wait()
        self.rounds.append((folder / "rounds").stat().st_size)
        self.busy[-1] /= found.wall
        return found


def reading(pause: float) -> Callable[[Path], list[str]]:
    return lambda db: [sys.executable, "-m", "benchmarks.reader", "--read", str(db), "--pause", str(pause)]


def measure(ways: dict[str, Beside], pages: int, laps: int) -> dict[str, Any]:
    """Laps in turn; each way against the first."""
    found: dict[str, list[Lap]] = {name: [] for name in ways}
    names, command = list(ways), ours(kit_web(pages))
    with real_disk() as folder:
        for number in range(laps):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                found[name].append(ways[name].lap(command, folder, number, pages))
                print(f"{name}: {found[name][-1].active_rate:.0f} pages/s", file=sys.stderr, flush=True)
    figures: dict[str, Any] = {name: summary(laps_of) for name, laps_of in found.items()}
    for name in names[1:]:
        figures[f"{name}_against_{names[0]}"] = paired(found[name], found[names[0]], lambda one: one.active_rate)
        figures[f"{name}_rounds"] = median(ways[name].rounds)
        figures[f"{name}_busy"] = median(ways[name].busy)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reader", description=__doc__)
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--pages", type=int, default=BIG)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pause", type=float, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.read:
        read(wanted.read, wanted.pause)
    ways = {name: Beside(None if pause is None else reading(pause)) for name, pause in PAUSES.items()}
    found = measure(ways, wanted.pages, wanted.laps)
    sentence = (f"beside a reader without a pause the crawl has {found['loop_against_alone']} of its rate (the reader takes "
                f"{found['loop_busy']} of a core, asks {found['loop_rounds']:.0f} rounds), beside one that asks each second "
                f"{found['each_second_against_alone']}.")  # fmt: skip
    return report("reader", sentence, found, ok=found["loop_against_alone"] >= 0.9)


if __name__ == "__main__":
    sys.exit(main())
