"""The address guard on the whole path: every way to spell an address at home, led to in every way (FAULTS U6, U7, U11)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crawler.api import run_async
from crawler.fetch import ResolveError
from crawler.fetch.addresses import BLOCKED_PORTS
from crawler.fetch.pool import FetchPool
from crawler.fetch.resolver import Answer, Resolver, Timings
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import Fault, Visit
from storage import open_reader
from tests import hostile
from tests.conftest import Serve
from tests.hostile import Hostile
from tests.web import Plain, Request, page, redirect

HOME = "127.0.1.1"  # where the public-looking names of these tests are, and all that their crawls are allowed

SPELLINGS = """
127.0.0.1 127.0.0.1. 127.1 127.0.1 127.00.00.01 0177.0.0.1 0177.0.0.01 0x7f.0.0.1 0x7f.1 0x7F000001
0x7f.0x0.0x0.0x1 2130706433 2130706433. 017700000001 127.127.127.127 127.255.255.254 0 0. 0.0.0.0 0x0 00000000000
%31%32%37.0.0.1 127%2e0%2e0%2e1 １２７.０.０.１ 127。0。0。1 ①②⑦.⓪.⓪.① 0ｘ7f.1 ⑫7.1
localhost LOCALHOST localhost. LocalHost. ｌｏｃａｌｈｏｓｔ loc%61lhost sub.localhost ip6-localhost
[::1] [0:0:0:0:0:0:0:1] [::0001] [::] [::127.0.0.1] [::7f00:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:1]
[::ffff:0:127.0.0.1] [::ffff:0.0.0.0] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::127.0.0.1]
[64:ff9b:1:7f00:0:100::] [2002:7f00:1::] [2002:7f00:1::1] [2002:a9fe:a9fe::1] [2001:0:7f00:1::1]
[2001:0:808:808:0:0:80ff:fffe] [fe80::1] [fe80::5efe:127.0.0.1] [2606:4700::5efe:127.0.0.1]
[2606:4700::200:5efe:a9fe:a9fe] [fd00:ec2::254] [fec0::1] [ff02::1] [100::1] [fe80::1%25lo] [::1%25lo] [::1%lo]
10.0.0.1 10.1 172.16.0.1 192.168.0.1 192.168.1 169.254.169.254 0xa9fea9fe 2852039166 169.254.43518 100.64.0.1
100.100.100.200 192.0.0.192 198.18.0.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 4294967295
127.0.0.1.nip.test 7f000001.nip.test private.test six.test mapped.test isatap.test metadata.test mixed.test mixed6.test
zone.test unspecified.test
""".split()  # noqa: SIM905

NAMES = {
    "localhost": ["127.0.0.1", "::1"], "sub.localhost": ["127.0.0.1"], "ip6-localhost": ["::1"],
    "127.0.0.1.nip.test": ["127.0.0.1"], "7f000001.nip.test": ["127.0.0.1"], "private.test": ["10.0.0.1"],
    "six.test": ["::1"], "mapped.test": ["::ffff:127.0.0.1"], "isatap.test": ["2606:4700::5efe:7f00:1"],
    "metadata.test": ["169.254.169.254"], "mixed.test": [HOME, "127.0.0.1"], "mixed6.test": ["::1", HOME],
    "zone.test": ["fe80::1%lo"], "unspecified.test": ["0.0.0.0"],
}  # fmt: skip


def _answer(ips: Iterable[str]) -> Answer:
    return [(0, 0, 0, "", (ip, 0)) for ip in ips]


def _stub(host: str) -> Answer:
    if host not in NAMES and not host.endswith(".public.test"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _answer(NAMES.get(host, [HOME]))


class Listener:
    """Accepts on a port of every address of this machine, and counts."""

    accepts = 0
    port = 0

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepts += 1
        writer.close()


@asynccontextmanager
async def _listening(*addresses: str, port: int = 0) -> AsyncIterator[Listener]:
    """``addresses``: 0.0.0.0 and :: when none is given."""
    listener = Listener()
    async with contextlib.AsyncExitStack() as stack:
        for address in addresses or ("0.0.0.0", "::"):
            try:
                server = await asyncio.start_server(listener._accept, address, listener.port or port)
            except OSError as error:
                if address == "::" and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    continue  # this machine has no IPv6
                raise
            listener.port = (await stack.enter_async_context(server)).sockets[0].getsockname()[1]
        yield listener
        before = listener.accepts
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.close()
        while listener.accepts == before:  # it did listen
            await asyncio.sleep(0.001)
        listener.accepts -= 1


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from the table."""
    monkeypatch.setattr("crawler.fetch.pool.Resolver", partial(Resolver, getaddrinfo=_stub))


