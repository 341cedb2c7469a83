"""The pooled core over real sockets: limits, reuse, the wire, and what a hostile server can do (FAULTS H, U, N, X)."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import pytest

from crawler.fetch import ResolveError
from crawler.fetch.faults import fault_of
from crawler.fetch.http import Deadlines
from crawler.fetch.many import fetch_all
from crawler.fetch.pool import FetchPool
from crawler.fetch.resolver import Resolver
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import Fault, Outcome, Visit
from tests import conftest, hostile
from tests.hostile import OK, Hostile, Peer, response

SHORT = Deadlines(total=0.6, connect=0.2, first_byte=0.2, grace=0.1, window=0.1, rate=20_480)
LONG = Deadlines(total=5)


def _visit(url: str, **options: Any) -> Visit:
    return Visit(url, split(url), **options)


def _pool(server: Hostile | None, spec: CrawlSpec | None = None, **options: Any) -> FetchPool:
    seeds = [split(server.url())] if server else []
    return FetchPool(spec or CrawlSpec(per_host=10), seeds, **{"deadlines": LONG, **options})


async def _one(fault: hostile.Fault, spec: CrawlSpec | None = None, **options: Any) -> Outcome:
    async with Hostile(fault) as server, _pool(server, spec, **options) as pool:
        return await pool.fetch(_visit(server.url()))


def _names(table: dict[str, list[str]]) -> Resolver:
    return Resolver(getaddrinfo=lambda host: [(0, 0, 0, "", (ip, 0)) for ip in table[host]])


# --- the wire


async def test_exactly_the_url_goes_out() -> None:
    """The request target is the URL's, byte for byte: no escape is changed, none added, no dot or slash lost."""
    paths = ["/%2f%2F/x%7e~!$&'()*+,;=:@", "/a//b///", "/x%zz?q=%7e&a=[1]|^`{}", "/?%20=+&&=", "/%E4?%e4", "/a/?b?/.."]
    async with Hostile(hostile.echo) as server, _pool(server) as pool:
        for path in paths:
            outcome = await pool.fetch(_visit(server.url(path)))
            assert outcome.body.decode() == path
    assert [asked.target for asked in server.requests] == paths


async def test_l5_identity_goes_out_and_nothing_else() -> None:
    """User-Agent with contact, Accept, Accept-Encoding, From for a mail address; no cookie, no Referer."""
    async with Hostile(hostile.raw(response(b"", "Set-Cookie: a=b"))) as server:
        async with _pool(server, CrawlSpec(contact="me@example.org")) as pool:
            await pool.fetch(_visit(server.url()))
            await pool.fetch(_visit(server.url()))
    assert {tuple(name for name, _ in asked.headers) for asked in server.requests} == {
        ("Host", "User-Agent", "Accept", "Accept-Encoding", "From")
    }
    assert server.requests[0].header("From") == "me@example.org"
    assert "(+me@example.org)" in (server.requests[0].header("User-Agent") or "")


async def test_u1_the_users_headers_go_to_the_seeds_origins_only() -> None:
    """--header reaches the seed's origin and no other; a visit's own headers go with that visit."""
    spec = CrawlSpec(header=("X-Api-Key: secret",), allow_private=("127.0.0.0/8",), contact="https://example.org/")
    async with Hostile(hostile.echo) as seed, Hostile(hostile.echo) as other, _pool(seed, spec) as pool:
        await pool.fetch(_visit(seed.url(), headers={"If-None-Match": '"x"'}))
        await pool.fetch(_visit(other.url()))
    assert seed.requests[0].header("X-Api-Key") == "secret"
    assert seed.requests[0].header("If-None-Match") == '"x"'
    assert seed.requests[0].header("From") is None
    assert other.requests[0].header("X-Api-Key") is None


async def test_n9_proxy_variables_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only --proxy sends requests to a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    assert (await _one(hostile.echo)).status == 200


