"""Measured at the server: 10,000 requests to 50 hosts on 10 addresses, and a crawl that is killed each second.

    python -m benchmarks.politeness [--pages 200] [--seconds 30] [--every 1]

Every gap between two requests of a host, and of an address, by the kernel's time stamps of their arrival; how many were
open at once; and what a crash loop makes of it (FAULTS L1, L2, L10, D21).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from crawler.clock import SystemClock
from crawler.engine import Engine
from crawler.fetch.pool import FetchPool
from crawler.fetch.resolver import Answer, Resolver
from crawler.parse.pool import ParsePool
from crawler.spec import CrawlSpec
from crawler.stop import Stop
from crawler.url import admit
from storage.sqlite import SqliteStore
from tests.web import Request, Web, page, read_log

HOSTS, ADDRESSES = 50, 10
DELAY, IP_DELAY = 0.05, 0.01
ROOT = Path(__file__).resolve().parent.parent


def address(host: str) -> str:
    """Host hN.test is behind the (N mod 10)th address."""
    return f"127.0.1.{int(host[1:].partition('.')[0]) % ADDRESSES + 1}"


def _look_up(host: str) -> Answer:
    return [(2, 1, 6, "", (address(host), 0))]


async def serve(log: Path, pages: int) -> None:
    """All hosts in one process, until SIGTERM; then the most requests that were open at once on any host."""

    def answer(request: Request) -> str | int:
        if request.path == "/robots.txt":
            return 404
        number = int(request.path[1:] or 0)
        return page(*(f"/{n}" for n in (3 * number + 1, 3 * number + 2, 3 * number + 3) if n < pages))

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with Web(*[answer] * ADDRESSES, log=log) as web:
        print(web.port, flush=True)
        await ended.wait()
        print(max(web.most.values(), default=0), flush=True)


async def crawl(file: Path, port: int) -> None:
    """One run over the hosts, with a resolver that knows their addresses."""
    seeds = [f"http://h{n}.test:{port}/" for n in range(HOSTS)]
    spec = CrawlSpec(
        seeds=tuple(seeds), contact="me@example.org", delay=DELAY, ip_delay=IP_DELAY, allow_private=("127.0.1.0/24",)
    )
    places, resolver = [admit(seed) for seed in seeds], Resolver(getaddrinfo=_look_up)
    async with (
        SqliteStore(file) as store,
        ParsePool(spec.parsers) as parser,
        FetchPool(spec, places, resolver=resolver) as pool,
    ):
        await Engine(spec, store, pool, parser, SystemClock(), Stop()).run(places)
    await resolver.close()


def least(groups: Iterable[list[float]]) -> float:
    """The least gap within any group, s."""
    return min((b - a for times in groups for a, b in pairwise(sorted(times))), default=float("inf"))


def figures(log: Path, port: int) -> dict[str, float]:
    """What the server saw."""
    by_host, by_address = defaultdict(list), defaultdict(list)
    requests = read_log(log, port)
    for request in requests:
        by_host[request.host].append(request.at)
        by_address[address(request.host)].append(request.at)
    seconds = requests[-1].at - requests[0].at if requests else 0.0
    return {
        "requests": len(requests),
        "hosts": len(by_host),
        "seconds": round(seconds, 1),
        "rate": round(len(requests) / max(seconds, 1.0), 1),
        "least host gap / delay": round(least(by_host.values()) / DELAY, 3),
        "least address gap / ip delay": round(least(by_address.values()) / IP_DELAY, 3),
    }


def measure(pages: int, kill_for: float | None, every: float = 1.0) -> dict[str, float]:
    """A whole crawl, or one that is killed ``every`` second for so long."""
    with tempfile.TemporaryDirectory() as folder:
        log, file = Path(folder) / "log", Path(folder) / "crawl.db"
        command = [sys.executable, "-m", "benchmarks.politeness"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        server = subprocess.Popen(
            [*command, "--serve", str(log), "--pages", str(pages)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert server.stdout is not None
        port = int(server.stdout.readline())
        crawling = [*command, "--crawl", str(file), "--port", str(port)]
        kills = 0
        if kill_for is None:
            subprocess.run(crawling, check=True, env=environment)
        else:
            end = time.monotonic() + kill_for
            while time.monotonic() < end:
                one = subprocess.Popen(crawling, env=environment, start_new_session=True)
                time.sleep(every)
                os.killpg(one.pid, signal.SIGKILL)
                one.wait()
                kills += 1
        server.send_signal(signal.SIGTERM)
        most = int(server.stdout.readline())
        server.wait()
        return {**figures(log, port), "most open on a host": most, "kills": kills}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pages", type=int, default=200, help="of each host")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the crash loop")
    parser.add_argument("--every", type=float, default=1.0, help="s between two kills")
    for hidden in ("--serve", "--crawl", "--port"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(Path(options.serve), options.pages))
        return 0
    if options.crawl:
        asyncio.run(crawl(Path(options.crawl), int(options.port)))
        return 0
    whole = measure(options.pages, None)
    print(json.dumps({"whole": whole}), flush=True)
    killed = measure(100_000, options.seconds, options.every)
    print(json.dumps({"killed": killed}))
    held = [
        min(run[key] for run in (whole, killed) for key in run if key.startswith("least")) >= 0.99,
        whole["most open on a host"] == 1,
        killed["rate"] <= HOSTS / DELAY,
    ]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