async def _crawl(file: Path, *seeds: str) -> None:
    spec = CrawlSpec(seeds=seeds, scope="any", delay=0.0, per_ip=20, patience=0.2, parse_workers=0, contact="me@here.test",
                     allow_private=(f"{HOME}/32",), max_depth=3)  # fmt: skip
    async with asyncio.timeout(30):
        await run_async(spec, file)


def _ask(file: Path, sql: str) -> list[tuple[Any, ...]]:
    with open_reader(file) as reader:
        return list(reader.query(sql)[1])


def _refused(file: Path) -> int:
    """How many URLs were refused for their address; whatever was not the public site's has come to nothing."""
    fates = dict(_ask(file, "SELECT reason, count(*) FROM failures GROUP BY 1"))
    assert fates.keys() <= {"address_refused", "dns_nxdomain", "bad_redirect"}
    assert _ask(file, "SELECT url FROM pages WHERE url NOT LIKE 'http://%.public.test:%'") == []
    return int(fates["address_refused"])


async def test_u6_links_and_redirects_to_addresses_at_home(serve: Serve, crawl_file: Path, names: None) -> None:
    """Over ninety spellings of addresses that are not public, as links of a public page and as targets of its
    redirects: 0 connects seen by a listener on all addresses of this machine."""
    async with _listening() as listener:
        def site(request: Request) -> Plain:
            if request.path == "/":
                links = [f"http://{host}:{listener.port}/link/{n}" for n, host in enumerate(SPELLINGS)]
                return page(*links, *(f"/r/{n}" for n in range(len(SPELLINGS))))
            if request.path.startswith("/r/"):
                host = SPELLINGS[int(request.path[3:])].encode("utf-8").decode("latin-1")
                return redirect(f"http://{host}:{listener.port}{request.path}")
            return 404

        web = await serve(site)
        await _crawl(crawl_file, f"http://seed.public.test:{web.port}/")
        assert listener.accepts == 0
    assert len(SPELLINGS) > 90
    assert {r.path for r in web.requests} == {"/", "/robots.txt", *(f"/r/{n}" for n in range(len(SPELLINGS)))}
    assert _refused(crawl_file) > 160  # the others are no URLs, such as those with a zone


@pytest.mark.parametrize("part", range(6))
async def test_u6_robots_redirects_to_addresses_at_home(
    serve: Serve, crawl_file: Path, names: None, part: int
) -> None:
    """The same spellings as targets of robots.txt redirects, 19 hosts a crawl: 0 connects."""
    hosts = {f"r{n}.public.test": host for n, host in enumerate(SPELLINGS) if n % 6 == part}

    async with _listening() as listener:
        def site(request: Request) -> Plain:
            if request.path == "/robots.txt":
                host = hosts[request.host].encode("utf-8").decode("latin-1")
                return redirect(f"http://{host}:{listener.port}/robots.txt")
            return page()

        web = await serve(site)
        await _crawl(crawl_file, *(f"http://{host}:{web.port}/" for host in hosts))
        assert listener.accepts == 0
    assert {r.host for r in web.requests} == set(hosts)


