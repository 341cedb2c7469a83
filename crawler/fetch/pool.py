"""The pooled core: one session, one connector, many endpoints. The only importer of aiohttp's client.

Three of aiohttp's joints are used, each documented by it: `request_class` (its `send` is the one place that sees the
connection of a request), a client middleware (which failures are tried again) and `socket_factory` (every dial).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

import aiohttp
import yarl
from aiohappyeyeballs import AddrInfoType
from aiohttp.client_proto import ResponseHandler

from crawler.descriptors import allowed
from crawler.fetch import ResolveError, Stats
from crawler.fetch.addresses import Guard, literal
from crawler.fetch.budget import Budget
from crawler.fetch.faults import WEB, fault_of
from crawler.fetch.headers import LONGEST, sendable, sent_to_all, sent_to_seeds
from crawler.fetch.http import Deadlines, Exchange, Watch
from crawler.fetch.resolver import PIN, Pin, Resolver
from crawler.spec import CrawlSpec
from crawler.visit import Fault, Outcome, Visit
from storage.model import Place

IDLE = 1000  # connections kept for reuse at most, about 50 kB each; aiohttp's limit counts only those in use
MAX_HEADERS = 256  # a response with more is refused (H5); the first 128 are kept


@dataclass(slots=True)
class _Turn:
    """One fetch's turn at the connector, as the joints below see it. ``refusal``: why the guard stopped a dial."""

    pool: FetchPool
    exchange: Exchange
    pin: Pin
    protocol: ResponseHandler | None = None
    refusal: str | None = None


_TURN: ContextVar[_Turn] = ContextVar("turn")


class _Stale(aiohttp.ClientError):
    """A pooled connection has spoken unasked; nothing was sent on it."""


class _Lost(aiohttp.ClientError):
    """Hides a lost connection from aiohttp, which would send the request again at once; the cause is what happened."""


class _Stranger(aiohttp.ClientError):
    """A new connection does not lead to an address that was checked; nothing was sent on it."""


class _Request(aiohttp.ClientRequest):
    """A request that tells its exchange when and on which connection it went out."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        protocol = conn.protocol
        assert protocol is not None
        if protocol.should_close:
            # Bytes behind the last answer would be taken for the answer to this request (H11); aiohttp looks only at
            # what came before the connection went back to the pool.
            raise _Stale
        turn = _TURN.get()
        reused = turn.pool._meet(turn, protocol)
        response = await super().send(conn)
        turn.pool._sent(turn, protocol, reused)
        return response


async def _send(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Sends; once more when a reused connection was gone before the first byte (H19), never when a new one was."""
    exchange, again = _TURN.get().exchange, True
    while True:
        try:
            return await handler(request)
        except _Stale:
            continue  # that connection is closed now; there are only so many
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            if not (again and exchange.reused) or isinstance(error, aiohttp.ClientConnectorError):
                raise _Lost from error
            again = False


