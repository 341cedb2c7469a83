"""What goes out, exactly: no cookie, no referer, no secret to strangers, no header the web made (FAULTS H14-H18, U1, N9)."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crawler.api import run_async
from crawler.fetch.decode import ACCEPT_ENCODING
from crawler.fetch.headers import ACCEPT, kept, sendable
from crawler.fetch.pool import FetchPool
from crawler.fetch.resolver import Resolver
from crawler.frontier.settling import fetch_row
from crawler.spec import BadSpec, CrawlSpec
from crawler.url import InvalidUrl, admit, split
from crawler.visit import Outcome, Visit
from storage import open_reader
from tests import hostile
from tests.conftest import LONG, Serve
from tests.hostile import Asked, Hostile, response
from tests.web import Answer, Request, Site, Web, page, redirect

MANY = 20_000 if LONG else 100
SPEC = CrawlSpec(contact="https://example.org/", allow_private=("127.0.0.1/32",), per_host=4, per_ip=4)


def _ours(server: Hostile, spec: CrawlSpec = SPEC) -> tuple[tuple[str, str], ...]:
    """Every header of a request to this server, in order."""
    return (("Host", f"127.0.0.1:{server.port}"), ("User-Agent", spec.agent), ("Accept", ACCEPT),
            ("Accept-Encoding", ACCEPT_ENCODING))  # fmt: skip


async def _fetch(pool: FetchPool, url: str, **options: Any) -> Outcome:
    return await pool.fetch(Visit(url, split(url), **options))


# --- cookies


FLOOD = tuple(f"Set-Cookie: c{n}={'x' * 4000}; Path=/; Max-Age=99999999" for n in range(100))


async def test_h14_a_flood_of_cookies_costs_nothing() -> None:
    """100 cookies of 4 KB in each of 20 answers: none is kept or sent back, none is stored; at most 20 ms of CPU each."""
    async with Hostile(hostile.echo) as calm, FetchPool(SPEC) as pool:
        began = time.process_time()
        for _ in range(20):
            await _fetch(pool, calm.url())
        plain = time.process_time() - began

    async def flood(peer: hostile.Peer) -> None:
        while await peer.asked():
            await peer.send(response(b"x", *FLOOD))

    names = Resolver(getaddrinfo=lambda host: [(0, 0, 0, "", ("127.0.0.1", 0))])
    async with Hostile(flood) as server, FetchPool(SPEC, resolver=names) as pool:
        began = time.process_time()
        outcomes = [await _fetch(pool, server.url(f"/{n}", host="flood.test")) for n in range(20)]
        assert time.process_time() - began - plain < 20 * 0.02
    await names.close()
    assert {asked.headers[1:] for asked in server.requests} == {_ours(server)[1:]}
    assert {outcome.status for outcome in outcomes} == {200}
    assert "cookie" not in str(fetch_row(outcomes[0], "page", 0, 1).headers).lower()


# The cases of curl's CVE-2014-3620, CVE-2023-46218, CVE-2026-8924 and Twisted's: (who sets it, its Domain, who is asked).
DOMAINS = [
    ("a.co.uk", "co.UK", "b.co.uk"), ("a.co.uk", ".co.uk", "b.co.uk"), ("a.test", "test.", "b.test"),
    ("a.test.", "test", "b.test"), ("www.a.test", "a.test", "a.test"), ("127.0.0.1", "0.0.1", "127.0.0.1"),
    ("127.0.0.1", "127.0.0.1", "127.0.0.1"), ("a.github.io", "github.io", "b.github.io"), ("a.test", "", "a.test"),
    ("a.test", "A.TEST", "a.test"), ("a.test", "b.test", "b.test"), ("a.test", "%61.test", "a.test"),
]  # fmt: skip


async def test_h15_no_cookie_goes_anywhere() -> None:
    """Cookies for super-domains, with dots, capitals, for an address: no Cookie header is ever sent to anyone."""
    names = Resolver(getaddrinfo=lambda host: [(0, 0, 0, "", ("127.0.0.1", 0))])

    async def sets(peer: hostile.Peer) -> None:
        while await peer.asked():
            await peer.send(response(b"x", *(f"Set-Cookie: a=b; Domain={domain}; Path=/" for _, domain, _ in DOMAINS)))

    async with Hostile(sets) as server, FetchPool(SPEC, resolver=names) as pool:
        for setter, _, asked in DOMAINS:
            for host in (setter.rstrip("."), asked):
                assert (await _fetch(pool, server.url(host=host))).status == 200
    assert len(server.requests) == 2 * len(DOMAINS)
    assert {name for asked in server.requests for name, _ in asked.headers} == {
        "Host", "User-Agent", "Accept", "Accept-Encoding"
    }  # fmt: skip
    await names.close()


# --- what the web wrote


HREFS = st.lists(
    st.one_of(
        st.sampled_from(["\r\n", "\n", "\r", "%0d%0a", "%0D%0AX-Evil: 1", "\r\nX-Evil: 1\r\n\r\nGET /x HTTP/1.1", "\0", " "]),
        st.sampled_from(["?", "#", "/", "..", "@", ":", "\\", "é", "\u2028", "\ud800", "\x85", "HTTP/1.1", "\t"]),
        st.text(max_size=8),
    ),
    max_size=8,
).map("".join)


class _Fuzzed:
    """One server and one pool under hypothesis, on a loop of their own."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.server = await Hostile(hostile.echo).__aenter__()
        self.pool = await FetchPool(SPEC).__aenter__()

    def ask(self, *visits: Visit) -> list[Asked]:
        """What reached the server when these were fetched."""
        self.server.requests.clear()

        async def fetch() -> None:
            for visit in visits:
                assert (await self.pool.fetch(visit)).status == 200

        self.runner.run(fetch())
        return list(self.server.requests)

    def close(self) -> None:
        async def end() -> None:
            await self.pool.aclose()
            await self.server.__aexit__(None, None, None)

        self.runner.run(end())
        self.runner.close()


