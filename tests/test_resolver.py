"""The resolver: own threads, deadline, cache and pins (FAULTS U7, N2, X7, D7)."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from crawler.fetch import ResolveError
from crawler.fetch.resolver import PIN, Answer, Pin, Resolver, Timings
from crawler.visit import Fault

FAST = Timings(deadline=0.1, patience=0.02, wait=5)


def _answer(*ips: str) -> Answer:
    return [(0, 0, 0, "", (ip, 0)) for ip in ips]


class Stub:
    """A getaddrinfo whose answers are a table; names beginning with 'dead' hang until the test ends."""

    def __init__(self, table: dict[str, Answer | Exception] | None = None) -> None:
        self.table, self.asked = table or {}, Counter[str]()
        self.ended = threading.Event()

    def __call__(self, host: str) -> Answer:
        self.asked[host] += 1
        if host.startswith("dead"):
            self.ended.wait(20)
        found = self.table.get(host, _answer("93.184.216.34"))
        if isinstance(found, Exception):
            raise found
        return found


@asynccontextmanager
async def _resolver(stub: Stub, **options: Any) -> AsyncIterator[Resolver]:
    resolver = Resolver(getaddrinfo=stub, **options)
    try:
        yield resolver
    finally:
        stub.ended.set()
        await resolver.close()


async def _fault(resolver: Resolver, host: str) -> Fault:
    with pytest.raises(ResolveError) as caught:
        await resolver.lookup(host)
    return caught.value.fault


async def test_answers_keep_their_order_without_doubles() -> None:
    """The system's order (RFC 6724) stands, each address once, zones dropped."""
    stub = Stub({"a.example": _answer("2606::1", "8.8.8.8", "2606::1", "fe80::1%eth0")})
    async with _resolver(stub) as resolver:
        assert await resolver.lookup("a.example") == ("2606::1", "8.8.8.8", "fe80::1")


async def test_literals_need_no_look_up() -> None:
    """An address is its own answer."""
    stub = Stub()
    async with _resolver(stub) as resolver:
        assert await resolver.lookup("8.8.8.8") == ("8.8.8.8",)
        assert await resolver.lookup("[2606::1]") == ("2606::1",)
    assert not stub.asked


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), Fault.DNS_NXDOMAIN),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), Fault.DNS_FAILED),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), Fault.DNS_FAILED),
        (UnicodeError("label too long"), Fault.DNS_NXDOMAIN),
        (OSError(errno.EMFILE, "Too many open files"), Fault.LOCAL),
        (socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"), Fault.LOCAL),
    ],
)
async def test_n2_failures_are_told_apart(error: Exception, fault: Fault) -> None:
    """NXDOMAIN, a failing server and our own trouble are three different faults."""
    async with _resolver(Stub({"a.example": error})) as resolver:
        assert await _fault(resolver, "a.example") is fault


async def test_answers_are_kept_300_s_and_failures_60_at_most() -> None:
    """A name is asked again after its time only; our own trouble is never remembered."""
    now = [0.0]
    table: dict[str, Answer | Exception] = {
        "gone.example": socket.gaierror(socket.EAI_NONAME, "no"), "ours.example": OSError(errno.EMFILE, "no")
    }
    stub = Stub(table)
    async with _resolver(stub, clock=lambda: now[0]) as resolver:
        for at, good, gone in ((0, 1, 1), (59, 1, 1), (61, 1, 2), (299, 1, 3), (301, 2, 3)):
            now[0] = float(at)
            await resolver.lookup("good.example")
            assert await _fault(resolver, "gone.example") is Fault.DNS_NXDOMAIN
            assert await _fault(resolver, "ours.example") is Fault.LOCAL
            assert (stub.asked["good.example"], stub.asked["gone.example"]) == (good, gone)
    assert stub.asked["ours.example"] == 5


async def test_the_cache_is_bounded() -> None:
    """The least recently used name goes first."""
    stub = Stub()
    async with _resolver(stub, cache=2) as resolver:
        for name in ("a", "b", "a", "c", "a", "b"):
            await resolver.lookup(name)
    assert stub.asked == {"a": 1, "b": 2, "c": 1}


