"""The frontier: the workbench joined to the store. Feeds hosts and URLs in, hands visits out, settles what they came to.

SQLite is the frontier; this holds a window on it, which `supply` keeps filled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from crawler.clock import Clock
from crawler.fetch.robots import Robots
from crawler.frontier import network, optout, politeness, settling
from crawler.frontier.blame import Blame, charged_to
from crawler.frontier.exclusions import Exclusions
from crawler.frontier.hosts import HostSpecs
from crawler.frontier.load import Load, load_of
from crawler.frontier.lookups import Lookups, Resolve
from crawler.frontier.network import Network, Whose
from crawler.frontier.robots_visit import settle_robots
from crawler.frontier.scope import ADMITTED, Scope
from crawler.frontier.sitemap_visit import settle_sitemap
from crawler.frontier.stored import Times, row_of
from crawler.frontier.supply import Supply
from crawler.frontier.workbench import Errand, Host, Limits, Refusal, RobotsState, Workbench
from crawler.revisit import policy, schedule
from crawler.spec import CrawlSpec
from crawler.visit import Extract, Fault, Kind, Outcome, Visit
from storage.model import Begun, Queued, Settlement
from storage.store import Store

NEXT_LOOK = 0.05  # seconds between two looks at the store while hosts in hand make room for others
UNCOMMITTED = 200  # acquired − settled ≤ connections + this: bounds memory and what a kill can repeat


class Frontier:
    """Hands out visits (`acquire`), takes them back (`release`), turns outcomes into settlements (`settle`), and is told
    what was committed (`settled`). `feed` is its task; it ends when nothing falls due within the patience."""

    def __init__(
        self, spec: CrawlSpec, store: Store, scope: Scope, resolve: Resolve, clock: Clock, begun: Begun
    ) -> None:
        self.spec = spec
        self._specs = HostSpecs(spec)
        self.scope = scope
        self.clock = clock
        self._times = Times(clock)
        rest = clock.now() + spec.address_delay if begun.resumed else 0.0
        self.bench = Workbench(
            Limits(
                spec.per_host,
                spec.address_limit,
                spec.address_delay,
                spec.robots == "obey",
                spec.token,
                tries=max(1, spec.connections // 2),
            ),
            rest,
            {name: self._times.mono(at, politeness.CRAWL_DELAY_MOST) for name, at in begun.addresses.items()},
        )
        self._revisit = policy(spec.revisit)
        self._supply = Supply(self._specs, store, scope, self.bench, clock, begun)
        self.pages = begun.counts.pages
        self.fetching = 0
        self.unsettled = 0
        self._adding: set[int | None] = set()  # of these, URLs that may become one page more
        self.network = Network()
        self._blame = Blame(self.network, self.bench, clock)
        self.paused_until = 0.0
        self._pause = ""
        self.held = ""  # why somebody wants nobody to be asked
        self.limit_reached = False
        self._lookups = Lookups(self.bench, resolve, clock, lambda: scope.exclusions, self._looked_up)
        self._idle: deque[asyncio.Future[Visit | Refusal | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._next_slot = 0.0  # of the whole crawl's rate

    # --- workers

    async def acquire(self) -> Visit | Refusal | None:
        """The next visit (or refusal to settle); None: the crawl is over. Waits; cancellation loses nothing."""
        if self._stopping:
            return None
        turn: asyncio.Future[Visit | Refusal | None] = asyncio.get_running_loop().create_future()
        self._idle.append(turn)
        self._pump()
        return await turn

    async def judge(self, visit: Visit, outcome: Outcome) -> Outcome:
        """What the visit really came to: a failure may be our own network's, which shows when others are asked. Its host
        is not asked meanwhile, 15 s at most."""
        self.tick()
        whose = self._whose(visit, outcome)
        if whose is Whose.OPEN:
            self.fetching -= 1  # nothing is open meanwhile
            self._pump()
            verdict = await self._blame.verdict()
            self.fetching += 1
            whose = verdict or self._whose(visit, outcome)
        return charged_to(whose, outcome, self.network.down)

    def _whose(self, visit: Visit, outcome: Outcome) -> Whose:
        """What this outcome says; when our network is gone, or back, everybody pauses or goes on."""
        before = self.network.down
        whose = self._blame.of(visit, outcome)
        if self.network.down and not before:
            self.pause(network.PROBE, self.network.down)
        elif before and not self.network.down and self._pause == before:
            self.paused_until = 0.0
        return whose

    def _beat(self) -> None:
        self.tick()
        if not self._stopping:
            asyncio.get_running_loop().call_later(1.0, self._beat)

    def tick(self) -> None:
        """We are here. After a time in which we were not (stopped, asleep) every host is left alone for a delay, as after
        a crash."""
        now = self.clock.now()
        if self.network.seen(now):
            self.bench.rest(now)

    def release(self, visit: Visit, outcome: Outcome) -> None:
        """The request is over; parsing and storing come after, the host's next turn does not wait for them."""
        self.fetching -= 1
        if outcome.fault not in (None, Fault.OFFLINE) and not politeness.charged(outcome.reason):
            self.pause(1.0, f"our own machine: {outcome.reason}")
        self._conduct(visit, outcome)
        self.bench.release(visit, self.clock.now())
        self._pump()

    def _conduct(self, visit: Visit, outcome: Outcome) -> None:
        """What the outcome means for the host's next turns."""
        host, now = visit.handle[0], self.clock.now()
        base = politeness.base_delay(self._specs.at(host.name), host.crawl_delay, host.name)
        host.standing = host.standing.after(outcome, base, blocked=host.blocked_until > now)
        block = politeness.block_of(outcome, host.standing, self.clock.wall() / 1000)
        if block is not None:
            self.bench.block(host, now + block)
        self._pace(host, visit)

    def _pace(self, host: Host, visit: Visit) -> None:
        """The host's delay as it is now; it counts from this visit on."""
        host.delay = politeness.delay_of(self._specs.at(host.name), host.crawl_delay, host.standing, host.name)
        if visit.handle[0] is host and visit.sent_at is not None:
            host.next_at = max(host.next_at, visit.sent_at + host.delay)

    def settle(self, visit: Visit, outcome: Outcome, extract: Extract, rules: Robots | None = None) -> Settlement:
        """What the outcome means, with the host's clocks as they are now. ``rules``: the robots.txt that it brought."""
        host: Host = visit.handle[0]
        wall = self.clock.wall()
        if visit.kind is Kind.ROBOTS:
            settlement = self._settle_robots(visit, outcome, extract, wall, rules)
        else:
            if self.spec.respect_ai_optout and outcome.ok and visit.kind is Kind.PAGE:
                extract = self._respected(host, visit, outcome, extract)
            block = max(0.0, host.blocked_until - self.clock.now()) or None
            settle = settle_sitemap if visit.kind is Kind.SITEMAP else settling.settle
            settlement = settle(visit, outcome, extract, self.scope, at=wall, block=block)
        address = host.address
        known = address is not None and not address.name.startswith("?")
        clock = (address.name, self._times.wall(address.next_at)) if address and known else None
        settlement.host, settlement.address, settlement.hops = row_of(host, self._times), clock, visit.hops
        settlement.before = visit.before
        if self._revisit is not None and visit.id is not None:
            schedule(settlement, self._revisit, visit.priority, wall)
        return settlement

    def _respected(self, host: Host, visit: Visit, outcome: Outcome, extract: Extract) -> Extract:
        state = host.robots.get(visit.place.origin)
        signals = state.robots.signals(self.spec.token) if state and state.robots else ()
        why = optout.reserved(outcome, extract, signals)
        return optout.withheld(extract, why) if why and extract.digest else extract

    def _settle_robots(
        self, visit: Visit, outcome: Outcome, extract: Extract, wall: int, rules: Robots | None
    ) -> Settlement:
        errand: Errand = visit.errand
        home = self.bench.hosts.get(errand.home)
        before = home.robots.get(errand.origin) if home else None
        wanted = self.spec.sitemaps != "ignore" and self.scope.reaches(errand.origin, errand.home)
        result = settle_robots(
            visit, outcome, extract, before, now=self.clock.now(), wall=wall, sitemaps=wanted, rules=rules
        )
        if result.next is not None and self._barred(result.next.place.host):
            fetch = result.settlement.fetch  # a redirect to where nobody may ask is as good as no answer
            result = settle_robots(visit, Outcome(visit.url, 503), extract, before, now=self.clock.now(), wall=wall)
            result = replace(result, settlement=replace(result.settlement, fetch=fetch))
        if result.next is not None:
            self._supply.send(result.next)
        elif result.state is not None:
            self._robots_known(visit, result.state)
        self._pump()
        return result.settlement

    def _robots_known(self, visit: Visit, state: RobotsState) -> None:
        errand: Errand = visit.errand
        home = self.bench.hosts.get(errand.home)
        if home is not None:
            asked = [s.robots for s in (home.robots | {errand.origin: state}).values() if s.robots is not None]
            home.crawl_delay = max(
                (d for r in asked if (d := r.crawl_delay(self.spec.token)) is not None), default=None
            )
            home.closed = politeness.closed(self._specs.at(home.name), home.crawl_delay, home.name)
            self._pace(home, visit)
        self.bench.robots_known(errand, state)

    def refuse(self, refusal: Refusal) -> Settlement:
        row = refusal.row
        settlement = Settlement(row.place, row.id, row.depth, attempts=row.attempts, role=row.role, before=row.before)
        if row.before is None or refusal.reason != "exclude":  # else it is not asked again, and what it was stays
            settlement.outcome, settlement.reason, settlement.detail = "skipped", refusal.reason, refusal.detail
        return settlement

    def exclude(self, exclusions: Exclusions) -> None:
        """Who is excluded from now on: nobody asks them again, those already asked may answer (FAULTS L8)."""
        self.scope.exclude(exclusions)
        for host in self.bench.hosts.values():
            why = exclusions.refusal(host.name, host.addresses)
            if why != host.barred:
                self.bench.bar(host, why, self.clock.now())
        self._supply.excluded()
        self._pump()

    def change(self, spec: CrawlSpec) -> None:
        """Other delays and limits from now on; of those that `crawler.orders` lets a running crawl change."""
        now, before, self.spec = self.clock.now(), self.spec, spec
        self._specs.change(spec)
        self._supply.change(spec)
        self.limit_reached = spec.max_pages is not None and self.pages >= spec.max_pages
        if spec.max_rate != before.max_rate:
            self._next_slot = now
        self.bench.pace_addresses(spec.address_delay, now)
        for host in self.bench.hosts.values():
            at = self._specs.at(host.name)
            host.most = at.max_pages_per_host
            host.closed = politeness.closed(at, host.crawl_delay, host.name)
            self.bench.pace(host, politeness.delay_of(at, host.crawl_delay, host.standing, host.name), now)
        if spec.exclude != before.exclude:
            self.scope.refuse(spec.exclude)
            self.bench.excluded = self._excluded
            self._supply.excluded()
        self._pump()

    def _excluded(self, row: Queued) -> str:
        """Why a URL that was admitted once is not visited, or ""."""
        verdict = self.scope.judge(row.place) if row.role is None and not row.seed else ADMITTED
        return verdict.detail or "" if verdict.reason == "exclude" else ""

    def hold(self, why: str) -> None:
        """No new visit until this is called with ""; what is in flight may end, and is stored."""
        self.held = why
        self._supply.wake()
        self._pump()

    def _barred(self, name: str) -> bool:
        host = self.bench.hosts.get(name)
        return bool(host.barred if host else self.scope.exclusions.host(name))

    def pause(self, seconds: float, why: str) -> None:
        """No new visit for so long; nobody is charged."""
        self._pause = why
        self.paused_until = max(self.paused_until, self.clock.now() + seconds)

    # --- the writer

    def settled(self, batch: Sequence[Settlement]) -> None:
        """These are durable now: their ids are no longer held, their discoveries can be fed."""
        for s in batch:
            self.unsettled -= 1
            self._adding.discard(s.url_id)
            self.pages += s.gain
            self.bench.settled(s.place.host, gain=s.gain)
        self._supply.settled(batch)
        self._pump()

    def starving(self) -> bool:
        """Connections idle, and nothing in hand that may be asked: what waits for its commit is wanted now."""
        return self.fetching * 2 < self.spec.connections and (self.bench.next_at() is None or not self._room())

    # --- stopping

    def stop(self) -> None:
        """No new visit from now on; those handed out may be settled."""
        self._stopping = True
        self._blame.decide(Whose.NETWORK)  # nobody is charged with what was not decided
        if self._timer:
            self._timer.cancel()
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
        self._supply.wake()

    # --- handing out

    def _pump(self) -> None:
        """Give every idle worker a turn that is allowed now; arm the timer for the next."""
        self.tick()
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
        self._lookups.start()
        self._arm(now)

    def _open(self, now: float) -> bool:
        if self._stopping or self.held or now < max(self.paused_until, self._next_slot):
            return False
        return self.fetching < self.spec.connections and self._room()

    def _room(self) -> bool:
        """Whether one more visit keeps the bounds: what is not committed, and the pages that were asked for at most."""
        if self.unsettled >= self.spec.connections + UNCOMMITTED:
            return False
        if self.spec.max_pages is not None and self.pages + len(self._adding) >= self.spec.max_pages:
            self.limit_reached = self.pages >= self.spec.max_pages
            return self._supply.revisits_only
        return True

    def _hand_out(self, turn: Visit | Refusal) -> None:
        self.unsettled += 1
        if isinstance(turn, Refusal):
            self._supply.handed_out(turn.host, turn.row.id)
            return
        self.fetching += 1
        if turn.adds:
            self._adding.add(turn.id)
        self._supply.handed_out(turn.handle[0], turn.id)
        turn.sent = partial(self._sent, turn)
        if self.network.down:
            self.pause(network.PROBE, self.network.down)  # this one is the probe
        if self.spec.max_rate:
            self._next_slot = max(self._next_slot, self.clock.now()) + 1 / self.spec.max_rate

    def _sent(self, visit: Visit, at: float) -> None:
        self.bench.sent(visit, at)
        self._pump()

    def _arm(self, now: float) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._idle or self._stopping:
            return
        at = self.bench.next_at()
        if at is None:
            return
        at = max(at, self.paused_until, self._next_slot)
        if at > now:
            self._timer = asyncio.get_running_loop().call_later(at - now, self._pump)

    def _looked_up(self, host: Host) -> None:
        if host.barred:
            self._supply.wake()
        self._pump()

    # --- feeding

    async def feed(self) -> None:
        """Keep the workbench supplied until nothing falls due within the patience. Ends the crawl by `stop`."""
        self._beat()
        while not self._stopping:
            await self._supply.round()
            self._pump()
            wait = await self._patience()
            if wait is None:
                break
            await self._supply.sleep(min(wait, NEXT_LOOK) if self._supply.unseen() else wait)
        self.stop()

    async def _patience(self) -> float | None:
        """Seconds until the store is looked at again, news apart; None: the run is over."""
        if self.limit_reached and not await self._supply.revisits():
            return None
        if self.held:
            return network.PROBE
        if self.network.hopeless(self.clock.now()):
            return None
        if self.network.patient(self.clock.now()):
            self._supply.look_everywhere()
            return network.PROBE
        if self.unsettled or self._lookups or self._supply.busy():
            return max(1.0, min(30.0, self.spec.patience / 2))
        return await self._supply.rest()

    def load(self) -> Load:
        """A snapshot for `progress`."""
        now = self.clock.now()
        paused = self.held or self.network.down or (self._pause if self.paused_until > now else "")
        return load_of(self.bench, now, fetching=self.fetching, paused=paused)
