"""20,000 pages from a fresh file: does it stay as fast, what does it hold and write, how soon does it begin.

    python -m benchmarks.flat [--laps 5]
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.laps import BIG, kit_web, ours, race, speed_of, steps, summary
from benchmarks.measure import median, real_disk, report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flat", description=__doc__)
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--pages", type=int, default=BIG)
    wanted = parser.parse_args()
    web, quarter = kit_web(wanted.pages), wanted.pages // 4
    with real_disk() as folder:
        laps = race({"crawler": ours(web)}, web, folder, wanted.laps)["crawler"]
    ratio = median([speed_of([lap], lap.pages - quarter, lap.pages) / speed_of([lap], 0, quarter) for lap in laps], 3)
    found = summary(laps) | {"last_against_first": ratio, "rate_of_each_1000": steps(laps, 1000)}
    ok = (ratio >= 0.95 and found["peak_mib"] <= 250 and found["bytes_page"] <= 14_000 and found["first_request_s"] <= 0.5
          and not found["missed"])  # fmt: skip
    sentence = (f"{found['pages_per_s']} pages/s over {found['pages']:,} pages, the last quarter {ratio} times as fast as the "
                f"first; {found['peak_mib']} MiB in all processes, {found['bytes_page']:,} bytes a page in the file, first "
                f"request after {found['first_request_s']} s.")  # fmt: skip
    return report("flat", sentence, found, ok=ok)


if __name__ == "__main__":
    sys.exit(main())
