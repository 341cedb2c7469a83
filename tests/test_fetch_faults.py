"""Whom the pool does not dial, and why a fetch failed (FAULTS U6, U7, U11, X1)."""

from __future__ import annotations

import os
import socket
from typing import Any

import aiohttp
import pytest

from crawler.fetch import ResolveError
from crawler.fetch.faults import fault_of
from crawler.fetch.pool import FetchPool
from crawler.fetch.resolver import Resolver
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import Fault
from tests import hostile
from tests.fetching import LONG, SHORT, names_of, pool_of, visit_of
from tests.hostile import Hostile

# --- addresses


async def test_u6_private_names_and_literals_are_never_dialled() -> None:
    """No spelling of a loopback address reaches a listener that is no seed; a mixed answer is refused as a whole."""
    loopback = ["127.0.0.1"]
    names = names_of({"one.example": loopback, "mixed.example": ["8.8.8.8", *loopback], "localhost": loopback})
    async with Hostile(hostile.echo) as server, pool_of(None, resolver=names) as pool:
        hosts = ["127.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]", "0.0.0.0", "one.example", "mixed.example",
                 "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "127.0.0.2", "169.254.169.254"]
        for host in hosts:
            outcome = await pool.fetch(visit_of(server.url(host=host)))
            assert (outcome.status, outcome.fault) == (None, Fault.ADDRESS_REFUSED), host
            assert outcome.reason.startswith("address_refused: ")
    assert server.connections == 0
    await names.close()


async def test_u6_a_seed_opens_only_itself() -> None:
    """A loopback seed is fetched; the same server under another name is not."""
    names = names_of({"evil.example": ["127.0.0.1"]})
    async with Hostile(hostile.echo) as server, pool_of(server, resolver=names) as pool:
        assert (await pool.fetch(visit_of(server.url()))).status == 200
        for host in ("evil.example", "127.0.0.2"):
            assert (await pool.fetch(visit_of(server.url(host=host)))).fault is Fault.ADDRESS_REFUSED
        with pytest.raises(ResolveError) as caught:
            await pool.resolve("evil.example", server.port)
    assert caught.value.fault is Fault.ADDRESS_REFUSED
    assert server.connections == 1
    await names.close()


async def test_u7_the_checked_address_is_the_one_dialled() -> None:
    """A name that answers differently the second time (rebinding) is not asked twice; a pin is checked too."""
    answers = iter([["127.0.0.1"], ["127.0.0.9"]])
    names = Resolver(getaddrinfo=lambda host: [(0, 0, 0, "", (ip, 0)) for ip in next(answers)])
    spec = CrawlSpec(allow_private=("127.0.0.1/32",))
    async with Hostile(hostile.echo) as server, pool_of(None, spec, resolver=names) as pool:
        url = server.url(host="rebind.example")
        pinned = await pool.resolve("rebind.example", server.port)
        names._cache.clear()  # the second answer is due now
        outcome = await pool.fetch(visit_of(url, addresses=pinned))
        assert (outcome.status, outcome.address) == (200, "127.0.0.1")
        forged = await pool.fetch(visit_of(url, addresses=("127.0.0.9",)))
        assert forged.fault is Fault.ADDRESS_REFUSED
    await names.close()


@pytest.mark.parametrize("port", [22, 25, 6379])
async def test_u11_bad_ports_are_not_dialled(port: int) -> None:
    """A link to another protocol's port is refused before any look-up."""
    async with pool_of(None, resolver=names_of({})) as pool:
        outcome = await pool.fetch(visit_of(f"http://example.org:{port}/"))
    assert outcome.fault is Fault.PORT_REFUSED
    assert str(port) in outcome.reason


# --- faults


async def test_a_closed_port_is_a_refusal() -> None:
    """Nobody listens: connect_refused, with the system's words."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        async with FetchPool(CrawlSpec(), [split(url)], deadlines=LONG) as pool:
            outcome = await pool.fetch(visit_of(url))
    assert outcome.fault is Fault.CONNECT_REFUSED
    assert pool.stats.requests == 0


async def test_a_connect_that_hangs_is_a_connect_timeout() -> None:
    """A listener whose backlog is full lets nobody in: the connect deadline ends it."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with FetchPool(CrawlSpec(), [split(url)], deadlines=SHORT) as pool:
            outcome = await pool.fetch(visit_of(url))
        for filler in fillers:
            filler.close()
    assert outcome.fault is Fault.CONNECT_TIMEOUT


async def test_x1_our_own_descriptors_are_a_local_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """EMFILE while dialling is `local`: no host answers for it."""
    real = socket.socket

    def exhausted(*args: Any, **kwargs: Any) -> socket.socket:
        if len(args) >= 3 and "fileno" not in kwargs:
            raise OSError(24, os.strerror(24))
        return real(*args, **kwargs)

    async with Hostile(hostile.echo) as server, pool_of(server) as pool:
        monkeypatch.setattr("crawler.fetch.pool.socket.socket", exhausted)
        outcome = await pool.fetch(visit_of(server.url()))
        monkeypatch.undo()
    assert (outcome.fault, outcome.reason) == (Fault.LOCAL, "local: Too many open files")


def test_no_address_of_the_other_family_charges_the_host() -> None:
    """"Network unreachable" is our network's fault, unless only IPv6 was tried: then we just have none (N7)."""
    error = aiohttp.ClientOSError(101, "Network is unreachable")
    assert fault_of(error)[0] is Fault.OFFLINE
    assert fault_of(error, ipv4=False)[0] is Fault.CONNECT_FAILED


async def test_names_that_do_not_exist() -> None:
    """NXDOMAIN comes through as its own fault, with elapsed time and nothing sent."""

    def unknown(host: str) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    names = Resolver(getaddrinfo=unknown)
    async with pool_of(None, resolver=names) as pool:
        outcome = await pool.fetch(visit_of("http://nowhere.example/"))
    await names.close()
    assert (outcome.fault, outcome.reason) == (Fault.DNS_NXDOMAIN, "dns_nxdomain: Name or service not known")
