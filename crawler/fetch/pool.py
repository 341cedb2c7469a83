"""The pooled core: one connector, many endpoints. With `origin` and `handler` the only importer of aiohttp's client.

aiohttp's connector and parser are used without its session, which would cost as much again (decision 0023): `connect`
gives a connection, `ResponseHandler` reads the answers on it, `socket_factory` sees every dial.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

import aiohttp
from aiohappyeyeballs import AddrInfoType
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from crawler.descriptors import allowed
from crawler.fetch import ResolveError, Stats
from crawler.fetch.addresses import Guard, literal
from crawler.fetch.budget import Budget
from crawler.fetch.faults import WEB, fault_of
from crawler.fetch.handler import Handler
from crawler.fetch.headers import LONGEST, merged, sendable, sent_to_all, sent_to_seeds
from crawler.fetch.http import Deadlines, Exchange, Watch
from crawler.fetch.origin import Origin
from crawler.fetch.resolver import PIN, Pin, Resolver
from crawler.spec import CrawlSpec
from crawler.visit import Fault, Outcome, Visit
from storage.model import Place

IDLE = 1000  # connections kept for reuse at most, about 50 kB each; aiohttp's limit counts only those in use
MAX_HEADERS = 256  # a response with more is refused (H5); the first 128 are kept
ORIGINS = 1024  # remembered; another 40 µs for each that is asked after it was forgotten
_NO_CLOCK = aiohttp.ClientTimeout(total=None, sock_connect=None)  # one clock runs: the exchange's


@dataclass(slots=True)
class _Turn(Pin):
    """One fetch's turn at the connector, as `_dial` sees it. ``refusal``: why the guard stopped a dial."""

    exchange: Exchange
    refusal: str | None = None


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
        self._origin = lru_cache(maxsize=ORIGINS)(self._origin_of)
        self._connector: aiohttp.TCPConnector | None = None

    async def __aenter__(self) -> Self:
        self._connector = aiohttp.TCPConnector(
            limit=self._spec.connections,
            limit_per_host=self._spec.most_per_host,
            keepalive_timeout=60,
            use_dns_cache=False,
            resolver=self._resolver,
            socket_factory=self._dial,
            ssl=self._ssl or True,
        )
        self._connector._factory = partial(Handler, asyncio.get_running_loop())  # type: ignore[assignment]  # a subclass
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every connection. Doing so twice is harmless."""
        self._watch.close()
        if self._connector is not None:
            await self._connector.close()
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
        place = exchange.visit.place
        try:
            origin = self._origin(place.origin)
            line = origin.line(place.path)
        except ValueError as error:
            exchange.failed(Fault.PROTOCOL, f"invalid URL: {error}")
            return
        turn = _Turn(origin.host, await self._addresses(exchange.visit, origin), exchange)
        token = PIN.set(turn)
        try:
            await self._get(turn, origin, line)
        except WEB as error:
            exchange.failed(*self._fault(turn, error))
        finally:  # contexts outlive the fetch, this task's and the connection's; they must not keep its body alive
            PIN.reset(token)
            del turn.exchange

    def _origin_of(self, origin: str) -> Origin:
        ours = sent_to_all(self._spec)
        headers = merged(ours, self._seed_headers) if origin in self._seed_origins else ours
        return Origin(origin, headers, ours, self._spec.proxy)

    async def _addresses(self, visit: Visit, origin: Origin) -> tuple[str, ...]:
        if not visit.addresses:
            return await self.resolve(origin.host, origin.port)
        self._check(origin.host, origin.port, visit.addresses)
        return visit.addresses

    def _check(self, host: str, port: int, addresses: Iterable[str]) -> None:
        refusal = self._guard.check(host, port, addresses)
        if refusal is not None:
            fault = Fault.PORT_REFUSED if self._guard.check_port(host, port) else Fault.ADDRESS_REFUSED
            raise ResolveError(fault, refusal)

    async def _get(self, turn: _Turn, origin: Origin, line: str) -> None:
        """Asks; once more when a reused connection was gone before the first byte (H19), never when a new one was."""
        assert self._connector is not None, "use `async with`"
        validators = {name: value for name, value in turn.exchange.visit.headers.items() if sendable(name, value)}
        again = True
        while True:
            try:
                connection = await self._connector.connect(origin.request, [], _NO_CLOCK)
            except asyncio.CancelledError:
                self._connector._release_waiter()  # it may have been this one's turn; aiohttp calls nobody else then
                raise
            try:
                if await self._ask(turn, connection, line + origin.lines(validators)):
                    return
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
                if not (again and turn.exchange.reused):
                    raise
                again = False
            finally:
                connection.close()  # harmless where it went back to the pool

    async def _ask(self, turn: _Turn, connection: Connection, head: str) -> bool:
        """One request and its answer. False: the connection was stale, nothing was sent on it."""
        protocol = connection.protocol
        assert protocol is not None
        if protocol.should_close:
            # Bytes behind the last answer would be taken for the answer to this request (H11); aiohttp looks only at
            # what came before the connection went back to the pool.
            if protocol in self._known:
                return False
            protocol.force_close()  # a new one that spoke first would do so at each dial; it may answer, but only once
        self._send(turn, protocol, head)
        while True:
            answer, body = await protocol.read()
            if not 100 <= answer.code < 200 or answer.code == 101:  # the others are interim (RFC 9110 §15.2)
                break
        await self._receive(turn, protocol, answer, body)
        if body.at_eof() and answer.code != 101:  # what follows a 101, also one without an Upgrade, is no answer of ours
            connection.release()
            if protocol.is_connected():
                self._idle[protocol] = None
        return True

    def _fault(self, turn: _Turn, error: Exception) -> tuple[Fault, str]:
        if turn.refusal is not None:
            return Fault.ADDRESS_REFUSED, turn.refusal
        ipv4 = any("." in address for address in turn.addresses)
        fault = fault_of(error, proxied=self._spec.proxy is not None, ipv4=ipv4)
        if fault[0] is Fault.LOCAL:
            self._hang_up(0)  # what we have run out of comes back first of all from here
        return fault

    def _send(self, turn: _Turn, protocol: ResponseHandler, head: str) -> None:
        reused = self._meet(turn, protocol)
        protocol.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=LONGEST,
            max_field_size=LONGEST,
            max_headers=MAX_HEADERS,
        )
        if protocol.transport is None or protocol.transport.is_closing():
            lost = aiohttp.ClientConnectionResetError("the connection was lost before anything was sent")
            raise protocol.exception() or lost
        protocol.transport.write(head.encode())
        self.stats.requests += 1
        self.stats.reused += reused
        self.stats.opened += not reused
        turn.exchange.sent(self._known[protocol], reused)

    def _meet(self, turn: _Turn, protocol: ResponseHandler) -> bool:
        """Whether the connection carried a request before. A new one must lead where it was checked to lead (U7)."""
        if protocol in self._known:
            self._idle.pop(protocol, None)
            return True
        peer = protocol.transport and protocol.transport.get_extra_info("peername")
        ip = self._known[protocol] = peer[0] if peer else None
        if ip is not None and self._spec.proxy is None and literal(ip) not in map(literal, turn.addresses):
            raise ResolveError(Fault.ADDRESS_REFUSED, f"{turn.host} led to {ip}, which is not what was checked")
        return False

    async def _receive(
        self, turn: _Turn, protocol: ResponseHandler, answer: RawResponseMessage, body: StreamReader
    ) -> None:
        """The body, as far as caps, clock and peer let it come."""
        exchange = turn.exchange
        exchange.answered(answer.code, answer.raw_headers)
        try:
            while chunk := await body.readany():
                if self._budget.held:
                    await exchange.room_for(chunk)
                if not exchange.take(chunk):
                    return
        except WEB:
            # readany() raises before it hands out what is buffered; with uvloop data and end often come together.
            exchange.take(body._read_nowait(-1))
            exchange.cut()
            return
        if _broke_off(protocol, answer):
            exchange.cut()
        exchange.ended()

    def _hang_up(self, room: int) -> None:
        """Closes idle connections, the longest unused first, until no more than ``room`` are left (X1)."""
        while self._idle and len(self._idle) > room:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.abort()

    def _dial(self, info: AddrInfoType) -> socket.socket:
        """Every dial passes here, also those of literals, which no resolver sees (U6, U7)."""
        turn, (ip, port) = PIN.get(), info[4][:2]
        assert isinstance(turn, _Turn)
        turn.exchange.dialled()
        self._hang_up(self._room - len(self._watch))
        if self._spec.proxy is None:
            refusal = self._guard.check(turn.host, port, (ip,))
            if refusal is None and ip not in turn.addresses:
                refusal = f"{ip} is not what was checked for {turn.host}"
            if refusal is not None:
                turn.refusal = refusal
                raise OSError(errno.EACCES, refusal)
        return socket.socket(info[0], info[1], info[2])


def _broke_off(protocol: ResponseHandler, answer: RawResponseMessage) -> bool:
    """A body that lasts until the connection closes, and the connection was reset: aiohttp takes it for complete."""
    if "Content-Length" in answer.headers or "Transfer-Encoding" in answer.headers:
        return False
    return isinstance(protocol.exception(), aiohttp.ClientOSError)
