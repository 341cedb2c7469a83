"""The same on real sockets and processes: the network taken away and given back, the process stopped (FAULTS N1, X5)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from storage import open_reader
from tests.conftest import Serve
from tests.web import Site, Web, page

ROOT = Path(__file__).resolve().parent.parent


def namespaces() -> str:
    """Why this machine gives us no network of our own, or ""."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return "unshare (util-linux) or ip (iproute2) is missing"
    done = subprocess.run(["unshare", "-rn", "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    return "" if done.returncode == 0 else f"no network namespace for us: {done.stderr.decode().strip()}"


REASON = namespaces()
CRAWL = """
import asyncio, functools, json, subprocess, sys, time
from crawler.api import run_async
from crawler.fetch import http, pool
from crawler.frontier import network
from crawler.spec import CrawlSpec
from tests.web import HTML, Answer, Site, Web, page

network.PROBE, network.SILENCE, network.QUESTION, network.ECHO = 0.3, 0.5, 1.0, 0.3
pool.Deadlines = functools.partial(http.Deadlines, connect=0.4, first_byte=1.0)

def lo(state):
    subprocess.run(["ip", "link", "set", "lo", state], check=True)
    return time.monotonic()

async def main():
    lo("up")
    closing = (*HTML, ("Connection", "close"))  # an open connection would sleep through it
    site = Site({f"/{n}": Answer(body=page(f"/{(n + 1) % 30}").encode(), headers=closing) for n in range(30)})
    said = []
    async with Web(*[site] * 5) as web:
        spec = CrawlSpec(seeds=tuple(web.url("/0", host=k) for k in range(1, 6)), allow_private=("127.0.1.0/24",),
                         delay=0.05, patience=2.0, parse_workers=0)
        crawling = asyncio.create_task(run_async(spec, sys.argv[1], on_progress=lambda s: said.append(s.bound_by)))
        while len(web.requests) < 60:
            await asyncio.sleep(0.01)
        down = lo("down")
        await asyncio.sleep(2.5)
        up = lo("up")
        ending = await asyncio.wait_for(crawling, 20)
        print(json.dumps({"failures": ending.counts.failures, "pages": ending.counts.pages,
                          "during": sum(down + 0.05 < r.at < up for r in web.requests),
                          "back": min(r.at for r in web.requests if r.at > up) - up,
                          "paused": any("own network" in words for words in said)}))

asyncio.run(main())
"""


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_n1_a_network_that_goes_and_comes_back_costs_nothing(crawl_file: Path) -> None:
    """`ip link set lo down`, 2.5 s, `up` (figures scaled): 0 URLs failed, no attempt charged, all pages."""
    command = ["unshare", "-rn", sys.executable, "-c", textwrap.dedent(CRAWL), str(crawl_file)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, check=False, cwd=ROOT, env=environment, timeout=40)
    assert done.returncode == 0, done.stderr.decode()
    said = json.loads(done.stdout)
    assert (said["failures"], said["pages"], said["during"], said["paused"]) == (0, 150, 0, True)
    assert said["back"] < 2.0
    with open_reader(crawl_file) as reader:
        assert list(reader.query("SELECT DISTINCT attempts FROM url WHERE outcome = 'page'")[1]) == [(1,)]
        assert list(reader.query("SELECT count(*) FROM fetch WHERE outcome = 'failure'")[1]) == [(0,)]


STOPPED = """
import sys
from crawler.api import run
from crawler.fetch import http
from crawler.frontier import network
from crawler.spec import CrawlSpec

network.GAP = 1.0
spec = CrawlSpec(seeds=tuple(sys.argv[2:]), allow_private=("127.0.1.0/24",), delay=0.25, timeout=1.5, patience=2.0,
                 parse_workers=0)
run(spec, sys.argv[1])
"""


async def test_x5_a_stopped_process_comes_back_without_a_burst(serve: Serve, crawl_file: Path) -> None:
    """kill -STOP, 2.5 s, -CONT with requests open and a timeout of 1.5 s: nobody is charged, no host is asked before its
    delay has passed, and no second sees more requests than before."""

    talking = asyncio.Event()
    talking.set()

    async def slow(_: object) -> str:
        await asyncio.sleep(0.1)
        await talking.wait()
        return page()

    hosts = 6
    site = Site({f"/{n}": slow for n in range(24)})
    web: Web = await serve(*[site] * hosts)
    seeds = [web.url(f"/{n}", host=k) for k in range(1, hosts + 1) for n in range(24)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STOPPED, str(crawl_file), *seeds, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    while len(web.requests) < 40:
        await asyncio.sleep(0.01)
    talking.clear()
    await asyncio.sleep(0.3)  # every host has a request open
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(2.5)
    woke = time.monotonic()
    process.send_signal(signal.SIGCONT)
    asyncio.get_running_loop().call_later(0.1, talking.set)
    assert await asyncio.wait_for(process.wait(), 30) == 0
    at = [r.at for r in web.requests]
    before = max(sum(t <= a < t + 1 for a in at) for t in at if t < woke - 2.5)
    assert sum(woke <= a < woke + 1 for a in at) <= before
    assert sum(woke <= a < woke + 0.2 for a in at) <= 1  # what was handed out when it was stopped
    with open_reader(crawl_file) as reader:
        assert list(reader.query("SELECT count(*), max(attempts) FROM url WHERE outcome = 'page'")[1]) == [(24 * hosts, 1)]
        assert list(reader.query("SELECT count(*) FROM fetch WHERE outcome = 'failure'")[1]) == [(0,)]
        assert list(reader.query("SELECT max(failures) FROM host")[1]) == [(0,)]
