"""The workbench: hosts held in memory, ordered by the time at which each may be asked again. Synchronous, told the time.

A host is in one place: *queueing* at its address (its turn has a time), *busy* (at its limit of open requests, or a
request not yet on the wire), *resolving* (its address is not known), or *idle* (nothing to ask). An address is a queue
of hosts with a clock of its own, so that many hosts behind one machine share that machine's patience. Waiting is an
entry in a heap, never a sleeping worker. After BUbiNG's workbench (Boldi et al., TWEB 2018).

All times are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count

from crawler.fetch.headers import conditions
from crawler.fetch.robots import Robots
from crawler.frontier.politeness import ROBOTS_RETRY, UNKNOWN, Standing
from crawler.visit import Kind, Visit
from storage.model import Place, Queued, record

TRY_AGAIN = 0.25  # seconds until a doubtful host that found no room among its kind queues again
ADDRESS_FRESH = 300.0  # seconds a resolved address is kept before the name is looked up again


@dataclass(slots=True)
class RobotsState:
    """What an origin's robots.txt says now. ``robots`` None: everything is allowed ('absent') or nothing is known."""

    status: str
    until: float
    robots: Robots | None = None
    failures: int = 0


@record
class Errand:
    """A robots.txt to fetch for ``origin``; after redirects ``place`` may be elsewhere (RFC 9309 §2.3.1.2)."""

    origin: str
    home: str  # the host whose URLs wait for it
    place: Place
    hops: int = 0


@record
class Refusal:
    """A queued URL that robots.txt does not allow, or only slower than we wait, or that was excluded while it waited:
    settled without a request."""

    row: Queued
    host: Host
    detail: str
    reason: str = "robots"  # or 'exclude'


@dataclass(slots=True, eq=False)
class Address:
    """An IP address (or IPv6 /64): the second politeness clock, and the queue of the hosts behind it."""

    name: str
    next_at: float = 0.0
    busy: int = 0
    unsent: int = 0
    hosts: list[tuple[float, int, int, Host]] = field(default_factory=list)  # heap of (ready at, n, stamp, host)
    stamp: int = 0  # of its valid entry among the turns


@dataclass(slots=True, eq=False)
class Host:
    """A host in hand: its clock, its window on the queue, what it knows of robots.txt."""

    id: int
    name: str
    delay: float
    next_at: float = 0.0
    blocked_until: float = 0.0
    crawl_delay: float | None = None
    standing: Standing = UNKNOWN
    closed: str = ""  # why all of its URLs are refused
    pages: int = 0
    most: int | None = None  # pages, over the whole crawl
    limit: int | None = None  # requests open at once; None: the workbench's
    busy: int = 0  # requests open
    unsent: int = 0  # of these, not on the wire yet: the clock has not started
    tries: int = 0  # of these, sent while it was doubtful
    out: int = 0  # visits handed out and not settled
    more: bool = True  # the store may hold more for it
    window: list[tuple[int, int, int, Queued]] = field(default_factory=list)  # heap of (priority, depth, id, row)
    later: list[tuple[float, int, Queued]] = field(default_factory=list)  # heap of (due, id, row)
    errands: deque[Errand] = field(default_factory=deque)
    awaiting: set[str] = field(default_factory=set)  # origins whose robots.txt has been asked for
    robots: dict[str, RobotsState] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    address: Address | None = None
    resolve_at: float = 0.0  # when the address must be looked up again
    stamp: int = 0  # of its valid entry in its address's queue
    resolving: bool = False
    barred: str | None = None  # who excludes it: nothing is asked of it

    def due_at(self) -> float | None:
        """When there is something to ask, its delay apart; None: nothing to ask, or nothing that may be asked yet."""
        if self.barred:
            return None
        if self.errands:
            return self.blocked_until
        if self.awaiting or (self.most is not None and self.pages + self.out >= self.most and self.newcomers()):
            return None  # waits for robots.txt, or for what may be its last pages
        if self.window:
            return self.blocked_until
        return max(self.blocked_until, self.later[0][0]) if self.later else None

    def newcomers(self) -> bool:
        """Whether it holds URLs that may become one page more."""
        return any(entry[3].adds for entry in self.window) or any(entry[2].adds for entry in self.later)

    def ready_at(self) -> float | None:
        """When it may be asked next."""
        due = self.due_at()
        return None if due is None else max(due, self.next_at)

    def held(self) -> Iterator[int]:
        """Ids of the queued URLs it holds, without those handed out."""
        yield from (entry[2] for entry in self.window)
        yield from (entry[1] for entry in self.later)


