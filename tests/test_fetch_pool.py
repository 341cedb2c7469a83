"""The pooled core over real sockets: the wire, limits, reuse and connections (FAULTS H19, H20, L5, U1)."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter

import pytest

from crawler.fetch.many import fetch_all
from crawler.fetch.pool import FetchPool
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import Fault
from tests import hostile
from tests.fetching import LONG, SHORT, names_of, outcome_of, pool_of, visit_of
from tests.hostile import Hostile, Peer, response

# --- the wire


async def test_exactly_the_url_goes_out() -> None:
    """The request target is the URL's, byte for byte: no escape is changed, none added, no dot or slash lost."""
    paths = ["/%2f%2F/x%7e~!$&'()*+,;=:@", "/a//b///", "/x%zz?q=%7e&a=[1]|^`{}", "/?%20=+&&=", "/%E4?%e4", "/a/?b?/.."]
    async with Hostile(hostile.echo) as server, pool_of(server) as pool:
        for path in paths:
            outcome = await pool.fetch(visit_of(server.url(path)))
            assert outcome.body.decode() == path
    assert [asked.target for asked in server.requests] == paths


async def test_l5_identity_goes_out_and_nothing_else() -> None:
    """User-Agent with contact, Accept, Accept-Encoding, From for a mail address; no cookie, no Referer."""
    async with Hostile(hostile.raw(response(b"", "Set-Cookie: a=b"))) as server:
        async with pool_of(server, CrawlSpec(contact="me@example.org")) as pool:
            await pool.fetch(visit_of(server.url()))
            await pool.fetch(visit_of(server.url()))
    assert {tuple(name for name, _ in asked.headers) for asked in server.requests} == {
        ("Host", "User-Agent", "Accept", "Accept-Encoding", "From")
    }
    assert server.requests[0].header("From") == "me@example.org"
    assert "(+me@example.org)" in (server.requests[0].header("User-Agent") or "")


async def test_u1_the_users_headers_go_to_the_seeds_origins_only() -> None:
    """--header reaches the seed's origin and no other; a visit's own headers go with that visit."""
    spec = CrawlSpec(header=("X-Api-Key: secret",), allow_private=("127.0.0.0/8",), contact="https://example.org/")
    async with Hostile(hostile.echo) as seed, Hostile(hostile.echo) as other, pool_of(seed, spec) as pool:
        await pool.fetch(visit_of(seed.url(), headers={"If-None-Match": '"x"'}))
        await pool.fetch(visit_of(other.url()))
    assert seed.requests[0].header("X-Api-Key") == "secret"
    assert seed.requests[0].header("If-None-Match") == '"x"'
    assert seed.requests[0].header("From") is None
    assert other.requests[0].header("X-Api-Key") is None


async def test_n9_proxy_variables_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only --proxy sends requests to a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    assert (await outcome_of(hostile.echo)).status == 200


async def test_a_proxy_gets_every_request_and_resolves_the_names() -> None:
    """--proxy: the absolute URL goes to the proxy, nothing is looked up; a dead proxy is a fault of its own."""
    async with Hostile(hostile.echo) as proxy:
        spec = CrawlSpec(proxy=proxy.url())
        async with FetchPool(spec, deadlines=LONG, resolver=names_of({})) as pool:
            outcome = await pool.fetch(visit_of("http://site.example/a%2fb"))
            assert await pool.resolve("site.example", 80) == ()
            literal = await pool.fetch(visit_of("http://127.0.0.1/"))
    assert outcome.body == b"http://site.example/a%2fb"
    assert literal.fault is Fault.ADDRESS_REFUSED
    async with FetchPool(spec, deadlines=LONG) as pool:
        assert (await pool.fetch(visit_of("http://site.example/"))).fault is Fault.PROXY


async def test_redirects_are_not_followed() -> None:
    """A 3xx is an outcome with its raw Location; the target is left to the frontier."""
    there = hostile.raw(response(b"moved", "Location: /x y?é", status="302 Found"))
    async with Hostile(there) as server, pool_of(server) as pool:
        outcome = await pool.fetch(visit_of(server.url()))
    assert (outcome.status, outcome.reason, outcome.location) == (302, "", "/x y?é")
    assert len(server.requests) == 1


# --- limits and reuse