def _flipping(answers: Sequence[Sequence[str]]) -> Resolver:
    """Gives the answers in turn, over and over, and remembers none."""
    asked = iter(range(10**6))
    return Resolver(getaddrinfo=lambda host: _answer(answers[next(asked) % len(answers)]),
                    timings=Timings(keep=0, keep_failure=0))  # fmt: skip


@pytest.mark.parametrize(
    "answers", [[[HOME], ["127.0.0.1"]], [["127.0.0.1"], [HOME]], [[HOME, "127.0.0.1"]], [[HOME], ["127.0.0.1", HOME]]]
)
async def test_u7_rebinding_reaches_nobody(serve: Serve, answers: list[list[str]]) -> None:
    """A resolver that says public first and 127.0.0.1 next, or both at once: 0 connects in 40 fetches, pinned or not."""
    web = await serve(lambda request: page())
    spec, resolver = CrawlSpec(allow_private=(f"{HOME}/32",)), _flipping(answers)
    url = f"http://rebind.test:{web.port}/"
    async with _listening("127.0.0.1", port=web.port) as listener, FetchPool(spec, resolver=resolver) as pool:
        for _ in range(20):
            try:
                pinned = await pool.resolve("rebind.test", web.port)
            except ResolveError:
                continue
            for addresses in (pinned, ()):
                outcome = await pool.fetch(Visit(url, split(url), addresses=addresses))
                assert outcome.status == 200 or outcome.fault is Fault.ADDRESS_REFUSED
        assert listener.accepts == 0
    await resolver.close()


class _Misled(socket.socket):
    """Connects to this machine, whatever it is told."""

    def connect(self, address: Any) -> None:
        super().connect(("127.0.0.1", *address[1:]))


class _MisledPool(FetchPool):
    def _dial(self, info: Any) -> socket.socket:
        super()._dial(info).close()
        return _Misled(info[0], info[1], info[2])


async def test_u7_the_peer_is_checked_once_more_before_anything_is_sent() -> None:
    """A connection that ends up at another address than the one dialled is closed with nothing sent on it."""
    names = Resolver(getaddrinfo=lambda host: _answer(["93.184.216.34"]))
    async with Hostile(hostile.echo) as server, _MisledPool(CrawlSpec(), resolver=names) as pool:
        url = server.url(host="public.test")
        outcome = await pool.fetch(Visit(url, split(url)))
    assert (server.connections, server.requests, pool.stats.requests) == (1, [], 0)
    assert outcome.fault is Fault.ADDRESS_REFUSED
    assert outcome.reason == "address_refused: public.test led to 127.0.0.1, which is not what was checked"
    await names.close()


async def test_u11_blocked_ports_see_no_connect(serve: Serve, crawl_file: Path, names: None) -> None:
    """Links and redirects to ports of other protocols, a listener on two of them: 0 connects, each URL says why."""
    async with _listening_on_a_blocked_port() as listener:
        def site(request: Request) -> Plain:
            if request.path == "/":
                ports = (22, 25, 6379, listener.port)
                return page(*(f"http://seed.public.test:{port}/" for port in ports), "/moved")
            return redirect(f"http://seed.public.test:{listener.port}/moved") if request.path == "/moved" else 404

        web = await serve(site)
        await _crawl(crawl_file, f"http://seed.public.test:{web.port}/")
        assert listener.accepts == 0
    refused = _ask(crawl_file, "SELECT url FROM failures WHERE reason = 'port_refused'")
    expected = {f"http://seed.public.test:{port}/" for port in (22, 25, 6379, listener.port)}
    assert {url for (url,) in refused} == expected | {f"http://seed.public.test:{listener.port}/moved"}


@asynccontextmanager
async def _listening_on_a_blocked_port() -> AsyncIterator[Listener]:
    for port in sorted(BLOCKED_PORTS, reverse=True):
        if port > 1024:
            try:
                manager = _listening("0.0.0.0", port=port)
                listener = await manager.__aenter__()
            except OSError:
                continue
            try:
                yield listener
            finally:
                await manager.__aexit__(None, None, None)
            return
    pytest.skip("no blocked port is free")