async def test_a_proxy_gets_every_request_and_resolves_the_names() -> None:
    """--proxy: the absolute URL goes to the proxy, nothing is looked up; a dead proxy is a fault of its own."""
    async with Hostile(hostile.echo) as proxy:
        spec = CrawlSpec(proxy=proxy.url())
        async with FetchPool(spec, deadlines=LONG, resolver=_names({})) as pool:
            outcome = await pool.fetch(_visit("http://site.example/a%2fb"))
            assert await pool.resolve("site.example", 80) == ()
            literal = await pool.fetch(_visit("http://127.0.0.1/"))
    assert outcome.body == b"http://site.example/a%2fb"
    assert literal.fault is Fault.ADDRESS_REFUSED
    async with FetchPool(spec, deadlines=LONG) as pool:
        assert (await pool.fetch(_visit("http://site.example/"))).fault is Fault.PROXY


async def test_redirects_are_not_followed() -> None:
    """A 3xx is an outcome with its raw Location; the target is left to the frontier."""
    there = hostile.raw(response(b"moved", "Location: /x y?é", status="302 Found"))
    async with Hostile(there) as server, _pool(server) as pool:
        outcome = await pool.fetch(_visit(server.url()))
    assert (outcome.status, outcome.reason, outcome.location) == (302, "", "/x y?é")
    assert len(server.requests) == 1


# --- limits and reuse


async def test_connections_are_reused_and_counted() -> None:
    """One host, one connection, many requests; the counters say so, and so does the server."""
    async with Hostile(hostile.echo) as server, _pool(server) as pool:
        outcomes = [await pool.fetch(_visit(server.url(f"/{n}"))) for n in range(20)]
        stats = pool.stats
    assert (stats.requests, stats.opened, stats.reused, server.connections) == (20, 1, 19, 1)
    assert stats.bytes == sum(outcome.wire_size for outcome in outcomes)
    assert [outcome.reused for outcome in outcomes] == [False] + [True] * 19
    assert {outcome.address for outcome in outcomes} == {"127.0.0.1"}


async def _slow(peer: Peer) -> None:
    while asked := await peer.asked():
        await asyncio.sleep(0.01)
        await peer.send(response(asked.target.encode()))


async def test_the_limits_hold_at_the_servers() -> None:
    """Never more than limit_per_host connections at a server, nor more than limit at all servers together."""
    async with Hostile(_slow) as one, Hostile(_slow) as two:
        urls = [server.url(f"/{n}") for n in range(40) for server in (one, two)]
        outcomes = await fetch_all(urls, limit=5, limit_per_host=3)
        assert one.most <= 3
        assert two.most <= 3
        assert one.connections + two.connections <= 5 + 3
        assert [outcome.url for outcome in outcomes] == urls
        assert [outcome.body.decode() for outcome in outcomes] == [url[url.index("/", 8):] for url in urls]


async def test_fetch_all_keeps_order_and_reports_what_is_no_url() -> None:
    """Results come in the order of the URLs; a text that is no URL has a reason of its own and sends nothing."""
    async with Hostile(hostile.echo) as server:
        urls = [server.url("/a"), "http://[", "ftp://example.org/", server.url("/b"), server.url("/a")]
        outcomes = await fetch_all(iter(urls))
    assert [outcome.status for outcome in outcomes] == [200, None, None, 200, 200]
    assert [outcome.reason.split(":")[0] for outcome in outcomes] == ["", "invalid", "invalid", "", ""]
    assert len(server.requests) == 3


async def test_the_clock_does_not_run_while_a_fetch_queues() -> None:
    """A fetch that waits for a free connection is not timed out for that."""
    async with Hostile(_slow) as server, _pool(server, CrawlSpec(connections=1), deadlines=SHORT) as pool:
        outcomes = await asyncio.gather(*(pool.fetch(_visit(server.url(f"/{n}"))) for n in range(80)))
    assert {outcome.status for outcome in outcomes} == {200}


