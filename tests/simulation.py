"""A crawl in simulated time: the real engine, frontier and writer over a made-up web, store and clock.

Time passes only while everybody waits, so an hour takes milliseconds and nothing depends on the machine. What was sent
is on record: `World.sent`.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from crawler.engine import Ending, Engine
from crawler.fetch import ResolveError, Stats
from crawler.progress import Snapshot
from crawler.spec import CrawlSpec
from crawler.stop import Stop
from crawler.url import admit
from crawler.visit import Extract, Fault, Outcome, Visit
from storage.links import Link, Links
from storage.model import Begun, Counts, HostRow, JsonObject, OriginRow, Pending, Place, Queued, Settlement, Tally
from storage.store import Judge

WALL = 1_800_000_000_000


class _Time(selectors.DefaultSelector):
    """Instead of waiting for sockets, the clock is moved to the next timer."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everybody waits, and for nothing: the crawl would hang")
        self.now += max(1e-6, timeout)  # a microsecond passes whatever is done
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time is simulated."""

    def __init__(self) -> None:
        self.clock = _Time()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


class LoopClock:
    """The crawler's clocks on the loop's time. ``wall_ahead``: ms by which somebody has set the wall clock."""

    wall_ahead = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> int:
        return WALL + round(self.now() * 1000) + self.wall_ahead


@dataclass(slots=True)
class Url:
    """A URL of the store. It is settled where ``due_at`` is None."""

    row: Queued
    due_at: int | None
    outcome: str | None = None
    reason: str | None = None


class MemoryStore:
    """What `Store` promises, as far as a crawl without scope changes uses it, in dictionaries."""

    def __init__(self) -> None:
        self.urls: dict[Place, Url] = {}
        self.ids: dict[int, Url] = {}
        self.rows: dict[str, HostRow] = {}
        self.origins: dict[str, OriginRow] = {}
        self.addresses: dict[str, int] = {}
        self.settlements: list[Settlement] = []
        self.runs = 0

    async def begin(
        self, *, now: int, version: str, spec: JsonObject, seeds: Sequence[Place], max_depth: int | None, **_: Any
    ) -> Begun:
        self.runs += 1
        for place in seeds:
            self._add(place, 0, now, seed=True)
        return Begun(self.runs, self.runs > 1, await self.counts(), tuple(seeds), dict(self.addresses))

    def _add(self, place: Place, depth: int, now: int, *, seed: bool = False) -> None:
        if place in self.urls:
            return
        host = self.rows.setdefault(place.host, HostRow(len(self.rows) + 1, place.host))
        row = Queued(len(self.urls) + 1, host.id, place, depth, 0, 0, now, seed)
        self.urls[place] = self.ids[row.id] = Url(row, now)

    async def hosts(
        self, limit: int, *, horizon: int, held: Collection[int] = (), names: Collection[str] | None = None
    ) -> list[HostRow]:
        queued = {u.row.place.host for u in self.urls.values() if u.due_at is not None}
        wanted = queued if names is None else set(names)
        found = [
            row
            for name, row in self.rows.items()
            if name in wanted and (names is not None or (row.id not in held and row.blocked_until <= horizon))
        ]
        found.sort(key=lambda row: row.next_fetch_at)
        mine: dict[str, list[OriginRow]] = defaultdict(list)
        for origin in self.origins.values():
            mine[origin.origin.partition("://")[2].partition(":")[0]].append(origin)
        return [replace(row, origins=tuple(mine[row.name])) for row in found[: None if names is not None else limit]]

    async def due(
        self, hosts: Collection[int], each: int, *, horizon: int, held: Collection[int] = (), revisits: bool = False
    ) -> list[Queued]:
        found: dict[int, list[Queued]] = defaultdict(list)
        for url in self.urls.values():
            if url.row.host_id in hosts and url.row.id not in held and (at := self._due(url)) is not None and at <= horizon:
                found[url.row.host_id].append(replace(url.row, due_at=at))
        return [row for rows in found.values() for row in sorted(rows, key=lambda r: (r.depth, r.id))[:each]]

    def _due(self, url: Url) -> int | None:
        origin = self.origins.get(url.row.place.origin)
        if url.due_at is None or origin is None or origin.status != "unreachable":
            return url.due_at
        return max(url.due_at, origin.until)

    async def commit(self, batch: Sequence[Settlement], *, now: int, tally: Tally | None = None) -> None:
        await asyncio.sleep(0.002)
        self.settlements += batch
        for s in batch:
            if s.url_id is not None:
                url = self.ids[s.url_id]
                assert url.due_at is not None, f"{s.place.url} was settled a second time"
                url.due_at, url.outcome, url.reason = s.due_at, s.outcome or url.outcome, s.reason
                url.row = replace(url.row, attempts=s.attempts)
            for link in s.links:
                if link.admit:
                    self._add(link.target, s.depth + (link.step or 0), now)
            if s.host is not None:
                known = self.rows.get(s.host.name)
                self.rows[s.host.name] = replace(s.host, id=known.id if known else len(self.rows) + 1)
            for origin in s.origins:
                self.origins[origin.origin] = replace(origin, body=s.body.data if s.body else None)
            if s.address:
                self.addresses[s.address[0]] = max(s.address[1], self.addresses.get(s.address[0], 0))

    async def rescope(self, judge: Judge, *, now: int, links: bool = True) -> int:
        return 0

    async def alone(self, url_id: int | None) -> None:
        return None

    async def refuse(self, host_id: int, reason: str, detail: str, *, revisits: bool = True) -> int:
        return 0

    async def revisit_at(self) -> int | None:
        return None

    async def postpone(self, hosts: Mapping[int, int], why: str) -> None:
        self.rows |= {n: replace(r, blocked_until=hosts[r.id]) for n, r in self.rows.items() if r.id in hosts}

    async def record(self, changes: Sequence[JsonObject], *, now: int, spec: JsonObject, tally: Tally | None = None,
                     rescope: bool = False) -> None:
        return None

    async def counts(self) -> Counts:
        of = Counter(u.outcome for u in self.urls.values())
        queued = sum(u.due_at is not None for u in self.urls.values())
        return Counts(of["page"], of["redirect"], of["failure"], of["skipped"], queued, len(self.rows))

    def room(self) -> int | None:
        return None

    def unfolded(self) -> int:
        return 0

    async def pending(self, *, now: int) -> Pending:
        times = [
            max(at, self.rows[u.row.place.host].blocked_until)
            for u in self.urls.values()
            if (at := self._due(u)) is not None
        ]
        return Pending(len(times), min(times, default=None))

    async def end(self, ending: str, *, now: int, tally: Tally | None = None) -> None:
        return None


class Parser:
    """Finds the links that a page's body lists, one a line."""

    queued = 0

    async def parse(
        self, body: bytes, url: str, content_type: str | None, headers: Sequence[tuple[str, str]] = ()
    ) -> Extract:
        links = tuple(Link(admit(line), "a") for line in body.decode().split("\n") if line.startswith("http"))
        return Extract(Links.of(links), digest=url.encode(), size=len(body), packed=body)


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that went out; ``done`` is when its answer was in."""

    at: float
    host: str
    address: str
    path: str
    done: float
    outcome: Outcome


Answer = Callable[[str, str, float], Outcome | None]
"""(host, path, now) -> what the server says; None: nobody answers."""


class World:
    """A web and its crawl. ``addresses``: host -> address; ``answer``: what its servers say; ``gone``: whether our own
    network is gone at a time."""

    def __init__(
        self,
        addresses: dict[str, str],
        answer: Answer,
        *,
        seed: int = 0,
        gone: Callable[[float], bool] = lambda _: False,
        lost: Fault = Fault.OFFLINE,
        latency: Sequence[float] = (0.02, 0.1, 0.3),
        **options: Any,
    ) -> None:
        self.addresses, self.answer, self.gone, self.lost, self.latency = addresses, answer, gone, lost, latency
        self.rng = random.Random(seed)
        self.time = 0.0  # at which the next run begins
        self.spec = CrawlSpec(**{"contact": "me@example.org", "seeds": (), "parse_workers": 0, **options})
        self.stats = Stats()
        self.sent: list[Sent] = []
        self.faults: list[tuple[float, str]] = []
        self.open: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.store = MemoryStore()
        self.clock = LoopClock()
        self.snapshots: list[Snapshot] = []

    def crawl(self, *seeds: str, limit: float = 1e6) -> Ending:
        """A run from these seeds (or on from where it was), in a loop of its own."""
        loop = Loop()
        loop.clock.now = self.time
        with patch("crawler.writer.POLL", 0.25), asyncio.Runner(loop_factory=lambda: loop) as runner:
            ending = runner.run(self._run([admit(seed) for seed in seeds], limit))
            self.time = loop.time()
        return ending

    async def _run(self, seeds: list[Place], limit: float) -> Ending:
        engine = Engine(
            self.spec, self.store, self, Parser(), self.clock, Stop(), on_progress=self.snapshots.append
        )
        async with asyncio.timeout(limit):
            return await engine.run(seeds)

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        await asyncio.sleep(0.01)
        if self.gone(self.clock.now()):
            raise ResolveError(Fault.DNS_FAILED, "no name server")
        return (self.addresses[host],)

    async def fetch(self, visit: Visit) -> Outcome:
        began, host = self.clock.now(), visit.place.host
        await asyncio.sleep(self.rng.choice((0.0, 0.001, 0.05)))
        if not visit.addresses:  # the look-up failed just now, and the resolver remembers that
            return self._failed(visit, Fault.DNS_FAILED, began)
        if self.gone(self.clock.now()):
            if self.lost is not Fault.OFFLINE:
                await asyncio.sleep(10.0)
            return self._failed(visit, self.lost, began)
        assert visit.sent is not None
        at, address = self.clock.now(), self.addresses[host]
        visit.sent(at)
        for name in (host, address):
            self.open[name] += 1
            self.most[name] = max(self.most[name], self.open[name])
        wait = self.rng.choice(self.latency)
        await asyncio.sleep(wait)
        for name in (host, address):
            self.open[name] -= 1
        done = self.clock.now()
        said = self.answer(host, visit.place.path, done)
        if self.gone(done):
            said = None
        outcome = (
            self._failed(visit, Fault.CONNECT_TIMEOUT, began)
            if said is None
            else replace(said, url=visit.url, latency=wait, elapsed_ms=round((done - began) * 1000), sent_at=at)
        )
        self.stats.requests += 1
        self.sent.append(Sent(at, host, address, visit.place.path, done, outcome))
        return outcome

    def _failed(self, visit: Visit, fault: Fault, began: float) -> Outcome:
        now = self.clock.now()
        self.faults.append((began, visit.place.host))
        return Outcome(visit.url, fault=fault, reason=f"{fault.value}: simulated", elapsed_ms=round((now - began) * 1000))


def page(*links: str) -> Outcome:
    return Outcome("", 200, body="\n".join(links).encode())


def robots(text: str = "") -> Outcome:
    return Outcome("", 200, body=text.encode())


def status(code: int, **headers: str) -> Outcome:
    found = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    reason = f"http_{code}" if code >= 400 else ""
    return Outcome("", code, reason, found, location=headers.get("location"))
