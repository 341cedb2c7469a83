"""Host names to addresses: own threads, own deadline, a cache that remembers failures too, answers that stay pinned.

aiohttp's connector is given the addresses that were checked and looks nothing up itself, so a second, different answer
(DNS rebinding, U7) has no way in.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from crawler.fetch import ResolveError
from crawler.fetch.addresses import literal
from crawler.fetch.faults import LOCAL_ERRNOS
from crawler.fetch.lane import Lane
from crawler.visit import Fault
from storage.model import record

Answer = list[tuple[Any, ...]]
GetAddrInfo = Callable[[str], Answer]

_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_OUR_OWN = frozenset({getattr(socket, "EAI_MEMORY", None), *LOCAL_ERRNOS})
ADDRESSES = 4  # tried of one name; aiohttp dials n addresses up to n(n+1)/2 times when all refuse


@dataclass(slots=True)
class Pin:
    """The checked addresses of the host now being fetched; only these are dialled."""

    host: str
    addresses: tuple[str, ...]


PIN: ContextVar[Pin | None] = ContextVar("pin", default=None)


@record
class Timings:
    """Seconds: ``deadline`` of one look-up, ``wait`` for it and a free thread, how long answers are kept.

    After ``patience`` a look-up counts as slow and another thread takes the place of its own.
    NXDOMAIN is kept 60 s at most (N2); other failures 20 s, which is less than their first retry's wait.
    """

    deadline: float = 5.0
    wait: float = 60.0
    keep: float = 300.0
    keep_nxdomain: float = 60.0
    keep_failure: float = 20.0
    patience: float = 0.5


@record
class _Entry:
    addresses: tuple[str, ...]
    error: tuple[Fault, str] | None
    until: float

    def result(self) -> tuple[str, ...]:
        if self.error is not None:
            raise ResolveError(*self.error)
        return self.addresses


def _getaddrinfo(host: str) -> Answer:
    # Bytes keep Python's IDNA 2003 codec out; canonical host names are ASCII already.
    return socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)


class Resolver(AbstractResolver):
    """A caching resolver. ``size`` threads, ``cache`` names remembered (least recently used go first)."""

    def __init__(
        self,
        *,
        getaddrinfo: GetAddrInfo = _getaddrinfo,
        timings: Timings | None = None,
        size: int = 16,
        cache: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._clock, self._limit = getaddrinfo, clock, cache
        self._timings = timings or Timings()
        # 112 spare threads at most hang in dead names; each costs about 30 kB.
        self._lane: Lane[Answer] = Lane(size, spare=112, patience=self._timings.patience)
        self._slow_lane: Lane[Answer] = Lane(2)
        self._known_lane: Lane[Answer] = Lane(size, spare=size, patience=self._timings.patience)
        self._slow: OrderedDict[str, None] = OrderedDict()  # names that timed out
        self._cache: OrderedDict[str, _Entry] = OrderedDict()
        self._flying: dict[str, asyncio.Task[_Entry]] = {}

    async def lookup(self, host: str) -> tuple[str, ...]:
        """The addresses of a name in the system's order, or of a literal itself. Raises ResolveError.

        Look-ups of the same name in flight are one look-up; cancelling one waiter leaves the others theirs.
        """
        entry = self._cache.get(host)
        if entry is not None and entry.until > self._clock():
            self._cache.move_to_end(host)
            return entry.result()
        address = literal(host)
        if address is not None:
            return (str(address),)
        task = self._flying.get(host)
        if task is None:
            task = self._flying[host] = asyncio.create_task(self._resolve(host), name=f"resolve {host}")
        return (await asyncio.shield(task)).result()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """aiohttp's question: answered from the pin of the fetch that asks, else looked up (a proxy's name)."""
        pin = PIN.get()
        try:
            found = pin.addresses if pin is not None and pin.host == host else await self.lookup(host)
        except ResolveError as error:
            raise OSError(None, error.text) from error
        return [_result(host, ip, port) for ip in found[:ADDRESSES]]

    async def close(self) -> None:
        """Forgets what is in flight. Never waits for a thread."""
        for task in self._flying.values():
            task.cancel()
        await asyncio.gather(*self._flying.values(), return_exceptions=True)
        self._lane.close()
        self._slow_lane.close()
        self._known_lane.close()

    async def _resolve(self, host: str) -> _Entry:
        try:
            entry = await self._answer(host)
        finally:
            del self._flying[host]
        if entry.error is None or entry.error[0] is not Fault.LOCAL:
            _remember(self._cache, host, entry, self._limit)
        return entry

    async def _answer(self, host: str) -> _Entry:
        t = self._timings
        lane = self._lane_of(host)
        try:
            async with asyncio.timeout(t.wait) as queue:
                answer = await lane.run(lambda: self._ask(host), t.deadline)
        except TimeoutError:
            if not queue.expired():
                _remember(self._slow, host, None, self._limit)
            return self._failure(Fault.DNS_TIMEOUT, f"no answer within {t.deadline:g} s")
        except (OSError, UnicodeError) as error:
            return self._failure(*_fault_of(error))
        self._slow.pop(host, None)
        found = tuple(dict.fromkeys(str(info[4][0]).partition("%")[0] for info in answer))
        if not found:
            return self._failure(Fault.DNS_NXDOMAIN, "the name has no address")
        return _Entry(found, None, self._clock() + t.keep)

    def _lane_of(self, host: str) -> Lane[Answer]:
        """Names that answered before do not stand behind a thousand new ones that never will; nor do those that
        timed out stand in anyone's way (X7)."""
        if host in self._slow:
            return self._slow_lane
        known = self._cache.get(host)
        return self._known_lane if known is not None and known.error is None else self._lane

    def _failure(self, fault: Fault, text: str) -> _Entry:
        keep = self._timings.keep_nxdomain if fault is Fault.DNS_NXDOMAIN else self._timings.keep_failure
        return _Entry((), (fault, text), self._clock() + keep)


def _result(host: str, ip: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=ip, port=port, family=family, proto=0, flags=flags)


def _fault_of(error: OSError | UnicodeError) -> tuple[Fault, str]:
    if isinstance(error, UnicodeError):
        return Fault.DNS_NXDOMAIN, "no valid host name"
    text = error.strerror or str(error)
    if error.errno in _OUR_OWN:
        return Fault.LOCAL, text
    if isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME:
        return Fault.DNS_NXDOMAIN, text
    return Fault.DNS_FAILED, text


def _remember(store: OrderedDict[str, Any], host: str, value: object, limit: int) -> None:
    store[host] = value
    store.move_to_end(host)
    if len(store) > limit:
        store.popitem(last=False)