async def test_sent_is_called_when_the_headers_go_out() -> None:
    """The politeness clock hears of each request once, with the time in the outcome."""
    heard: list[float] = []
    async with Hostile(hostile.echo) as server, _pool(server) as pool:
        outcome = await pool.fetch(_visit(server.url(), sent=heard.append))
    assert heard == [outcome.sent_at]


async def test_a_cancelled_fetch_gives_its_place_back() -> None:
    """Cancelling raises CancelledError, and the connection it held is free again."""
    spec = CrawlSpec(connections=1)
    async with Hostile(hostile.silent) as dead, Hostile(hostile.echo) as live:
        async with FetchPool(spec, [split(dead.url()), split(live.url())], deadlines=LONG) as pool:
            task = asyncio.create_task(pool.fetch(_visit(dead.url())))
            while not dead.requests:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await pool.fetch(_visit(live.url()))).status == 200


# --- bodies


async def test_bodies_are_decoded() -> None:
    """The body is what the site meant; wire_size is what it sent."""
    packed = gzip.compress(b"page" * 1000)
    outcome = await _one(hostile.raw(response(packed, "Content-Encoding: gzip")))
    assert (outcome.body, outcome.wire_size, outcome.truncated) == (b"page" * 1000, len(packed), None)


async def test_h1_bombs_and_large_bodies_are_cut_at_the_cap() -> None:
    """max-body holds for the decoded body and for the wire; a body of exactly that size is whole."""
    spec = CrawlSpec(max_body=100_000)
    bomb = await _one(hostile.raw(response(gzip.compress(bytes(50 << 20)), "Content-Encoding: gzip")), spec)
    assert (len(bomb.body), bomb.truncated) == (100_000, "size")
    large = await _one(hostile.raw(response(b"x" * 100_001)), spec)
    assert (len(large.body), large.truncated) == (100_000, "size")
    whole = await _one(hostile.raw(response(b"x" * 100_000)), spec)
    assert (len(whole.body), whole.truncated) == (100_000, None)


@pytest.mark.parametrize("coding", ["gzip, gzip", "compress", "gzip"])
async def test_h3_what_is_not_undone_is_stored_raw(coding: str) -> None:
    """Several codings, an unknown one and a false one leave the body as it came, and say so."""
    outcome = await _one(hostile.raw(response(b"<p>no code</p>", f"Content-Encoding: {coding}")))
    assert (outcome.status, outcome.body, outcome.undecoded) == (200, b"<p>no code</p>", coding)


async def test_a_cut_coding_is_seen_though_the_length_is_right() -> None:
    """A gzip stream that lacks its end is not whole, whatever Content-Length says."""
    outcome = await _one(hostile.raw(response(gzip.compress(b"page" * 9999)[:-9], "Content-Encoding: gzip")))
    assert outcome.truncated == "cut"
    assert (b"page" * 9999).startswith(outcome.body)


async def test_h5_header_floods() -> None:
    """128 headers are kept, a header of 60 KiB passes, one beyond 64 KiB or a thousand of them are a protocol fault."""
    many = await _one(hostile.raw(response(b"x", *(f"X-{n}: 1" for n in range(200)))))
    assert (many.status, len(many.headers)) == (200, 128)
    long = await _one(hostile.raw(response(b"x", "X: " + "y" * 60_000)))
    assert len(long.header("x") or "") == 60_000
    for flood in (["X: " + "y" * 200_000], [f"X-{n}: 1" for n in range(1000)]):
        assert (await _one(hostile.raw(response(b"x", *flood)))).fault is Fault.PROTOCOL


@pytest.mark.parametrize("fault", [hostile.endless_1xx, hostile.drip_header, hostile.silent])
async def test_h6_an_answer_that_never_begins_is_a_timeout(fault: hostile.Fault) -> None:
    """Endless 1xx, a header by the byte, silence: the first-byte deadline ends them all."""
    outcome = await _one(fault, deadlines=SHORT)
    assert (outcome.status, outcome.fault) == (None, Fault.TIMEOUT)
    assert outcome.reason == "timeout: first byte deadline passed"