@pytest.fixture
def fuzzed() -> Any:
    made = _Fuzzed()
    yield made
    made.close()


@settings(max_examples=MANY, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(href=HREFS)
@example("/x\r\nX-Evil: 1\r\n\r\n")
@example("/%0d%0aX-Evil:%201")
@example("/ HTTP/1.1\r\nHost: evil.test\r\n\r\n")
def test_h16_links_make_no_header(fuzzed: _Fuzzed, href: str) -> None:
    """Whatever a page links to, one request goes out with exactly our header set, and its target holds no control byte."""
    try:
        place = admit("/" + href.lstrip("/\\"), fuzzed.server.url())
    except InvalidUrl:
        return
    if place.origin != fuzzed.server.url()[:-1]:
        return
    [asked] = fuzzed.ask(Visit(place.url, place))
    assert asked.headers == _ours(fuzzed.server)
    assert asked.target == place.path
    assert all("!" <= c <= "~" for c in asked.target)


@settings(max_examples=MANY, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tag=st.one_of(st.text(max_size=300), st.text("\r\n !\"abc\t\0", max_size=20), st.just('W/"x"'), st.just("a" * 257)))
@example('"\r\nX-Evil: 1"')
def test_h16_validators_are_sent_only_if_they_are_clean(fuzzed: _Fuzzed, tag: str) -> None:
    """An ETag goes back only if it is 1-256 visible ASCII characters; anything else is neither stored nor sent."""
    clean = 1 <= len(tag) <= 256 and all("!" <= c <= "~" for c in tag)
    place = split(fuzzed.server.url())
    [asked] = fuzzed.ask(Visit(place.url, place, headers={"If-None-Match": tag}))
    assert asked.header("If-None-Match") == (tag if clean else None)
    assert tuple(one for one in asked.headers if one[0] != "If-None-Match") == _ours(fuzzed.server)
    stored = fetch_row(Outcome(place.url, 200, headers=(("ETag", tag), ("Age", "1"))), "page", 0, 1).headers
    assert stored is not None
    assert ("etag" in stored.lower()) == clean


@settings(max_examples=2 * MANY, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=60)), max_size=140))
@example([(b"ETag", b"\xed\xa0\x80\0\xff")])
def test_h12_any_bytes_are_headers_that_can_be_stored(raw: list[tuple[bytes, bytes]]) -> None:
    """Header values of whatever bytes: text without NUL or lone surrogates, 128 of them at most, never an exception."""
    found = kept(raw)
    assert len(found) == min(len(raw), 128)
    for _, value in found:
        assert "\0" not in value
        value.encode("utf-8")
    row = fetch_row(Outcome("http://a.test/", 200, headers=found), "page", 0, 1)
    assert row.headers is None or "\0" not in row.headers


@pytest.mark.parametrize(
    ("name", "value", "fine"),
    [
        ("If-Modified-Since", "Wed, 21 Oct 2015 07:28:00 GMT", True), ("Last-Modified", "yesterday\r\nX: 1", False),
        ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT", True), ("ETag", '"a b"', False), ("etag", '"ab"', True),
        ("ETag", "", False), ("If-None-Match", '"\u00e9"', False), ("Age", "any thing", True), ("X", "a\r\nb", False),
    ],
)  # fmt: skip
def test_h16_what_may_be_sent_back(name: str, value: str, fine: bool) -> None:
    """Validators: visible ASCII, 256 at most, dates with their blanks; any other header: no control characters."""
    assert sendable(name, value) is fine


@settings(max_examples=2 * MANY, deadline=None)
@given(text=st.one_of(st.text(max_size=30), st.text("\r\n\0ab :\x7f\x80é", max_size=12)))
def test_h16_options_make_no_header_either(text: str) -> None:
    """User agent, contact and --header are refused if they hold a line break or a control character."""
    for options in ({"user_agent": text}, {"contact": text}, {"header": (text,)}, {"header": (f"X: {text}",)}):
        try:
            spec = CrawlSpec(**options)  # type: ignore[arg-type]
        except BadSpec:
            continue
        said = "".join([spec.agent, spec.contact or "", *spec.header])
        assert not any(c in said for c in "\r\n\0\x7f")