async def test_connections_are_reused_and_counted() -> None:
    """One host, one connection, many requests; the counters say so, and so does the server."""
    async with Hostile(hostile.echo) as server, pool_of(server) as pool:
        outcomes = [await pool.fetch(visit_of(server.url(f"/{n}"))) for n in range(20)]
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
    async with Hostile(_slow) as server, pool_of(server, CrawlSpec(connections=1), deadlines=SHORT) as pool:
        outcomes = await asyncio.gather(*(pool.fetch(visit_of(server.url(f"/{n}"))) for n in range(80)))
    assert {outcome.status for outcome in outcomes} == {200}


async def test_sent_is_called_when_the_headers_go_out() -> None:
    """The politeness clock hears of each request once, with the time in the outcome."""
    heard: list[float] = []
    async with Hostile(hostile.echo) as server, pool_of(server) as pool:
        outcome = await pool.fetch(visit_of(server.url(), sent=heard.append))
    assert heard == [outcome.sent_at]


async def test_a_cancelled_fetch_gives_its_place_back() -> None:
    """Cancelling raises CancelledError, and the connection it held is free again."""
    spec = CrawlSpec(connections=1)
    async with Hostile(hostile.silent) as dead, Hostile(hostile.echo) as live:
        async with FetchPool(spec, [split(dead.url()), split(live.url())], deadlines=LONG) as pool:
            task = asyncio.create_task(pool.fetch(visit_of(dead.url())))
            while not dead.requests:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await pool.fetch(visit_of(live.url()))).status == 200


# --- connections


async def test_h19_a_stale_connection_is_replaced_silently() -> None:
    """A reused connection that is gone before the first byte is tried once more on a new one; that is one fetch."""
    async with Hostile(hostile.hangs_up_when_reused) as server, pool_of(server) as pool:
        for n in range(5):
            outcome = await pool.fetch(visit_of(server.url(f"/{n}")))
            assert (outcome.status, outcome.body) == (200, f"/{n}".encode())
    assert server.connections == 5


async def test_h19_a_new_connection_that_is_lost_is_not_tried_again() -> None:
    """A server that hangs up at once sees one request, not two: the retry belongs to the politeness clock."""
    async with Hostile(hostile.raw(b"")) as server, pool_of(server) as pool:
        outcome = await pool.fetch(visit_of(server.url()))
    assert outcome.fault is Fault.RESET
    assert len(server.requests) == 1


async def test_h20_bodies_of_redirects_are_not_decoded_and_end_at_64_kib() -> None:
    """A 3xx body is drained to 64 KiB as it came; 204 and 304 have none; a drained connection is reused."""
    bomb = gzip.compress(bytes(1 << 20))
    gz = ("Content-Encoding: gzip", "Location: /b")
    moved = await outcome_of(hostile.raw(response(bomb, *gz, status="301 Moved")))
    assert (moved.status, moved.body, moved.undecoded) == (301, bomb, "gzip")
    huge = await outcome_of(hostile.raw(response(b"x" * 1_000_000, *gz, status="301 Moved")))
    assert (huge.status, len(huge.body), huge.truncated) == (301, 65_536, "size")
    for status in ("204 No Content", "304 Not Modified"):
        outcome = await outcome_of(hostile.raw(f"HTTP/1.1 {status}\r\nContent-Encoding: gzip\r\n\r\n".encode()))
        assert (outcome.status, outcome.body, outcome.truncated) == (int(status[:3]), b"", None)


async def test_a_redirect_whose_body_stalls_is_still_a_redirect() -> None:
    """The Location is the answer; nobody waits for the prose behind it."""
    stalled = hostile.held(b"HTTP/1.1 301 Moved\r\nLocation: /b\r\nContent-Length: 10\r\n\r\n")
    outcome = await outcome_of(stalled, deadlines=SHORT)
    assert (outcome.status, outcome.location, outcome.truncated) == (301, "/b", "time")


# --- uvloop


def test_uvloop_fetches_too() -> None:
    """The whole path works under uvloop: limits, reuse, order."""

    async def main() -> None:
        async with Hostile(hostile.echo) as server:
            urls = [server.url(f"/{n}") for n in range(50)]
            outcomes = await fetch_all(urls, limit=4)
            assert [outcome.body.decode() for outcome in outcomes] == [f"/{n}" for n in range(50)]
            assert Counter(outcome.reused for outcome in outcomes)[False] <= 4

    pytest.importorskip("uvloop").run(main())
