"""What a crawl took it gives back, and a leak over a long one would be seen (FAULTS X3); benchmarks/soak.py is the long one."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from argparse import Namespace
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import MIB
from benchmarks.soak import HOSTS, LOG, MOST, SLACK, Sample, fit, judge
from tests.conftest import Serve
from tests.crawls import run
from tests.web import Generated, Web

PAGES, EVERY = 520_000, 5_000
WANTED = Namespace(warm=100_000, pages=1000, ranges=PAGES // 1000 // HOSTS)
CALM = Sample(0, 0.0, 100 * MIB, 110 * MIB, 80 * MIB, 90, 12, 70, 8 * MIB, 900 * MIB)


def samples(rise: float = 0.0, noise: float = 1.0, **late: Any) -> list[Sample]:
    """A run whose memory rises by so many MiB for 100,000 pages and jumps by ``noise``; ``late``: how it ends."""
    found = [
        replace(CALM, pages=n, seconds=n / 300, memory=int((100 + rise * n / 100_000 + noise * (n // EVERY % 2)) * MIB))
        for n in range(EVERY, PAGES + 1, EVERY)
    ]
    return [*found[:-1], replace(found[-1], **late)]


@pytest.mark.parametrize(
    ("run_of", "code", "pages", "passes"),
    [
        (samples(), 0, PAGES, True),
        (samples(rise=0.8), 0, PAGES, True),
        (samples(rise=1.2), 0, PAGES, False),
        (samples(rise=0.8, noise=20), 0, PAGES, False),  # it cannot be told from more than 1 MiB
        (samples(descriptors=CALM.descriptors + SLACK), 0, PAGES, True),
        (samples(descriptors=CALM.descriptors + SLACK + 1), 0, PAGES, False),
        (samples(threads=CALM.threads + SLACK + 1), 0, PAGES, False),
        (samples(tasks=CALM.tasks + SLACK + 1), 0, PAGES, False),
        (samples(log=LOG + 1), 0, PAGES, False),
        (samples(peak=MOST + 1), 0, PAGES, False),
        (samples(), 1, PAGES, False),
        (samples(), 0, PAGES - 1, False),
        (samples()[:22], 0, PAGES, False),  # two samples after the warm-up say nothing
    ],
)
def test_x3_the_soak_passes_what_is_flat_and_nothing_else(
    run_of: list[Sample], code: int, pages: int, passes: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """PASS needs the upper end of the 95 % interval of memory's slope ≤ 1 MiB for 100,000 pages after the first, peak ≤ 500 MiB,
    log ≤ 256 MiB, descriptors, threads and tasks ≤ 8 more than during the warm-up, every page there, and exit code 0."""
    assert (judge(run_of, code, pages, WANTED) == 0) is passes
    assert ("PASS" in capsys.readouterr().out) is passes


def test_x3_the_slope_and_its_interval() -> None:
    """Least squares of y = 3 + 2x ± 1, against the closed form."""
    slope, half = fit([(x, 3 + 2 * x + (-1) ** x) for x in range(100)])
    assert slope == pytest.approx(2, abs=0.002)
    assert half == pytest.approx(1.96 * (100 / 98) ** 0.5 / (100 * (100**2 - 1) / 12) ** 0.5, rel=0.01)


def ours() -> Counter[str]:
    """What this process holds: our objects by class, descriptors by kind, threads, children."""
    gc.collect()
    types = Counter(type(o) for o in gc.get_objects())
    held = Counter({t.__qualname__: n for t, n in types.items() if str(t.__module__).startswith(("crawler", "storage"))})
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            held["fd " + os.readlink(f"/proc/self/fd/{number}").partition(":")[0]] += 1
    held["threads"] = threading.active_count()
    held["children"] = sum(len(p.read_text().split()) for p in Path("/proc/self/task").glob("*/children"))
    return held


async def crawled(web: Web, file: Path) -> int:
    """The tasks that a crawl leaves running."""
    await run(web, file, web.url(), web.url(host=2), parse_workers=1)
    return len(asyncio.all_tasks() - {asyncio.current_task()})


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
async def test_x3_crawls_in_one_process_leave_nothing_behind(serve: Serve, tmp_path: Path) -> None:
    """After each of three crawls of 40 pages with a parse worker: no task, and as many objects of our classes, descriptors,
    threads and child processes as after the first. Each has its own event loop: a loop keeps cancelled timers for a while."""
    web = await serve(*[Generated(hosts=2, pages=40)] * 2)
    after = []
    for n in range(4):
        assert await asyncio.to_thread(asyncio.run, crawled(web, tmp_path / f"{n}.db")) == 0
        while web.alive:
            await asyncio.sleep(0)
        after.append(ours())
    assert [held - after[0] for held in after[1:]] == [Counter()] * 3
