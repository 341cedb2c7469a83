"""How answers and exceptions become outcomes; aioresponses stands in for the connection, so no connector is met here."""

from __future__ import annotations

import errno
import ssl
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http import HttpVersion11, RawResponseMessage
from aiohttp.http_exceptions import TransferEncodingError
from aioresponses import aioresponses

import tests.aioresponses_shim  # noqa: F401  # before aioresponses is used
from crawler.fetch.faults import WEB, fault_of
from crawler.fetch.pool import FetchPool
from crawler.fetch.resolver import Resolver
from crawler.spec import CrawlSpec
from crawler.url import split
from crawler.visit import RETRY, Fault, Visit

URL = "http://site.example/page"
KEY = ConnectionKey("site.example", 80, False, True, None, None, None)


class _Mocked(FetchPool):
    """Asks aiohttp's session, which aioresponses mocks, where the pool asks a connection."""

    async def _get(self, turn: Any, *_: Any) -> None:
        async with aiohttp.ClientSession() as session, session.get(turn.exchange.visit.url, allow_redirects=False) as got:
            answer = RawResponseMessage(HttpVersion11, got.status, "", got.headers, got.raw_headers, False, None, False, False)
            await self._receive(turn, Mock(**{"exception.return_value": None}), answer, got.content)


@pytest.fixture
async def pool() -> AsyncIterator[FetchPool]:
    """A pool that believes every name to be at one public address."""
    names = Resolver(getaddrinfo=lambda host: [(0, 0, 0, "", ("93.184.216.34", 0))])
    async with _Mocked(CrawlSpec(), resolver=names) as opened:
        yield opened
    await names.close()


@pytest.mark.parametrize(
    ("status", "reason", "ok"),
    [(200, "", True), (206, "", True), (301, "", False), (304, "", False), (404, "http_404", False),
     (429, "http_429", False), (503, "http_503", False), (999, "http_999", False)],
)
async def test_statuses_and_reasons(pool: FetchPool, status: int, reason: str, ok: bool) -> None:
    """2xx and 3xx have no reason, errors are http_NNN, and none of them is a fault."""
    with aioresponses() as web:
        web.get(URL, status=status, body=b"text")
        outcome = await pool.fetch(Visit(URL, split(URL)))
    assert (outcome.status, outcome.reason, outcome.ok, outcome.fault) == (status, reason, ok, None)


async def test_a_body_beyond_64_kib_comes_whole(pool: FetchPool) -> None:
    """Large bodies pass, by the mock too."""
    with aioresponses() as web:
        web.get(URL, body=b"x" * 200_000)
        assert len((await pool.fetch(Visit(URL, split(URL)))).body) == 200_000


_REFUSED = OSError(errno.ECONNREFUSED, "Connect call failed")
TABLE: list[tuple[Exception, Fault]] = [
    (aiohttp.ClientConnectorError(KEY, _REFUSED), Fault.CONNECT_REFUSED),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.EMFILE, "Too many open files")), Fault.LOCAL),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.ENFILE, "x")), Fault.LOCAL),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.ENOBUFS, "x")), Fault.LOCAL),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.ENOMEM, "x")), Fault.LOCAL),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.EADDRNOTAVAIL, "x")), Fault.LOCAL),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.ENETUNREACH, "x")), Fault.OFFLINE),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.EHOSTUNREACH, "x")), Fault.CONNECT_FAILED),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.ETIMEDOUT, "x")), Fault.CONNECT_TIMEOUT),
    (aiohttp.ClientConnectorError(KEY, OSError("Multiple exceptions: a, b")), Fault.CONNECT_FAILED),
    (aiohttp.ClientConnectorError(KEY, ConnectionResetError()), Fault.RESET),
    (aiohttp.ClientConnectorDNSError(KEY, OSError(None, "no answer")), Fault.DNS_FAILED),
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("bad")), Fault.TLS),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "wrong version")), Fault.TLS),
    (aiohttp.ClientProxyConnectionError(KEY, _REFUSED), Fault.PROXY),
    (aiohttp.ClientProxyConnectionError(KEY, OSError(errno.EMFILE, "Too many open files")), Fault.LOCAL),
    (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), Fault.RESET),
    (aiohttp.ClientOSError(errno.EPIPE, "broken pipe"), Fault.RESET),
    (aiohttp.ServerDisconnectedError(), Fault.RESET),
    (aiohttp.ClientConnectionResetError("Cannot write to closing transport"), Fault.RESET),
    (aiohttp.ConnectionTimeoutError("late"), Fault.CONNECT_TIMEOUT),
    (aiohttp.SocketTimeoutError("late"), Fault.TIMEOUT),
    (aiohttp.ClientPayloadError("bad"), Fault.PROTOCOL),
    (aiohttp.InvalidURL("http://"), Fault.PROTOCOL),
    (aiohttp.EofStream(), Fault.RESET),
    (TransferEncodingError("bad chunk"), Fault.PROTOCOL),
]


@pytest.mark.parametrize("number", range(len(TABLE)))
async def test_exceptions_become_faults(pool: FetchPool, number: int) -> None:
    """Each exception of aiohttp, ssl and the system is an outcome with its fault; the reason begins with the token."""
    error, fault = TABLE[number]
    with aioresponses() as web:
        web.get(URL, exception=error)
        outcome = await pool.fetch(Visit(URL, split(URL)))
    assert (outcome.fault, outcome.status) == (fault, None)
    assert outcome.reason.split(":")[0] == fault.value
    assert outcome.reason.isprintable()
    assert fault.value in RETRY


async def test_bugs_are_not_swallowed(pool: FetchPool) -> None:
    """What is neither the web's nor the system's doing comes out as it is."""
    with aioresponses() as web:
        web.get(URL, exception=KeyError("ours"))
        with pytest.raises(KeyError):
            await pool.fetch(Visit(URL, split(URL)))


def test_every_kind_of_error_the_client_raises_has_a_fault() -> None:
    """The table ends in classes that take whatever `WEB` lets through."""
    for kind in WEB:
        error = kind()
        assert isinstance(fault_of(error)[0], Fault)


def test_a_proxy_answers_for_its_own_name_and_port() -> None:
    """Behind a proxy a failure to connect is the proxy's, but our own descriptors are still ours."""
    assert fault_of(aiohttp.ClientConnectorDNSError(KEY, OSError(None, "x")), proxied=True)[0] is Fault.PROXY
    error = aiohttp.ClientConnectorError(KEY, OSError(errno.EMFILE, "x"))
    assert fault_of(error, proxied=True)[0] is Fault.LOCAL