# --- to whom


async def test_u1_u9_another_origin_gets_nothing_but_our_identity(serve: Serve, crawl_file: Path) -> None:
    """A crawl with --header that is led to another port, host and back by links and redirects: strangers get
    User-Agent, Accept and Accept-Encoding alone; nobody ever gets a Referer, a cookie or credentials of a URL."""
    set_cookie = (("Content-Type", "text/html"), ("Set-Cookie", "a=b; Path=/"), ("ETag", '"tag"'))
    other = await serve(Site({"/": Answer(body=b"<a href=/x>", headers=set_cookie), "/x": page(), "/moved": page()}))

    def seed_site(request: Request) -> Any:
        at = f"127.0.1.1:{other.port}"
        home = page("/r", f"http://user:pw@{at}/", f"http://{at}/x", f"http://me:pw@127.0.1.1:{request.port}/in")
        return {
            "/": Answer(body=home.encode(), headers=set_cookie), "/r": redirect(f"http://u:p@{at}/moved"), "/in": page("/")
        }.get(request.path, 404)  # fmt: skip

    async with Web(seed_site) as web:
        spec = CrawlSpec(seeds=(web.url(),), header=("X-Api-Key: secret", "Cookie: s=1"), scope="any", delay=0.0,
                         patience=0.2, parse_workers=0, allow_private=("127.0.1.0/24",))  # fmt: skip
        async with asyncio.timeout(15):
            await run_async(spec, crawl_file)
    ours = {"host", "user-agent", "accept", "accept-encoding"}
    assert {r.path for r in other.requests} == {"/robots.txt", "/", "/x", "/moved"}
    assert {name for r in other.requests for name in r.headers} == ours
    assert {r.path for r in web.requests} == {"/robots.txt", "/", "/r", "/in"}
    assert {name for r in web.requests for name in r.headers} == ours | {"x-api-key", "cookie"}
    assert {r.headers["cookie"] for r in web.requests} == {"s=1"}  # the user's, not the site's
    for part in crawl_file.parent.glob(crawl_file.name + "*"):
        assert b"pw@" not in part.read_bytes()


async def test_h18_a_connection_serves_one_origin() -> None:
    """Two names at one address and port, and two ports of one name, never share a connection."""
    names = Resolver(getaddrinfo=lambda host: [(0, 0, 0, "", ("127.0.0.1", 0))])
    async with Hostile(hostile.echo) as one, Hostile(hostile.echo) as two, FetchPool(SPEC, resolver=names) as pool:
        for n in range(20):
            for server in (one, two):
                for host in ("a.test", "b.test"):
                    outcome = await _fetch(pool, server.url(f"/{n}", host=host))
                    assert outcome.body == f"/{n}".encode()
    for server in (one, two):
        used = {(asked.connection, asked.header("Host")) for asked in server.requests}
        assert (server.connections, len(used)) == (2, 2)
    await names.close()


async def test_n9_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Proxy variables and a .netrc of the environment change nothing: a name is fetched from its own address, bare."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine site.test login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    names = Resolver(getaddrinfo=lambda host: [(0, 0, 0, "", ("127.0.0.1", 0))])
    async with Hostile(hostile.echo) as proxy, Hostile(hostile.echo) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.setenv("no_proxy", "")
        async with FetchPool(SPEC, resolver=names) as pool:
            assert (await _fetch(pool, server.url(host="site.test"))).status == 200
    assert (proxy.connections, len(server.requests)) == (0, 1)
    assert server.requests[0].header("Authorization") is None
    await names.close()


@pytest.mark.parametrize("coding", ["gzip, br", "compress", "gzip"])
async def test_h3_what_is_not_decoded_is_kept_and_not_parsed(serve: Serve, crawl_file: Path, coding: str) -> None:
    """Two codings, an unknown and a false one: the body is stored as it came, `parse` says so, no link of it is taken."""
    body = b"<!DOCTYPE html><title>x</title><a href=/b>b</a>"
    headers = (("Content-Type", "text/html"), ("Content-Encoding", coding))
    web = await serve(Site({"/": Answer(body=body, headers=headers), "/b": page()}))
    spec = CrawlSpec(seeds=(web.url(),), delay=0.0, patience=0.2, parse_workers=0)
    async with asyncio.timeout(15):
        await run_async(spec, crawl_file)
    with open_reader(crawl_file) as reader:
        rows = list(reader.query("SELECT digest, parse, title FROM pages")[1])
    assert rows == [(hashlib.sha256(body).hexdigest(), f"skipped: content-encoding {coding}", None)]
    assert [r.path for r in web.requests] == ["/robots.txt", "/"]