async def test_h7_a_dripping_body_is_cut_off() -> None:
    """Below the minimum rate the fetch ends; what came is kept and flagged."""
    outcome = await _one(hostile.drip_body, deadlines=SHORT)
    assert (outcome.status, outcome.truncated) == (200, "time")
    assert set(outcome.body) == set(b"b")
    assert outcome.elapsed_ms < 1000


async def test_h7_a_body_that_never_begins_is_slow() -> None:
    """Headers without a byte of the body behind them are a fault."""
    outcome = await _one(hostile.held(OK + b"Content-Length: 5\r\n\r\n"), deadlines=SHORT)
    assert (outcome.status, outcome.fault) == (None, Fault.SLOW)


async def test_the_total_deadline_ends_a_body_that_keeps_its_rate() -> None:
    """A body that never ends, fast enough, is stopped by the total deadline or the cap, and kept."""
    spec = CrawlSpec(max_body=1 << 40)
    steady = Deadlines(total=0.3, rate=1)
    outcome = await _one(hostile.drip_body, spec, deadlines=steady)
    assert (outcome.status, outcome.truncated) == (200, "time")


async def test_h8_endless_chunks_end_at_the_cap() -> None:
    """A chunked body without end is cut at max-body."""
    outcome = await _one(hostile.endless_chunks, CrawlSpec(max_body=300_000))
    assert (outcome.body, outcome.truncated) == (b"c" * 300_000, "size")


CUT = [
    hostile.raw(OK + b"Content-Length: 100\r\n\r\npartial"),
    hostile.raw(OK + b"Transfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n"),
    hostile.raw(OK + b"Transfer-Encoding: chunked\r\n\r\n20\r\npartial"),
    hostile.resets(OK + b"Content-Length: 100\r\n\r\npartial"),
    hostile.resets(OK + b"\r\npartial"),
]


def _on_both_loops(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())
    pytest.importorskip("uvloop").run(main())


@pytest.mark.parametrize("number", range(len(CUT)))
def test_h9_a_cut_body_is_kept_and_flagged(number: int) -> None:
    """Short Content-Length, cut chunks, RST in the body: what came is kept and never looks complete, on both loops."""

    async def main() -> None:
        outcome = await _one(CUT[number])
        assert (outcome.status, outcome.body, outcome.truncated) == (200, b"partial", "cut")

    _on_both_loops(main)


def test_n6_a_cut_at_any_byte_neither_hangs_nor_looks_whole() -> None:
    """Cut after each byte of an answer: a fault before the header's end, then 'cut'; only the whole is whole."""
    whole = response(b"body of eighteen b", "Content-Type: text/html")
    head = whole.index(b"\r\n\r\n") + 4

    async def main() -> None:
        for end in range(len(whole) + 1):
            outcome = await _one(hostile.raw(whole[:end]))
            if end < head:
                assert outcome.fault in (Fault.RESET, Fault.PROTOCOL), end
            else:
                assert (outcome.status, outcome.body) == (200, whole[head:end]), end
                assert outcome.truncated == (None if end == len(whole) else "cut"), end

    _on_both_loops(main)


async def test_h10_ambiguous_lengths_are_protocol_faults() -> None:
    """Content-Length beside Transfer-Encoding, or two of them that differ: refused, the connection is not reused."""
    for lines in (b"Content-Length: 3\r\nTransfer-Encoding: chunked", b"Content-Length: 3\r\nContent-Length: 4"):
        outcome = await _one(hostile.raw(OK + lines + b"\r\n\r\nabc"))
        assert outcome.fault is Fault.PROTOCOL


@pytest.mark.parametrize("fault", [hostile.glued, hostile.glued_late])
async def test_h11_an_unasked_answer_never_answers_another_request(fault: hostile.Fault) -> None:
    """An answer glued behind another, at once or later, is dropped with its connection."""
    async with Hostile(fault) as server, _pool(server) as pool:
        for n in range(20):
            outcome = await pool.fetch(_visit(server.url(f"/{n}")))
            assert outcome.body == f"/{n}".encode()
            while fault is hostile.glued_late and server.poisoned <= n:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)  # the loop reads what loopback has delivered


