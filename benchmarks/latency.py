"""Pages/s when each page takes 50 ms: what connections are worth.

    python -m benchmarks.latency [--laps 5]

The kit's 20,000-page web, nginx waiting 50 ms before each page (its echo module; robots.txt is not held back). 64
connections, 16 a host: 1,280 pages/s would be ideal. 256 connections, 32 a host: 5,120. From the first request to the
last, the slow beginning from one seed included. In turn with the floor (`benchmarks.floor`), with as many requests at once:
what a machine allows one process that does nothing else.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.laps import BIG, floor, kit_web, ours, race, summary
from benchmarks.measure import real_disk, report

CASES = {64: 16, 256: 32}  # connections: a host's
DELAY = 0.05  # s
REQUIRED = {64: 850, 256: 1300}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--pages", type=int, default=BIG)
    wanted = parser.parse_args()
    web = kit_web(wanted.pages)
    with real_disk() as folder:
        commands = {str(most): ours(web, per_host, most) for most, per_host in CASES.items()}
        commands |= {f"floor_{most}": floor(web, most) for most in CASES}
        found = {name: summary(laps) for name, laps in race(commands, web, folder, wanted.laps, "nginx_delay.conf").items()}
    rates = {most: found[str(most)]["pages_per_s_active"] for most in CASES}
    ok = all(rates[most] >= REQUIRED[most] and not found[str(most)]["missed"] for most in CASES)
    least = {most: found[f"floor_{most}"]["pages_per_s_active"] for most in CASES}
    sentence = ", ".join(
        f"{rates[most]} pages/s over {most} connections (ideal {most / DELAY:,.0f}, the floor {least[most]})" for most in CASES
    )
    return report("latency", f"with {1000 * DELAY:.0f} ms a page: {sentence}.", found, ok=ok)


if __name__ == "__main__":
    sys.exit(main())
