"""A network that fails: toxics between crawler and server, and dead addresses of a live host (FAULTS N6, N7)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from crawler.api import run_async
from crawler.fetch.http import Deadlines
from crawler.fetch.pool import FetchPool
from crawler.fetch.resolver import Resolver
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import Fault, Outcome, Visit
from storage import open_reader
from tests import hostile, proxy
from tests.conftest import Serve
from tests.crawls import shorten
from tests.hostile import Hostile, response
from tests.proxy import Proxy
from tests.web import Site, page

SHORT = Deadlines(total=1.0, connect=0.9, first_byte=0.3, grace=0.1, window=0.1, rate=20_480)
BODY = bytes(random.Random(1).randbytes(60))
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1e\r\n%s\r\n1e\r\n%s\r\n0\r\n\r\n" % (BODY[:30], BODY[30:])


async def _fetch(pool: FetchPool, url: str) -> Outcome:
    return await pool.fetch(Visit(url, split(url)))


@pytest.mark.parametrize("whole", [response(BODY), CHUNKED], ids=["length", "chunked"])
async def test_n6_cut_behind_any_byte(whole: bytes) -> None:
    """Closed behind byte k, for every k of an answer with a length and of a chunked one: 0 hangs, 0 partial as whole."""
    async with Hostile(hostile.held(whole)) as server, Proxy(("127.0.0.1", server.port)) as px:
        async with FetchPool(CrawlSpec(), [split(px.url())], deadlines=SHORT) as pool:
            for end in range(len(whole) + 1):
                px.toxic = proxy.limit_data(end)
                outcome = await _fetch(pool, px.url(f"/{end}"))
                complete = outcome.status == 200 and outcome.truncated is None
                assert complete == (end == len(whole)), end
                assert not complete or outcome.body == BODY
                assert BODY.startswith(outcome.body), end
                assert outcome.elapsed_ms < 2000, end


async def test_n6_silence_or_reset_behind_any_byte() -> None:
    """The same with RST behind byte k, and with silence on an open connection: each ends within its deadline, flagged."""
    whole = response(BODY)
    async with Hostile(hostile.held(whole)) as server, AsyncExitStack() as stack:
        toxics = [make(end) for end in range(1, len(whole), 4) for make in (proxy.reset_peer, proxy.half_open)]
        target = ("127.0.0.1", server.port)
        ways = [await stack.enter_async_context(Proxy(target, toxic)) for toxic in toxics]
        async with FetchPool(CrawlSpec(), [split(px.url()) for px in ways], deadlines=SHORT) as pool:
            began = time.monotonic()
            outcomes = await asyncio.gather(*(_fetch(pool, px.url()) for px in ways))
            assert time.monotonic() - began < 5
    assert {o.truncated for o in outcomes if o.status == 200} == {"cut", "time"}
    assert {o.fault for o in outcomes if o.status is None} <= {Fault.RESET, Fault.TIMEOUT, Fault.SLOW, Fault.PROTOCOL}


SITE = Site({"/": page("/a", "/b", "/c"), **{f"/{name}": page("/", title=name * 2000) for name in "abc"}})
TOXICS = {
    "clean": proxy.clean, "latency": proxy.latency(0.02), "bandwidth": proxy.bandwidth(100_000),
    "slow_close": proxy.slow_close(0.1), "dead": proxy.timeout(), "mute": proxy.timeout(0.05), "reset": proxy.reset_peer(),
    "reset in the body": proxy.reset_peer(1500), "slicer": proxy.slicer(97), "cut": proxy.limit_data(1000),
    "cut later": proxy.limit_data(3500), "half open": proxy.half_open(1000),
}  # fmt: skip
WHOLE_BY = {"clean", "latency", "bandwidth", "slow_close", "slicer"}


async def test_n6_a_crawl_over_a_faulty_network(
    serve: Serve, crawl_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One crawl over twelve ways, clean and toxic: it ends, no partial page is stored as whole, and where the way is
    only slow every page is."""
    shorten(monkeypatch)
    monkeypatch.setattr("crawler.frontier.politeness.ROBOTS_RETRY", 3600.0)
    web = await serve(SITE)
    digests = {path: hashlib.sha256(str(text).encode()).hexdigest() for path, text in SITE.items()}
    async with AsyncExitStack() as stack:
        ways = {}
        for n, (name, toxic) in enumerate(TOXICS.items()):
            px = Proxy(("127.0.1.1", web.port), toxic, f"127.0.3.{n + 1}", port=web.port)
            ways[px.host] = name
            await stack.enter_async_context(px)
        seeds = tuple(f"http://{host}:{web.port}/" for host in ways)
        spec = CrawlSpec(seeds=seeds, delay=0.0, patience=0.5, timeout=0.5, parse_workers=0, robots="ignore")
        async with asyncio.timeout(15):
            await run_async(spec, crawl_file)
    with open_reader(crawl_file) as reader:
        rows = list(reader.query("SELECT url, digest, truncated FROM pages")[1])
    whole: dict[str, int] = dict.fromkeys(ways.values(), 0)
    for url, digest, truncated in rows:
        place = split(url)
        whole[ways[place.host]] += truncated is None
        assert (digest == digests[place.path]) == (truncated is None), url
    assert {name: whole[name] for name in WHOLE_BY} == dict.fromkeys(WHOLE_BY, 4)
    assert not whole["dead"] + whole["mute"] + whole["reset"]


# --- addresses of both families


@contextlib.contextmanager
def _blackhole(port: int) -> Iterator[None]:
    """A port of ::1 that lets nobody in: its backlog is full."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket(socket.AF_INET6))
        full.bind(("::1", port))
        full.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket(socket.AF_INET6))
            filler.setblocking(False)
            filler.connect_ex(("::1", port))
        yield


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


BOTH = CrawlSpec(allow_private=("127.0.0.1/32", "::1/128"))
needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="needs IPv6 on loopback")


def _names(*ips: str) -> Resolver:
    return Resolver(getaddrinfo=lambda host: [(0, 0, 0, "", (ip, 0)) for ip in ips])


@needs_ipv6
async def test_n7_a_dead_ipv6_address_costs_less_than_a_second() -> None:
    """A name with [dead IPv6, live IPv4]: the answer comes over IPv4, connecting at most 1 s slower (happy eyeballs)."""
    names = _names("::1", "127.0.0.1")
    async with Hostile(hostile.echo) as server:
        with _blackhole(server.port):
            async with FetchPool(BOTH, resolver=names, deadlines=Deadlines(total=10, connect=8)) as pool:
                outcome = await _fetch(pool, server.url(host="both.test"))
    assert (outcome.status, outcome.address) == (200, "127.0.0.1")
    assert outcome.elapsed_ms < 1000
    await names.close()


@needs_ipv6
async def test_n7_a_host_with_ipv6_alone_is_fetched() -> None:
    """AAAA only: fetched over IPv6."""
    names = _names("::1")
    async with Hostile(hostile.echo, host="::1") as server:
        async with FetchPool(BOTH, resolver=names) as pool:
            outcome = await _fetch(pool, server.url(host="six.test"))
    assert (outcome.status, outcome.address) == (200, "::1")
    await names.close()