async def test_h11_many_mixed_requests_get_their_own_answers() -> None:
    """2,000 keep-alive requests over ten connections (10,000 in the long form): each body carries its own URL."""
    many = 10_000 if conftest.LONG else 2_000
    async with Hostile(hostile.echo) as server:
        urls = [server.url(f"/{n}") for n in range(many)]
        outcomes = await fetch_all(urls, limit=10)
    assert [outcome.body.decode() for outcome in outcomes] == [f"/{n}" for n in range(many)]


async def test_h12_header_values_are_text_that_sqlite_takes() -> None:
    """Invalid UTF-8 in a header becomes ISO 8859-1; no lone surrogates, no NUL."""
    outcome = await _one(hostile.raw(OK + b"X: \xff\xe9\r\nY: \xc3\xa9\r\nContent-Length: 0\r\n\r\n"))
    assert (outcome.header("x"), outcome.header("y")) == ("ÿé", "é")
    nul = await _one(hostile.raw(OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n"))
    assert nul.fault is Fault.PROTOCOL or nul.header("x") == "a\ufffdb"


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"HTTP/1.1 999 No", "http_999"), (b"HTTP/1.0 404", "http_404"), (b"HTTP/1.1 2 OK", "protocol"),
     (b"no headers at all", "protocol"), (b"SSH-2.0-OpenSSH_9.2", "protocol"), (b"HTTP/1.1 OK", "protocol")],
)
async def test_h13_status_lines(line: bytes, reason: str) -> None:
    """Any three digits are a status; what is not HTTP/1 is a protocol fault."""
    outcome = await _one(hostile.raw(line + b"\r\nContent-Length: 0\r\n\r\n"))
    assert outcome.reason.split(":")[0] == reason


# --- connections


async def test_h19_a_stale_connection_is_replaced_silently() -> None:
    """A reused connection that is gone before the first byte is tried once more on a new one; that is one fetch."""
    async with Hostile(hostile.hangs_up_when_reused) as server, _pool(server) as pool:
        for n in range(5):
            outcome = await pool.fetch(_visit(server.url(f"/{n}")))
            assert (outcome.status, outcome.body) == (200, f"/{n}".encode())
    assert server.connections == 5


async def test_h19_a_new_connection_that_is_lost_is_not_tried_again() -> None:
    """A server that hangs up at once sees one request, not two: the retry belongs to the politeness clock."""
    async with Hostile(hostile.raw(b"")) as server, _pool(server) as pool:
        outcome = await pool.fetch(_visit(server.url()))
    assert outcome.fault is Fault.RESET
    assert len(server.requests) == 1


async def test_h20_bodies_of_redirects_are_not_decoded_and_end_at_64_kib() -> None:
    """A 3xx body is drained to 64 KiB as it came; 204 and 304 have none; a drained connection is reused."""
    bomb = gzip.compress(bytes(1 << 20))
    gz = ("Content-Encoding: gzip", "Location: /b")
    moved = await _one(hostile.raw(response(bomb, *gz, status="301 Moved")))
    assert (moved.status, moved.body, moved.undecoded) == (301, bomb, "gzip")
    huge = await _one(hostile.raw(response(b"x" * 1_000_000, *gz, status="301 Moved")))
    assert (huge.status, len(huge.body), huge.truncated) == (301, 65_536, "size")
    for status in ("204 No Content", "304 Not Modified"):
        outcome = await _one(hostile.raw(f"HTTP/1.1 {status}\r\nContent-Encoding: gzip\r\n\r\n".encode()))
        assert (outcome.status, outcome.body, outcome.truncated) == (int(status[:3]), b"", None)


async def test_a_redirect_whose_body_stalls_is_still_a_redirect() -> None:
    """The Location is the answer; nobody waits for the prose behind it."""
    stalled = hostile.held(b"HTTP/1.1 301 Moved\r\nLocation: /b\r\nContent-Length: 10\r\n\r\n")
    outcome = await _one(stalled, deadlines=SHORT)
    assert (outcome.status, outcome.location, outcome.truncated) == (301, "/b", "time")


