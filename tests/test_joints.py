"""Where the pool leans on aiohttp below its session (decision 0023), and the ways that lead through a proxy (FAULTS V6, N9)."""

from __future__ import annotations

import asyncio
import base64
import inspect
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from crawler.fetch.headers import merged
from crawler.fetch.http import Deadlines
from crawler.fetch.origin import Origin
from crawler.fetch.pool import FetchPool
from crawler.fetch.resolver import Resolver
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import Fault, Outcome, Visit
from tests import hostile
from tests.hostile import Asked, Hostile, Peer
from tests.test_tls import _client, _issued

LONG = Deadlines(total=5)
ME = "me:p%40ss"
CREDENTIALS = "Basic " + base64.b64encode(b"me:p@ss").decode()

CALLED: dict[str, tuple[Callable[..., Any], tuple[Any, ...], tuple[str, ...]]] = {
    "TCPConnector()": (aiohttp.TCPConnector, (), ("limit", "limit_per_host", "keepalive_timeout", "use_dns_cache", "resolver",
                                                  "socket_factory", "ssl")),
    "TCPConnector.connect": (aiohttp.TCPConnector.connect, ("self", "request", [], "timeout"), ()),
    "TCPConnector._release_waiter": (aiohttp.TCPConnector._release_waiter, ("self",), ()),
    "ClientRequest()": (aiohttp.ClientRequest, ("GET", "url"), ("headers",)),
    "ClientRequest.update_proxy": (aiohttp.ClientRequest.update_proxy, ("self", "proxy", None, {}), ()),
    "ClientTimeout()": (aiohttp.ClientTimeout, (), ("total", "sock_connect")),
    "Connection.release": (Connection.release, ("self",), ()),
    "Connection.close": (Connection.close, ("self",), ()),
    "ResponseHandler.set_response_params": (ResponseHandler.set_response_params, ("self",), (
        "read_until_eof", "auto_decompress", "max_line_size", "max_field_size", "max_headers")),
    "ResponseHandler.read": (ResponseHandler.read, ("self",), ()),
    "ResponseHandler.force_close": (ResponseHandler.force_close, ("self",), ()),
    "ResponseHandler.exception": (ResponseHandler.exception, ("self",), ()),
    "ResponseHandler.set_exception": (ResponseHandler.set_exception, ("self", "error", "cause"), ()),
    "ResponseHandler.is_connected": (ResponseHandler.is_connected, ("self",), ()),
    "ResponseHandler.abort": (ResponseHandler.abort, ("self",), ()),
    "StreamReader.set_exception": (StreamReader.set_exception, ("self", "error"), ()),
    "StreamReader.is_eof": (StreamReader.is_eof, ("self",), ()),
    "StreamReader.exception": (StreamReader.exception, ("self",), ()),
    "StreamReader.readany": (StreamReader.readany, ("self",), ()),
    "StreamReader.at_eof": (StreamReader.at_eof, ("self",), ()),
    "StreamReader._read_nowait": (StreamReader._read_nowait, ("self", -1), ()),
}  # fmt: skip
"""What is called of aiohttp below its session: with which arguments in order, and which by name."""

READ = (
    (Connection, "protocol"), (ResponseHandler, "should_close"), (aiohttp.ClientRequest, "connection_key"),
    (aiohttp.ClientRequest, "is_ssl"), (RawResponseMessage, "code"), (RawResponseMessage, "headers"),
    (RawResponseMessage, "raw_headers"),
)  # fmt: skip


@pytest.mark.parametrize("name", CALLED)
def test_v6_aiohttps_joints_take_what_we_give(name: str) -> None:
    """Each call below aiohttp's session fits the signature it has in the version that is installed."""
    called, positional, named = CALLED[name]
    try:
        inspect.signature(called).bind(*positional, **dict.fromkeys(named))
    except TypeError as error:
        pytest.fail(f"aiohttp {aiohttp.__version__} changed {name}: {error}. See docs/decisions/0023 and crawler/fetch/pool.py")


@pytest.mark.parametrize(("owner", "name"), READ)
def test_v6_aiohttps_joints_have_what_we_read(owner: type, name: str) -> None:
    """Each attribute that is read below aiohttp's session is there in the version that is installed."""
    assert hasattr(owner, name), f"aiohttp {aiohttp.__version__} has no {owner.__name__}.{name}: docs/decisions/0023"