async def test_look_ups_in_flight_are_shared_and_survive_a_cancelled_waiter() -> None:
    """Many who ask for one name are one look-up; one who leaves does not take it from the others."""
    started, go = threading.Event(), threading.Event()

    def slow(host: str) -> Answer:
        started.set()
        go.wait(5)
        return _answer("8.8.8.8")

    resolver = Resolver(getaddrinfo=slow)
    first, *others = [asyncio.create_task(resolver.lookup("a.example")) for _ in range(10)]
    while not started.is_set():
        await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await asyncio.gather(*others) == [("8.8.8.8",)] * 9
    assert first.cancelled() or first.cancelling()
    await resolver.close()


async def test_u7_the_connector_gets_the_pinned_addresses() -> None:
    """What was checked is what is dialled: a second look-up is not made, whatever it would say."""
    stub = Stub({"a.example": _answer("127.0.0.1")})
    async with _resolver(stub) as resolver:
        token = PIN.set(Pin("a.example", ("8.8.8.8", "2606::1")))
        found = await resolver.resolve("a.example", 80)
        PIN.reset(token)
        assert [(one["host"], one["port"]) for one in found] == [("8.8.8.8", 80), ("2606::1", 80)]
        assert not stub.asked


async def test_a_name_that_does_not_answer_is_a_timeout() -> None:
    """The deadline is ours, not the system's."""
    async with _resolver(Stub(), timings=FAST) as resolver:
        began = time.monotonic()
        assert await _fault(resolver, "dead.example") is Fault.DNS_TIMEOUT
        assert time.monotonic() - began < 1


async def test_x7_dead_names_do_not_starve_live_ones() -> None:
    """With a hundred dead names hanging in their threads a live name is still looked up."""
    async with _resolver(Stub(), timings=FAST, size=4) as resolver:
        dead = [asyncio.create_task(_fault(resolver, f"dead{n}.example")) for n in range(100)]
        await asyncio.sleep(0)
        assert await resolver.lookup("live.example")
        assert not all(one.done() for one in dead)
        assert set(await asyncio.gather(*dead)) == {Fault.DNS_TIMEOUT}


async def test_x7_names_that_timed_out_wait_in_a_lane_of_their_own() -> None:
    """A thousand names known to be dead hold two threads at most; live names take no notice."""
    now = [0.0]
    stub = Stub()
    async with _resolver(stub, timings=FAST, size=2, clock=lambda: now[0]) as resolver:
        for n in range(20):
            resolver._slow[f"dead{n}.example"] = None
        before = threading.active_count()
        again = [asyncio.create_task(resolver.lookup(f"dead{n}.example")) for n in range(20)]
        for n in range(50):
            assert await resolver.lookup(f"live{n}.example")
        assert threading.active_count() - before <= 2 + 2
        stub.ended.set()
        await asyncio.gather(*again, return_exceptions=True)


_HANGING = """
import asyncio, time
from crawler.fetch import ResolveError
from crawler.fetch.resolver import Resolver, Timings
async def main():
    resolver = Resolver(getaddrinfo=lambda host: time.sleep(30), timings=Timings(deadline=0.05))
    try:
        await resolver.lookup("dead.example")
    except ResolveError as error:
        print(error.fault.value)
    await resolver.close()
asyncio.run(main())
"""


def test_d7_a_hanging_look_up_does_not_delay_the_end() -> None:
    """A process whose resolver hangs in a thread ends all the same."""
    done = subprocess.run([sys.executable, "-c", _HANGING], capture_output=True, text=True, timeout=15, check=True)
    assert done.stdout == "dns_timeout\n"


def test_localhost_really_resolves() -> None:
    """The real getaddrinfo is asked in a form it understands, on uvloop too."""

    async def ask() -> tuple[str, ...]:
        resolver = Resolver()
        try:
            return await resolver.lookup("localhost")
        finally:
            await resolver.close()

    runs: list[Callable[..., Any]] = [asyncio.run]
    if sys.platform != "win32":
        uvloop = pytest.importorskip("uvloop")
        runs.append(uvloop.run)
    for run in runs:
        assert {"127.0.0.1", "::1"} & set(run(ask()))
