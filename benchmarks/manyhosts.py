"""1,000 hosts, a second between two requests to each, one connection each: how near a crawl comes to 1,000 pages/s.

    python -m benchmarks.manyhosts [--hosts 1000] [--seconds 40]

The hosts are loopback addresses of one server in a process of its own; each is an address too, whose clock (half the
delay) never binds. A request's time is the kernel's stamp of its arrival. Gaps are those between two requests of a host,
robots.txt among them; the share of the ideal is that of all seconds but the first ten and the last.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import uvloop

from benchmarks.filled import host_name
from benchmarks.measure import MIB, crawler, environment, free_port, real_disk, report, run
from tests.web import SO_TIMESTAMPNS, Answer, arrival, page

DELAY, TOO_SHORT = 1.0, 0.99  # s
WARM, LAST = 10.0, 1.0  # s left out of the share
GONE = Answer(404).encode()


class Connection(asyncio.BufferedProtocol):
    """Answers page n of any host with links to pages 3n+1..3n+3; notes when it was asked, by the kernel."""

    def __init__(self, seen: list[tuple[float, str]]) -> None:
        self.seen = seen
        self.room = bytearray(16384)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.host = transport.get_extra_info("sockname")[0]
        self.socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))

    def connection_lost(self, exc: Exception | None) -> None:
        self.socket.close()

    def get_buffer(self, sizehint: int) -> bytearray:
        self.at = arrival(self.socket)
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.seen.append((self.at, self.host))
        path = bytes(self.room[:nbytes]).split(b" ", 2)[1].decode()
        number = None if path == "/robots.txt" else int(path[1:] or 0)
        links = [] if number is None else [f"/{n}" for n in range(3 * number + 1, 3 * number + 4)]
        self.transport.write(GONE if number is None else Answer(body=page(*links).encode()).encode())


async def serve(port: int, log: Path) -> None:
    """All hosts, until SIGTERM; then the log: a line for each request, (monotonic s, host)."""
    seen: list[tuple[float, str]] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    sock = socket.create_server(("0.0.0.0", port), backlog=4096)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    async with await loop.create_server(lambda: Connection(seen), sock=sock):
        print(flush=True)
        await ended.wait()
    log.write_text("".join(f"{at:.6f} {host}\n" for at, host in seen))


@contextmanager
def served(port: int, log: Path) -> Iterator[None]:
    """The server as a process; its log is there afterwards."""
    command: list[str | Path] = [sys.executable, "-m", "benchmarks.manyhosts", "--serve", log, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())
    assert server.stdout is not None
    server.stdout.readline()
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def judge(log: Path, hosts: int) -> dict[str, Any]:
    """What the server saw."""
    by_host: dict[str, list[float]] = defaultdict(list)
    for line in log.read_text().splitlines():
        at, host = line.split()
        by_host[host].append(float(at))
    times = sorted(at for found in by_host.values() for at in found)
    gaps = sorted(b - a for found in by_host.values() for a, b in pairwise(sorted(found)))
    begin, end = times[0] + WARM, times[-1] - LAST
    rate = sum(begin <= at < end for at in times) / (end - begin)
    each = [sum(begin + n <= at < begin + n + 1 for at in times) for n in range(int(end - begin))]
    return {"hosts": len(by_host), "requests": len(times), "requests_per_s": round(rate, 1),
            "share": round(rate * DELAY / hosts, 3), "short_gaps": sum(gap < TOO_SHORT for gap in gaps),
            "least_gap": round(gaps[0], 4), "median_gap": round(gaps[len(gaps) // 2], 4), "each_second": each}


def measure(hosts: int, seconds: float) -> dict[str, Any]:
    port = free_port()
    with real_disk() as folder:
        seeds, log = folder / "seeds.txt", folder / "log"
        seeds.write_text("".join(f"http://{host_name(n)}:{port}/\n" for n in range(hosts)))
        command = crawler("crawl", seeds, "-o", folder / "crawl.db", "--delay", str(DELAY), "--per-host", "1", "--connections",
                          str(hosts), "--max-time", str(seconds), "--progress", "none")  # fmt: skip
        with served(port, log):
            ended = run(command)
        if ended.code != 0:
            raise SystemExit(f"the crawl ended with {ended.code}: {ended.said[-2000:]}")
        found = judge(log, hosts)
    return found | {"peak_mib": round(ended.watched.peak_tree / MIB), "busy": round(ended.cpu / ended.wall, 2)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.manyhosts", description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.serve:
        uvloop.run(serve(wanted.port, wanted.serve))
        return 0
    found = measure(wanted.hosts, wanted.seconds)
    sentence = (f"{found['requests_per_s']} requests/s to {found['hosts']:,} hosts, {found['share']} of the ideal; "
                f"{found['short_gaps']} gaps under {TOO_SHORT} s, the least {found['least_gap']} s; {found['busy']} of a core.")
    return report("manyhosts", sentence, found, ok=found["share"] >= 0.9 and not found["short_gaps"])


if __name__ == "__main__":
    sys.exit(main())