# --- the request


def test_later_headers_take_the_place_of_earlier_ones() -> None:
    """Whatever the spelling of a name: one header of it goes out, the last."""
    assert merged({"Accept": "1", "X": "2"}, {"accept": "3"}, {"y": "4"}) == {"accept": "3", "X": "2", "y": "4"}


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX-Evil: 1", "/\0", "/é", "/\x7f", "/\t"])
async def test_h16_what_is_no_path_is_not_sent(path: str) -> None:
    """A blank, a control character or a letter beyond ASCII in a stored path: refused before anything is dialled."""
    async with Hostile(hostile.echo) as server, FetchPool(CrawlSpec(), [split(server.url())], deadlines=LONG) as pool:
        place = split(server.url())._replace(path=path)
        outcome = await pool.fetch(Visit(place.url, place))
    assert (outcome.fault, server.connections) == (Fault.PROTOCOL, 0)
    assert outcome.reason.startswith("protocol: invalid URL")


async def test_the_users_user_agent_goes_out_instead_of_ours() -> None:
    """A --header that is named like one of ours replaces it at the seed, however it is spelled."""
    spec = CrawlSpec(header=("user-agent: theirs",))
    async with Hostile(hostile.echo) as server, FetchPool(spec, [split(server.url())], deadlines=LONG) as pool:
        await pool.fetch(Visit(server.url(), split(server.url())))
    assert [value for name, value in server.requests[0].headers if name.lower() == "user-agent"] == ["theirs"]


def test_h18_a_connection_is_known_by_scheme_host_port_and_proxy() -> None:
    """The key under which a connection is kept differs whenever one of them does, and is the same each time it is asked."""

    async def keys() -> list[Any]:
        made = [
            Origin(origin, {}, {}, proxy).request
            for origin in ("http://a.test", "https://a.test", "http://b.test", "http://a.test:81")
            for proxy in (None, "http://p.test:1", "http://p.test:2")
        ]
        assert [one.connection_key for one in made] == [one.connection_key for one in made]
        return [one.connection_key for one in made]

    found = asyncio.run(keys())
    assert len(set(found)) == len(found) == 12


# --- proxies


async def _tunnels(peer: Peer) -> None:
    """A proxy that answers CONNECT by leading to the port that was asked for, and anything else as `echo` does."""
    asked = await peer.asked()
    if asked is None or ":" not in asked.target or asked.target.startswith("http"):
        while asked is not None:
            await peer.send(hostile.response(asked.target.encode()))
            asked = await peer.asked()
        return
    reader, writer = await asyncio.open_connection("127.0.0.1", int(asked.target.rpartition(":")[2]))
    await peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
        sink.close()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pump(peer.reader, writer))
        tasks.create_task(pump(reader, peer.writer))


async def _through(proxy: Hostile, *urls: str, user: str = "", **options: Any) -> list[Outcome]:
    spec = CrawlSpec(proxy=proxy.url().replace("//", f"//{user}").rstrip("/"), contact="https://example.org/", per_host=4)
    names = Resolver(getaddrinfo=lambda host: [(0, 0, 0, "", ("127.0.0.1", 0))])
    async with FetchPool(spec, map(split, urls), deadlines=LONG, resolver=names, **options) as pool:
        found = [await pool.fetch(Visit(url, split(url))) for url in urls]
    await names.close()
    return found


def _header(asked: Asked) -> dict[str, str]:
    return {name.lower(): value for name, value in asked.headers}


async def test_n9_a_proxy_gets_the_whole_url_and_its_credentials_each_time() -> None:
    """http through a proxy: absolute URL and Proxy-Authorization in every request; one connection serves a host's."""
    async with Hostile(_tunnels) as proxy:
        outcomes = await _through(proxy, *(f"http://site.test/{n}" for n in range(3)), user=ME + "@")
    assert [outcome.body.decode() for outcome in outcomes] == [f"http://site.test/{n}" for n in range(3)]
    assert {_header(asked)["proxy-authorization"] for asked in proxy.requests} == {CREDENTIALS}
    assert {_header(asked)["host"] for asked in proxy.requests} == {"site.test"}
    assert (proxy.connections, len(proxy.requests)) == (1, 3)