class FetchPool:
    """Fetches over one pool of connections: an async context manager, and the engine's `Fetcher`.

    ``spec``: limits, identity, headers, proxy. ``seeds`` open the addresses they spell out and get the spec's headers.
    ``deadlines`` default to those of `Deadlines` with the spec's timeout. ``budget`` bounds the bytes of large bodies: an
    outcome's ``share`` of it is to be freed once the body is done with. A resolver that is handed in stays the
    caller's to close. ValueError when an allow-private is no CIDR.
    """

    def __init__(
        self,
        spec: CrawlSpec,
        seeds: Iterable[Place] = (),
        *,
        deadlines: Deadlines | None = None,
        resolver: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        budget: Budget | None = None,
    ) -> None:
        places = tuple(seeds)
        self.stats = Stats()
        self._spec, self._ssl = spec, ssl_context
        self._deadlines = deadlines or Deadlines(total=spec.timeout)
        self._watch = Watch(self._deadlines)
        self._budget = budget or Budget()
        self._guard = Guard(spec.allow_private, places)
        self._resolver, self._own_resolver = resolver or Resolver(), resolver is None
        self._seed_headers = sent_to_seeds(spec)
        self._seed_origins = frozenset(place.origin for place in places) if self._seed_headers else frozenset()
        # Connections that carried a request before, and whereto they go.
        self._known: WeakKeyDictionary[ResponseHandler, str | None] = WeakKeyDictionary()
        # Open and unused, the longest unused first; some of them the server may have closed.
        self._idle: dict[ResponseHandler, None] = {}
        self._room = max(spec.connections, min(allowed(), spec.connections + IDLE))
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=self._spec.connections,
            limit_per_host=self._spec.per_host,
            keepalive_timeout=60,
            use_dns_cache=False,
            resolver=self._resolver,
            socket_factory=self._dial,
            ssl=self._ssl or True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=sent_to_all(self._spec),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # one clock runs: the exchange's
            auto_decompress=False,
            trust_env=False,
            proxy=self._spec.proxy,
            request_class=_Request,
            middlewares=(_send,),
            max_line_size=LONGEST,
            max_field_size=LONGEST,
            max_headers=MAX_HEADERS,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every connection. Doing so twice is harmless."""
        self._watch.close()
        if self._session is not None:
            await self._session.close()
        if self._own_resolver:
            await self._resolver.close()

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """The checked addresses of a host, for `Visit.addresses`. Raises ResolveError, also for what the guard refuses.

        Behind a proxy names are the proxy's to resolve: the answer is empty, and only literals and ports are checked.
        """
        host = host.strip("[]")
        self._check(host, port, ())  # a blocked port needs no look-up
        found = () if self._spec.proxy and literal(host) is None else await self._resolver.lookup(host)
        self._check(host, port, found)
        return found

    async def fetch(self, visit: Visit) -> Outcome:
        """What one GET of the visit's URL comes to. Follows nothing; exactly that URL goes out (CONTRACT §1)."""
        exchange = Exchange(visit, self._spec, self._deadlines, self._budget)
        try:
            async with asyncio.timeout(None) as exchange.clock:
                self._watch.add(exchange)
                await self._exchange(exchange)
        except ResolveError as error:
            exchange.failed(error.fault, error.text)
        except TimeoutError:  # our clock's; _exchange has mapped every other
            exchange.expired()
        except BaseException:
            if exchange.share is not None:
                exchange.share.free()
            raise
        finally:
            self._watch.remove(exchange)
        if exchange.share is not None:
            exchange.share.ended()
        self.stats.bytes += exchange.wire
        return exchange.outcome()

    async def _exchange(self, exchange: Exchange) -> None:
        visit = exchange.visit
        try:
            url = yarl.URL(visit.url, encoded=True)  # or yarl would rewrite it (LIBRARIES 1.1)
            host, port = url.raw_host or "", url.port or 0
        except ValueError as error:
            exchange.failed(Fault.PROTOCOL, f"invalid URL: {error}")
            return
        turn = _Turn(self, exchange, Pin(host, await self._addresses(visit, host, port)))
        turn_token, pin_token = _TURN.set(turn), PIN.set(turn.pin)
        try:
            await self._get(turn, url)
        except WEB as error:
            exchange.failed(*self._fault(turn, error))
        finally:  # a task's context outlives the fetch, and must not keep its body alive
            _TURN.reset(turn_token)
            PIN.reset(pin_token)

    async def _addresses(self, visit: Visit, host: str, port: int) -> tuple[str, ...]:
        if not visit.addresses:
            return await self.resolve(host, port)
        self._check(host, port, visit.addresses)
        return visit.addresses

    def _check(self, host: str, port: int, addresses: Iterable[str]) -> None:
        refusal = self._guard.check(host, port, addresses)
        if refusal is not None:
            fault = Fault.PORT_REFUSED if self._guard.check_port(host, port) else Fault.ADDRESS_REFUSED
            raise ResolveError(fault, refusal)

    async def _get(self, turn: _Turn, url: yarl.URL) -> None:
        visit = turn.exchange.visit
        headers = {name: value for name, value in visit.headers.items() if sendable(name, value)}
        if visit.place.origin in self._seed_origins:
            headers = {**self._seed_headers, **headers}
        assert self._session is not None, "use `async with`"
        response = await self._session.get(url, allow_redirects=False, headers=headers or None)
        try:
            turn.exchange.answered(response.status, response.raw_headers)
            await _receive(turn, response)
        finally:
            response.close()  # a connection whose body was read to its end is back in the pool already
            if turn.protocol is not None and turn.protocol.is_connected():
                self._idle[turn.protocol] = None

    def _fault(self, turn: _Turn, error: Exception) -> tuple[Fault, str]:
        if turn.refusal is not None:
            return Fault.ADDRESS_REFUSED, turn.refusal
        cause = error.__cause__ if isinstance(error, _Lost) and error.__cause__ is not None else error
        ipv4 = any("." in address for address in turn.pin.addresses)
        fault = fault_of(cause, proxied=self._spec.proxy is not None, ipv4=ipv4)
        if fault[0] is Fault.LOCAL:
            self._hang_up(0)  # what we have run out of comes back first of all from here
        return fault

    def _meet(self, turn: _Turn, protocol: ResponseHandler) -> bool:
        """Whether the connection carried a request before. A new one must lead where it was checked to lead (U7)."""
        if protocol in self._known:
            self._idle.pop(protocol, None)
            return True
        peer = protocol.transport and protocol.transport.get_extra_info("peername")
        ip = self._known[protocol] = peer[0] if peer else None
        if ip is not None and self._spec.proxy is None and literal(ip) not in map(literal, turn.pin.addresses):
            turn.refusal = f"{turn.pin.host} led to {ip}, which is not what was checked"
            raise _Stranger
        return False

    def _sent(self, turn: _Turn, protocol: ResponseHandler, reused: bool) -> None:
        self.stats.requests += 1
        self.stats.reused += reused
        self.stats.opened += not reused
        turn.protocol = protocol
        turn.exchange.sent(self._known[protocol], reused)

    def _hang_up(self, room: int) -> None:
        """Closes idle connections, the longest unused first, until no more than ``room`` are left (X1)."""
        while self._idle and len(self._idle) > room:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.abort()

    def _dial(self, info: AddrInfoType) -> socket.socket:
        """Every dial passes here, also those of literals, which no resolver sees (U6, U7)."""
        turn, (ip, port) = _TURN.get(), info[4][:2]
        turn.exchange.dialled()
        self._hang_up(self._room - len(self._watch))
        if self._spec.proxy is None:
            refusal = self._guard.check(turn.pin.host, port, (ip,))
            if refusal is None and ip not in turn.pin.addresses:
                refusal = f"{ip} is not what was checked for {turn.pin.host}"
            if refusal is not None:
                turn.refusal = refusal
                raise OSError(errno.EACCES, refusal)
        return socket.socket(info[0], info[1], info[2])


async def _receive(turn: _Turn, response: aiohttp.ClientResponse) -> None:
    """The body, as far as caps, clock and peer let it come."""
    exchange, content = turn.exchange, response.content
    try:
        while chunk := await content.readany():
            if turn.pool._budget.held:
                await exchange.room_for(chunk)
            if not exchange.take(chunk):
                return
    except WEB:
        # readany() raises before it hands out what is buffered; with uvloop data and end often come together.
        exchange.take(content._read_nowait(-1))
        exchange.cut()
        return
    if _broke_off(turn, response):
        exchange.cut()
    exchange.ended()


def _broke_off(turn: _Turn, response: aiohttp.ClientResponse) -> bool:
    """A body that lasts until the connection closes, and the connection was reset: aiohttp takes it for complete."""
    if turn.protocol is None or "Content-Length" in response.headers or "Transfer-Encoding" in response.headers:
        return False
    return isinstance(turn.protocol.exception(), aiohttp.ClientOSError)