@dataclass(slots=True)
class Limits:
    """The politeness limits a workbench keeps. ``agent`` is the product token robots.txt files name."""

    per_host: int = 1
    per_address: int = 2
    address_delay: float = 0.5
    obey: bool = True
    agent: str = "poolcrawl"
    tries: int = 1 << 30  # requests open at once to hosts that may be dead, all together (FAULTS N3)


class Workbench:
    """Holds the hosts in hand; `acquire` gives the next visit that is allowed now, `release` takes it back."""

    def __init__(self, limits: Limits, rest_until: float = 0.0, clocks: dict[str, float] | None = None) -> None:
        self.limits = limits
        self.rest_until = (
            rest_until  # no address is asked before: what was in flight when the last run ended is not known
        )
        self.clocks = clocks or {}  # stored clocks of addresses not met yet in this run
        self.hosts: dict[str, Host] = {}
        self.addresses: dict[str, Address] = {}
        self.unresolved: deque[Host] = deque()
        self.barred: set[str] = set()
        self.excluded: Callable[[Queued], str] | None = None  # why a URL is refused that was admitted once, or ""
        self._tries = 0  # requests open to doubtful hosts
        self._turns: list[tuple[float, int, int, Address]] = []
        self._n = count()

    # --- hosts come and go

    def add(self, host: Host) -> None:
        assert host.name not in self.hosts
        self.hosts[host.name] = host
        self.place(host)

    def feed(self, host: Host, rows: list[tuple[float, Queued]]) -> None:
        """Add queued URLs with the time each is due."""
        for due, row in rows:
            heappush(host.later, (due, row.id, row))
        self.place(host)

    def remove(self, host: Host) -> None:
        """Let a host go; what it held is simply still queued in the store."""
        assert host.out == 0
        host.stamp += 1
        del self.hosts[host.name]
        self.barred.discard(host.name)
        if host.address is not None:
            self._schedule(host.address)

    def only_revisits(self, host: Host) -> None:
        """What may become one page more is no longer held: it stays queued in the store, or is refused there."""
        host.window = [entry for entry in host.window if not entry[3].adds]
        host.later = [entry for entry in host.later if not entry[2].adds]
        heapify(host.window)
        heapify(host.later)
        self.place(host)

    def send(self, errand: Errand, host: Host) -> None:
        host.errands.append(errand)
        self.place(host)

    def bar(self, host: Host, why: str | None, now: float) -> None:
        """Nothing more is asked of a host (None: it may be asked again); what it holds is refused in the store. Whoever
        waits there for a robots.txt waits in vain, as for one that is unreachable."""
        host.barred, host.more = why, True
        self.barred.discard(host.name)
        if why is not None:
            self.barred.add(host.name)
            host.window.clear()
            host.later.clear()
            errands, host.errands = host.errands, deque()
            for errand in errands:
                self.robots_known(errand, RobotsState("unreachable", now + ROBOTS_RETRY))
        self.place(host)

    # --- places

    def place(self, host: Host) -> None:
        """Put the host where it belongs now, and its address among the turns; older entries of both become void."""
        host.stamp += 1
        limit = 1 if host.standing.probation else host.limit or self.limits.per_host
        if host.busy < limit and not (host.unsent and host.delay > 0):  # else busy: comes back by sent() or release()
            ready = host.ready_at()
            if ready is None:
                pass  # idle: comes back by feed(), send() or robots_known()
            elif host.address is not None:
                heappush(host.address.hosts, (ready, next(self._n), host.stamp, host))
            elif not host.resolving:
                host.resolving = True
                self.unresolved.append(host)
        if host.address is not None:
            self._schedule(host.address)

    def resolved(
        self, host: Host, group: str, addresses: tuple[str, ...], now: float, *, fresh: float = ADDRESS_FRESH
    ) -> None:
        """The host's name has been looked up: it queues at the address ``group``; ``addresses`` are pinned."""
        host.resolving = False
        before, host.address, host.addresses = host.address, self._address(group), addresses
        host.resolve_at = now + fresh
        self.place(host)
        if before is not None:
            self._schedule(before)

    def _address(self, name: str) -> Address:
        if name not in self.addresses:
            self.addresses[name] = Address(name, max(self.rest_until, self.clocks.pop(name, 0.0)))
        return self.addresses[name]

    def _schedule(self, address: Address) -> None:
        address.stamp += 1
        if address.busy >= self.limits.per_address or (address.unsent and self.limits.address_delay > 0):
            return
        while address.hosts and address.hosts[0][2] != address.hosts[0][3].stamp:
            heappop(address.hosts)
        if address.hosts:
            heappush(self._turns, (max(address.next_at, address.hosts[0][0]), next(self._n), address.stamp, address))

    def next_at(self) -> float | None:
        """When the next turn comes; None: no host queues."""
        while self._turns and self._turns[0][2] != self._turns[0][3].stamp:
            heappop(self._turns)
        return self._turns[0][0] if self._turns else None

    # --- turns

    def acquire(self, now: float) -> Visit | Refusal | None:
        """The next visit whose host's and address's time has come; a Refusal needs no request; None: nothing now."""
        while (at := self.next_at()) is not None and at <= now:
            address = heappop(self._turns)[3]
            _, _, stamp, host = heappop(address.hosts)
            if stamp != host.stamp:
                self._schedule(address)
                continue
            if now >= host.resolve_at:
                host.address = None
                self.place(host)
                self._schedule(address)
                continue
            if host.standing.doubtful and self._tries >= self.limits.tries:
                host.next_at = now + TRY_AGAIN
                self.place(host)
                continue
            turn = self._next(host, now)
            if isinstance(turn, Visit):
                self._hand_out(turn, host, address, now)
            self.place(host)
            if turn is not None:
                return turn
        return None

    def _hand_out(self, visit: Visit, host: Host, address: Address, now: float) -> None:
        host.next_at = max(host.next_at, now)  # behind all whose time has come: no host takes all its turns in a row
        address.next_at = max(address.next_at, now)
        host.busy += 1
        host.unsent += 1
        host.out += 1
        address.busy += 1
        address.unsent += 1
        host.tries += host.standing.doubtful
        self._tries += host.standing.doubtful
        visit.handle = (host, address)
        visit.addresses = host.addresses

    def _next(self, host: Host, now: float) -> Visit | Refusal | None:
        """What to ask the host for: an errand first, then the first URL due whose robots.txt is known."""
        if host.errands:
            errand = host.errands.popleft()
            return Visit(errand.place.url, errand.place, Kind.ROBOTS, errand=errand)
        while host.later and host.later[0][0] <= now:
            row = heappop(host.later)[2]
            heappush(host.window, (row.priority, row.depth, row.id, row))
        if not host.window:
            return None
        row = host.window[0][3]
        reason, detail = "exclude", self.excluded(row) if self.excluded else ""
        if self.limits.obey and not detail:
            state = host.robots.get(row.place.origin)
            if state is None or state.until <= now:
                return self._ask_robots(host, row.place)
            if state.status == "unreachable":
                heappop(host.window)
                heappush(host.later, (state.until, row.id, row))
                return None
            reason, detail = "robots", host.closed or self._forbidden(state, row.place.url)
        heappop(host.window)
        if detail:
            host.out += 1
            return Refusal(row, host, detail, reason)
        kind = Kind.PAGE if row.role is None else Kind.SITEMAP
        visit = Visit(
            row.place.url, row.place, kind, row.id, row.depth, row.attempts, row.seed, hops=row.hops, role=row.role
        )
        if row.priority:
            visit.priority, visit.before, visit.headers = row.priority, row.before, conditions(row.before)
        return visit

    def _forbidden(self, state: RobotsState, url: str) -> str:
        """The rule that forbids it, or ""."""
        if state.robots is None:
            return ""
        verdict = state.robots.verdict(self.limits.agent, url)
        return "" if verdict.allowed else f"line {verdict.line}: {verdict.rule}"

    def _ask_robots(self, host: Host, place: Place) -> Visit:
        host.awaiting.add(place.origin)
        robots = Place(place.origin, place.host, "/robots.txt")
        return Visit(robots.url, robots, Kind.ROBOTS, errand=Errand(place.origin, host.name, robots))

    def sent(self, visit: Visit, at: float) -> None:
        """The request's headers went out at ``at``: the clocks of its host and address run from here."""
        host, address = visit.handle
        if visit.sent_at is None:
            host.unsent -= 1
            address.unsent -= 1
        visit.sent_at = at
        host.next_at = max(host.next_at, at + host.delay)
        address.next_at = max(address.next_at, at + self.limits.address_delay)
        self._place_both(host, address)

    def release(self, visit: Visit, now: float) -> Host:
        """The visit's request is over; the host's next turn does not wait for what is made of the answer."""
        host: Host
        host, address = visit.handle
        if visit.sent_at is None:  # it never got on the wire: the clock runs from now
            self.sent(visit, now)
        host.busy -= 1
        address.busy -= 1
        self._place_both(host, address)
        if host.tries:
            host.tries -= 1
            self._tries -= 1
        return host

    def _place_both(self, host: Host, address: Address) -> None:
        """Both have changed; the host may have moved to another address meanwhile."""
        self.place(host)
        if host.address is not address:
            self._schedule(address)

    def settled(self, name: str, *, gain: int) -> None:
        """A visit of this host is durable, with so many pages more; with a limit on them, there may be room for one now."""
        host = self.hosts.get(name)
        if host is None:
            return
        host.out -= 1
        host.pages += gain
        if host.most is not None:
            self.place(host)

    def block(self, host: Host, until: float) -> None:
        host.blocked_until = max(host.blocked_until, until)
        self.place(host)

    def robots_known(self, errand: Errand, state: RobotsState) -> None:
        """An origin's robots.txt is settled, one way or the other: its host's URLs go on."""
        host = self.hosts.get(errand.home)
        if host is None:
            return
        host.awaiting.discard(errand.origin)
        host.robots[errand.origin] = state
        if state.status == "unreachable":
            for entry in [e for e in host.window if e[3].place.origin == errand.origin]:
                host.window.remove(entry)
                heappush(host.later, (state.until, entry[2], entry[3]))
            heapify(host.window)
        self.place(host)

    def pace(self, host: Host, delay: float, now: float) -> None:
        """Another delay for a host: a longer one counts from its last request, a shorter one from now, so that no two
        requests are closer than the one or the other."""
        longer, host.delay = delay - host.delay, delay
        if longer > 0 and host.next_at:
            host.next_at += longer
        elif longer < 0:
            host.next_at = min(host.next_at, now + delay)
        self.place(host)

    def pace_addresses(self, delay: float, now: float) -> None:
        """The same for all addresses."""
        longer, self.limits.address_delay = delay - self.limits.address_delay, delay
        for address in self.addresses.values():
            if longer > 0:
                address.next_at += longer
            elif longer < 0:
                address.next_at = min(address.next_at, now + delay)
            self._schedule(address)

    def rest(self, now: float) -> None:
        """Leave everybody alone for a delay from now on: what happened until now is not known."""
        self.rest_until = now + self.limits.address_delay
        for address in self.addresses.values():
            address.next_at = max(address.next_at, self.rest_until)
        for host in self.hosts.values():
            host.next_at = max(host.next_at, now + host.delay)
            self.place(host)

    def prune(self, now: float) -> None:
        """Forget addresses that nobody queues at and whose clock has run out, and void turns."""
        used = {h.address.name for h in self.hosts.values() if h.address}
        for name in [n for n, a in self.addresses.items() if not a.busy and a.next_at <= now and n not in used]:
            del self.addresses[name]
        self._turns = [t for t in self._turns if t[2] == t[3].stamp]
        heapify(self._turns)
