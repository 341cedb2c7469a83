"""64 hostile connections beside 20 good hosts: the good hosts' rate, the main process's memory, how long a slot is held.

    python -m benchmarks.connections [--pairs 3]

Runs with and without the hostile hosts alternate. The good hosts' rate is taken from their own log, the time a slot is
held from the hostile server's end of each connection; both serve from processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brotli

from benchmarks.measure import MIB, ROOT, Run, crawler, environment, median, real_disk, report, run
from tests import hostile, web
from tests.hostile import OK, Peer, response
from tests.web import Answer, Request, Web, page, read_log

GOOD, PAGES, DELAY = 20, 80, 0.25  # hosts, pages on each, s between two requests to one
BAD = 64
FALL_LIMIT, RISE_LIMIT, SLOT_LIMIT = 0.10, 256 * MIB, 61.0
HTML = b"Content-Type: text/html\r\n"
TEXT = (b"<p>text of a page that goes on" * (MIB // 30 + 1))[:MIB]  # what costs a parser much is benchmarks.hostile's


# --- the servers, each a process


@functools.cache
def good_page(number: int) -> Answer:
    links = [f"/{child}" for child in range(3 * number + 1, 3 * number + 4) if child < PAGES]
    text = page(*links, title=str(number)) + "<p>text of a page" * 1800
    return Answer(body=gzip.compress(text.encode()), headers=(*web.HTML, ("Content-Encoding", "gzip")))


def good_site(request: Request) -> Answer:
    """A tree of pages, three links each, about 30 kB of text, compressed as most of the web is."""
    return Answer(404) if request.path == "/robots.txt" else good_page(int(request.path.strip("/") or 0))


async def serve_good(log: Path) -> None:
    async with Web(*[good_site] * GOOD, log=log) as server:
        print(server.port, flush=True)
        await asyncio.get_running_loop().create_future()


async def drip(peer: Peer) -> None:
    await peer.send(OK + HTML + b"Content-Length: 1000000\r\n\r\n")
    while True:
        await peer.send(b"b")
        await asyncio.sleep(0.2)


async def drip_head(peer: Peer) -> None:
    await peer.send(OK + b"X: ")
    while True:
        await peer.send(b"a")
        await asyncio.sleep(0.2)


async def early_hints(peer: Peer) -> None:
    while True:
        await peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await asyncio.sleep(0.1)


async def endless(peer: Peer) -> None:
    await peer.send(OK + HTML + b"\r\n")
    while True:
        await peer.send(TEXT)


def bomb(packed: bytes, coding: str) -> hostile.Fault:
    async def fault(peer: Peer) -> None:
        await peer.send(response(packed, "Content-Type: text/html", f"Content-Encoding: {coding}", "Connection: close"))

    return fault


gzip_bomb = bomb(gzip.compress(bytes(64 * MIB)), "gzip")
brotli_bomb = bomb(brotli.compress(TEXT * 64, quality=5), "br")


async def sitter(peer: Peer) -> None:
    """Nine MiB at once, the rest a byte at a time."""
    await peer.send(OK + HTML + b"Content-Length: 10000000\r\n\r\n" + TEXT * 9)
    while True:
        await peer.send(b"b")
        await asyncio.sleep(0.2)


FAULTS = {
    "drip": drip, "header drip": drip_head, "early hints": early_hints, "endless": endless, "gzip bomb": gzip_bomb,
    "brotli bomb": brotli_bomb, "sitter": sitter, "silent": hostile.silent,
}  # fmt: skip


async def serve_bad(log: Path) -> None:
    """Host 127.0.9.K has fault K modulo 8; robots.txt is absent everywhere. The log has a line for each connection."""
    held = log.open("a", buffering=1)

    def host(number: int) -> hostile.Fault:
        name = tuple(FAULTS)[number % len(FAULTS)]

        async def fault(peer: Peer) -> None:
            asked, began = await peer.asked(), time.monotonic()
            try:
                if asked is None:
                    return
                if asked.target == "/robots.txt":
                    await peer.send(response(b"", status="404 Not Found"))
                else:
                    await FAULTS[name](peer)
                    await peer.gone()
            finally:
                held.write(f"{name}\t{time.monotonic() - began:.2f}\n")

        return fault

    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(hostile.Hostile(host(n), host=f"127.0.9.{n + 1}")) for n in range(BAD)]
        print(json.dumps([server.url("/1") for server in servers]), flush=True)
        await asyncio.get_running_loop().create_future()


@contextlib.contextmanager
def serving(what: str, log: Path) -> Iterator[str]:
    """A server process; gives the line it says first."""
    command = [sys.executable, "-m", "benchmarks.connections", "--serve", what, "--log", str(log)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.wait()


# --- a run


def crawl(folder: Path, name: str, bad: bool) -> tuple[Run, float, list[tuple[str, float]]]:
    """One crawl: how it ended, the good hosts' pages a second, (fault, s) of each hostile connection."""
    good_log, bad_log = folder / f"{name}.good", folder / f"{name}.bad"
    bad_log.touch()
    with serving("good", good_log) as port, serving("bad", bad_log) as urls:
        seeds = [f"http://127.0.1.{n}:{port.strip()}/" for n in range(1, GOOD + 1)]
        seeds += json.loads(urls) if bad else []
        ended = run(crawler("crawl", *seeds, "-o", folder / f"{name}.db", "--delay", str(DELAY), "--patience", "3",
                            "--per-ip", "1", "--progress", "none"), timeout=200)  # fmt: skip
        time.sleep(0.5)
    pages = [r.at for r in read_log(good_log, 0) if r.path != "/robots.txt"]
    rows = [line.split("\t") for line in bad_log.read_text().splitlines()]
    assert len(pages) == GOOD * PAGES, f"{len(pages)} good pages; {ended.said}"
    return ended, (len(pages) - 1) / (max(pages) - min(pages)), [(fault, float(seconds)) for fault, seconds in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--serve", choices=["good", "bad"])
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    if options.serve:
        asyncio.run({"good": serve_good, "bad": serve_bad}[options.serve](options.log))
    runs: dict[bool, list[tuple[Run, float, list[tuple[str, float]]]]] = {False: [], True: []}
    with real_disk() as folder:
        for number in range(options.pairs):
            for bad in (False, True) if number % 2 == 0 else (True, False):
                runs[bad].append(crawl(folder, f"{number}{bad}", bad))
    calm, wild = ([rate for _, rate, _ in runs[bad]] for bad in (False, True))
    falls = [1 - b / a for a, b in zip(calm, wild, strict=True)]
    rises = [b[0].watched.peak - a[0].watched.peak for a, b in zip(runs[False], runs[True], strict=True)]
    slots: dict[str, float] = {}
    for _, _, rows in runs[True]:
        for fault, seconds in rows:
            slots[fault] = max(slots.get(fault, 0.0), seconds)
    fall, rise, slot = median(falls, 3), max(rises), max(slots.values())
    figures: dict[str, Any] = {
        "pairs": options.pairs, "calm_rate": [round(r, 1) for r in calm], "wild_rate": [round(r, 1) for r in wild],
        "falls": [round(f, 3) for f in falls], "rise_mib": [round(r / MIB, 1) for r in rises], "slot_s": slots,
        "calm_cpu_s": [round(r.cpu, 1) for r, _, _ in runs[False]], "wild_cpu_s": [round(r.cpu, 1) for r, _, _ in runs[True]],
        "wild_wall_s": [round(r.wall, 1) for r, _, _ in runs[True]],
        "codes": sorted({r.code for found in runs.values() for r, _, _ in found}),
    }  # fmt: skip
    ok = fall <= FALL_LIMIT and rise <= RISE_LIMIT and slot <= SLOT_LIMIT
    sentence = (
        f"Beside {BAD} hostile connections {GOOD} good hosts gave {fall:.1%} fewer pages a second (median of {options.pairs} "
        f"pairs); the main process rose by {rise / MIB:.0f} MiB at most; no connection was held for more than {slot:.1f} s."
    )
    return report("connections", sentence, figures, ok)


if __name__ == "__main__":
    sys.exit(main())
