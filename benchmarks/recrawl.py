"""A crawl that is repeated: what an unchanged web costs, and whether `diff` says exactly what has moved.

    python -m benchmarks.recrawl                       # 5,000 pages, three crawls; a minute
    python -m benchmarks.recrawl --kills 20            # the recrawls killed again and again: no history is lost

The web is the benchmark's own: each page has an ETag or a Last-Modified, and it counts the bytes it sends. It is crawled; then
crawled again unchanged; then 50 pages change, 20 go and 30 are new, and it is crawled a third time. Then the pages are read
anew with a selector (`reextract`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.measure import real_disk, report
from storage import open_reader
from tests.changing import Changing
from tests.killing import environment
from tests.web import Web

QUICK = ("--delay", "0", "--per-host", "8", "--progress", "none", "--patience", "1")
MOST = 0.05  # of the first crawl's bytes, for a web that has not changed


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recrawl", description=__doc__)
    parser.add_argument("--pages", type=int, default=5000)
    parser.add_argument("--size", type=int, default=12_000, help="bytes a page, about")
    parser.add_argument("--kills", type=int, default=0, help="SIGKILLs in each of the recrawls")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


async def crawler(*arguments: object) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr."""
    process = await _started(*arguments)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def _started(*arguments: object) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "crawler", *map(str, arguments)]
    return await asyncio.create_subprocess_exec(*command, env=environment(), stdout=pipe, stderr=pipe)


async def recrawled(file: Path, web: Web, kills: int, rng: random.Random) -> None:
    """A recrawl to its end; killed so often before, each time after some more requests."""
    for _ in range(kills):
        process = await _started("recrawl", file, *QUICK)
        wanted = len(web.requests) + rng.randrange(1, 2 * len(web.requests) // (kills + 1) // 2 + 2)
        while len(web.requests) < wanted and process.returncode is None:
            await asyncio.sleep(0.002)
        if process.returncode is None:
            process.kill()
        await process.communicate()
    code, _, said = await crawler("recrawl", file, *QUICK)
    if code != 0:
        raise RuntimeError(f"the recrawl ended with {code}:\n{said}")


def history(file: Path, since: int) -> dict[str, tuple[int, int]]:
    """Visits by outcome, and how many URLs they were of, in the runs from one on."""
    with open_reader(file) as reader:
        rows = reader.query("SELECT outcome, count(*), count(DISTINCT url) FROM fetches WHERE run >= ? GROUP BY 1", (since,))[1]
        return {outcome: (visits, urls) for outcome, visits, urls in rows if outcome != "robots"}


def last_run(file: Path) -> int:
    with open_reader(file) as reader:
        return int((reader.one("SELECT max(id) FROM run") or (0,))[0])


async def measured(folder: Path, wanted: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what is wrong."""
    site, rng, file = Changing(wanted.pages, wanted.size), random.Random(wanted.seed), folder / "crawl.db"
    wrong: list[str] = []
    async with Web(site) as web:
        code, _, said = await crawler("crawl", web.url("/0"), "-o", file, *QUICK)
        first, began = site.sent, time.monotonic()
        if code != 0 or history(file, 0) != {"page": (wanted.pages, wanted.pages)}:
            raise RuntimeError(f"the first crawl ended with {code}:\n{said}")
        runs = [last_run(file)]
        await recrawled(file, web, wanted.kills, rng)
        seconds, again, statuses = time.monotonic() - began, site.sent - first, Counter(site.statuses)
        runs.append(last_run(file))
        same = history(file, runs[0] + 1)
        if same != {"unmodified": (wanted.pages, wanted.pages)}:
            wrong.append(f"the recrawl of an unchanged web: {same}")
        if again > MOST * first:
            wrong.append(f"it took {again:,} bytes, the first crawl {first:,}")
        moved = dict(zip(("changed", "gone", "new"), site.move(50, 20, 30, wanted.seed), strict=True))
        await recrawled(file, web, wanted.kills, rng)
        runs.append(last_run(file))
        _, out, _ = await crawler("diff", file, runs[1], runs[2], "--json")
        found = json.loads(out)
        seen = {kind: {int(c["url"].rpartition("/")[2]) for c in found["changes"] if c["change"] == kind} for kind in moved}
        wrong += [f"diff says {kind}: {sorted(seen[kind] ^ moved[kind])[:5]} too many or missing" for kind in moved
                  if seen[kind] != moved[kind]]
        if history(file, 0)["page"] != (wanted.pages + 80, wanted.pages + 30):
            wrong.append(f"the history has {history(file, 0)}")
        links = sum(len(change["links_added"] or ()) for change in found["changes"])
        if links != 30:
            wrong.append(f"diff finds {links} new links on changed pages, not 30")
        sent = len(web.requests)
        _, out, _ = await crawler("reextract", file, "--extract", "first=p a::text", "--json")
        anew = json.loads(out)
        if len(web.requests) != sent:
            wrong.append("reextract sent requests")
    return {
        "pages": wanted.pages, "kills": 2 * wanted.kills, "first_bytes": first, "recrawl_bytes": again,
        "share": round(again / first, 4), "recrawl_pages_s": round(wanted.pages / seconds), "status_304": statuses[304],
        "counts": found["counts"], "runs": runs, "requests": sent, "reextract_pages": anew["pages"],
        "reextract_pages_s": round(anew["pages"] / anew["seconds"]),
    }, wrong  # fmt: skip


def main() -> int:
    wanted = options()
    with real_disk() as folder:
        figures, wrong = asyncio.run(measured(folder, wanted))
    for problem in wrong:
        print(problem, file=sys.stderr)
    sentence = (
        f"{wanted.pages:,} pages crawled again unchanged: {figures['status_304']:,} answers 304, {figures['share']:.1%} of the "
        f"bytes of the first crawl, {figures['recrawl_pages_s']} pages/s; then {figures['counts']} with {figures['kills']} "
        f"kills, {'exact' if not wrong else 'NOT exact'}; {figures['reextract_pages_s']} pages/s read anew without a request."
    )
    return report("recrawl", sentence, figures, ok=not wrong)


if __name__ == "__main__":
    sys.exit(main())
