"""Descriptors: as many as the system gives, no more connections than they allow, and running out of them (FAULTS X1)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crawler.descriptors import RESERVED, fitted
from crawler.spec import CrawlSpec
from storage import open_reader
from tests.web import Site, Web, page

ROOT = Path(__file__).resolve().parent.parent
HOSTS = 200
SITE = Site({"/": page("/a"), "/a": page()})

CRAWL = """
import asyncio, json, logging, os, resource, sys, threading, time
file, soft, hard, eats, *seeds = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), int(hard)))
from crawler import descriptors
from crawler.api import run_async
from crawler.log import log
from crawler.spec import CrawlSpec

class Counting(logging.Handler):
    local = notes = 0
    def emit(self, record):
        visited.set()
        Counting.local += "local: Too many open files" in record.getMessage()

visited = threading.Event()

def eat():
    visited.wait()
    eaten = []
    until = time.monotonic() + 0.8
    while time.monotonic() < until:
        try:
            eaten.append(os.dup(0))
        except OSError:
            time.sleep(0.001)
    for one in eaten:
        os.close(one)

log.addHandler(Counting())
log.setLevel(logging.INFO)
if eats == "yes":
    descriptors.RESERVED = 90  # what this small crawl needs
    threading.Thread(target=eat, daemon=True).start()
notes = []
spec = CrawlSpec(seeds=tuple(seeds), delay=0.0, patience=3.0, connections=200, per_ip=10, parse_workers=0)
ending = asyncio.run(run_async(spec, file, note=notes.append))
print(json.dumps({"state": ending.state, "pages": ending.counts.pages, "failures": ending.counts.failures,
                  "soft": resource.getrlimit(resource.RLIMIT_NOFILE)[0], "local": Counting.local, "notes": notes}))
"""


async def _crawl(file: Path, soft: int, hard: int, eats: bool) -> dict[str, Any]:
    """What a crawl of 200 hosts comes to in a process with these limits, and its spec as stored."""
    async with Web(*[SITE] * HOSTS) as web:
        arguments = [str(file), str(soft), str(hard), "yes" if eats else "no"]
        command = [sys.executable, "-c", CRAWL, *arguments, *(web.url(host=n) for n in range(1, HOSTS + 1))]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=20, check=False,
                                       env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.mark.slow
async def test_x1_the_soft_limit_is_raised_and_the_pool_fits(crawl_file: Path) -> None:
    """Soft limit 64, hard 192: raised to 192, 64 connections with a note instead of 200, 0 failed URLs of 200 hosts."""
    found = await _crawl(crawl_file, 64, 192, eats=False)
    assert (found["state"], found["pages"], found["failures"]) == ("complete", 2 * HOSTS, 0)
    assert (found["soft"], found["local"]) == (192, 0)
    assert found["notes"] == ["connections: 64 at once instead of 200, for this process may have no more than 192 open "
                              "files (ulimit -n)"]  # fmt: skip
    with open_reader(crawl_file) as reader:
        run = reader.run()
        assert run is not None
        assert run.spec["connections"] == 200  # what was asked for is stored: a resume with a higher limit uses it


@pytest.mark.slow
async def test_x1_running_out_of_descriptors_charges_nobody(crawl_file: Path) -> None:
    """Not one descriptor free for 0.8 s amid a crawl of 200 hosts: EMFILE is met, pauses us, and 0 URLs fail."""
    found = await _crawl(crawl_file, 160, 160, eats=True)
    assert (found["state"], found["pages"], found["failures"]) == ("complete", 2 * HOSTS, 0)
    assert found["local"] > 0
    with open_reader(crawl_file) as reader:
        assert list(reader.query("SELECT count(*) FROM fetches WHERE outcome = 'failure'")[1]) == [(0,)]


@pytest.mark.parametrize(("limit", "connections"), [(1024, 500), (300, 172), (100, 1)])
def test_x1_pool_sizes(monkeypatch: pytest.MonkeyPatch, limit: int, connections: int) -> None:
    """The pool is never larger than the soft limit less 128, and never empty."""
    monkeypatch.setattr("crawler.descriptors._limit", lambda: limit)
    assert fitted(CrawlSpec(connections=500)).connections == connections
    assert RESERVED == 128