async def test_n9_https_goes_through_a_tunnel_that_alone_sees_the_credentials() -> None:
    """https through a proxy: one CONNECT with credentials and our identity, two requests inside that show no credentials."""
    authority = trustme.CA()
    async with Hostile(_tunnels) as proxy, Hostile(hostile.echo, tls=_issued(authority)) as site:
        urls = [site.url("/a"), site.url("/b")]
        outcomes = await _through(proxy, *urls, user=ME + "@", ssl_context=_client(authority))
    assert [outcome.body for outcome in outcomes] == [b"/a", b"/b"]
    (connect,) = proxy.requests
    assert connect.target == f"127.0.0.1:{site.port}"
    assert _header(connect)["proxy-authorization"] == CREDENTIALS
    assert "example.org" in _header(connect)["user-agent"]
    assert {tuple(_header(asked)) for asked in site.requests} == {("host", "user-agent", "accept", "accept-encoding")}


async def test_n9_a_proxy_that_refuses_the_tunnel_is_the_proxys_fault() -> None:
    """407 to CONNECT: `proxy`, nothing reached the site, and the connection is not kept."""
    async with Hostile(hostile.raw(hostile.response(b"no", status="407 Who are you"))) as proxy:
        (outcome,) = await _through(proxy, "https://site.test/")
    assert (outcome.fault, outcome.reason) == (Fault.PROXY, "proxy: Who are you")


# --- the connection


@pytest.mark.parametrize("answers", [1, 3])
async def test_h6_interim_answers_are_passed_over(answers: int) -> None:
    """100 and 103 before the answer, with headers of their own: the final answer is what counts, and the connection stays."""

    async def interim(peer: Peer) -> None:
        while asked := await peer.asked():
            await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" * answers)
            await peer.send(hostile.response(asked.target.encode()))

    async with Hostile(interim) as server, FetchPool(CrawlSpec(), [split(server.url())], deadlines=LONG) as pool:
        for path in ("/a", "/b"):
            outcome = await pool.fetch(Visit(server.url(path), split(server.url(path))))
            assert (outcome.status, outcome.body) == (200, path.encode())
            assert "link" not in dict(outcome.headers)
    assert server.connections == 1


@pytest.mark.parametrize("upgrade", [b"Connection: upgrade\r\nUpgrade: x\r\n", b""])
async def test_h11_a_switch_of_protocols_ends_the_connection(upgrade: bytes) -> None:
    """101 nobody asked for is an answer like another; its connection is not used again, also where it names no protocol."""

    async def switch(peer: Peer) -> None:
        while await peer.asked():
            await peer.send(b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\n")

    async with Hostile(switch) as server, FetchPool(CrawlSpec(), [split(server.url())], deadlines=LONG) as pool:
        outcomes = [await pool.fetch(Visit(server.url(), split(server.url()))) for _ in range(2)]
    assert {outcome.status for outcome in outcomes} == {101}
    assert server.connections == 2


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_body_that_ends_with_its_connection_is_whole(version: bytes) -> None:
    """HTTP/1.0, and 1.1 without a length: the body lasts until the server closes; nothing is flagged."""
    async with Hostile(hostile.raw(b"HTTP/" + version + b" 200 OK\r\n\r\nall of it")) as server:
        async with FetchPool(CrawlSpec(), [split(server.url())], deadlines=LONG) as pool:
            outcome = await pool.fetch(Visit(server.url(), split(server.url())))
    assert (outcome.status, outcome.body, outcome.truncated) == (200, b"all of it", None)


@pytest.mark.parametrize("bytes_sent", [0, 20, 60])
async def test_h11_a_fetch_that_is_cancelled_leaves_no_answer_behind(bytes_sent: int) -> None:
    """Cancelled before, in and behind the header of its answer: the connection is closed, not given to the next."""
    begun = hostile.response(b"x" * 500)[:bytes_sent]

    async def begins(peer: Peer) -> None:
        while asked := await peer.asked():
            await peer.send(begun if asked.target == "/first" else hostile.response(asked.target.encode()))

    async with Hostile(begins) as server:
        async with FetchPool(CrawlSpec(connections=1), [split(server.url())], deadlines=LONG) as pool:
            first = asyncio.create_task(pool.fetch(Visit(server.url("/first"), split(server.url("/first")))))
            while not server.requests:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.005)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            outcome = await pool.fetch(Visit(server.url("/next"), split(server.url("/next"))))
    assert outcome.body == b"/next"
    assert server.connections == 2
