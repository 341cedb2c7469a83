"""The frontier: the workbench joined to the store. Feeds hosts and URLs in, hands visits out, settles what they came to.

SQLite is the frontier; this holds a window on it. A URL's id is *held* from feed to commit, and `Store.due` leaves held
ids out, so nothing is fed twice and "in flight" is never written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from crawler.clock import Clock
from crawler.fetch.robots import Robots
from crawler.frontier import politeness, settling
from crawler.frontier.robots_visit import settle_robots
from crawler.frontier.scope import Scope
from crawler.frontier.workbench import Errand, Host, Limits, Refusal, RobotsState, Workbench
from crawler.spec import TOKEN, CrawlSpec
from crawler.visit import Extract, Kind, Outcome, Visit
from storage.model import Begun, HostRow, Place, Queued, Settlement
from storage.store import Store

UNCOMMITTED = 200  # acquired − settled ≤ connections + this: bounds memory and what a kill can repeat
GATHER = 0.005  # seconds between two looks at the store: news of several hosts are answered by one read
HOSTS_IN_HAND = 4096
ROWS_IN_HAND = 16_384  # queued URLs in all windows together, about 1 kB each
FARTHEST = politeness.DAY  # seconds: a stored time further ahead is a clock that jumped (FAULTS X4)

Resolve = Callable[[Place], Awaitable[tuple[str, tuple[str, ...]] | None]]
"""Looks up a place's host: (address group, pinned addresses), or None when it cannot be resolved."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the frontier is doing, for `progress`. ``hosts`` have something to ask; ``waiting`` of them for their clock,
    whose ``longest`` delay is given in s; ``paused``: why nobody is asked at all."""

    fetching: int = 0
    unsettled: int = 0
    hosts: int = 0
    rows: int = 0
    waiting: int = 0
    longest: float = 0.0
    paused: str = ""


class Frontier:
    """Hands out visits (`acquire`), takes them back (`release`), turns outcomes into settlements (`settle`), and is told
    what was committed (`settled`). `feed` is its task; it ends when nothing falls due within the patience."""

    def __init__(
        self, spec: CrawlSpec, store: Store, scope: Scope, resolve: Resolve, clock: Clock, begun: Begun
    ) -> None:
        self.spec = spec
        self.scope = scope
        self.clock = clock
        # What was in flight when the last run ended is not known: everybody is left alone for a delay first (D21).
        self._start, self._resumed = clock.now(), begun.resumed
        self.bench = Workbench(
            Limits(spec.per_host, spec.address_limit, spec.address_delay, spec.robots == "obey", TOKEN),
            self._start + spec.address_delay * begun.resumed,
            {name: self._mono(at) for name, at in begun.addresses.items()},
        )
        self.pages = begun.counts.pages
        self.fetching = 0
        self.unsettled = 0
        self.paused_until = 0.0
        self._pause = ""
        self.limit_reached = False
        self._store = store
        self._resolve = resolve
        self._out: dict[int, int] = {}  # id of a URL handed out and not settled -> its host's id
        self._settling: set[int] | None = None  # ids settled while the store is being read
        self._parked: dict[int, float] = {}  # hosts with nothing due within the patience -> when to look again
        self._strangers: dict[str, list[Errand]] = {}  # robots.txt redirects to hosts not in hand
        self._idle: deque[asyncio.Future[Visit | Refusal | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()  # something changed that `feed` should look at
        self._new_hosts = True
        self._widened = False
        self._stopping = False
        self._next_slot = 0.0  # of the whole crawl's rate
        self._lookups: set[asyncio.Task[None]] = set()

    # --- workers

    async def acquire(self) -> Visit | Refusal | None:
        """The next visit (or refusal to settle); None: the crawl is over. Waits; cancellation loses nothing."""
        if self._stopping:
            return None
        turn: asyncio.Future[Visit | Refusal | None] = asyncio.get_running_loop().create_future()
        self._idle.append(turn)
        self._pump()
        return await turn

    def release(self, visit: Visit, outcome: Outcome) -> None:
        """The request is over; parsing and storing come after, the host's next turn does not wait for them."""
        now = self.clock.now()
        self.fetching -= 1
        host = self.bench.release(visit, now)
        if outcome.fault is not None and not politeness.charged(outcome.reason):
            self.pause(1.0, f"our own machine or network: {outcome.reason}")
        elif politeness.connect_failed(outcome):
            host.failures += 1
        elif outcome.fault is None:
            host.failures = 0
        block = politeness.block_of(outcome, host.failures - 1, self.clock.wall() / 1000)
        if block is not None:
            self.bench.block(host, now + block)
        self._pump()

    def settle(self, visit: Visit, outcome: Outcome, extract: Extract) -> Settlement:
        """What the outcome means, with the host's clocks as they are now."""
        host: Host = visit.handle[0]
        wall = self.clock.wall()
        if visit.kind is Kind.ROBOTS:
            settlement = self._settle_robots(visit, outcome, extract, wall)
        else:
            block = max(0.0, host.blocked_until - self.clock.now()) or None
            settlement = settling.settle(visit, outcome, extract, self.scope, at=wall, block=block)
        address = host.address
        clock = (address.name, self._wall(address.next_at)) if address and address.next_at else None
        return replace(settlement, host=self._host_row(host), address=clock)

    def _settle_robots(self, visit: Visit, outcome: Outcome, extract: Extract, wall: int) -> Settlement:
        errand: Errand = visit.errand
        home = self.bench.hosts.get(errand.home)
        before = home.robots.get(errand.origin) if home else None
        result = settle_robots(visit, outcome, extract, before, now=self.clock.now(), wall=wall)
        if result.next is not None:
            self._enlist(result.next)
        elif result.state is not None:
            self._robots_known(errand, result.state)
        self._pump()
        return result.settlement

    def _robots_known(self, errand: Errand, state: RobotsState) -> None:
        home = self.bench.hosts.get(errand.home)
        if home is not None and state.robots is not None:
            home.crawl_delay = state.robots.crawl_delay(TOKEN)
            home.delay = politeness.delay_of(self.spec, home.crawl_delay)
        self.bench.robots_known(errand, state)

    def refuse(self, refusal: Refusal) -> Settlement:
        row = refusal.row
        return Settlement(row.place, row.id, row.depth, "skipped", "robots", refusal.detail, None, row.attempts)

    def pause(self, seconds: float, why: str) -> None:
        """No new visit for so long; nobody is charged."""
        self._pause = why
        self.paused_until = max(self.paused_until, self.clock.now() + seconds)

    # --- the writer

    def settled(self, batch: Sequence[Settlement]) -> None:
        """These are durable now: their ids are no longer held, their discoveries can be fed."""
        for s in batch:
            self.unsettled -= 1
            host = self.bench.hosts.get(s.place.host)
            if host is not None:
                host.out -= 1
                host.pages += s.outcome == "page"
                host.more |= s.due_at is not None
                if host.most is not None:
                    self.bench.place(host)
            if s.url_id is not None:
                self._out.pop(s.url_id, None)
                if self._settling is not None:
                    self._settling.add(s.url_id)
            self.pages += s.outcome == "page"
            self._widened |= s.outcome == "redirect" and s.links[0].seed
            self._discovered(s)
        self._news.set()
        self._pump()

    def _discovered(self, s: Settlement) -> None:
        for name in {link.target.host for link in s.links if link.admit}:
            host = self.bench.hosts.get(name)
            if host is None:
                self._new_hosts = True
            else:
                host.more = True

    def starving(self) -> bool:
        """Connections idle, and nothing in hand that may be asked: what waits for its commit is wanted now."""
        return self.fetching * 2 < self.spec.connections and (self.bench.next_at() is None or not self._room())

    # --- stopping

    def stop(self) -> None:
        """No new visit from now on; those handed out may be settled."""
        self._stopping = True
        if self._timer:
            self._timer.cancel()
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
        self._news.set()

    @property
    def stopping(self) -> bool:
        return self._stopping

    # --- handing out

    def _pump(self) -> None:
        """Give every idle worker a turn that is allowed now; arm the timer for the next."""
        now = self.clock.now()
        while self._idle and self._open(now):
            if self._idle[0].done():
                self._idle.popleft()
                continue
            turn = self.bench.acquire(now)
            if turn is None:
                break
            self._hand_out(turn)
            self._idle.popleft().set_result(turn)
        self._look_up()
        self._arm(now)

    def _open(self, now: float) -> bool:
        if self._stopping or now < max(self.paused_until, self._next_slot):
            return False
        return self.fetching < self.spec.connections and self._room()

    def _room(self) -> bool:
        """Whether one more visit keeps the bounds: what is not committed, and the pages that were asked for at most."""
        if self.unsettled >= self.spec.connections + UNCOMMITTED:
            return False
        if self.spec.max_pages is not None and self.pages + self.unsettled >= self.spec.max_pages:
            self.limit_reached = self.pages >= self.spec.max_pages
            return False
        return True

    def _hand_out(self, turn: Visit | Refusal) -> None:
        self.unsettled += 1
        if isinstance(turn, Refusal):
            self._out[turn.row.id] = turn.host.id
            return
        self.fetching += 1
        host: Host = turn.handle[0]
        if turn.id is not None:
            self._out[turn.id] = host.id
        turn.sent = partial(self._sent, turn)
        if self.spec.max_rate:
            self._next_slot = max(self._next_slot, self.clock.now()) + 1 / self.spec.max_rate
        if host.more and len(host.window) <= self._window() // 2:
            self._news.set()

    def _sent(self, visit: Visit, at: float) -> None:
        self.bench.sent(visit, at)
        self._pump()

    def _arm(self, now: float) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        at = self.bench.next_at()
        if at is None or not self._idle or self._stopping:
            return
        at = max(at, self.paused_until, self._next_slot)
        if at > now:
            self._timer = asyncio.get_running_loop().call_later(at - now, self._pump)

    def _look_up(self) -> None:
        while self.bench.unresolved and len(self._lookups) < 64:
            host = self.bench.unresolved.popleft()
            task = asyncio.get_running_loop().create_task(self._resolve_host(host))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)

    async def _resolve_host(self, host: Host) -> None:
        place = host.errands[0].place if host.errands else (host.window or host.later)[0][-1].place
        found = await self._resolve(place)
        group, addresses = found or (f"?{host.name}", ())
        self.bench.resolved(host, group, addresses, self.clock.now())
        self._pump()

    # --- feeding

    async def feed(self) -> None:
        """Keep the workbench supplied until nothing falls due within the patience. Ends the crawl by `stop`."""
        while not self._stopping:
            self._news.clear()
            if self._widened:
                self._widened = False
                await self._store.rescope(
                    lambda p: settling.judged(p, "a", None, None, self.scope, step=1), now=self.clock.wall()
                )
                self._new_hosts = True
                self._want_all()
            await self._feed_hosts()
            await self._refuse_spent()
            await self._feed_rows()
            self._pump()
            if self.limit_reached or not self._busy():
                wait = 0.0 if self.limit_reached else await self._rest()
                if wait <= 0:
                    break
            else:
                wait = self._until_review()
            await self._sleep(wait)
        self.stop()

    def _busy(self) -> bool:
        """Whether anything in hand may still be done within the patience."""
        if self.unsettled or self._new_hosts or self._strangers or self._lookups:
            return True
        horizon = self.clock.now() + self.spec.patience
        return any(
            h.more or h.resolving or ((at := h.ready_at()) is not None and at <= horizon)
            for h in self.bench.hosts.values()
        )

    async def _rest(self) -> float:
        """Seconds until something stored falls due, 0 when that is beyond the patience: the run is over."""
        pending = await self._store.pending(now=self.clock.wall())
        if pending.next_at is None:
            return 0.0
        wait = self._mono(pending.next_at) - self.clock.now()
        if wait > self.spec.patience:
            return 0.0
        self._parked.clear()
        self._new_hosts = True
        self._want_all()
        return max(wait, 0.05)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            self._new_hosts = True
        if not self._stopping:
            await asyncio.sleep(GATHER)

    def _until_review(self) -> float:
        return max(1.0, min(30.0, self.spec.patience / 2))

    def _want_all(self) -> None:
        for host in self.bench.hosts.values():
            host.more = True

    async def _feed_hosts(self) -> None:
        """Bring hosts with something queued into hand, longest-waiting first, as long as there is room."""
        self._let_go()
        if self._strangers:
            await self._feed_strangers()
        room = HOSTS_IN_HAND - len(self.bench.hosts)
        if not self._new_hosts or room <= 0:
            return
        self._new_hosts = False
        now = self.clock.now()
        self._parked = {i: at for i, at in self._parked.items() if at > now}
        held = [h.id for h in self.bench.hosts.values() if h.id] + list(self._parked)
        rows = await self._store.hosts(room, horizon=self._horizon(), held=held)
        for row in rows:
            if row.name not in self.bench.hosts:
                self.bench.add(self._host(row))
        self._new_hosts |= len(rows) == room

    def _let_go(self) -> None:
        """At a full bench, hosts whose window is used up, or who rest beyond the patience, make room for others."""
        if not self._full():
            return
        now = self.clock.now()
        for host in list(self.bench.hosts.values()):
            if host.out or host.resolving or host.errands or host.awaiting or host.name in self._strangers:
                continue
            at = host.ready_at()
            if at is None:
                self.bench.remove(host)
                self._new_hosts |= host.more
            elif at > now + self.spec.patience:
                self.bench.remove(host)
                self._parked[host.id] = now + self.spec.patience
        if len(self.bench.addresses) > 2 * len(self.bench.hosts) + 64:
            self.bench.prune()

    async def _refuse_spent(self) -> None:
        """What is still queued on a host that has given all the pages it may give is skipped, loudly."""
        for host in [
            h for h in self.bench.hosts.values() if h.most is not None and h.pages >= h.most and (h.more or h.window)
        ]:
            host.more = False
            host.window.clear()
            host.later.clear()
            await self._store.refuse(host.id, "limit", f"max-pages-per-host {host.most}")

    async def _feed_strangers(self) -> None:
        """Hosts that a robots.txt redirect leads to: in hand for that errand, with their stored clocks."""
        wanted, self._strangers = self._strangers, {}
        known = {row.name: row for row in await self._store.hosts(0, horizon=0, names=list(wanted))}
        for name, errands in wanted.items():
            if name not in self.bench.hosts:
                self.bench.add(self._host(known.get(name) or HostRow(0, name)))
            for errand in errands:
                self.bench.send(errand, self.bench.hosts[name])

    def _enlist(self, errand: Errand) -> None:
        """A robots.txt redirect waits for its target host's turn, like everything else."""
        name = errand.place.host
        if name in self.bench.hosts:
            self.bench.send(errand, self.bench.hosts[name])
        else:
            self._strangers.setdefault(name, []).append(errand)
            self._news.set()

    async def _feed_rows(self) -> None:
        """Fill the windows of hosts that run low, in one read for all of them."""
        each = self._window()
        low = 0 if self._full() else each // 2  # at a full bench a window is used up before its host gets another turn
        hungry = {h.id: h for h in self.bench.hosts.values() if h.id and h.more and len(h.window) + len(h.later) <= low}
        if not hungry:
            return
        held = [i for h in hungry.values() for i in h.held()] + [i for i, host in self._out.items() if host in hungry]
        self._settling = set()
        for host in hungry.values():
            host.more = False  # from here on, only a commit makes it true again
        try:
            rows = await self._store.due(list(hungry), each, horizon=self._horizon(), held=held)
        finally:
            settled, self._settling = self._settling, None
        found: dict[int, list[tuple[float, Queued]]] = {}
        for row in rows:
            if row.id not in settled:
                found.setdefault(row.host_id, []).append((self._mono(row.due_at), row))
        for id_, host in hungry.items():
            mine = found.get(id_, [])
            host.more |= len(mine) + len(settled) >= each
            if self.bench.hosts.get(host.name) is host and mine:
                self.bench.feed(host, mine)

    def _full(self) -> bool:
        return len(self.bench.hosts) >= HOSTS_IN_HAND

    def _window(self) -> int:
        """How many URLs a host may have in hand: many for a few hosts, a few for many."""
        return max(8, min(512, ROWS_IN_HAND // max(1, len(self.bench.hosts))))

    def _horizon(self) -> int:
        return self.clock.wall() + settling.ms(self.spec.patience)

    # --- stored times and clocks

    def _host(self, row: HostRow) -> Host:
        delay = None if row.crawl_delay is None else row.crawl_delay / 1000
        rest = politeness.delay_of(self.spec, delay)
        host = Host(
            row.id,
            row.name,
            rest,
            max(self._mono(row.next_fetch_at), self._start + rest * self._resumed),
            self._mono(row.blocked_until),
            delay,
            row.failures,
            row.pages,
            self.spec.max_pages_per_host,
        )
        for origin in row.origins:
            if origin.status is not None:
                robots = Robots.parse(origin.body) if origin.body is not None else None
                host.robots[origin.origin] = RobotsState(
                    origin.status, self._mono(origin.until), robots, origin.failures
                )
        return host

    def _host_row(self, host: Host) -> HostRow:
        return HostRow(
            host.id,
            host.name,
            self._wall(host.next_at),
            self._wall(host.blocked_until),
            settling.ms(host.delay),
            None if host.crawl_delay is None else settling.ms(host.crawl_delay),
            host.failures,
        )

    def _mono(self, wall: int) -> float:
        """A stored time on today's monotonic clock, never further ahead than a day (FAULTS X4)."""
        return self.clock.now() + min((wall - self.clock.wall()) / 1000, FARTHEST) if wall > 0 else 0.0

    def _wall(self, mono: float) -> int:
        return self.clock.wall() + settling.ms(mono - self.clock.now()) if mono > 0 else 0

    def load(self) -> Load:
        """A snapshot for `progress`."""
        now = self.clock.now()
        turns = [(at, h) for h in self.bench.hosts.values() if (at := h.ready_at()) is not None]
        return Load(
            fetching=self.fetching,
            unsettled=self.unsettled,
            hosts=len(turns),
            rows=sum(len(h.window) for _, h in turns),
            waiting=sum(at > now for at, _ in turns),
            longest=max((h.delay for at, h in turns if at > now), default=0.0),
            paused=self._pause if self.paused_until > now else "",
        )