# --- addresses


async def test_u6_private_names_and_literals_are_never_dialled() -> None:
    """No spelling of a loopback address reaches a listener that is no seed; a mixed answer is refused as a whole."""
    loopback = ["127.0.0.1"]
    names = _names({"one.example": loopback, "mixed.example": ["8.8.8.8", *loopback], "localhost": loopback})
    async with Hostile(hostile.echo) as server, _pool(None, resolver=names) as pool:
        hosts = ["127.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]", "0.0.0.0", "one.example", "mixed.example",
                 "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "127.0.0.2", "169.254.169.254"]
        for host in hosts:
            outcome = await pool.fetch(_visit(server.url(host=host)))
            assert (outcome.status, outcome.fault) == (None, Fault.ADDRESS_REFUSED), host
            assert outcome.reason.startswith("address_refused: ")
    assert server.connections == 0
    await names.close()


async def test_u6_a_seed_opens_only_itself() -> None:
    """A loopback seed is fetched; the same server under another name is not."""
    names = _names({"evil.example": ["127.0.0.1"]})
    async with Hostile(hostile.echo) as server, _pool(server, resolver=names) as pool:
        assert (await pool.fetch(_visit(server.url()))).status == 200
        for host in ("evil.example", "127.0.0.2"):
            assert (await pool.fetch(_visit(server.url(host=host)))).fault is Fault.ADDRESS_REFUSED
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
    async with Hostile(hostile.echo) as server, _pool(None, spec, resolver=names) as pool:
        url = server.url(host="rebind.example")
        pinned = await pool.resolve("rebind.example", server.port)
        names._cache.clear()  # the second answer is due now
        outcome = await pool.fetch(_visit(url, addresses=pinned))
        assert (outcome.status, outcome.address) == (200, "127.0.0.1")
        forged = await pool.fetch(_visit(url, addresses=("127.0.0.9",)))
        assert forged.fault is Fault.ADDRESS_REFUSED
    await names.close()


@pytest.mark.parametrize("port", [22, 25, 6379])
async def test_u11_bad_ports_are_not_dialled(port: int) -> None:
    """A link to another protocol's port is refused before any look-up."""
    async with _pool(None, resolver=_names({})) as pool:
        outcome = await pool.fetch(_visit(f"http://example.org:{port}/"))
    assert outcome.fault is Fault.PORT_REFUSED
    assert str(port) in outcome.reason


# --- faults


async def test_a_closed_port_is_a_refusal() -> None:
    """Nobody listens: connect_refused, with the system's words."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        async with FetchPool(CrawlSpec(), [split(url)], deadlines=LONG) as pool:
            outcome = await pool.fetch(_visit(url))
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
            outcome = await pool.fetch(_visit(url))
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

    async with Hostile(hostile.echo) as server, _pool(server) as pool:
        monkeypatch.setattr("crawler.fetch.pool.socket.socket", exhausted)
        outcome = await pool.fetch(_visit(server.url()))
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
    async with _pool(None, resolver=names) as pool:
        outcome = await pool.fetch(_visit("http://nowhere.example/"))
    await names.close()
    assert (outcome.fault, outcome.reason) == (Fault.DNS_NXDOMAIN, "dns_nxdomain: Name or service not known")


def test_uvloop_fetches_too() -> None:
    """The whole path works under uvloop: limits, reuse, order."""

    async def main() -> None:
        async with Hostile(hostile.echo) as server:
            urls = [server.url(f"/{n}") for n in range(50)]
            outcomes = await fetch_all(urls, limit=4)
            assert [outcome.body.decode() for outcome in outcomes] == [f"/{n}" for n in range(50)]
            assert Counter(outcome.reused for outcome in outcomes)[False] <= 4

    pytest.importorskip("uvloop").run(main())
