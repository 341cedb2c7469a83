"""One fetch in the making: its deadlines, its byte caps, and what it came to.

aiohttp is not named here. The pool tells an `Exchange` what happens to it, in this order: `dialled` (not for a reused
connection), `sent`, `answered`, `take` for each chunk; then `ended`, `cut`, `expired` or `failed`; then `outcome`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from enum import Enum
from io import BytesIO

from crawler.fetch import robots
from crawler.fetch.budget import SMALL, Budget, Share
from crawler.fetch.decode import Decoder, Preview, codings, decoder
from crawler.fetch.headers import Headers, kept, named
from crawler.parse import SITEMAP_SIZE
from crawler.spec import CrawlSpec
from crawler.visit import Fault, Kind, Outcome, Visit
from storage.model import record

DRAINED = 65_536  # bytes of a redirect's body; more closes the connection (H20)


@record
class Deadlines:
    """Seconds, and bytes/s: how long a fetch may take. ``total`` counts from the first dial, not while it queues.

    After ``grace`` s each ``rate * window`` bytes must come within ``window`` s (H7).
    """

    total: float = 60.0
    connect: float = 10.0
    first_byte: float = 30.0
    grace: float = 10.0
    window: float = 20.0
    rate: float = 1024.0

    @property
    def shortest(self) -> float:
        return min(self.total, self.connect, self.first_byte, self.grace + self.window)

    @property
    def quota(self) -> int:
        return int(self.rate * self.window)


class Phase(Enum):
    """Where a fetch is; the value names the deadline that runs there."""

    QUEUED = "queue"
    CONNECTING = "connect"
    WAITING = "first byte"
    BODY = "minimum rate"


_CAPS = {Kind.ROBOTS: robots.LIMIT + 1, Kind.SITEMAP: SITEMAP_SIZE}  # bytes; the one more tells of a cut (R1, R10)
_READ = ("location", "content-encoding", "transfer-encoding")
_LATE = {
    Phase.QUEUED: Fault.TIMEOUT,
    Phase.CONNECTING: Fault.CONNECT_TIMEOUT,
    Phase.WAITING: Fault.TIMEOUT,
    Phase.BODY: Fault.SLOW,
}


class Exchange:
    """One visit's request and answer, under one `asyncio.timeout` whose deadline moves with each step.

    What most fetches never set is a default of the class: 25 attributes set one by one were 4 % of a fetch's CPU.
    """

    clock: asyncio.Timeout  # the fetch runs under it
    due = math.inf  # the loop's time at which it rings
    wire = 0
    status: int | None = None
    headers: Headers = ()
    location: str | None = None
    truncated: str | None = None
    undecoded: str | None = None
    fault: Fault | None = None
    detail = ""
    sent_at: float | None = None
    address: str | None = None
    reused = False
    latency: float | None = None
    share: Share | None = None

    _phase = Phase.QUEUED
    _ends: float | None = None
    _decoder: Decoder | None = None
    _preview: Preview | None = None
    _coding = ""
    _size = 0

    def __init__(self, visit: Visit, spec: CrawlSpec, deadlines: Deadlines, budget: Budget) -> None:
        self.visit, self._limits, self._cap = visit, deadlines, _CAPS.get(visit.kind, spec.max_body)
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._mark = deadlines.quota  # wire bytes at which the rate window moves on
        self._body = BytesIO()  # gives its buffer away without a copy, where joining chunks has a body twice
        self._raw: list[bytes] = []  # of what is compressed: until it is decoded, and while it is small

    # --- what happens, in order

    def dialled(self) -> None:
        """A connection is being opened; the connect deadline covers all addresses and TLS."""
        if self._phase is not Phase.CONNECTING:
            self._enter(Phase.CONNECTING, self._limits.connect)

    def sent(self, address: str | None, reused: bool) -> None:
        """The request's headers went out."""
        self._enter(Phase.WAITING, self._limits.first_byte)
        self.sent_at, self.address, self.reused = time.monotonic(), address, reused
        if self.visit.sent is not None:
            self.visit.sent(self.sent_at)

    def answered(self, status: int, raw: Iterable[tuple[bytes, bytes]]) -> None:
        """Status and headers are here."""
        self.status, self.headers = status, kept(raw)
        if self.sent_at is not None:
            self.latency = time.monotonic() - self.sent_at
        self._enter(Phase.BODY, self._limits.grace + self._limits.window)
        found = dict(named(self.headers, _READ))
        self.location = found.get("location")
        if 300 <= status < 400:
            self._cap = min(self._cap, DRAINED)
        if len(found) > (self.location is not None):
            self._coded(status)

    async def room_for(self, chunk: bytes) -> None:
        """Waits for room in memory. That is our doing: meanwhile the minimum rate does not hold, but the total does."""
        if not self._budget.full(self.share) or not self._grows_large(chunk):
            return
        assert self._ends is not None
        self.due = self._ends
        await self._budget.room(self.share)
        self._mark = self.wire + self._limits.quota
        self._set(self._limits.window)

    def take(self, chunk: bytes) -> bool:
        """Takes in a chunk of the body. False: a cap is reached, no more is wanted."""
        self.wire += len(chunk)
        if self.wire >= self._mark:
            self._mark = self.wire + self._limits.quota
            self._set(self._limits.window)
        self._keep(chunk)
        size = self._size or self.wire
        if size > SMALL:
            self.share = self._budget.hold(self.share, size)
        if self._size > self._cap or self.wire > self._cap:
            self.truncated = "size"
        return self.truncated is None

    def cut(self) -> None:
        """The peer stopped before the body's end (H9): what came is kept and never looks complete."""
        self.truncated = self.truncated or "cut"

    def ended(self) -> None:
        """The body's framing is complete; its coding may not be."""
        if self._decoder is not None and not self._decoder.finished:
            self.cut()

    def expired(self) -> None:
        """The clock ran out. Before any byte of a body that is a fault, after it the body is kept."""
        if self._phase is Phase.BODY and (self.wire or self.location is not None):
            self.truncated = self.truncated or "time"
            return
        total = self._ends is not None and self._loop.time() >= self._ends
        fault = Fault.TIMEOUT if total and self._phase is Phase.BODY else _LATE[self._phase]
        self.failed(fault, f"{'total' if total else self._phase.value} deadline passed")

    def failed(self, fault: Fault, detail: str) -> None:
        """There is no answer."""
        self.fault, self.detail, self.status = fault, detail, None

    def outcome(self) -> Outcome:
        """What it all came to."""
        return Outcome(
            url=self.visit.url,
            status=self.status,
            reason=self._reason(),
            headers=self.headers,
            body=self._whole(),
            elapsed_ms=round((time.monotonic() - self._began) * 1000),
            truncated=self.truncated,
            location=self.location,
            fault=self.fault,
            undecoded=self.undecoded,
            wire_size=self.wire,
            sent_at=self.sent_at,
            address=self.address,
            reused=self.reused,
            latency=self.latency,
            share=self.share,
        )

    # --- how

    def _enter(self, phase: Phase, seconds: float) -> None:
        if self._ends is None:
            self._ends = self._loop.time() + self._limits.total
            self._began = time.monotonic()
        self._phase = phase
        self._set(seconds)

    def _set(self, seconds: float) -> None:
        assert self._ends is not None
        self.due = min(self._loop.time() + seconds, self._ends)

    def _coded(self, status: int) -> None:
        """Chooses what to undo: one content coding, and not of a redirect (H3, H20).

        We ask for no transfer coding, so none but chunked is undone (RFC 9112 §7).
        """
        found = named(self.headers, _READ[1:])[::-1]
        transfer = codings(", ".join(value for name, value in found if name == "transfer-encoding"))
        content = codings(", ".join(value for name, value in found if name == "content-encoding"))
        left = [name for name in transfer if name != "chunked"]
        self._coding = ", ".join(left + content)
        if self.visit.kind is Kind.SITEMAP and self._coding in ("gzip", "x-gzip"):
            return  # inflated where it is parsed: 50 KiB can be 50 MiB (R10)
        if not left and not 300 <= status < 400:
            self._decoder = decoder(self._coding)
        if self._decoder is None and self._coding:
            self.undecoded = self._coding

    def _grows_large(self, chunk: bytes) -> bool:
        if max(self._size, self.wire) + len(chunk) > SMALL:
            return True
        if self._decoder is None:
            return False
        if self._preview is None:
            self._preview = Preview(self._decoder, SMALL)
        return self._preview.exceeds([*self._raw, chunk])

    def _keep(self, chunk: bytes) -> None:
        if self._decoder is not None:
            self._raw.append(chunk)
            chunk = self._decoder.feed(chunk, self._cap - self._size + 1)  # one more tells "full" from "too much"
        if chunk:
            self._body.write(chunk)
            self._size += len(chunk)
        if self._size and max(self._size, self.wire) > SMALL:
            self._raw.clear()
        if self._decoder is not None and self._decoder.broken:
            self._undecodable()

    def _whole(self) -> bytes:
        if self._size > self._cap:
            self._body.truncate(self._cap)
        return self._body.getvalue()

    def _undecodable(self) -> None:
        self._decoder = None
        if self._size:
            self.cut()
        else:
            self.undecoded = self._coding
            self._size = self._body.write(b"".join(self._raw))
        self._raw.clear()

    def _reason(self) -> str:
        if self.fault is not None:
            return f"{self.fault.value}: {self.detail}" if self.detail else self.fault.value
        if self.status is None or 200 <= self.status < 400:
            return ""
        return f"http_{self.status}"


class Watch:
    """Rings the clocks of exchanges that are late, at most ``TICK`` s after their deadline.

    One timer serves them all: a timer for each fetch, set and cancelled, cost 20 µs of the 140 a fetch takes.
    """

    TICK = 0.25

    def __init__(self, deadlines: Deadlines) -> None:
        self._tick = min(self.TICK, deadlines.shortest / 4)
        self._exchanges: set[Exchange] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._exchanges)

    def add(self, exchange: Exchange) -> None:
        self._exchanges.add(exchange)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._ring)

    def remove(self, exchange: Exchange) -> None:
        self._exchanges.discard(exchange)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for exchange in [one for one in self._exchanges if one.due <= now]:
            self._exchanges.discard(exchange)
            exchange.clock.reschedule(now)
        self._timer = loop.call_later(self._tick, self._ring) if self._exchanges else None
