"""Crawls killed again and again end as one left alone: the long form of tests/test_resume.py.

    python -m benchmarks.killloop --kills 50 --pages 5000 --hosts 20               # as fast as it goes
    python -m benchmarks.killloop --kills 50 --pages 5000 --hosts 20 --delay 0.1   # politeness across kills
    python -m benchmarks.killloop --kills 1000 --full 0.1 --pinned 0.1 --syscall 0.1   # half an hour

SIGKILL goes to the main process, a parse worker or both, at a random moment within --within seconds of the last one; some
while the disk is full (--full), while another process holds a snapshot (--pinned), or at the k-th write or sync of
the file (--syscall, by strace). After each the file is held against the frontier recomputed from its own bodies. Both the
files and the web's own request log are judged; --keep leaves them in a folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.measure import real_disk, report
from tests.killing import KillLoop, timed_loop
from tests.web import Generated


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killloop", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--delay", type=float, default=0.0, help="s between two requests to a host")
    parser.add_argument("--within", type=float, default=1.5, help="s, the longest time between two kills")
    for name in ("full", "pinned", "syscall"):
        parser.add_argument(f"--{name}", type=float, default=0.0, help="share of the kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="an existing folder for databases and logs")
    return parser.parse_args()


def measure(folder: Path, wanted: argparse.Namespace) -> int:
    """Run the loop and print what came of it."""
    web = Generated(pages=wanted.pages, hosts=wanted.hosts)
    loop = KillLoop(folder, web, wanted.kills, wanted.delay, seed=wanted.seed, within=wanted.within,
                    full=wanted.full, pinned=wanted.pinned, syscall=wanted.syscall)
    found, seconds = timed_loop(loop)
    gap = round(found.gap, 4)
    figures = {
        "pages": wanted.pages, "hosts": wanted.hosts, "urls": found.urls, "delay": wanted.delay, "seed": wanted.seed,
        "kills": dict(found.kills), "with": dict(found.kinds), "quarantined": found.quarantined,
        "oracle": len(found.oracle), "crawls": found.crawls, "looks": found.looks, "seconds": round(seconds, 1),
        "differences": len(found.differences), "torn": len(found.torn), "damaged": len(found.damaged),
        "extra_requests": found.extra, "extra_allowed": found.total * loop.allowance,
        "lost_per_kill_max": max(found.lost, default=0), "unexplained": len(found.overdrawn), "least_gap": gap,
    }
    faults = (*found.differences, *found.oracle, *found.torn, *found.damaged, *found.overdrawn)
    for problem in faults[:20]:
        print(problem, file=sys.stderr)
    bounded = max(found.lost, default=0) <= loop.allowance and gap >= 0.99 * wanted.delay
    sentence = (
        f"{found.total} kills in {found.crawls} crawls of {found.urls} URLs: {len(found.differences)} differences from "
        f"the uninterrupted crawl, {len(found.oracle)} from the frontier recomputed after each kill, "
        f"{len(found.damaged)} damaged files, {found.extra} requests repeated "
        f"({figures['lost_per_kill_max']} at most by one kill, {len(found.overdrawn)} unexplained), "
        f"least gap to a host {gap} s for a delay of {wanted.delay} s."
    )
    return report("killloop", sentence, figures, ok=not faults and bounded)


def main() -> int:
    wanted = options()
    if wanted.keep:
        return measure(wanted.keep, wanted)
    with real_disk() as folder:
        return measure(folder, wanted)


if __name__ == "__main__":
    sys.exit(main())
